"""The figures of paired differences and of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from ida_rd.report.differences import differences_figure, ranks_figure
from ida_rd.report.figures import score_figure

NAMES = ["far", "near", "bicubic", "best"]  # mean ranks 4, 3, 2, 1
LEVELS = {"far": 0.9, "near": 0.32, "bicubic": 0.3, "best": 0.1}
SIGNIFICANT = {"far", "best"}  # from bicubic
DESCRIPTORS = {n: {"label": f"label {n}", "better": "lower", "kind": "pixel", "squared": False} for n in ("d", "e")}


def _tables(*, intervals: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two upscalers; by the second all is ten times as much. By `e` the order is turned."""
    pairs: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    for upscaler, times in (("u", 1), ("v", 10)):
        for distortion in ("d", "e"):
            cell = {"upscaler": upscaler, "factor": 4, "distortion": distortion}
            order = NAMES if distortion == "e" else NAMES[::-1]
            ranks += [{**cell, "downscaler": n, "mean_rank": i + 1.0, "photographs": 9} for i, n in enumerate(order)]
            for i, less in enumerate(order):
                for more in order[i + 1 :]:
                    difference = times * abs(LEVELS[less] - LEVELS[more])
                    half = 0.01 if intervals else np.nan
                    apart = bool({less, more} & SIGNIFICANT)
                    pair = {"difference": difference, "low": difference - half, "high": difference + half}
                    pair |= {"effect": 1.0, "share": 1.0, "photographs": 9, "p_holm": 0.01 if apart else 0.5}
                    pairs.append({**cell, "loses_less": less, "loses_more": more, **pair})
    return pd.DataFrame(pairs), pd.DataFrame(ranks)


def _grid(figure: Any) -> list[list[Axes]]:
    axes = figure.axes
    return [axes[:2], axes[2:]]


def _marks(axis: Axes) -> dict[str, dict[float, float]]:
    """Rows to differences, of the filled and of the hollow marks."""
    found: dict[str, dict[float, float]] = {"filled": {}, "hollow": {}}
    for line in axis.lines:
        if line.get_marker() in ("o", "s"):
            hollow = to_hex(line.get_markerfacecolor()) == "#ffffff"
            x, y = (np.asarray(values) for values in (line.get_xdata(), line.get_ydata()))
            found["hollow" if hollow else "filled"] |= dict(zip(y.tolist(), x.round(6).tolist(), strict=True))
    return found


def _bars(axis: Axes) -> dict[float, tuple[float, float]]:
    found = {}
    for collection in axis.collections:
        assert isinstance(collection, LineCollection)
        for (x0, y), (x1, _) in (segment for segment in collection.get_segments() if len(segment)):
            found[float(y)] = (round(float(x0), 6), round(float(x1), 6))
    return found


def test_differences_to_the_baseline_are_drawn_with_their_own_intervals() -> None:
    pairs, ranks = _tables()
    figure = differences_figure(pairs, ranks, DESCRIPTORS, ["d", "e"], "bicubic", 0.95, "N = 9")
    assert figure is not None
    grid = _grid(figure)
    # Rows as d ranks them: best, bicubic, near, far.
    assert [t.get_text() for t in grid[0][0].get_yticklabels()] == ["best", "bicubic (baseline)", "near", "far"]
    assert _marks(grid[0][0]) == {"filled": {0: -0.2, 3: 0.6}, "hollow": {2: 0.02}}
    assert _bars(grid[0][0]) == {0: (-0.21, -0.19), 2: (0.01, 0.03), 3: (0.59, 0.61)}
    assert _marks(grid[0][1]) == {"filled": {0: 0.2, 3: -0.6}, "hollow": {2: -0.02}}, "by e they lose the other way"
    assert _marks(grid[1][0])["filled"] == {0: -2.0, 3: 6.0}
    for column in (0, 1):
        assert grid[0][column].get_xlim() == grid[1][column].get_xlim()
    assert len({axis.get_ylim() for row in grid for axis in row}) == 1
    assert grid[0][0].get_ylim()[0] > grid[0][0].get_ylim()[1], "the first on top"
    assert "N = 9" in figure.get_supxlabel()


def test_the_baselines_row_is_a_line_at_zero() -> None:
    pairs, ranks = _tables()
    figure = differences_figure(pairs, ranks, DESCRIPTORS, ["d"], "bicubic", 0.95)
    assert figure is not None
    lines = [(line.get_marker(), np.asarray(line.get_xdata()).tolist(), line) for line in figure.axes[0].lines]
    (zero,) = [line for marker, x, line in lines if marker == "|" and x == [0]]
    assert np.asarray(zero.get_ydata()).tolist() == [1], "bicubic is the second row"
    assert any(x == [0, 0] for _, x, _ in lines)


@pytest.mark.parametrize("confidence", [0.95, 0.995])
def test_what_is_filled_follows_the_runs_confidence(confidence: float) -> None:
    pairs, ranks = _tables()
    figure = differences_figure(pairs, ranks, DESCRIPTORS, ["d"], "bicubic", confidence)
    assert figure is not None
    assert len(_marks(figure.axes[0])["filled"]) == (2 if confidence == 0.95 else 0)


def test_where_there_is_no_interval_none_is_drawn() -> None:
    pairs, ranks = _tables(intervals=False)
    figure = differences_figure(pairs, ranks, DESCRIPTORS, ["d"], "bicubic", 0.95)
    assert figure is not None
    figure.draw_without_rendering()
    assert _bars(figure.axes[0]) == {}
    assert sum(len(marks) for marks in _marks(figure.axes[0]).values()) == 3
    scores = pd.DataFrame(
        [
            {"upscaler": "u", "factor": 4, "downscaler": n, "distortion": "d", "mean": x}
            for n, x in LEVELS.items()
        ]
    ).assign(ci_low=np.nan, ci_high=np.nan)  # fmt: skip
    levels = score_figure(scores, DESCRIPTORS, ["d"], "none")
    levels.draw_without_rendering()
    assert _bars(levels.axes[0]) == {}


def test_one_downscaler_has_no_differences() -> None:
    pairs, ranks = _tables()
    one = ranks[ranks.downscaler == "best"]
    assert differences_figure(pairs[:0], one, DESCRIPTORS, ["d", "e"], "best", 0.95) is None
    assert ranks_figure(one[one.distortion == "d"], pairs[:0], confidence=0.95, label="D") is None


def test_bars_over_ranks_are_of_the_paired_tests() -> None:
    """bicubic and near do not differ; all other pairs do, however close their ranks."""
    pairs, ranks = _tables()
    ranks = ranks.assign(mean_rank=1 + ranks.mean_rank / 100)  # any test of ranks would join all
    first, tests = (table[(table.distortion == "d") & (table.upscaler == "u")] for table in (ranks, pairs))
    figure = ranks_figure(first, tests, confidence=0.95, label="D", note="N = 9")
    assert figure is not None
    thick = [c for c in figure.axes[0].collections if np.atleast_1d(c.get_linewidth())[0] == 3]
    assert len(thick) == 1
    (segment,) = thick[0].get_segments()  # type: ignore[attr-defined]
    assert segment[:, 0] == pytest.approx([1.02 - 0.05, 1.03 + 0.05])
    texts = {text.get_text().split()[0] for text in figure.axes[0].texts}
    assert {"best", "bicubic"} <= texts
    below = figure.get_supxlabel()
    assert "no significant difference at 0.05" in below
    assert "A picture of ranks" in below
    assert "N = 9" in below
