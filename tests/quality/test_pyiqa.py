"""The measures of pyiqa, without the package: least sizes, the closed list, and what is missing, in one line."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import tomllib
import urllib.error
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.methods import open_method
from ida_rd.core.software import MissingSoftware
from ida_rd.core.weights import MissingWeights
from ida_rd.quality import pyiqa
from ida_rd.quality.contract import Undefined
from ida_rd.quality.pyiqa.metrics import METRICS

HERE = find_spec("pyiqa") is not None
HIGHER = {"maniqa", "maniqa-pipal", "maniqa-kadid", "musiq", "topiq_nr", "clipiqa", "qualiclip"}
LEAST = {"maniqa": 225, "maniqa-pipal": 225, "maniqa-kadid": 225, "niqe": 192, "niqe_matlab": 192, "brisque": 96,
         "brisque_matlab": 96, "piqe": 16, "ilniqe": 1, "musiq": 384, "topiq_nr": 32, "clipiqa": 224,
         "qualiclip": 224}  # fmt: skip


def _parameters(metric: str, **others: Any) -> pyiqa.Parameters:
    return pyiqa.Parameters.model_validate({"metric": metric, **others})


class _Heard:
    """Stands where pyiqa would: keeps what it is given."""

    def __init__(self, value: float = 0.5) -> None:
        self.value, self.given = value, []  # type: float, list[Any]

    def __call__(self, tensor: Any) -> Any:
        self.given.append(tensor)
        return tensor.mean() * 0 + self.value


def test_the_list_is_closed_and_each_says_its_direction_range_and_least_size() -> None:
    listed = pyiqa.Parameters.model_json_schema()["properties"]["metric"]["enum"]
    assert listed == list(METRICS)
    for name in listed:
        found = pyiqa.describe(_parameters(name))
        assert found.better == ("higher" if name in HIGHER else "lower")
        assert found.minimum_side == LEAST[name] <= found.trusted_side
        assert found.label.endswith("by pyiqa: non-commercial)")
    assert pyiqa.describe(_parameters("niqe", path="x.mat")).label.startswith("NIQE (weights of a file, ")
    for name in ("fid", "MANIQA"):
        with pytest.raises(UserError, match=r"x\.metric: input should be 'maniqa'"):
            open_method({"stage": "quality", "method": "pyiqa", "parameters": {"metric": name}}, where="x")
    with pytest.raises(UserError, match="path: pyiqa takes no file for piqe, but for maniqa, "):
        open_method({"stage": "quality", "method": "pyiqa", "parameters": {"metric": "piqe", "path": "a"}}, where="x")


@pytest.mark.parametrize("name", METRICS)
def test_an_image_below_the_least_side_never_reaches_the_network(name: str) -> None:
    least, network = LEAST[name], _Heard()
    measure = pyiqa.Pyiqa(name, network)
    for shape in ((least - 1, least - 1), (least - 1, 600), (600, least - 1)):
        with pytest.raises(Undefined, match=rf"needs {least} pixels a side; this image has {shape[1]} x {shape[0]} \("):
            measure.score(np.zeros((*shape, 3), np.uint8))
    assert network.given == []
    score = measure.score(np.zeros((least, 600, 3), np.uint8))
    assert (score.value, score.facts) == (0.5, {"side": least})
    trusted = METRICS[name].trusted
    assert [mark.partition(":")[0] for mark in score.marks] == [f"smaller than {trusted} pixels"] * (least < trusted)
    assert measure.score(np.zeros((600, 600, 3), np.uint8)).marks == ()


def test_the_network_is_given_one_image_of_levels_in_0_to_1(astronaut: NDArray[np.uint8]) -> None:
    network = _Heard()
    pyiqa.Pyiqa("brisque", network).score(astronaut[:100, :200])
    (tensor,) = network.given
    assert tuple(tensor.shape) == (1, 3, 100, 200)
    assert np.array_equal(np.rint(tensor.cpu().numpy()[0].transpose(1, 2, 0) * 255), astronaut[:100, :200])
    assert 0 <= float(tensor.min()) < float(tensor.max()) <= 1


def test_what_is_no_number_is_no_score_and_a_failure_is_one_line() -> None:
    black = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(Undefined, match="pyiqa's piqe of this image is nan"):
        pyiqa.Pyiqa("piqe", _Heard(float("nan"))).score(black)

    def fails(tensor: Any) -> Any:
        raise RuntimeError("a line\nand another")

    with pytest.raises(UserError, match=r"piqe fails on an image of 32 x 32 pixels \(a line and another\)"):
        pyiqa.Pyiqa("piqe", fails).score(black)


def test_the_package_is_no_default_and_held_by_no_lock() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, wanted in extras.items():
        assert name == "pyiqa" or not re.search(r"\bpyiqa\b", " ".join(wanted)), name
    assert not re.search(r"^(pyiqa|bitsandbytes|timm)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    # All other extras are.
    (covered,) = (set(re.findall(r"--extra (\S+)", line)) for line in (ROOT / "Makefile").read_text().splitlines()
                  if "uv pip compile" in line)  # fmt: skip
    assert covered == {"dev", "perceptual"}
    inside = set(re.findall(r"ida-rd\[(.*?)\]", extras["dev"][0])[0].split(","))
    assert covered | inside | {"pyiqa"} == set(extras)


@pytest.mark.skipif(HERE, reason="pyiqa is installed")
def test_without_the_package_one_line_says_what_to_install_and_its_terms(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (256, 256)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "ida_rd.commands", "quality", str(tmp_path / "a.png"), "--measure", "pyiqa"]
    done = subprocess.run([*command, "--set", "metric=maniqa"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: the package pyiqa is not installed: pip install 'ida-rd[pyiqa]' (non-commercial: PolyForm Noncommercial"
        " 1.0.0, weights CC BY-NC-SA 4.0)\n"
    )


def test_missing_weights_are_named_with_the_folder_they_go_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub/pyiqa"
    assert pyiqa.missing_weights(_parameters("niqe")) == [f"niqe_modelparameters.mat in {folder}"]
    assert pyiqa.missing_weights(_parameters("niqe", path="x.mat")) == []
    assert pyiqa.missing_weights(_parameters("piqe")) == []
    assert f"ckpt_koniq10k.pt in {folder}" in pyiqa.missing_weights(_parameters("maniqa"))
    assert f"ckpt_koniq10k.pt in {folder}" not in pyiqa.missing_weights(_parameters("maniqa", path="x.pt"))
    clip, own = pyiqa.missing_weights(_parameters("qualiclip"))
    assert (clip, own) == (f"RN50.pt in {tmp_path}/hub/clip", f"QualiCLIP.pth in {folder}")
    folder.mkdir(parents=True)
    (folder / "niqe_modelparameters.mat").touch()
    assert pyiqa.missing_weights(_parameters("niqe")) == []
    for name, metric in METRICS.items():
        assert bool(pyiqa.missing_weights(_parameters(name))) == bool(metric.files and name != "niqe")


class LocalEntryNotFoundError(FileNotFoundError):
    """As huggingface_hub's, which not everybody has."""


