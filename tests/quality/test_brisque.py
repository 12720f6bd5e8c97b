"""BRISQUE: features by goldens, the machine by LIBSVM's own."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from golden.nriqa import HERE, image
from numpy.typing import NDArray
from sklearn.svm import SVR

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.weights import MissingWeights
from ida_rd.quality import brisque
from ida_rd.quality.brisque import machine
from ida_rd.quality.contract import Undefined

ROWS = np.load(HERE / "brisque_features.npz")
NAMES = sorted(key.removesuffix("_official") for key in ROWS.files)
SCORES = {name: entry["brisque"] for name, entry in json.loads((HERE / "scores.json").read_text()).items()}
FLAT = {"spices_512_sat2": 1e-2, "skyline_512_pilblur4": 2e-4}  # the rest of those with flat pixels: 1e-4


def _tolerance(name: str) -> float:
    plain = name.startswith(("spices", "kitten")) and "_512" not in name and "_pilblur" not in name
    return FLAT.get(name, 1e-8 if plain else 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_the_released_programs(name: str) -> None:
    assert np.abs(brisque.features(image(name)) - ROWS[f"{name}_official"]).max() < _tolerance(name)


@pytest.fixture(scope="module")
def trained(astronaut: NDArray[np.uint8]) -> tuple[dict[str, str], SVR]:
    """A machine trained on 60 crops, and the two texts that LIBSVM would write of it."""
    random = np.random.default_rng(0)
    corners = random.integers(0, 400, (60, 2))
    rows = np.round([brisque.features(astronaut[y : y + 112, x : x + 112]) for y, x in corners], 6)
    low, high = rows.min(axis=0), rows.max(axis=0)
    scaled = 2 * (rows - low) / (high - low) - 1
    peer = SVR(gamma=0.05, C=100, epsilon=0.5).fit(scaled, 40 + 10 * scaled[:, 0] + random.normal(0, 1, 60))
    lines = ["svm_type epsilon_svr", "kernel_type rbf", "gamma 0.05", "nr_class 2"]
    lines += [f"total_sv {len(peer.support_)}", f"rho {float(-peer.intercept_[0])!r}", "SV"]
    for coefficient, vector in zip(peer.dual_coef_[0], peer.support_vectors_, strict=True):
        parts = [f"{i}:{float(value)!r}" for i, value in enumerate(vector, 1) if value]
        lines.append(" ".join([repr(float(coefficient)), *parts]) + " ")
    ends = [f"{i} {float(a)!r} {float(b)!r}" for i, (a, b) in enumerate(zip(low, high, strict=True), 1)]
    return {"allmodel": "\n".join([*lines, ""]), "allrange": "\n".join(["x", "-1 1", *ends, ""])}, peer


@pytest.fixture
def fitted(trained: tuple[dict[str, str], SVR], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, SVR]:
    """A folder of those files, which are taken for the released ones; and the machine."""
    for name, text in trained[0].items():
        (tmp_path / name).write_text(text)
    _know(tmp_path, monkeypatch)
    return tmp_path, trained[1]


def _know(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the files of a folder for the released ones."""
    for key, name in (machine.MODEL, machine.RANGE):
        monkeypatch.setitem(machine.BEGINS, key, sha256_file(folder / name)[:8])


def test_the_machine_is_libsvms(fitted: tuple[Path, SVR], astronaut: NDArray[np.uint8]) -> None:
    folder, peer = fitted
    measure = brisque.load(brisque.Parameters(path=str(folder)))
    own = measure.machine
    for y, x, side in ((13, 60, 112), (200, 200, 160), (90, 300, 96), (300, 40, 200)):
        picture = astronaut[y : y + side, x : x + side]
        scaled = 2 * (brisque.features(picture) - own.low) / (own.high - own.low) - 1
        score = measure.score(picture)
        assert score.value == pytest.approx(float(peer.predict(scaled[None])[0]), abs=1e-4)
        kernel = np.exp(-0.05 * ((peer.support_vectors_ - scaled) ** 2).sum(axis=1)).max()
        assert score.facts["kernel"] == pytest.approx(kernel, abs=1e-4)
        assert score.facts["reach"] == pytest.approx(np.abs(scaled).max(), abs=1e-3)


