"""What the report shows."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.images import write_png
from ida_rd.core.project import Project
from ida_rd.report.draw import leading_maps
from ida_rd.report.figures import contact_sheet, save, telling_images
from ida_rd.report.planes import (
    heat_map,
    pareto_front,
    rate_distortion_figure,
)
from ida_rd.report.sheet import ABOVE, GAP, LEFT, TEXT, save_sheet, sheet_figure


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
    maps = leading_maps(
        {"stage": "distort", "name": "lpips", "method": "lpips", "parameters": {"backbone": "alex", "path": weights}}
    )
    assert maps is not None
    found = maps(hr, np.stack([hr, broken]))
    assert found.shape == (2, 128, 128)
    assert np.abs(found[0]).max() < 1e-12
    assert found[1, 72:, 72:].mean() > 10 * found[1, :48, :48].mean()
    assert (
        leading_maps({"stage": "distort", "name": "psnr", "method": "pixel", "parameters": {"metric": "psnr"}}) is None
    )

    monkeypatch.chdir(tmp_path)
    write_png(Path("data/hr/a.png"), hr)
    write_png(Path("data/lr/x4/mine/a.png"), np.ascontiguousarray(hr[::4, ::4]))
    Path("data/sr/flow/x4/mine/a").mkdir(parents=True)
    for k, image in enumerate((broken, hr)):
        Image.fromarray(image).save(f"data/sr/flow/x4/mine/a/{k}.webp", lossless=True)
    scores = {("mine", 0): 0.5, ("mine", 1): 0.125}
    for name, law in (("lpips", maps), ("psnr", None)):
        figure = contact_sheet(Project(), "a", "flow", 4, "not blind", ["mine"], scores, name, law)
        assert figure.get_suptitle() == "a, reconstructed by flow (not blind)"
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert {"lpips": "where they differ", "psnr": "mean |SR - HR|"}[name] in texts
        assert {"mine", "HR", "LR (4 times smaller)", "SR sample 1", f"{name} 0.5", f"{name} 0.125"} <= set(texts)
        save_sheet(figure, tmp_path / name)
        values, top = (
            (np.mean([found[1], found[0]], axis=0), np.quantile(np.mean([found[1], found[0]], axis=0), 0.995))
            if name == "lpips"
            else (np.abs(broken.astype(int) - hr).mean(axis=2) / 2, 64)
        )
        colours = matplotlib.colormaps["magma"].resampled(16)(np.minimum(values / top, 1), bytes=True)[..., :3]
        enlarged = [image.repeat(2, axis=0).repeat(2, axis=1) for image in (hr, broken, hr, colours)]
        lr = hr[::4, ::4].repeat(8, axis=0).repeat(8, axis=1)
        drawn = np.asarray(Image.open(tmp_path / f"{name}.png"))
        second = ABOVE + 256 + TEXT
        places = [(ABOVE, 0), (second, 1), (second, 2), (second, 3)]
        for image, (y, column) in zip(enlarged, places, strict=True):
            x = LEFT + column * (256 + GAP)
            assert np.array_equal(drawn[y : y + 256, x : x + 256], image), "pixel for pixel"
        assert np.array_equal(drawn[second : second + 256, LEFT : LEFT + 256], lr)
        assert (tmp_path / f"{name}.pdf").is_file()


@pytest.mark.parametrize(("side", "drawn"), [(64, 320), (200, 200), (256, 256), (320, 320), (512, 320)])
def test_images_are_drawn_in_whole_pixels_unless_they_are_wide(side: int, drawn: int) -> None:
    checks = np.indices((side, side)).sum(axis=0) % 2
    image = np.repeat((255 * checks).astype(np.uint8)[..., None], 3, axis=2)
    figure = sheet_figure("t", image, ["LR"], [("mine", [(image, "")])], 1.0, "m")
    raster = np.asarray(figure.axes[0].images[0].get_array())
    place = raster[ABOVE : ABOVE + drawn, LEFT : LEFT + drawn]
    if side <= drawn:
        assert np.array_equal(place, image.repeat(drawn // side, axis=0).repeat(drawn // side, axis=1))
    else:
        assert np.abs(place.astype(int) - 127).max() < 64, "means: a chequer is grey, not an alias"


def test_a_sheet_of_many_downscalers_is_drawn_smaller(tmp_path: Path) -> None:
    image = np.zeros((640, 20, 3), np.uint8)  # at 16 times its size, 31 of them would be 300,000 pixels high
    figure = sheet_figure("t", image, ["LR"], [(f"{i}", [(image, "")]) for i in range(30)], 1.0, "m")
    assert figure.get_size_inches()[1] * figure.dpi < 65_000
    save_sheet(figure, tmp_path / "tall")
    assert Image.open(tmp_path / "tall.png").height < 65_000


def test_the_front_holds_those_that_nobody_beats_in_both() -> None:
    x = np.array([1.0, 1.0, 2.0, 3.0, 3.0, 0.5])
    y = np.array([5.0, 4.0, 4.0, 1.0, 2.0, 9.0])
    assert pareto_front(x, y).tolist() == [5, 1, 3]
    for i in range(len(x)):
        beaten = ((x <= x[i]) & (y <= y[i]) & ((x < x[i]) | (y < y[i]))).any()
        assert beaten == (i not in pareto_front(x, y))


def _scores(downscalers: int, upscalers: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for u in range(upscalers):
        for i in range(downscalers):
            mean = 0.1 + 0.02 * i + rng.uniform(0, 0.01)
            row = {"upscaler": f"u{u}", "factor": 4, "downscaler": f"downscaler-{i}", "distortion": "d", "mean": mean}
            rows.append(row | {"ci_low": mean - 0.03, "ci_high": mean + 0.03, "rate_bpp": rng.uniform(0.5, 0.7)})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("count", [1, 8, 33])
def test_labels_of_the_plane_do_not_lie_on_each_other(count: int) -> None:
    figure = rate_distortion_figure(_scores(count), {"label": "D", "better": "lower"})
    figure.draw_without_rendering()
    texts = [t for t in figure.axes[0].texts if t.get_text().startswith("downscaler-")]
    assert len(texts) >= min(count, 20)
    boxes = [text.get_window_extent() for text in texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_a_heat_map_needs_two_upscalers_and_scales_each_row() -> None:
    assert heat_map(_scores(4), {"label": "D", "better": "lower"}) is None
    scores = _scores(4, upscalers=2)
    scores.loc[scores.upscaler == "u1", "mean"] *= 10
    figure = heat_map(scores, {"label": "D", "better": "lower"})
    assert figure is not None
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    assert drawn.min(axis=1).tolist() == [0, 0]
    assert drawn.max(axis=1).tolist() == [1, 1]
    turned = heat_map(scores, {"label": "D", "better": "higher"})
    assert turned is not None
    assert turned.axes[0].get_xticklabels()[0].get_text() == "downscaler-3", "best first"


def test_figures_are_the_same_files_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(rate_distortion_figure(_scores(5), {"label": "D", "better": "lower"}), tmp_path / name)
    for suffix in ("png", "svg", "pdf"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes(), suffix
