"""Table 8 of the supplement, on real labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_code, run
from made import script

from ida_rd.balance.groups import entropy
from ida_rd.core.files import sha256_file


def test_balanced_subsets_reach_what_is_possible_and_the_paper(shared: Path, tmp_path: Path) -> None:
    """Three attributes on UTKFace's labels: cells are at the theoretical maximum, K-means on ages below the paper."""
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
    paper = {sum(row["ages"]): row["entropy"] for row in parameters["paper"]}
    assert list(paper) == [30, 300, 600, 900, 1800, 2700], "what the rows sum to"
    for size, bits in paper.items():
        most = _even_entropy(size, 24)
        cells = by["stratified", size]
        assert cells == pytest.approx(most, rel=1e-14) or (size == 2700 and cells < most), "a cell has run out"
        assert by["kmeans-of-cells", size] == pytest.approx(cells, rel=1e-14), "24 clusters of 24 points are the cells"
        assert by["kmeans", size] < bits < by["kmeans-of-cells", size]
    assert by["stratified", 30] == pytest.approx(4.507, abs=5e-4)
    assert by["stratified", 300] >= 4.58
    made = json.loads((folder / "results/provenance.json").read_text())
    assert made["labels"] == {"utkface_labels.csv.gz": sha256_file(shared / "ffhq/utkface_labels.csv.gz")}
    assert (made["seed"], made["clusters"], made["pools"]) == (0, 24, parameters["pools"])
    text = (folder / "results/table.md").read_text()
    assert "| 1800 (the paper prints 1200) |" in text
    assert "at 600, 900, 1,800, 2,700, not at 30, 300" in text
    assert "So its clusters were not the cells." in text
    parameters["labels"] = "nowhere"
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    failed = run("python", "subsets.py", cwd=folder, env={"PYTHONPATH": str(tmp_path)}, check=False)
    assert failed.returncode == 2
    assert "put the label tables there" in failed.stderr


def test_the_entropy_of_random_draws_is_what_they_have() -> None:
    expected, low = script("balanced-subsets/subsets.py").random_draws(300, 24)
    counts = np.random.default_rng(0).multinomial(300, np.full(24, 1 / 24), 4000)
    drawn = [entropy(row) for row in counts]
    assert expected == pytest.approx(np.mean(drawn), abs=1e-3)
    assert expected == pytest.approx(np.log2(24) - 23 / (2 * 300 * np.log(2)), abs=2e-3), "Miller and Madow's"
    assert np.mean(np.array(drawn) < low) == pytest.approx(0.01, abs=0.005)


def _even_entropy(size: int, cells: int) -> float:
    counts = np.full(cells, size // cells) + (np.arange(cells) < size % cells)
    p = counts / size
    return float(-(p * np.log2(p)).sum())
