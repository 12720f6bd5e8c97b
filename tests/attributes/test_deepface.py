"""Age, gender and ethnicity by the real library, with weight files built from its own networks.

The real files (540 MB each) cannot be had in a test. What is tested is all but what they learnt: that we ask the
library as it asks itself, whatever the batch, and what becomes of its answers.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
from conftest import ROOT, copy_code, stage
from numpy.typing import NDArray
from PIL import Image

from ida_rd.attributes import deepface
from ida_rd.core.errors import UserError
from ida_rd.core.readers import read_json
from ida_rd.core.weights import MissingWeights

pytest.importorskip("deepface", reason="needs the package deepface: pip install 'ida-rd[deepface]'")

NEAR = 1e-4  # a batch of four against one face: the last digits of float32, which sure answers magnify

RUN = """
seed: 0
images: {source: folder, path: faces}
attributes: {source: {gender: deepface, luminance: image-statistics}}
balance: {method: stratified, size: 2, attributes: {gender: {}}, least_probability: 0.1}
factors: [4]
downscalers: {box: {method: resample, filter: box}}
upscalers: {flow-compact: {method: flow}}
samples: 2
distortions: {psnr: {method: pixel}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A DEEPFACE_HOME with all three networks, their weights random, their answers as sure as trained ones'."""
    import torch

    path = tmp_path_factory.mktemp("deepface")
    folder = path / ".deepface" / "weights"
    folder.mkdir(parents=True)
    trunk: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for _, module, file in deepface.NETWORKS.values():
        with torch.random.fork_rng():
            torch.manual_seed(0)  # of the biases
            model = deepface._import(module).base_model()
        if not trunk:
            # He's initialisation keeps the faces' differences through sixteen layers.
            with torch.no_grad():
                for weight in model.backbone.parameters():
                    if weight.ndim > 1:
                        weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)
            trunk = model.backbone.state_dict()
        model.backbone.load_state_dict(trunk)
        head = model.predictions.weight.data
        head.normal_(0, 30 / head.shape[1] ** 0.5, generator=generator)
        torch.save(model.state_dict(), folder / file)
    yield path
    for weights in folder.iterdir():
        weights.unlink()  # 1.6 GB


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPFACE_HOME", str(home))
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    return home


def _photographs(shared: Path, count: int) -> list[NDArray[np.uint8]]:
    files = sorted((shared / "images/faces_celebahq").glob("*.jpg"))[:: 56 // count][:count]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


@pytest.mark.slow
def test_answers_are_those_of_the_library_for_any_batch(at_home: Path, shared: Path) -> None:
    faces = _photographs(shared, 4)
    faces[1] = faces[1][100:900:2, 200:760]  # not square
    faces[2] = np.zeros((300, 300, 3), np.uint8)
    analyze = deepface._import("deepface.DeepFace").analyze
    found = deepface.measure(deepface.Parameters(), None)(faces)
    for face, told in zip(faces, found, strict=True):
        bgr = np.ascontiguousarray(face[:, :, ::-1])
        actions = ("age", "gender", "race")
        wanted = analyze(bgr, actions=actions, detector_backend="skip", enforce_detection=False, silent=True)[0]
        assert told["age"] == wanted["age"]
        assert told["gender"] == {"Man": "male", "Woman": "female"}[wanted["dominant_gender"]]
        assert told["ethnicity"] == wanted["dominant_race"]
        assert told["ethnicity:probability"] == pytest.approx(wanted["race"][wanted["dominant_race"]] / 100, abs=NEAR)
        for label, percent in wanted["race"].items():
            assert told[f"ethnicity:{label}"] == pytest.approx(percent / 100, abs=NEAR)
        assert told["gender:female"] == pytest.approx(wanted["gender"]["Woman"] / 100, abs=NEAR)
        assert told["gender:female"] + told["gender:male"] == pytest.approx(1, abs=NEAR)
    assert len({told["ethnicity:white"] for told in found}) == 4, "these networks distinguish faces"
    ask = deepface.measure(deepface.Parameters(), ["gender"])
    assert set(ask(faces[:1])[0]) == {"gender", "gender:probability", "gender:female", "gender:male"}
    for group in (slice(1), slice(1, 4)):
        for told, before in zip(ask(faces[group]), found[group], strict=True):
            assert told.items() <= before.items(), "to the last digit, whatever the batch"


@pytest.mark.slow
def test_the_largest_face_counts_and_none_is_no_attribute(at_home: Path, astronaut: NDArray[np.uint8]) -> None:
    """By OpenCV's detector, with the cascade that scikit-image has in place of the one that would be downloaded."""
    cascade = (Path(skimage.__file__).parent / "data" / "lbpcascade_frontalface_opencv.xml").read_text()
    cascade = cascade.replace("featuhreParams", "featureParams")  # as OpenCV spells it
    for _, _, file in deepface.DETECTORS["opencv"]:
        (at_home / ".deepface" / "weights" / file).write_text(cascade)
    parameters = deepface.Parameters(detector="opencv")
    assert deepface.names(parameters) == ("age", "gender", "ethnicity", "faces")
    small = np.asarray(Image.fromarray(astronaut[:256, 96:352]).resize((128, 128)))
    two = astronaut.copy()
    two[-128:, -128:] = small
    ask = deepface.measure(parameters, ["ethnicity", "faces"])
    alone, both, none = ask([astronaut, two, astronaut[300:, :200]])
    assert alone["faces"] == 1
    assert both == alone | {"faces": 2}
    assert none == {"faces": 0}
    eyes = at_home / ".deepface" / "weights" / "haarcascade_eye.xml"
    eyes.write_text(cascade[:2000])
    deepface._import("deepface.modules.modeling").cached_models["face_detector"].clear()
    with pytest.raises(UserError, match=r"haarcascade_eye\.xml: deepface cannot load it"):
        deepface.measure(parameters, ["faces"])
    eyes.write_text(cascade)
    bgr = np.ascontiguousarray(astronaut[:, :, ::-1])
    wanted = deepface._import("deepface.DeepFace").analyze(bgr, actions=("race",), detector_backend="opencv")[0]
    assert wanted["region"]["w"] < 200, "it is the face that was asked about"
    assert alone["ethnicity:asian"] == pytest.approx(wanted["race"]["asian"] / 100, abs=NEAR)


@pytest.fixture
def run_of_faces(tmp_path: Path, shared: Path) -> Path:
    copy_code(tmp_path)
    (tmp_path / "params.yaml").write_text(RUN)
    (tmp_path / "faces").mkdir()
    for i, face in enumerate(_photographs(shared, 9)):
        Image.fromarray(face).resize((224, 224)).save(tmp_path / "faces" / f"{i:03d}.png")
    return tmp_path


def _units(store: Path) -> list[Path]:
    """Finished parts of units; one that a killed process was writing does not count."""
    return [path for path in store.glob("??/*.json") if not path.name.startswith(".")]


@pytest.mark.slow
def test_a_run_resumes_after_a_kill_and_says_what_it_depends_on(run_of_faces: Path, at_home: Path) -> None:
    done = stage("plan", cwd=run_of_faces)
    assert done.returncode == 0, done.stderr
    entry = read_json(run_of_faces / "data/plan/attributes.json", hint="")["sources"]["deepface"]
    assert set(entry["weights"]) == {"gender_model_weights.pth"}, "the others are not asked"
    assert entry["packages"]["deepface"].startswith("deepface 0.")
    provenance = read_json(run_of_faces / "data/plan/aggregate.json", hint="")
    assert provenance["attributes"]["deepface"]["weights"] == entry["weights"]
    process = subprocess.Popen([sys.executable, str(ROOT / "stages/attributes.py")], cwd=run_of_faces)
    store = run_of_faces / ".ida-rd" / "store"
    while process.poll() is None and not _units(store):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in _units(store)}
    assert 0 < len(kept) < 9 * 3  # where its candidates lie, and what two sources tell, of each image
    done = stage("attributes", cwd=run_of_faces, env={"IDA_RD_WORKERS": "2"})
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what was known was not asked again"
    first = (run_of_faces / "data/attributes.csv").read_bytes()
    table = pd.read_csv(run_of_faces / "data/attributes.csv")
    assert {"gender:female", "gender:probability", "luminance"} <= set(table.columns)
    assert "contrast" not in table
    assert table.gender.nunique() == 2
    shutil.rmtree(store)
    assert stage("attributes", cwd=run_of_faces, env={"IDA_RD_WORKERS": "1"}).returncode == 0
    assert (run_of_faces / "data/attributes.csv").read_bytes() == first
    assert stage("balance", cwd=run_of_faces).returncode == 0
    assert set(pd.read_csv(run_of_faces / "data/subset.csv").gender) == {"female", "male"}


