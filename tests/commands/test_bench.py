"""Benchmarks with a name and a version: ``ida-rd bench``, and bundles that are recognised as one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

import ida_rd.named.bench
from ida_rd.bundle.verify import verify
from ida_rd.commands import main
from ida_rd.core.images import pixels_sha256
from ida_rd.core.weights import locate
from ida_rd.named import definition
from ida_rd.named.recognise import benchmark_of
from ida_rd.photos import sample_photographs
from ida_rd.plan.schema import RunParameters

# What was published under an id is never changed: a change is a file of the next version, and one more line here.
PUBLISHED = {"idard-photo-x4@1": "15c5528ce24d4a734db511cb1267f9fb4b110db0925cfd1aa452a2da8e222a44"}
PLACES = [(0, 0), (60, 190), (200, 200), (400, 300), (130, 60)]


def test_what_an_id_means_never_changes() -> None:
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in definition.FOLDER.glob("*.yaml")}
    assert found == PUBLISHED
    assert all(definition.ID.fullmatch(name) for name in found)


def test_every_definition_is_of_the_images_and_weights_that_are_here_and_needs_no_download() -> None:
    here = {name: pixels_sha256(image) for name, image in sample_photographs().items()}
    for name in definition.benchmarks():
        made, _ = definition.benchmark(name)
        assert made.images.pixels_sha256 == here
        for key, sha in made.weights.items():
            assert locate(key, download=False).sha256 == sha
        for entry in made.distortions.values():
            assert entry["method"] in ("structural", "pixel"), "methods that have no weights"
        for entry in made.upscalers.values():  # a preset may change with the program: it must be written out
            assert [key for key, value in definition.resolved("upscale", entry).items() if value is None] == ["path"]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]) -> Path:
    """Five small photographs in place of the sample photographs, and a benchmark of them, ``tiny@1``."""
    monkeypatch.chdir(tmp_path)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    images = {f"p{i}": np.ascontiguousarray(astronaut[y : y + 48, x : x + 48]) for i, (y, x) in enumerate(PLACES)}
    monkeypatch.setattr(ida_rd.named.bench, "sample_photographs", lambda: dict(images))
    Path("lr").mkdir()
    for name, image in images.items():
        Image.fromarray(image).resize((12, 12), Image.Resampling.BOX).save(f"lr/{name}.png")
    made = _real() | {"samples": 1, "resamples": 100, "distortions": {"psnr": {"method": "pixel"}}, "beside": {}}
    made["images"] |= {"pixels_sha256": {name: pixels_sha256(image) for name, image in images.items()}}
    _define(tmp_path, monkeypatch, made)
    return tmp_path


def _real() -> dict[str, Any]:
    return dict(yaml.safe_load((definition.FOLDER / "idard-photo-x4@1.yaml").read_text()))


def _define(folder: Path, monkeypatch: pytest.MonkeyPatch, made: dict[str, Any]) -> None:
    (folder / "named").mkdir(exist_ok=True)
    (folder / "named/tiny@1.yaml").write_text(yaml.safe_dump(made))
    monkeypatch.setattr(definition, "FOLDER", folder / "named")


def _error(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["bench", *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_it_runs_what_the_definition_says_and_the_result_names_it(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["bench", "tiny@1", "--lr", "mine=lr", "--save", "r.json"])
    out = capsys.readouterr().out
    assert out.startswith("Benchmark tiny@1\n")
    made = json.loads(Path("r.json").read_text())
    assert made["benchmark"] == "tiny@1"
    assert made["definition_sha256"] == hashlib.sha256(Path("named/tiny@1.yaml").read_bytes()).hexdigest()
    assert {row["benchmark"] for table in ("scores", "differences", "images", "rows") for row in made[table]} == {
        "tiny@1"
    }
    scores = pd.DataFrame(made["scores"])
    assert set(scores.downscaler) == {"bicubic", "mine"}, "the reference is there unasked"
    assert set(scores.distortion) == {"psnr"}
    assert set(scores.samples) == {1}
    assert "is there already" in _error("tiny@1", "--lr", "mine=lr", "--save", "r.json", capsys=capsys)


def test_what_does_not_fit_is_refused_in_one_line(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no benchmark is called 'tiny@2'; did you mean" in _error("tiny@2", "--lr", "lr", capsys=capsys)
    assert "give LR images" in _error("tiny@1", capsys=capsys)
    assert "bicubic is a reference of tiny@1" in _error("tiny@1", "--lr", "bicubic=lr", capsys=capsys)
    made = yaml.safe_load(Path("named/tiny@1.yaml").read_text())
    _define(tiny, monkeypatch, made | {"weights": {"flow-compact.x4": "0" * 64}})
    assert "flow-compact.x4 of the hash 000000000000" in _error("tiny@1", "--lr", "mine=lr", capsys=capsys)
    made["images"]["pixels_sha256"]["p3"] = "0" * 64
    _define(tiny, monkeypatch, made)
    assert "the photograph p3 of tiny@1 is not the one" in _error("tiny@1", "--lr", "mine=lr", capsys=capsys)


def test_the_parameters_for_a_pipeline_are_those_of_the_definition(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["bench", "tiny@1", "--lr", "mine=lr", "--downscaler", "lanczos", "--parameters", "hr"])
    made = RunParameters.model_validate(yaml.safe_load(capsys.readouterr().out)).model_dump(mode="json")
    assert made["downscalers"] == {
        "bicubic": {"method": "resample", "filter": "bicubic"},
        "mine": {"method": "folder", "path": "lr"},
        "lanczos": {"method": "resample", "filter": "lanczos"},
    }
    assert (made["samples"], made["seed"], made["factors"], made["balance"]["size"]) == (1, 0, [4], 5)


def test_a_bundle_is_of_a_benchmark_if_all_is_as_defined(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = verify(bundled)
    assert benchmark_of(checked) is None
    table = checked.bundle.table("subset.csv")
    made = _real() | {
        "images": {"source": "sample-photos", "crop": 256}
        | {"pixels_sha256": dict(zip(table.image_id, table.pixels_sha256, strict=True))},
        "upscalers": {"flow-compact": {"method": "flow", "heat": 0.9}},
        "distortions": {"psnr": {"method": "pixel", "metric": "psnr"}},
        "samples": 2,
        "resamples": 200,
    }
    _define(tmp_path, monkeypatch, made)
    assert benchmark_of(checked) == "tiny@1"
    for change in (
        {"samples": 3},
        {"seed": 1},
        {"factor": 8},
        {"resamples": 300},
        {"weights": {"flow-compact.x4": "0" * 64}},
        {"upscalers": {"flow-compact": {"method": "flow", "heat": 1.0}}},
        {"upscalers": {"srflow": {"method": "srflow"}}},
        {"references": {"bicubic": {"method": "resample", "filter": "box"}}},
        {"references": {"lanczos": {"method": "resample", "filter": "lanczos"}}},
        {"distortions": {"psnr": {"method": "pixel", "metric": "mse"}}},
        {"images": {"source": "sample-photos", "crop": 256, "pixels_sha256": {"a": "0" * 64, "b": "1" * 64}}},
    ):
        _define(tmp_path, monkeypatch, made | change)
        assert benchmark_of(checked) is None, change
    _define(tmp_path, monkeypatch, made)
    copy = shutil.copytree(bundled, tmp_path / "bundle")
    main(["verify", str(copy)])
    assert "benchmark: tiny@1" in capsys.readouterr().out.splitlines()
