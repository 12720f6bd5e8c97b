"""The dial in sigma: laws on made-up rows, and the experiment from images to its end with a network that is Haar's."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from made import script
from numpy.typing import NDArray
from PIL import Image

from ida_rd import pipeline
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.project import Project
from ida_rd.core.recipes import SCHEMA
from ida_rd.core.tables import write_table
from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.network import IRNNet
from ida_rd.study.record import write_record

HERE = ROOT / "experiments/rescaling"
COUNT = 30
SIGMAS = (0.0, 0.5, 1.0)
NAMES = [f"sigma-{round(10 * sigma):02d}" for sigma in SIGMAS]
MARKS = {"flow": [], "sigma-00": ["deterministic", "not blind"]}


@pytest.fixture(scope="module")
def rescaling() -> ModuleType:
    script("rescaling/dial.py")
    return script("rescaling/rescaling.py")


def _run(folder: Path, levels: dict[tuple[str, str], tuple[float, float, float]], *, images: int = COUNT) -> None:
    """A finished run: by (downscaler, upscaler) mean LPIPS, PSNR and 1 - SSIM, on images that differ far more."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 1, images)
    frames = []
    for (downscaler, upscaler), means in levels.items():
        columns: dict[str, Any] = {"image_id": [f"i{k:02}" for k in range(images)]}
        for name, mean, scale in zip(("lpips-alex", "psnr-y", "ssim-y"), means, (0.03, 3.0, 0.03), strict=True):
            columns[name] = mean + scale * (hard + rng.normal(0, 0.05, images))
        frames.append(pd.DataFrame(columns).assign(upscaler=upscaler, factor=4, downscaler=downscaler))
    table = pd.concat(frames, ignore_index=True)
    upscalers = sorted({name for _, name in levels})
    recipe: dict[str, Any] = {
        "schema": SCHEMA,
        "recipes": {
            f"upscale/x4/{name}": {
                "method": "irn" if "sigma" in name else "flow",
                "parameters": {"sigma": int(name[-2:]) / 10} if "sigma" in name else {},
                "files": {},
                "weights": {"w": name},
            }
            for name in upscalers
        },
        "upscalers": {f"x4/{name}": {"marks": MARKS.get(name, ["not blind"])} for name in upscalers},
        "confidence": 0.95,
        "resamples": 1000,
        "seed": 0,
    }
    write_json(folder / "data/plan/aggregate.json", recipe)
    ids = sorted(set(table.image_id))
    write_table(folder / "data/subset.csv", pd.DataFrame({"image_id": ids, "photograph": ids}))
    write_table(folder / "metrics/tables/images.csv", table)


SETTINGS: dict[str, Any] = {
    "data": "made",
    "factor": 4,
    "measures": {"psnr": "psnr-y", "ssim": "ssim-y", "lpips": "lpips-alex"},
    "curves": {
        "three": {"run": ".", "downscaler": "irn", "upscalers": NAMES},
        "two": {"run": "two", "downscaler": "irn", "upscalers": NAMES},
        "alone": {"run": "alone", "downscaler": "irn", "upscalers": NAMES},
    },
    "points_compared": ["three", "two"],
    "alone": "alone",
    "rows": {"blind": {"run": "bicubic", "downscaler": "bicubic", "upscaler": "flow"}},
    "baseline": "blind",
    "ahead": 2.0,
    "read": {
        "run": ".",
        "downscaler": "irn",
        "blind": "flow",
        "own": ["sigma-00"],
        "baseline": {"run": "bicubic", "downscaler": "bicubic"},
    },
    "paper": {
        "source": "Table 1",
        "rows": {"IRN_sigma at 1": {"BSD100": [0.0778, 30.17, 0.848]}, "RCAN": {"BSD100": [0.3589, 27.74, 0.742]}},
        "beside": {"IRN_sigma at 1": {"curve": "three", "sigma": 1}},
    },
}
BLIND = {("irn", "flow"): (0.45, 26.0, 0.2)}
BICUBIC = {("bicubic", "flow"): (0.35, 27.0, 0.2)}
DIAL = [(0.25, 31.0, 0.10), (0.20, 30.5, 0.11), (0.12, 29.0, 0.13)]