ADDRESS = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/ckpt_koniq10k.pt"


@pytest.mark.parametrize(
    ("metric", "error", "said", "kind", "problem"),
    [
        ("niqe", urllib.error.URLError("no"), "", MissingWeights, "niqe are not here .niqe_modelparameters.mat in "),
        ("maniqa", LocalEntryNotFoundError("An\nerror"), "", MissingWeights, "maniqa are not here .*ckpt_koniq10k.pt"),
        ("maniqa", urllib.error.URLError("no"), f'Downloading: "{ADDRESS}" to /c/hub/pyiqa/ckpt_koniq10k.pt\n',
         MissingWeights, f"maniqa are not here .{ADDRESS} in /c/hub/pyiqa.:"),
        ("topiq_nr", KeyError("No object named 'CFANet' found in 'arch' registry!"), "", MissingSoftware,
         r"does not have its topiq_nr .*CFANet.*: timm or facexlib, which it needs, cannot be imported: pip install"),
        ("clipiqa", ModuleNotFoundError("No module named 'pkg_resources'"), "", MissingSoftware,
         "clipiqa cannot be imported .No module named 'pkg_resources'.: pip install"),
        ("brisque", pickle.UnpicklingError("Weights only load failed. " * 40), "", UserError,
         "cannot load its brisque .it holds more than tensors, or is none of torch's.: remove broken files"),
        ("niqe", ValueError("Unknown mat file type"), "", UserError, "cannot load its niqe .Unknown mat file type."),
    ],
)  # fmt: skip
def test_each_way_in_which_pyiqa_fails_is_one_line(
    metric: str, error: Exception, said: str, kind: type[UserError], problem: str
) -> None:
    found = pyiqa.told(error, _parameters(metric), said)
    assert type(found) is kind
    assert re.search(problem, str(found))
    assert "\n" not in str(found)
    assert len(str(found)) < 700
    if kind is MissingWeights:
        assert f"pyiqa.create_metric('{metric}')" in str(found)
        assert "PolyForm Noncommercial" in str(found)


def test_a_file_of_the_users_is_named() -> None:
    found = pyiqa.told(ValueError("Unknown mat file type"), _parameters("niqe", path="my.mat"))
    assert str(found) == "my.mat: pyiqa cannot read it as weights of niqe (Unknown mat file type): correct path"
