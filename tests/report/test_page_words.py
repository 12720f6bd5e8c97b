"""What the page says, in the cases that a run may come to: from a real run's files with other tables."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ida_rd.core.project import Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.report.page import write_page
from ida_rd.report.stage import TABLES

Edit = Callable[[pd.DataFrame], pd.DataFrame]


def _page(walked: Path, **changes: Any) -> str:
    """The page written again from the tables that are there."""
    recipe = read_json(walked / "data/plan/report.json", hint="") | changes
    tables = {name: read_table(walked / f"metrics/tables/{name}.csv", hint="") for name in TABLES}
    tables["balance"] = read_table(walked / "metrics/balance.csv", hint="")
    target = walked / "page"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    drawn = sorted(path.stem for path in (walked / "metrics/plots").glob("*.png"))
    write_page(Project(), recipe, tables, drawn, target)
    return (target / "index.html").read_text(encoding="utf-8")


def _write(walked: Path, **changes: Any) -> str:
    """Its text alone."""
    bare = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", _page(walked, **changes), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(bare))


def _edit(walked: Path, name: str, change: Edit) -> None:
    path = walked / f"metrics/tables/{name}.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def _many(walked: Path, photographs: int = 30, p: float = 0.001) -> None:
    """As if there were many photographs, and the difference significant."""
    for name in ("ida_rd", "differences"):
        _edit(walked, name, lambda table: table.assign(photographs=photographs))
    _edit(walked, "ida_rd", lambda t: t.assign(ci_low=t["mean"] - 0.01, ci_high=t["mean"] + 0.01))
    _edit(
        walked,
        "differences",
        lambda t: t.assign(low=t.difference - 0.01, high=t.difference + 0.01, p_holm=p, effect=1.234, share=0.75),
    )


def test_a_run_of_four_photographs_says_that_they_are_too_few(walked: Path) -> None:
    text = _write(walked)
    assert "nothing can be said of others: fewer than 5 give no interval" in text
    assert "N = 4 photographs, K = 2 samples; no intervals" in text
    assert "bicubic comes first by 1 - DSS, the primary outcome, but does not differ significantly" in text
    assert "4 photographs are too few for this test : with 1 pair, p cannot be below 0.125" in text
    assert not re.search(r"\b(nan|none)\b", text.lower()[: text.index("Parameters (params.yaml)")])
    assert "Wilcoxon" not in text
    assert "bootstrap" not in text


def test_a_run_of_many_has_intervals_effects_and_shares_and_no_warning(walked: Path) -> None:
    _many(walked)
    text = _write(walked)
    assert "comes first by 1 - DSS, the primary outcome, and differs significantly from all others" in text
    assert "too few" not in text
    assert "are too short" not in text
    assert "N = 4 tiles of 30 photographs, K = 2 samples; 95 % intervals over photographs" in text
    table = text[text.index("Paired differences By 1 - DSS") :]
    assert re.search(r"bicubic mine \S+ \[\S+, \S+\] 1\.23 75 % 30 0\.001 yes", table)


def test_few_photographs_are_warned_of(walked: Path) -> None:
    _many(walked, 11)
    assert "With 11 photographs, fewer than 12, the 95 % intervals of skewed scores are too short" in _write(walked)


def test_a_skipped_primary_outcome_is_said_first(walked: Path) -> None:
    path = walked / "metrics/provenance.json"
    skipped = {"lpips-alex": "its weights are not there", "fsim": "images are small"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"skipped": skipped}))
    text = _write(walked, primary="lpips-alex")
    said = text.index("The primary outcome, lpips-alex, could not be computed here , because its weights are not there")
    assert "What follows is by 1 - DSS, a secondary outcome." in text
    assert said < text.index("fsim was skipped") < text.index("comes first by 1 - DSS, a secondary outcome,")
    assert "lpips-alex was skipped" not in text
    assert "the primary outcome," not in text


def test_significant_disagreement_is_told_with_its_p(walked: Path) -> None:
    assert "disagree" not in _write(walked)
    _many(walked)

    def turn(table: pd.DataFrame) -> pd.DataFrame:
        psnr = table.distortion == "psnr"
        p = np.where(psnr, 0.02, 0.003)
        less = np.where(psnr, "mine", "bicubic")
        return table.assign(p_holm=p, loses_less=less, loses_more=np.where(psnr, "bicubic", "mine"))

    _edit(walked, "differences", turn)
    text = _write(walked)
    assert "Other distortions disagree significantly on 1 pair." in text
    assert "flow-compact, ×4 bicubic mine 1 - DSS p 0.003 PSNR (dB) p 0.020" in text
    _edit(walked, "differences", lambda t: t.assign(p_holm=np.where(t.distortion == "psnr", 0.06, 0.003)))
    assert "disagree" not in _write(walked)


@pytest.mark.parametrize("bound", [None, 0.456])
def test_failures_and_clipping_stand_beside_the_scores(walked: Path, bound: float | None) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        mine = table.downscaler == "mine"
        failed = {"first_draw_failures": np.where(mine, 0.2, 0), "nonfinite_rate": np.where(mine, 0.008, 0)}
        dss = mine & (table.distortion == "dss")
        return table.assign(
            **failed,
            clipped_rate=np.where(mine, 0.086, 0.009),
            mean_with_failures=np.where(dss, bound or np.nan, np.nan),
        )

    _edit(walked, "ida_rd", change)
    text = _write(walked)
    summary = text[: text.index("All scores")]
    assert re.search(r" mine .*? 2\.00 20 % 8\.6 %", summary)
    assert re.search(r" 20 % 0\.8 % 8\.6 %", text[text.index("All scores") :])
    assert ("failures as black: 0.456" in text) == (bound is not None)
    assert ("as the official code, which does not draw again, takes it" in text) == (bound is not None)


def test_the_differences_stand_before_the_levels(walked: Path) -> None:
    page = _page(walked)
    assert 0 < page.index('src="differences.png"') < page.index('src="scores.png"')
    assert "whether these bars overlap says nothing about differences" in page