def _levels(dial: list[tuple[float, float, float]]) -> dict[tuple[str, str], tuple[float, float, float]]:
    return {("irn", name): means for name, means in zip(NAMES, dial, strict=True)}


def _main(rescaling: ModuleType, folder: Path, patch: pytest.MonkeyPatch, **settings: Any) -> dict[str, Any]:
    (folder / "rescaling.yaml").write_text(yaml.safe_dump(SETTINGS | settings, sort_keys=False))
    patch.chdir(folder)
    rescaling.main()
    found: dict[str, Any] = json.loads((folder / "results/made/rescaling.json").read_text())
    return found


def _verdicts(found: dict[str, Any]) -> list[bool]:
    return [law["holds"] for law in found["laws"]]


def test_the_laws_of_a_dial_are_judged_by_paired_differences(
    rescaling: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path, _levels(DIAL) | BLIND)
    _run(tmp_path / "bicubic", BICUBIC)
    _run(tmp_path / "two", _levels([DIAL[0], (0.22, 30.5, 0.11), DIAL[2]]))
    _run(tmp_path / "alone", _levels([(0.5, 20.0, 0.4), (0.3, 25.0, 0.2), (0.2, 30.0, 0.1)]))
    found = _main(rescaling, tmp_path, monkeypatch)
    assert _verdicts(found) == [True] * 6
    ahead = found["laws"][4]["change"]
    assert (ahead["mean"], ahead["photographs"]) == (pytest.approx(4.0, abs=0.1), COUNT)
    assert found["laws"][5]["of"] == "alone"
    (beyond, own) = found["read"]
    assert beyond["mean"] == pytest.approx(0.10, abs=0.005), "by the blind one, beyond bicubic's"
    assert own["mean"] == pytest.approx(0.20, abs=0.005), "by the blind one, beyond its own"
    assert own["low"] < own["mean"] < own["high"]
    text = (tmp_path / "results/made/rescaling.md").read_text()
    assert text.count("| holds |") == 6
    assert "| three; sigma 0 (deterministic, not blind) | 0.2" in text
    assert "| 0.0778 / 30.17 / 0.848 |" in next(
        line for line in text.splitlines() if "three; sigma 1 (not blind)" in line
    )
    assert "| RCAN (published) |  |  |  | 0.3589 / 27.74 / 0.742 |" in text
    assert "IRN_sigma at 1 (published)" not in text, "it stands beside ours"
    half = next(line for line in text.splitlines() if line.startswith("| 0.5 | "))
    assert "+0.02" in half, "two points have the higher LPIPS halfway"
    table = pd.read_csv(tmp_path / "results/made/table.csv")
    ours = table[(table.curve == "three") & (table.measure == "psnr")].set_index("sigma")["value"]
    assert ours.to_dict() == {
        sigma: pytest.approx(mean, abs=1.5) for sigma, (_, mean, _) in zip(SIGMAS, DIAL, strict=True)
    }
    assert (tmp_path / "results/made/rescaling.png").stat().st_size > 10_000
    assert found["networks"]["two"]["upscale/x4/sigma-00"]["weights"] == {"w": "sigma-00"}


