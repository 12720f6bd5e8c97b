"""Random numbers are a function of what they are for."""

from __future__ import annotations

import numpy as np

from ida_rd.core.seeds import Draw, generator


def test_latents_depend_on_image_and_sample_alone() -> None:
    draw = Draw(0, "image", 3)
    z = draw.normal((48, 8, 8))
    assert np.array_equal(z, Draw(0, "image", 3).normal((48, 8, 8)))
    others = [Draw(1, "image", 3), Draw(0, "image", 2), Draw(0, "other", 3), Draw(0, "image", 3, attempt=1)]
    for other in others:
        assert abs(np.corrcoef(z.ravel(), other.normal((48, 8, 8)).ravel())[0, 1]) < 0.1
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.05


def test_generators_are_keyed_by_type_and_value() -> None:
    keys: list[tuple[str | int, ...]] = [("a", 0), ("a", "0"), ("a", 1), ("b", 0), ("a", 0, 0)]
    values = {generator(*key).random() for key in keys}
    assert len(values) == len(keys)
    assert generator("a", 0).random() == generator("a", 0).random()
