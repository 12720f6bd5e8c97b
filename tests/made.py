"""What the tests of experiments share: rows that are made up, and scripts as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from conftest import ROOT
from numpy.typing import NDArray


def script(name: str) -> ModuleType:
    """Import a script of an experiment. Rows that are made up have no recipes, so it writes no record of them."""
    path = ROOT / "experiments" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    if hasattr(module, "write_record"):
        setattr(module, "write_record", lambda *_, **__: None)  # noqa: B010
    return module


def make_rows(folder: Path, branch: str, level: float | NDArray[np.float64], images: NDArray[np.float64]) -> None:
    """Write a branch of LPIPS: `level` times each image's own value, and two samples that hardly differ."""
    path = folder / f"{branch}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    scores = level * images
    rows = [
        {
            "image_id": f"i{i}",
            "sample": k,
            "finite": True,
            "attempts": 1,
            "clipped": 0.0,
            "lpips-alex": score + 0.001 * k,
        }
        for i, score in enumerate(scores)
        for k in range(2)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
