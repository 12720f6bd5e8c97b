"""The tables of the ablations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from made import script


def test_the_ablations_tables_are_those_of_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("ablations/compare.py")
    folder = ROOT / "experiments" / "ablations"
    shutil.copytree(folder / "results", tmp_path / "results")
    monkeypatch.setattr(module, "HERE", tmp_path)
    module.main()
    for name in ("table.md", "prototype.md", "energy.md"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()
    (tmp_path / "results/control.json").unlink()
    with pytest.raises(Exception, match=r"control\.json is missing: run `dvc repro` here"):
        module.main()