def test_on_a_support_vector_the_kernel_is_one_and_far_away_the_score_is_the_bias(
    fitted: tuple[Path, SVR], astronaut: NDArray[np.uint8]
) -> None:
    """Table 12's 43.458: of whatever is far from all support vectors a machine says the same."""
    folder, peer = fitted
    measure = brisque.load(brisque.Parameters(path=str(folder)))
    corners = np.random.default_rng(0).integers(0, 400, (60, 2))
    y, x = corners[int(peer.support_[0])]
    near = measure.score(astronaut[y : y + 112, x : x + 112])
    assert near.facts["kernel"] == pytest.approx(1)
    assert near.facts["reach"] <= 1 + 1e-9
    assert near.marks == ()
    noise = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    for picture in noise:
        far = measure.score(picture)
        assert far.value == pytest.approx(float(peer.intercept_[0]), abs=1e-6)
        assert far.facts["kernel"] < 1e-6
        assert far.marks[0] == "far from all that the machine was trained on (largest kernel value 0.00)"
        assert far.marks[1].startswith("a scaled feature of ")
        assert far.marks[2] == "smaller than 96 pixels"


def test_an_image_without_detail_is_refused(fitted: tuple[Path, SVR]) -> None:
    measure = brisque.load(brisque.Parameters(path=str(fitted[0])))
    with pytest.raises(Undefined, match="needs 2 pixels a side; this image has 1 x 5"):
        measure.score(np.zeros((5, 1, 3), np.uint8))
    with pytest.raises(Undefined, match="needs detail"):
        measure.score(np.zeros((64, 64, 3), np.uint8))
    assert np.isfinite(measure.score(image("kitten_32")).value)
    assert brisque.describe(brisque.Parameters()).minimum_side == 2


def test_the_released_machine_gives_the_released_scores(shared: Path) -> None:
    folder = shared / "weights/brisque"
    if not (folder / "allmodel").is_file():
        pytest.skip(f"needs the released allmodel and allrange in {folder}: they must be obtained by hand")
    measure = brisque.load(brisque.Parameters(path=str(folder)))
    assert -measure.machine.rho == pytest.approx(153.591, abs=1e-3)
    for name, entry in SCORES.items():
        if not name.startswith("testimage"):
            tolerance = 1.0 if name.endswith("_sat2") else 0.02
            assert measure.score(image(name)).value == pytest.approx(entry["own_features_official_svr"], abs=tolerance)


def test_files_that_are_missing_or_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitted: tuple[Path, SVR]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with pytest.raises(MissingWeights, match=r"weights brisque\.model are not at .*allmodel: put a copy there"):
        brisque.load(brisque.Parameters())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"allmodel \(weights brisque\.model\): no such file"):
        brisque.load(brisque.Parameters(path=str(empty)))
    with (tmp_path / "allrange").open("a") as file:
        file.write(" ")
    with pytest.raises(
        UserError, match=r"allrange \(weights brisque\.range\) has sha256 .* begins with .*: a broken or"
    ):
        brisque.load(brisque.Parameters(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("allmodel", "epsilon_svr", "c_svc", "not a machine of BRISQUE .its svm_type is not epsilon_svr"),
        ("allmodel", "rbf", "linear", "its kernel_type is not rbf"),
        ("allmodel", "total_sv ", "total_sv 1", "support vectors, not 1"),
        ("allmodel", "gamma 0.05", "gamma -1", "its gamma is not above 0"),
        ("allmodel", "rho ", "rho nan", "not a machine of BRISQUE"),
        ("allmodel", "\nSV\n", "\n", "it has no line SV"),
        ("allmodel", " 36:", " 37:", "a feature 37, of 1 to 36"),
        ("allmodel", " 1:", " 1:inf", "not a machine of BRISQUE"),
        ("allrange", "x\n", "y\n", "not a range of BRISQUE's features .its first line is not x"),
        ("allrange", "-1 1", "1 -1", "two rising numbers"),
        ("allrange", "\n36 ", "\n35 ", "lacks the range of one of 36"),
        ("allrange", "\n36 ", "\n36 zero ", "not a range of BRISQUE's features"),
    ],
)
def test_a_text_that_is_no_machine_is_refused_in_one_line(
    fitted: tuple[Path, SVR], monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str, problem: str
) -> None:
    folder, _ = fitted
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    _know(folder, monkeypatch)
    with pytest.raises(UserError, match=problem) as caught:
        brisque.load(brisque.Parameters(path=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_pickle_in_its_place_is_refused_in_one_line(
    fitted: tuple[Path, SVR], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, peer = fitted
    (folder / "allmodel").write_bytes(pickle.dumps(peer))
    _know(folder, monkeypatch)
    with pytest.raises(UserError, match=r"allmodel: not a machine of BRISQUE .*: give the released file allmodel"):
        brisque.load(brisque.Parameters(path=str(folder)))
