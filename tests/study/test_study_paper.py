"""What the paper prints stands beside ours as it is, and what it keeps of a claim is counted, not told."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from judged import RESULTS, conditions_of, judge_study, values_of

from ida_rd.study.judge import pairs
from ida_rd.study.prose import paper_columns
from ida_rd.study.settings import Study


def test_each_column_keeps_as_much_of_the_order_as_its_means_do() -> None:
    study = Study.model_validate(values_of("unsuitable-upscalers"))
    lines = {line.split(": ")[0]: line for line in paper_columns(study)}
    held = {name: int(line.split("; ")[1].split(" of ")[0]) for name, line in lines.items()}
    assert held == {"ESRGAN": 9, "BSRGAN": 7, "Real-ESRGAN": 8, "SR3": 9, "RSR": 8}
    assert all(" of 9 comparisons of the claim hold in its means." in line for line in lines.values())
    assert "bilinear < bicubic < perceptual = l0 < dpid < nearest" in lines["ESRGAN"], "ties as they are printed"
    study = Study.model_validate(values_of("real-world"))
    lines = {line.split(": ")[0]: line for line in paper_columns(study)}
    assert lines.keys() == {"Table 3, ResShift", "Table 3, DiffBIR", "Table 3, StableSR"}, "Table 5 has one row"
    assert lines["Table 3, DiffBIR"].startswith("Table 3, DiffBIR: dpid < bilinear < bicubic")
    assert "7 of 9" in lines["Table 3, DiffBIR"]
    assert "9 of 9" in lines["Table 3, ResShift"]


def test_a_group_that_was_not_run_is_passed_over() -> None:
    study = Study.model_validate(values_of("real-world"))
    found = pairs(study, set(conditions_of("real-world")) - {"lanczos"})
    assert ("detail-preserving", "dpid", "bilinear") in found
    assert len(found) == 9


def test_both_readings_of_a_misprint_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {"none": 1.0, "fixed-3": 1.1, "fixed-4": 1.2, "fixed-1": 1.3, "fixed-5": 1.4, "fixed-2": 1.5, "type-4": 2}
    text = judge_study("bsrgan-type4", levels, tmp_path, monkeypatch)
    assert "Spearman's rho with the paper's means: 0.90 (as printed, 5 values) and 1.00 (0.480 for 0.0480" in text
    table = pd.read_csv(tmp_path / RESULTS / "table.csv").set_index("condition")
    assert table.loc["fixed-4", "paper: as printed"] == 0.048
    assert table.loc["fixed-4", "paper: 0.480 for 0.0480, std"] == 0.001


def test_the_papers_rho_stands_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = dict.fromkeys(conditions_of("synthetic-before"), 1.0)
    for panel in values_of("synthetic-before")["panels"].values():
        levels |= {name: 1 + 0.1 * i for i, name in enumerate(panel["conditions"])}
    text = judge_study("synthetic-before", levels, tmp_path, monkeypatch)
    assert "| contrast down | 1.000 | 1.000 | -1.000 |" in text
    assert "| 0.669 ± 0.034 |" in text
