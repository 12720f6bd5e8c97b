"""Whether the instrument measures: claims on made-up rows."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from made import make_rows, script

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    return script("validity/claims.py")


def test_claims_are_judged_by_paired_differences(
    claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HERE", tmp_path)
    monkeypatch.setattr(claims.flow, "preset_heat", lambda *_: 1.0)
    shutil.copytree(ROOT / "experiments/validity/order", tmp_path / "order", ignore=lambda *_: ["data", "metrics"])
    images = np.random.default_rng(0).uniform(0.1, 1, 30)  # images differ far more than conditions do
    noise = np.random.default_rng(1)
    heats = yaml.safe_load((tmp_path / "order/params.yaml").read_text())["upscalers"]
    levels = {"bilinear": 1.07, "bicubic": 1, "lanczos": 1.05, "dpid": 1.1, "l0": 1.2, "perceptual": 1.2, "nearest": 2}
    levels["box"] = 1.09
    for heat, entry in heats.items():
        for name, level in levels.items():
            folder = tmp_path / "order/data/distortion" / heat / "x4"
            if heat == "heat-0":  # no order: lanczos a little higher by chance
                make_rows(folder, name, 1 + 0.002 * (name == "lanczos"), images + 2 + noise.normal(0, 0.05, 30))
            elif "heat" not in entry:  # another family: the paper's order
                make_rows(folder, name, 1.02 if name == "bilinear" else level, images + 0.1)
            else:  # bilinear comes before lanczos from 1.1 on; LPIPS is lowest at 0.9, for box at 0.8
                turned = 0.96 if name == "bilinear" and entry["heat"] > 1 else 1
                make_rows(folder, name, level * turned, images + abs(entry["heat"] - (0.8 if name == "box" else 0.9)))
    for factor in claims.FACTORS:
        for name in ("bicubic", "lanczos"):
            level = {4: 1, 8: 1.5, 16: 1.4}[factor]  # x16 below x8: a claim that fails
            make_rows(tmp_path / "factors/data/distortion/flow-compact" / f"x{factor}", name, level, images)
    subset = pd.DataFrame({"image_id": [f"i{i}" for i in range(30)], "photograph": [f"p{i // 2}" for i in range(30)]})
    for run in ("order", "factors"):
        subset.to_csv(tmp_path / run / "data/subset.csv", index=False)
        write_json(tmp_path / run / "data/plan/aggregate.json", {"of": run})
    kept: dict[str, tuple[str, Path]] = {}  # rows that are made up have no recipes: what would be written of which run
    monkeypatch.setattr(
        claims, "write_record", lambda plan, folder, project: kept.update({folder.name: (plan["of"], project.root)})
    )
    claims.main()
    assert kept == {run: (run, tmp_path / run) for run in ("order", "factors")}
    figures = json.loads((tmp_path / "metrics/validity.json").read_text())
    assert figures["preset_heat"] == 1
    assert figures["order"] == {"holds": 7, "reversed": 1, "not shown": 0, "all_hold": False}
    assert figures["factors"] == {"holds": 2, "reversed": 2, "not shown": 0, "all_hold": False}
    assert (figures["samples"], figures["not_finite"]) == ((8 * 8 + 6) * 60, 0)
    assert figures["other_families"]["diffusion"]["claims"] == {
        "holds": 8, "reversed": 0, "not shown": 0, "all_hold": True
    }  # fmt: skip
    assert figures["deterministic"]["holds"] == figures["deterministic"]["reversed"] == 0
    assert [heat for heat, found in figures["heats"].items() if found["claims"]["all_hold"]] == ["1.1", "1.2"]
    assert figures["heats"]["1"]["rho_with_preset"]["spearman"] == pytest.approx(1)
    assert 0.9 < figures["heats"]["1.1"]["rho_with_preset"]["spearman"] < 0.99
    assert figures["lowest_at_heat"] == dict.fromkeys(levels, 0.9) | {"box": 0.8}
    found = figures["claims"]["order, heat 1 (preset)"]["bicubic < lanczos"]
    assert found["mean"] == pytest.approx(0.05 * (images + 0.1).mean())
    assert 0 < found["low"] < found["mean"] < found["high"]
    assert (found["photographs"], found["images"]) == (15, 30)
    assert found["p"] == 2**-14, "by photographs, all of one sign"
    assert found["p_holm"] == 8 * found["p"], "one of eight, all alike"
    table = (tmp_path / "metrics/tables/claims.md").read_text()
    assert "At the preset heat, 1, which was set without looking at any order, 7 hold, 1 are reversed" in table
    assert "bilinear < lanczos is reversed (-0.01" in table
    assert "The order as a whole does not hold there" in table
    assert "N = 30 tiles of 15 photographs" in table
    assert "By `diffusion`, a decoder of another family, 8 hold, 0 are reversed, and 0 are not shown." in table
    assert "The order as a whole holds. From least to most lost: bicubic < bilinear < lanczos < box < dpid <" in table
    assert table.count("| holds |") == 7 + 2 + 8
    assert table.count("| **reversed** |") == 1 + 2
    heat = (tmp_path / "metrics/tables/heat.md").read_text()
    assert "| 1 (preset) |" in heat
    assert "| 7 / 1 / 0 |" in heat
    assert "* 1.1: bicubic < bilinear < lanczos < dpid <" in heat
    assert "The paper's order as a whole holds at 1.1, 1.2. LPIPS is lowest at heat 0.8 for box; 0.9 for" in heat
    monkeypatch.setattr(claims.flow, "preset_heat", lambda *_: 0.95)
    with pytest.raises(UserError, match=r"order/params\.yaml: no upscaler has heat 0\.95: add"):
        claims.main()


def test_a_missing_run_is_named(claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HERE", tmp_path)
    with pytest.raises(Exception, match="run `dvc repro` in experiments/validity/factors"):
        claims.factor_claims()
    assert not os.listdir(tmp_path)
