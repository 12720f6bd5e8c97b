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
    critical_difference_figure,
    heat_map,
    pareto_front,
    rate_distortion_figure,
    undecided_groups,
)


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
    Image.fromarray(broken).save("data/sr/flow/x4/mine/a/0.webp", lossless=True)
    drawn = {}
    for name, law in (("lpips", maps), ("psnr", None)):
        figure = contact_sheet(Project(), "a", "flow", 4, "not blind", ["mine"], {("mine", 0): 0.5}, name, law)
        assert figure.get_suptitle() == "a, reconstructed by flow (not blind)"
        axis = figure.axes[0]
        cell = np.asarray(axis.images[0].get_array())[:290]
        drawn[name] = [cell[:, x : x + 290] for x in (0, 296, 592, 888)]  # every 1.48 inches, of 200 pixels
        texts = [text.get_text() for text in axis.texts]
        assert {"lpips": "where 1 differs", "psnr": "|SR 1 - HR|"}[name] in texts
        assert {"mine", "HR", "LR (4 times smaller)", "SR sample 1", f"{name} 0.500"} <= set(texts)
        save(figure, tmp_path / name)
    nearest = (2 * np.arange(290) + 1) * 128 // 580
    difference = np.abs(broken.astype(int) - hr).mean(axis=2)
    for name, values, top in (("lpips", found[1], np.quantile(found[1], 0.995)), ("psnr", difference, 64)):
        colours = matplotlib.colormaps["magma"](np.minimum(values / top, 1), bytes=True)[..., :3]
        expected = [hr, hr[::4, ::4].repeat(4, axis=0).repeat(4, axis=1), broken, colours]
        for got, image in zip(drawn[name], expected, strict=True):
            assert (got == image[nearest[:, None], nearest]).mean() > 0.98, "but for pixels between two"


def test_the_front_holds_those_that_nobody_beats_in_both() -> None:
    x = np.array([1.0, 1.0, 2.0, 3.0, 3.0, 0.5])
    y = np.array([5.0, 4.0, 4.0, 1.0, 2.0, 9.0])
    assert pareto_front(x, y).tolist() == [5, 1, 3]
    for i in range(len(x)):
        beaten = ((x <= x[i]) & (y <= y[i]) & ((x < x[i]) | (y < y[i]))).any()
        assert beaten == (i not in pareto_front(x, y))


def test_bars_join_those_that_do_not_differ_significantly() -> None:
    ranks = pd.Series({"a": 1.0, "b": 1.8, "c": 2.6, "d": 4.5})
    assert undecided_groups(ranks, 1.0) == [(1.0, 1.8), (1.8, 2.6)]
    assert undecided_groups(ranks, 1.7) == [(1.0, 2.6)], "a bar within another is left out"
    assert undecided_groups(ranks, 0.5) == []
    assert undecided_groups(ranks, 9.0) == [(1.0, 4.5)]
    assert undecided_groups(ranks, 0.8 - 1e-9) == []


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


def test_the_critical_difference_is_drawn_where_there_is_one() -> None:
    names = [f"d{i}" for i in range(5)]
    base = {"upscaler": "u", "factor": 4, "images": 9, "friedman_p": 0.01}
    ranks = pd.DataFrame([base | {"downscaler": n, "mean_rank": i + 1.0} for i, n in enumerate(names)])
    figure = critical_difference_figure(ranks.assign(critical_difference=1.5), 0.95, "D")
    assert figure is not None
    texts = {text.get_text().split()[0] for text in figure.axes[0].texts}
    assert {"d0", "d1", "d2"} <= texts
    assert critical_difference_figure(ranks.assign(critical_difference=np.nan), 0.95, "D") is None


def test_figures_are_the_same_files_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(rate_distortion_figure(_scores(5), {"label": "D", "better": "lower"}), tmp_path / name)
    for suffix in ("png", "svg", "pdf"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes(), suffix
