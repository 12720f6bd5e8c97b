"""Table 8 of the supplement, on real labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_code, run


def test_balanced_subsets_reach_what_is_possible_and_the_paper(shared: Path, tmp_path: Path) -> None:
    """Three attributes on UTKFace's labels: cells are at the theoretical maximum, K-means is not below the paper."""
    folder = tmp_path / "experiments/balanced-subsets"
    shutil.copytree(ROOT / "experiments/balanced-subsets", folder, ignore=shutil.ignore_patterns("labels", "results"))
    copy_code(tmp_path)
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    parameters["labels"] = str(shared / "ffhq")
    parameters["pools"] = {"utkface": parameters["pools"]["utkface"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = run("python", "subsets.py", cwd=folder, env={"PYTHONPATH": str(tmp_path)})
    assert "5667 of 23702 images are left out: 5667 in no group" in done.stderr
    table = pd.read_csv(folder / "results/utkface.csv")
    by = table.set_index(["method", "size"]).joint_entropy_bits
    for size, paper in zip(parameters["sizes"], parameters["paper"], strict=True):
        most = _even_entropy(size, 24)
        assert by["stratified", size] == pytest.approx(most, rel=1e-14)
        assert by["kmeans", size] >= paper
    assert by["stratified", 30] == pytest.approx(4.507, abs=5e-4)
    assert by["stratified", 300] >= 4.58
    parameters["labels"] = "nowhere"
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    failed = run("python", "subsets.py", cwd=folder, env={"PYTHONPATH": str(tmp_path)}, check=False)
    assert failed.returncode == 2
    assert "put the label tables there" in failed.stderr


def _even_entropy(size: int, cells: int) -> float:
    counts = np.full(cells, size // cells) + (np.arange(cells) < size % cells)
    p = counts / size
    return float(-(p * np.log2(p)).sum())
