"""Samples that were not finite when first drawn: counted, and scored beside as the official code does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ida_rd import Samples, score
from ida_rd.core.seeds import Draw

FACTOR, SIDE = 4, 64


class Failing:
    """Fails whenever a sample of an image with a bright corner is drawn for the first time."""

    factor = FACTOR

    def __init__(self) -> None:
        self.seen: set[tuple[bytes, int]] = set()

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        big = lr.repeat(FACTOR, 1).repeat(FACTOR, 2)
        sr = np.stack([np.clip(big + 3 * draw.normal(big.shape), 0, 255).astype(np.uint8) for draw in draws])
        finite = np.array([lr[0, 0, 0] < 128 or (lr.tobytes(), draw.sample) in self.seen for draw in draws])
        self.seen |= {(lr.tobytes(), draw.sample) for draw in draws}
        return Samples(sr, finite, np.zeros(len(draws)))


def _images() -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    images = {f"i{i}": rng.integers(20, 100, (SIDE, SIDE, 3), dtype=np.uint8) for i in range(5)}
    images["i0"][:16, :16] = 250
    return images


def test_a_failed_first_draw_is_counted_and_scored_as_black() -> None:
    images = _images()
    result = score({"bicubic": "bicubic"}, images, upscaler=Failing(), samples=2, distortions=["mse", "psnr"])
    row = result.scores.set_index("distortion").loc["mse"]
    assert row.first_draw_failures == pytest.approx(2 / 10)
    assert row.nonfinite_rate == 0, "they were drawn again"
    black = float(np.square(images["i0"].astype(float)).mean())
    own = result.images.set_index("image_id")["mse"]
    assert own["i0"] < black
    rows = result.rows.set_index(["image_id", "sample"])
    scale = rows.loc[("i0", 0), "mse:failed"] / black  # the unit of the distortion
    assert rows.loc[("i0", 1), "mse:failed"] == pytest.approx(scale * black)
    assert rows["mse:failed"].notna().sum() == 2
    others = [own[f"i{i}"] for i in range(1, 5)]
    assert row.mean_with_failures == pytest.approx((scale * black + sum(others)) / 5)
    assert "Scored as the official code does" in result.markdown()
    assert "| 20 % | 0 |" in result.markdown()


def test_without_failures_there_is_no_such_column() -> None:
    images = _images()
    images["i0"][:16, :16] = 0
    result = score({"bicubic": "bicubic"}, images, upscaler=Failing(), samples=2, distortions=["mse"])
    assert not [name for name in result.rows if name.endswith(":failed")]
    assert result.scores.mean_with_failures.isna().all()
    assert "official code" not in result.markdown()
