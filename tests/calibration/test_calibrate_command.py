"""``ida-rd calibrate``, with the decoder whose posterior is known; and cards of a run that is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, walk
from gaussian_decoders import FIELD, drawn
from PIL import Image

from ida_rd.calibration.__main__ import main as of_a_run
from ida_rd.commands import main
from ida_rd.core.errors import UserError

SIDE, IMAGES = 32, 8
TRUE = ["--set", "filter=box", "--set", f"cutoff={FIELD.cutoff}"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "hr").mkdir()
    for i in range(IMAGES):
        Image.fromarray(drawn(6, i, "exact", 1, SIDE)[0]).save(tmp_path / "hr" / f"a_i{i}.png")
    return tmp_path


def test_an_exact_decoder_passes_and_one_that_is_wrong_does_not(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["calibrate", "gaussian", "--hr", "hr", *TRUE, "--downscaler", "box", "--downscaler", "nearest", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == "calibration-gaussian"
    box, nearest = told["cards"]
    assert (box["downscaler"], box["verdict"], box["samples"]) == ("box", {}, 5)
    assert "misses LR" in nearest["verdict"], "it believes every LR image to be of box"
    rows = {(row["space"], row["quantity"]): row for row in box["rows"]}
    assert rows["pixels", "variance : bias²"]["value"] == pytest.approx(1, abs=0.1)
    assert rows["LR", "misses LR"]["value"] == 0
    assert (here / "calibration-gaussian" / "calibration.png").is_file()

    main(["calibrate", "gaussian", "--hr", "hr", *TRUE, "--set", "sigma=24", "--downscaler", "box", "--out", "bold"])
    text = (here / "bold" / "calibration.md").read_text()
    assert "too narrow (pixels, wavelets" in text
    assert "# Calibration of gaussian filter=box" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gaussian", *TRUE, "--samples", "2"], "samples: K is 2: calibration needs at least 3 samples per image"),
        (["flow", "--set", "heat=0"], "upscaler flow-compact: is deterministic: it has no samples to calibrate"),
        (["flw"], "UPSCALER: none is called 'flw'"),
        (["gaussian", *TRUE, "--downscaler", "bx"], "--downscaler: none is called 'bx'"),
        (["gaussian", *TRUE, "--out", "hr"], "hr is there already: name a new folder"),
        (["gaussian", *TRUE, "--photograph-before", "_i"], "HR images: of 1 photographs: give at least 5"),
        (["gaussian", "--set", "filter=bix"], "filter"),
        (["gaussian", *TRUE, "--hr", "none"], "none"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["calibrate", "--hr", "hr", *arguments])
    assert caught.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not (here / "calibration-gaussian").exists()


def test_images_that_are_too_small_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "small").mkdir()
    for i in range(5):
        Image.fromarray(np.full((24, 24, 3), 20 * i, np.uint8)).save(here / "small" / f"s{i}.png")
    with pytest.raises(SystemExit):
        main(["calibrate", "gaussian", "--hr", "small", *TRUE])
    assert "s0.png: 24 x 24 pixels: calibration needs HR images of at least 28" in capsys.readouterr().err


def test_a_finished_run_has_cards_without_sampling_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = yaml.safe_load((ROOT / "experiments/calibration/params.yaml").read_text())
    params["images"] = {"source": "folder", "path": "hr", "crop": SIDE}
    params["balance"] = {"groups": 2, "size": IMAGES}
    params["downscalers"] = {
        "box": {"method": "resample", "filter": "box"},
        "noisy": {"method": "resample", "filter": "box", "degrade": [{"gaussian_noise": {"sigma": 0.02}}]},
    }
    params["upscalers"] = {"exact": {"method": "gaussian", "filter": "box", "cutoff": FIELD.cutoff}}
    params["samples"] = 3
    Path("params.yaml").write_text(yaml.safe_dump(params))
    walk()
    sampled = {path: path.stat().st_mtime_ns for path in Path("data/sr").rglob("*")}
    of_a_run()
    table = pd.read_csv("metrics/calibration/calibration.csv")
    assert set(table.samples) == {3}
    missed = table[table.quantity == "misses LR"]
    assert list(missed.downscaler) == ["box"], "noise is no function of HR"
    Path("calibration.yaml").write_text((ROOT / "experiments/calibration/calibration.yaml").read_text())
    of_a_run()
    results = Path("results/sample-photos")
    assert {"calibration.png", "calibration.tex", "provenance.json"} <= {path.name for path in results.iterdir()}
    assert sampled == {path: path.stat().st_mtime_ns for path in Path("data/sr").rglob("*")}
    capsys.readouterr()

    plan = json.loads(Path("data/plan/aggregate.json").read_text())
    plan["upscalers"]["x4/exact"]["marks"] = ["deterministic"]
    Path("data/plan/aggregate.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r"params.yaml: nothing to calibrate: no upscaler is stochastic"):
        of_a_run()
