"""A study's figure says of how many photographs it is, and its panels can be compared with one another."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from judged import IMAGES, RESULTS, conditions_of, judge_study, values_of
from matplotlib.figure import Figure

from ida_rd.aggregate.statistics import Difference, Score
from ida_rd.study.draw import draw
from ida_rd.study.judge import Comparison, Result, Setting
from ida_rd.study.rows import Condition
from ida_rd.study.settings import Study

SETTING = Setting("lpips-alex", "LPIPS", "lower", 0.9, 100, 0)


def _result(name: str, levels: dict[str, float], *, samples: int = 1, compared: tuple[Comparison, ...] = ()) -> Result:
    means = pd.Series({f"i{i}": 1.0 for i in range(24)})
    conditions = {c: Condition(Score(v, 0.1, None, v - 0.1, v + 0.1), means, 8, samples) for c, v in levels.items()}
    return Result(name, 4, conditions, list(compared), 1)


def _points(axis: Any) -> list[Any]:
    """What is drawn at each value, in the order of drawing."""
    return [container.lines[0] for container in axis.containers]


def _title(figure: Figure) -> str:
    return " ".join(figure.get_suptitle().split())


def test_upscalers_share_rows_and_axes() -> None:
    study = Study.model_validate(values_of("unsuitable-upscalers"))
    names = conditions_of("unsuitable-upscalers")
    levels = {name: 1.0 + i for i, name in enumerate(names)} | {"nearest": 0.2}
    backwards = {name: 0.1 * (9 - i) for i, name in enumerate(names)}
    figure = draw(study, SETTING, [_result("flow", levels), _result("mode", backwards, samples=2)])
    one, other = figure.axes
    assert one.get_xlim() == other.get_xlim()
    assert [text.get_text() for text in one.get_yticklabels()] == names, "in the claim's order"
    heights = [sorted(point.get_ydata()[0] for point in _points(axis)) for axis in (one, other)]
    assert heights[0] == heights[1]
    first = [_points(axis)[0].get_xydata()[0] for axis in (one, other)]
    assert [tuple(point) for point in first] == [(1.0, 0.0), (0.9, 0.0)], "the same downscaler in the first row of both"
    assert "N = 8 photographs, 24 images, K = 1" in one.get_title()
    assert "N = 8 photographs, 24 images, K = 2" in other.get_title()
    assert "scores with Student's 90% intervals over photographs" in _title(figure)


def _comparison(condition: str, mean: float, p: float) -> Comparison:
    difference = Difference(mean, mean - 0.002, mean + 0.004, p, 1.0, 1.0, 8, 24)
    return Comparison("Pillow", condition, "pillow-bicubic", difference, p, SETTING.level)


def test_a_ranking_shows_paired_differences_to_its_baseline() -> None:
    study = Study.model_validate(values_of("libraries"))
    compared = (_comparison("pillow-box", 0.06, 0.001), _comparison("pillow-bilinear", -0.001, 0.5))
    levels = {"pillow-bicubic": 0.3, "pillow-box": 0.36, "pillow-bilinear": 0.299}
    figure = draw(study, SETTING, [_result("flow", levels, compared=compared)])
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["pillow-bilinear", "pillow-bicubic", "pillow-box"]
    points = _points(axis)
    assert [point.get_xdata()[0] for point in points] == [-0.001, 0.0, 0.06]
    assert [point.get_markerfacecolor() == "white" for point in points] == [True, False, False]
    bars: Any = axis.containers[2]
    ends = bars.lines[2][0].get_segments()[0][:, 0]
    assert list(ends) == pytest.approx([0.058, 0.064])
    assert "filled: significant by Holm's method; grey: ±0.005" in _title(figure)
    assert "difference\nfrom pillow-bicubic" in axis.get_xlabel()


def test_thresholds_lie_at_their_levels_and_say_which_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: dict[str, Any] = dict.fromkeys(conditions_of("minimum-degradation"), 1.0) | {"blur-03": 1.2}
    kept: list[Figure] = []
    monkeypatch.setattr("ida_rd.study.__main__.save", lambda figure, stem: kept.append(figure))
    judge_study("minimum-degradation", levels, tmp_path, monkeypatch)
    axes = {axis.get_title(): axis for axis in kept[0].axes}
    blur = axes["blur"]
    assert blur.get_xscale() == "log"
    points = _points(blur)
    at = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.3]
    assert [point.get_xdata()[0] for point in points] == pytest.approx(at)
    assert [point.get_markerfacecolor() == "white" for point in points] == [True] * 8 + [False]
    assert points[-1].get_ydata()[0] == pytest.approx(0.2 * IMAGES.mean())
    down = axes["contrast down"]
    assert [text.get_text() for text in down.get_xticklabels()] == ["1", "0.999", "0.99", "0.9"]
    assert blur.get_ylim() == down.get_ylim() == axes["n levels"].get_ylim()


def test_the_caption_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {name: 1.0 + i for i, name in enumerate(conditions_of("real-world"))}
    judge_study("real-world", levels, tmp_path, monkeypatch, photographs=[f"p{i // 3}" for i in range(30)])
    text = html.unescape((tmp_path / RESULTS / "scores.svg").read_text(encoding="utf-8"))
    assert "N = 10 photographs, 30 images, K = 2" in text
    assert "95% intervals over photographs" in text