@pytest.mark.parametrize(
    ("dial", "alone", "expected"),
    [
        ([DIAL[0], (0.30, 30.5, 0.1), DIAL[2]], None, [True, True, True, False, True]),  # LPIPS rises on the way
        ([DIAL[0], (0.2, 31.5, 0.1), DIAL[2]], None, [True, False, True, True, True]),  # PSNR does
        ([(0.12, 28.0, 0.1), *DIAL[1::-1]], None, [False, False, False, False, False]),
        (
            [(0.25, 28.5, 0.1), (0.2, 28.0, 0.1), (0.1, 27.5, 0.1)],
            None,
            [True, True, True, True, False],
        ),  # 1.5 dB ahead
        (DIAL, DIAL, [True, True, True, True, True, False]),  # what was not trained jointly is a dial too
    ],
)
def test_a_law_that_does_not_hold_is_said_not_to(
    rescaling: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dial: list[tuple[float, float, float]],
    alone: list[tuple[float, float, float]] | None,
    expected: list[bool],
) -> None:
    _run(tmp_path, _levels(dial) | BLIND)
    _run(tmp_path / "bicubic", BICUBIC)
    if alone:
        _run(tmp_path / "alone", _levels(alone))
    assert _verdicts(_main(rescaling, tmp_path, monkeypatch)) == expected
    text = (tmp_path / "results/made/rescaling.md").read_text()
    assert text.count("**does not hold**") == expected.count(False)
    assert f"Not made: two (`dvc repro` in two){'' if alone else '; alone (`dvc repro` in alone)'}." in text


def test_what_was_not_made_is_said_and_left_out(
    rescaling: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path, _levels(DIAL) | BLIND)
    found = _main(rescaling, tmp_path, monkeypatch)
    assert len(found["laws"]) == 4, "none of what sigma 0 is ahead of"
    assert found["read"] == []
    assert "; blind (`dvc repro` in bicubic)." in (tmp_path / "results/made/rescaling.md").read_text()


def test_each_run_computes_what_is_shown_and_nothing_else() -> None:
    settings = yaml.safe_load((HERE / "rescaling.yaml").read_text())
    read = settings["read"]
    shown: dict[str, set[tuple[str, str]]] = {}
    for run, downscaler, upscalers in (
        *((one["run"], one["downscaler"], one["upscalers"]) for one in settings["curves"].values()),
        *((one["run"], one["downscaler"], [one["upscaler"]]) for one in settings["rows"].values()),
        (read["run"], read["downscaler"], [read["blind"], *read["own"]]),
        (*read["baseline"].values(), [read["blind"]]),
    ):
        shown.setdefault(run, set()).update((downscaler, upscaler) for upscaler in upscalers)
    made, said = {}, {}
    for path in HERE.rglob("params.yaml"):
        params, folder = yaml.safe_load(path.read_text()), path.parent.relative_to(HERE).as_posix()
        made[folder] = {
            (downscaler, upscaler) for downscaler in params["downscalers"] for upscaler in params["upscalers"]
        }
        said[folder] = {key: value for key, value in params.items() if key not in ("downscalers", "upscalers")}
    assert made == shown
    assert all(one == said["."] for one in said.values()), "all of the same images, measured alike"


def test_what_cannot_be_compared_is_one_line(
    rescaling: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"images\.csv does not exist: run `dvc repro aggregate`"):
        _main(rescaling, tmp_path, monkeypatch)
    _run(tmp_path, _levels(DIAL) | BLIND)
    _run(tmp_path / "bicubic", BICUBIC)
    for curves, message in (
        (
            {"x": {"run": ".", "downscaler": "irn", "upscalers": NAMES[::-1]}},
            "curves.x: the sigmas of its upscalers do not",
        ),
        ({"x": {"run": ".", "downscaler": "irn", "upscalers": ["sigma-00", "flow"]}}, "upscaler flow has no sigma"),
        ({"x": {"run": ".", "downscaler": "box", "upscalers": NAMES}}, "no branch of sigma-00, x4 and box"),
        ({"x": {"run": "two", "downscaler": "irn", "upscalers": NAMES}}, "the first was not made: run x "),
    ):
        with pytest.raises(UserError, match=message):
            _main(rescaling, tmp_path, monkeypatch, curves=curves)
    _run(tmp_path / "two", _levels(DIAL), images=COUNT - 1)
    with pytest.raises(UserError, match="two: is of other images than the run here"):
        _main(rescaling, tmp_path, monkeypatch)


