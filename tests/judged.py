"""What the tests of studies share: an experiment's own study.yaml, judged on made-up rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from made import make_rows
from numpy.typing import NDArray

from ida_rd.study.__main__ import main

IMAGES = np.random.default_rng(0).uniform(0.1, 1, 30)  # their scores differ far more than those of conditions do
RESULTS = Path("results/sample-photos")
Levels = Mapping[str, float | NDArray[np.float64]]


def values_of(name: str) -> dict[str, Any]:
    """The study.yaml of an experiment."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "experiments" / name / "study.yaml").read_text())
    return found


def conditions_of(name: str) -> list[str]:
    """All conditions of an experiment."""
    return list(dict.fromkeys(c for panel in values_of(name)["panels"].values() for c in panel["conditions"]))


def write_recipe(folder: Path, levels: Levels, **changes: Any) -> None:
    """A plan, as far as a study reads it."""
    branches = [{"upscaler": "flow-compact", "factor": 4, "downscaler": condition} for condition in levels]
    descriptor = {"label": "LPIPS", "better": "lower"} | changes.pop("descriptor", {})
    method = {"stage": "upscale", "samples": 2, "parameters": {}, "weights": {"w": "12ab"}, "code": {"a.py": "34cd"}}
    recipes = {f"downscale/x4/{c}": {"method": "resample", "parameters": {"filter": c}, "code": {}} for c in levels}
    recipe = {
        "branches": branches,
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": descriptor},
        "skipped": {},
        "upscalers": {"x4/flow-compact": {"marks": changes.pop("marks", []), "licence": "free"}},
        "recipes": {"upscale/x4/flow-compact": method, "distort": {"distortions": {}}, **recipes},
        "images": {"source": "folder", "path": "/somewhere/else"},
        "balance": {},
        "confidence": 0.95,
        "resamples": 500,
        "seed": 0,
    }
    (folder / "data/plan").mkdir(parents=True, exist_ok=True)
    (folder / "data/plan/aggregate.json").write_text(json.dumps(recipe | changes))


def judge_study(
    name: str,
    levels: Levels,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    images: NDArray[np.float64] = IMAGES,
    photographs: Sequence[str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Judge an experiment on rows that are made: a score per condition that all images share."""
    for condition, level in levels.items():
        make_rows(folder / "data/distortion/flow-compact/x4", condition, level, images)
        record = {"distort": {"torch": "2"}, "upscale": {"torch": "2", "device": "cpu"}}
        (folder / f"data/distortion/flow-compact/x4/{condition}.json").write_text(json.dumps(record))
    subset = pd.DataFrame({"image_id": [f"i{i}" for i in range(len(images))]})
    if photographs is not None:
        subset["photograph"] = list(photographs)
    subset.to_csv(folder / "data/subset.csv", index=False)
    write_recipe(folder, levels, **(recipe or {}))
    (folder / "study.yaml").write_text(yaml.safe_dump(values_of(name) | changes, sort_keys=False))
    monkeypatch.chdir(folder)
    main([])
    return (folder / RESULTS / "study.md").read_text()
