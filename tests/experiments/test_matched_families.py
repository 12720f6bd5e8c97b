"""``experiments/matched/families.py``, on the committed results of the flow at two heats."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from conftest import ROOT
from made import script
from scipy.stats import kendalltau

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text

RESULTS = ROOT / "experiments/matched/results/bsds500-test"


@pytest.fixture
def families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with the flow at heat 0.9 as if it were another family."""
    module = script("matched/families.py")
    for name, preset in (("flow", "heat-10"), ("diffusion", "heat-09")):
        shutil.copytree(RESULTS, tmp_path / name / "results/photos")
        write_text(tmp_path / name / "matched.yaml", f"preset: {preset}\n")
    monkeypatch.setattr(module, "FOLDERS", {name: tmp_path / name for name in ("flow", "diffusion")})
    monkeypatch.setattr(module, "HERE", tmp_path / "a/b")
    return module


def test_two_families_stand_side_by_side(families: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["families.py", "photos"])
    families.main()
    text = (tmp_path / "diffusion/results/photos/families.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## LPIPS (AlexNet)",
        "## ms-ssim",
        "## mse",
    ]
    text, other = text.split("## ms-ssim")[0], text.split("## ms-ssim")[1]
    assert "50 photographs." in text
    assert "lost beyond the control (p" in other.lower()
    table = pd.read_csv(RESULTS / "matched.csv").set_index(["distortion", "blind", "downscaler"]).loc["lpips-alex"]
    (row,) = [line.split(" | ") for line in text.splitlines() if line.startswith("| nearest")]
    assert [float(row[i]) for i in (1, 2, 5, 6)] == [
        pytest.approx(table.loc[heat, "nearest"][key], abs=6e-4)
        for heat in ("heat-10", "heat-09")
        for key in ("s", "s_star")
    ]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[-1] == "nearest", "in the second's order, from what loses least"
    for key, name in (("s", "S"), ("s_star", "S*")):
        tau = kendalltau(table.loc["heat-10"][key], table.loc["heat-09"][key]).statistic
        assert f"by {name} is {tau:+.3f} [" in text
    assert "by both: box, dpid, l0, nearest; by flow alone: perceptual; by diffusion alone: bilinear, lanczos." in text
    assert "Trainings for each downscaler: flow 2, diffusion 1." in text


def test_results_of_other_photographs_are_not_compared(
    families: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["families.py", "photos"])
    file = tmp_path / "diffusion/results/photos/images.csv"
    images = pd.read_csv(file, dtype={"image_id": str, "photograph": str})
    images[images.photograph != images.photograph.iloc[0]].to_csv(file, index=False)
    with pytest.raises(UserError, match="flow and diffusion are not of the same photographs and distortion"):
        families.main()
    assert not (tmp_path / "diffusion/results/photos/families.md").exists()
    shutil.copyfile(RESULTS / "images.csv", file)
    (tmp_path / "diffusion/results/photos/provenance.json").write_text('{"distortion": {"lead": "lpips-alex"}}')
    with pytest.raises(UserError, match=r"photos: is not what lost\.py wrote .*: run `dvc repro` in") as error:
        families.main()
    assert "\n" not in str(error.value)
    monkeypatch.setattr("sys.argv", ["families.py", "none"])
    with pytest.raises(UserError, match="run `dvc repro` in"):
        families.main()
