"""Whether the instrument measures: claims on made-up rows."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from conftest import ROOT
from made import make_rows, script


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    return script("validity/claims.py")


def test_claims_are_judged_by_paired_differences(
    claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HERE", tmp_path)
    monkeypatch.setattr(claims, "RESAMPLES", 500)
    shutil.copytree(ROOT / "experiments/validity/order", tmp_path / "order", ignore=lambda *_: ["data", "metrics"])
    images = np.random.default_rng(0).uniform(0.1, 1, 30)  # images differ far more than conditions do
    noise = np.random.default_rng(1)
    heats = yaml.safe_load((tmp_path / "order/params.yaml").read_text())["upscalers"]
    levels = {"bilinear": 1.02, "bicubic": 1, "lanczos": 1.05, "dpid": 1.1, "l0": 1.2, "perceptual": 1.2, "nearest": 2}
    levels["box"] = 1.07
    for heat in heats:
        for name, level in levels.items():
            folder = tmp_path / "order/data/distortion" / heat / "x4"
            if heat == "heat-0":  # no order: lanczos a little higher by chance
                make_rows(folder, name, 1 + 0.002 * (name == "lanczos"), images + noise.normal(0, 0.05, 30))
            else:
                make_rows(folder, name, level, images)
    for factor in claims.FACTORS:
        for name in ("bicubic", "lanczos"):
            level = {4: 1, 8: 1.5, 16: 1.4}[factor]  # x16 below x8: a claim that fails
            make_rows(tmp_path / "factors/data/distortion/flow-compact" / f"x{factor}", name, level, images)
    claims.main()
    figures = json.loads((tmp_path / "metrics/validity.json").read_text())
    assert figures["order_hold"] == "8 of 8"
    assert figures["factors_hold"] == "2 of 4"
    assert (figures["samples"], figures["not_finite"]) == ((7 * 8 + 6) * 60, 0)
    assert figures["deterministic_hold"] == "0 of 8"
    deterministic = figures["deterministic"].values()
    assert any(c["difference"] > 0 > c["low"] for c in deterministic), "a difference that is not shown must be there"
    found = figures["order"]["bicubic < lanczos"]
    assert found["difference"] == pytest.approx(0.05 * images.mean())
    assert 0 < found["low"] < found["difference"] < found["high"]
    table = (tmp_path / "metrics/tables/claims.md").read_text()
    assert table.count("holds") == 8 + 2
    assert table.count("**reversed**") == 2
    assert "| 0.9 |" in (tmp_path / "metrics/tables/heat.md").read_text()


def test_a_missing_run_is_named(claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HERE", tmp_path)
    with pytest.raises(Exception, match="run `dvc repro` in experiments/validity/factors"):
        claims.factor_claims()
    assert not os.listdir(tmp_path)
