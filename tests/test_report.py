"""What the report shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages.core.images import write_png
from stages.report.figures import contact_sheet, telling_images
from stages.report.stage import leading_maps


def test_the_images_shown_are_those_on_which_the_downscalers_differ_most() -> None:
    scores = pd.DataFrame({"a": [0.1, 0.1, 0.1, 0.1], "b": [0.2, 0.9, 0.1, 0.5]}, index=["w", "x", "y", "z"])
    assert telling_images(scores, 1) == ["x"]
    assert telling_images(scores, 2) == ["x", "w"]
    assert telling_images(scores, 9) == ["x", "z", "w", "y"]


def test_where_the_leading_distortion_lies_is_drawn_if_it_knows(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    """LPIPS finds the one quarter that differs; PSNR has no maps, and the sheet shows absolute differences."""
    hr = astronaut[:128, :128]
    broken = hr.copy()
    broken[64:, 64:] = 255 - broken[64:, 64:]
    weights = str(shared / "weights/lpips/alexnet_features.pth")
    maps = leading_maps("lpips", {"method": "lpips", "parameters": {"backbone": "alex", "path": weights}})
    assert maps is not None
    found = maps(hr, np.stack([hr, broken]))
    assert found.shape == (2, 128, 128)
    assert np.abs(found[0]).max() < 1e-12
    assert found[1, 72:, 72:].mean() > 10 * found[1, :48, :48].mean()
    assert leading_maps("psnr", {"method": "pixel", "parameters": {"metric": "psnr"}}) is None

    monkeypatch.chdir(tmp_path)
    write_png(Path("data/hr/a.png"), hr)
    write_png(Path("data/lr/x4/mine/a.png"), np.ascontiguousarray(hr[::4, ::4]))
    Path("data/sr/flow/x4/mine/a").mkdir(parents=True)
    Image.fromarray(broken).save("data/sr/flow/x4/mine/a/0.webp", lossless=True)
    drawn = {}
    for name, law in (("lpips", maps), ("psnr", None)):
        figure = contact_sheet("a", "flow/x4", ["mine"], {("mine", 0): 0.5}, name, law)
        axis = figure.axes[3]
        drawn[name] = np.asarray(axis.images[0].get_array())
        assert axis.get_title() == {"lpips": "where 1 differs", "psnr": "|SR 1 - HR|"}[name]
    assert np.array_equal(drawn["lpips"], found[1])
    assert np.array_equal(drawn["psnr"], np.abs(broken.astype(int) - hr).mean(axis=2))