def _photos(folder: Path, astronaut: NDArray[np.uint8]) -> None:
    folder.mkdir()
    for i in range(2):
        Image.fromarray(astronaut[100 + 80 * i : 164 + 80 * i, 200:264]).save(folder / f"{i}.png")


def test_the_experiment_runs_to_its_end(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    """Its own files, but for fewer sigmas, smaller images, untrained networks, and a distance without weights."""
    torch.save(IRNNet(IRNConfig((1, 1), growth=2)).state_dict(), tmp_path / "haar.pth")
    _photos(tmp_path / "photos", astronaut)
    kept = ("sigma-00", "sigma-10", "blind-1")
    for name in (".", "bicubic", "two"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        params = yaml.safe_load((HERE / name / "params.yaml").read_text())
        params["images"] = {"source": "folder", "path": str(tmp_path / "photos"), "crop": 64}
        params["balance"] = {"groups": 2, "size": 2}
        params["upscalers"] = {key: entry for key, entry in params["upscalers"].items() if key in kept}
        for entry in (*params["downscalers"].values(), *params["upscalers"].values()):
            entry |= {"path": str(tmp_path / "haar.pth")} if entry["method"] == "irn" else {}
        params["distortions"]["lpips-alex"] = {"method": "structural", "metric": "dss"}
        params |= {"samples": 1, "report": {"images": 1}, "aggregate": {"resamples": 200}}
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
                patch.setenv(key, value)
            pipeline.run(Project(), with_report=False)
    settings = yaml.safe_load((HERE / "rescaling.yaml").read_text())
    for curve in settings["curves"].values():
        curve["upscalers"] = [curve["upscalers"][0], curve["upscalers"][-1]]
    settings["rows"] = {name: row for name, row in settings["rows"].items() if row["upscaler"] in kept}
    (tmp_path / "rescaling.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    script("rescaling/dial.py")
    main = script("rescaling/rescaling.py")
    vars(main)["write_record"] = write_record  # these rows were made
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        main.main()
    results = tmp_path / "results" / settings["data"]
    assert {path.name for path in results.iterdir()} == {
        *("rescaling.md", "rescaling.json", "table.csv", "rescaling.png", "rescaling.svg", "rescaling.pdf"),
        *("images.csv", "provenance.json", "bicubic", "two"),
    }
    images = pd.concat([pd.read_csv(path) for path in results.rglob("images.csv")])
    assert images.groupby("downscaler").size().to_dict() == {"bicubic": 2 * 2, "irn": 2 * (3 + 2)}
    table = pd.read_csv(results / "table.csv").set_index(["curve", "sigma", "measure"])["value"]
    # Untrained it is the mean of each block, enlarged without interpolation, and noise in the details at sigma 1.
    blocks = []
    for path in sorted((tmp_path / "data/hr").iterdir()):
        hr = np.asarray(Image.open(path)).astype(float)
        means = np.round(hr.reshape(16, 4, 16, 4, 3).mean((1, 3))).repeat(4, 0).repeat(4, 1)
        luma = [(image @ [65.481, 128.553, 24.966] / 255)[4:-4, 4:-4] for image in (hr, means)]
        blocks.append(-10 * np.log10(np.square(luma[0] - luma[1]).mean() / 255**2))
    name = "IRN_sigma, three points"
    assert table[name, 0.0, "psnr"] == pytest.approx(np.mean(blocks), abs=0.02)
    assert table[name, 1.0, "psnr"] < table[name, 0.0, "psnr"] - 5
    assert table[name, 0.0, "psnr"] == table["IRN_sigma, two points", 0.0, "psnr"], "the same network"
    text = (results / "rescaling.md").read_text()
    assert "Not made: IRN, no joint training (`dvc repro` in alone); FIRN (`dvc repro` in firn)" in text
    assert "sigma 1 (not blind, expects irn)" in text
    assert "2 photographs" in text
