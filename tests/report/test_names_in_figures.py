"""Names with dollar signs, braces and backslashes are drawn as they are, in every figure."""

from __future__ import annotations

import html
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL, walk
from matplotlib.figure import Figure

from ida_rd.aggregate.statistics import Difference, Score
from ida_rd.core.typeset import latex_text, markdown_table
from ida_rd.report import draw
from ida_rd.report.differences import differences_figure, ranks_figure
from ida_rd.report.figures import save, score_figure
from ida_rd.report.planes import (
    balance_figure,
    heat_map,
    perception_distortion_figure,
    rate_distortion_figure,
)
from ida_rd.study.draw import draw as draw_study
from ida_rd.study.judge import Comparison, Result
from ida_rd.study.settings import Study
from ida_rd.training.card import draw_heats

ODD = ("a$_$1", "b$\\frac{$", "c_$5_$^{}")
UPSCALERS = ("u$x_$", "v$\\bad$")
LABEL = "L$_$P"


def _scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "upscaler": upscaler,
            "factor": 4,
            "downscaler": name,
            "distortion": distortion,
            "mean": 0.2 + rng.random(),
            "rate_bpp": 1 + rng.random(),
            "images": 9,
            "mean_rank": 1.0 + i,
        }
        for upscaler in UPSCALERS
        for i, name in enumerate(ODD)
        for distortion in ("one", "two")
    ]
    table = pd.DataFrame(rows)
    return table.assign(ci_low=table["mean"] - 0.1, ci_high=table["mean"] + 0.1)


def _pairs() -> pd.DataFrame:
    pair = {"factor": 4, "difference": 0.2, "low": 0.1, "high": 0.3, "effect": 1.0, "share": 1.0, "p_holm": 0.01}
    return pd.DataFrame(
        [
            {"upscaler": upscaler, "distortion": distortion, "loses_less": less, "loses_more": more, **pair}
            for upscaler in UPSCALERS
            for distortion in ("one", "two")
            for less, more in combinations(ODD, 2)
        ]
    )


def _study(kind: str) -> Figure:
    panels = {name: {"axis": "t$_$", "conditions": {name: "l$^$", f"{name}2": 1}} for name in ODD}
    study = Study.model_validate({"kind": kind, "data": "made", "title": "T$_{$", "panels": panels, "baseline": ODD[0]})
    names = [c for panel in study.panels.values() for c in panel.conditions]
    scores = {name: Score(1.0 + i, 0.1, None, 0.9 + i, 1.1 + i) for i, name in enumerate(names)}
    compared = [Comparison(ODD[0], names[1], names[0], Difference(1.0, 0.5, 1.5, 0.01, 1.0, 1.0, 9, 9))]
    result = Result("u", 4, scores, {}, compared, 1, 0, 1, "m$_$")
    return draw_study(study, [result], LABEL)


def _figures() -> Iterator[tuple[str, Figure | None, tuple[str, ...]]]:
    scores = _scores()
    one = scores[scores.distortion == "one"]
    descriptors = {name: {"label": LABEL, "better": "lower"} for name in ("one", "two")}
    yield "scores", score_figure(scores, descriptors, ["one", "two"]), (*ODD, LABEL, *UPSCALERS)
    pairs = _pairs()
    yield "ranks", ranks_figure(one, pairs, confidence=0.95, label=LABEL, note=LABEL), (*ODD, LABEL, *UPSCALERS)
    apart = differences_figure(pairs, scores, descriptors, ["one", "two"], ODD[1], 0.95, LABEL)
    yield "differences", apart, (*ODD, LABEL, *UPSCALERS)
    yield "rate", rate_distortion_figure(one, descriptors["one"]), (*ODD, LABEL, *UPSCALERS)
    yield "plane", perception_distortion_figure(scores, "one", "two", descriptors), (*ODD, LABEL, *UPSCALERS)
    yield "heat", heat_map(one, descriptors["one"]), (*ODD, LABEL, *UPSCALERS)
    groups = pd.DataFrame({"g": ODD, "pool": [3, 4, 5], "chosen": [1, 1, 1], "short": [0, 0, 0]})
    yield "balance", balance_figure(groups), ODD
    yield "points", _study("ranking"), (*ODD, LABEL, "T$_{$", "m$_$")
    yield "curves", _study("ladders"), (*ODD, LABEL, "T$_{$", "m$_$", "t$_$", "l$^$")


def test_every_figure_shows_such_names_as_they_are(tmp_path: Path) -> None:
    for stem, figure, names in _figures():
        assert figure is not None, stem
        save(figure, tmp_path / stem)
        text = html.unescape((tmp_path / f"{stem}.svg").read_text(encoding="utf-8"))
        for name in names:
            assert name in text, (stem, name)


def test_the_figure_of_a_model_card_shows_such_names(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    draw_heats(tmp_path / "heats.webp", {0.5: {"a": 1.0}}, {"a": ODD[1]}, 0.5, [ODD[1]], [[image]])
    assert (tmp_path / "heats.webp").stat().st_size > 0


def test_a_run_with_such_images_and_labels_reports(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    names = ["IMG_$1_$2", "b${$", "c$^$", "d$_$"]
    for i, name in enumerate(names):
        (project / "photos" / f"photo-{i}.png").rename(project / "photos" / f"{name}.png")
    labels = ["$5_$", "$5_$", "x$^$", "x$^$"]
    pd.DataFrame({"image_id": names, "price": labels}).to_csv(project / "labels.csv", index=False)
    downscalers = {name: {"method": "resample", "filter": name} for name in ("bicubic", "box")}
    parameters = yaml.safe_load(SMALL) | {
        "attributes": {"source": "table", "table": {"path": "labels.csv"}},
        "balance": {"method": "stratified", "size": 4, "attributes": {"price": {}}},
        "downscalers": downscalers,
        "samples": 1,
        "report": {"images": 2, "browse": 4},
    }
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    titles: list[str] = []

    def save_as_svg(figure: Figure, stem: Path) -> None:
        titles.append(figure.get_suptitle())
        save(figure, stem)

    monkeypatch.setattr(draw, "save_sheet", save_as_svg)
    walk(report=True)
    drawn = html.unescape("".join(path.read_text(encoding="utf-8") for path in project.glob("metrics/plots/*.svg")))
    assert all(label in drawn for label in labels)
    assert sum(name in title for title in titles for name in names) == 2
    assert sum(name in drawn for name in names) == 2


def test_figures_that_would_be_too_large_are_drawn_coarser_or_not_at_all(tmp_path: Path) -> None:
    save(Figure(figsize=(0.01, 400)), tmp_path / "tall")  # 80,000 pixels at the usual resolution
    assert (tmp_path / "tall.png").is_file()
    groups = pd.DataFrame({"cluster": range(1001), "pool": 1, "chosen": 1, "short": 0})
    assert balance_figure(groups) is None
    assert balance_figure(groups[:1000]) is not None


def test_text_of_tables_stays_in_its_cell() -> None:
    assert latex_text("a\nb\r\n$5_$\x1b[2J") == r"a b \$5\_\$\textbackslash{}x1b[2J"
    assert markdown_table(["x"], [["a\nb"]])[-1] == "| a b |"