def test_missing_and_damaged_weights_are_one_line(run_of_faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFACE_HOME", str(run_of_faces))
    done = stage("plan", cwd=run_of_faces)
    assert done.returncode == 2
    folder = run_of_faces / ".deepface" / "weights"
    assert done.stderr.count("\n") == 1, done.stderr
    for said in ("attributes.deepface", "gender_model_weights.pth", f"to {folder}", "https://github.com/serengil"):
        assert said in done.stderr, done.stderr
    folder.mkdir(parents=True)
    for _, _, file in deepface.NETWORKS.values():
        (folder / file).write_bytes(b"no network")
    assert stage("plan", cwd=run_of_faces).returncode == 0
    done = stage("attributes", cwd=run_of_faces)
    assert done.returncode == 2
    assert f"error: {folder / 'gender_model_weights.pth'}: not a file of plain tensors" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_library_downloads_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "race_model_single_batch.pth").write_bytes(b"weights" * 100)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "server"))
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("IDA_RD_OFFLINE", raising=False)
    module = deepface._import(deepface.NETWORKS["ethnicity"][1])
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        monkeypatch.setattr(module, "WEIGHTS_URL", [f"{address}/race_model_single_batch.pth"])
        with pytest.raises(MissingWeights, match=r"race_model_single_batch\.pth is not an https address: put a copy"):
            deepface.weights(deepface.Parameters(), ["ethnicity"], download=True)
        monkeypatch.setattr(deepface, "SCHEMES", ("https", "http"))
        monkeypatch.setattr(module, "WEIGHTS_URL", [f"{address}/gone.pth"])
        with pytest.raises(MissingWeights, match=r"race_model_single_batch\.pth .* cannot be downloaded .*gone\.pth"):
            deepface.weights(deepface.Parameters(), ["ethnicity"], download=True)
        monkeypatch.setattr(module, "WEIGHTS_URL", [f"{address}/race_model_single_batch.pth"])
        with pytest.raises(MissingWeights, match="is not in"):
            deepface.weights(deepface.Parameters(), ["ethnicity"], download=False)
        found = deepface.weights(deepface.Parameters(), ["ethnicity"], download=True)
    finally:
        server.shutdown()
    path = tmp_path / ".deepface" / "weights" / "race_model_single_batch.pth"
    assert found == {path.name: path}
    assert path.read_bytes() == b"weights" * 100
