"""The upscaler of checkpoints that the spandrel library recognises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw
from ida_rd.upscale import spandrel
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem

library = pytest.importorskip("spandrel", reason="needs the package spandrel: pip install 'ida-rd[spandrel]'")


@pytest.fixture(scope="module")
def rrdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of the layout of ESRGAN, BSRGAN and Real-ESRGAN, which enlarges about as bilinear does."""
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    net = ESRGAN(num_filters=8, num_blocks=2, scale=4)
    path = tmp_path_factory.mktemp("rrdb") / "rrdb.pth"
    torch.save({"params_ema": net.state_dict()}, path)
    return path


def test_an_rrdb_network_keeps_the_contract(rrdb: Path) -> None:
    check_upscaler(spandrel, {"path": str(rrdb)}, 4)


def test_a_real_network_beats_bicubic_enlargement(shared: Path, astronaut: NDArray[np.uint8]) -> None:
    path = shared / "weights/realesr_animevideov3/realesr-animevideov3.pth"
    check_upscaler(spandrel, {"path": str(path)}, 4)
    hr = astronaut[:256, 96:352]
    small = Image.fromarray(hr).resize((64, 64), Image.Resampling.BICUBIC)
    net = spandrel.load(spandrel.Parameters(path=str(path)), Problem(4), "cpu")
    lr = np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
    samples = net.sample(lr, [Draw(0, "a", 0)])
    sr = samples.sr
    assert samples.finite.all()
    with torch.inference_mode():
        wanted = library.ModelLoader("cpu").load_from_file(path)(torch.from_numpy(lr)[None] / 255)
    assert np.array_equal(sr[0], np.rint(255 * wanted[0].numpy()).astype(np.uint8))
    edges = [np.abs(np.diff(np.asarray(x, float), axis=1)).mean() for x in (hr, sr[0].transpose(1, 2, 0))]
    bicubic = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC), float)
    assert edges[1] > 1.2 * np.abs(np.diff(bicubic, axis=1)).mean(), "sharper than enlargement"
    error = np.abs(sr[0].transpose(1, 2, 0) - hr.astype(float)).mean()
    assert error < 16, "and near the original"


def _load(path: Path, factor: int = 4) -> spandrel.SpandrelUpscaler:
    return spandrel.load(spandrel.Parameters(path=str(path)), Problem(factor), "cpu")


@pytest.mark.parametrize(
    ("name", "factor"),
    [("imdn/IMDN_x4", 4), ("imdn/IMDN_x2", 2), ("carn_m/carn_m", 4), ("realesr_animevideov3/realesr-animevideov3", 4)],
)
def test_real_files_are_what_spandrels_own_reader_makes_of_them(shared: Path, name: str, factor: int) -> None:
    path = shared / f"weights/{name}.pth"
    lr = np.random.default_rng(0).integers(0, 256, (3, 16, 20), dtype=np.uint8)
    try:
        theirs = library.ModelLoader("cpu").load_from_file(path)
    except library.UnsupportedModelError:
        with pytest.raises(UserError, match="spandrel recognises no architecture"):
            _load(path, factor)
        return
    with torch.inference_mode():
        wanted = theirs(torch.from_numpy(lr)[None] / 255)
    assert np.array_equal(
        _load(path, factor).sample(lr, [Draw(0, "a", 0)]).sr[0], np.rint(255 * wanted[0].numpy()).astype(np.uint8)
    )


class _Writes(nn.Module):
    """As TorchScript, it writes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path)


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors", ".bin"])
def test_no_file_runs_anything_when_it_is_loaded(tmp_path: Path, suffix: str) -> None:
    written = tmp_path / "written"
    script, bomb, old = (tmp_path / f"{name}{suffix}" for name in ("script", "bomb", "old"))
    torch.jit.save(torch.jit.script(_Writes(str(written))), script)
    torch.save({"params": {"a": _Runs(written)}}, bomb)
    torch.save({"params": {"a": _Runs(written)}}, old, _use_new_zipfile_serialization=False)
    for path in (script, bomb, old):
        with pytest.raises(UserError, match=rf"{path.stem}\{suffix}: not a ") as error:
            _load(path)
        assert "\n" not in str(error.value)
        assert not written.exists()
    torch.jit.load(script)
    assert written.exists(), "it does write"


def _renamed(state: dict[str, torch.Tensor], old: str, new: str) -> dict[str, torch.Tensor]:
    return {name.replace(old, new): tensor for name, tensor in state.items()}


def _esrgan(**more: torch.Tensor) -> dict[str, torch.Tensor]:
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(num_filters=8, num_blocks=2, scale=4).state_dict() | more


def _window() -> dict[str, torch.Tensor]:
    """Attention in a window of 500 x 500, whose index is a matrix of 250,000 x 250,000."""
    from spandrel.architectures.HAT import HAT

    state = HAT(embed_dim=60, depths=(1,), num_heads=(2,), upscale=4, upsampler="pixelshuffle").state_dict()
    return state | {"relative_position_index_SA": torch.zeros(500**2, 1, dtype=torch.int8)}


def _wide() -> dict[str, torch.Tensor]:
    """A first layer of 100,000 channels: the next would have 10^10 weights."""
    state = _esrgan()
    first = next(iter(state))
    return state | {first: torch.zeros(100_000, 3, 3, 3, dtype=torch.int8)}


HOSTILE: dict[str, Any] = {
    "a billion blocks": lambda: _renamed(_esrgan(), "sub.1.RDB3", "sub.1000000000.RDB3"),
    "a number as text": lambda: _renamed(_esrgan(), "sub.1.RDB3", "sub.1_000_000.RDB3"),
    "a number of 10,000 digits": lambda: _renamed(_esrgan(), "sub.1.RDB3", f"sub.{'9' * 10_000}.RDB3"),
    "a negative number": lambda: _renamed(_esrgan(), "sub.1.RDB3", "sub.-1.RDB3"),
    "many blocks of one tensor": lambda: _esrgan(
        **{f"model.1.sub.{i}.RDB1.conv1.0.weight": torch.zeros(1) for i in range(2, 5000)}
    ),
    "a wide layer": _wide,
    "a large window": _window,
    "no elements": lambda: _esrgan() | {"model.0.weight": torch.zeros(10**9, 0, 3, 3)},
    "a wrong shape": lambda: _esrgan() | {"model.0.weight": torch.zeros(8)},
    "no tensors": lambda: {"params": {"a": 1}},
    "nothing": dict,
    "a list": lambda: [torch.zeros(1)],
    "numbers for names": lambda: {0: torch.zeros(1)},
}
MEASURE = """
import json, sys, time
from pathlib import Path
import numpy, torch, spandrel as library
from ida_rd.core.errors import UserError
from ida_rd.upscale import spandrel
from ida_rd.upscale.contract import Problem
def peak():  # of this program: getrusage knows its parent's, too
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    before, started = peak(), time.perf_counter()
    try:
        said = str(spandrel.load(spandrel.Parameters(path=str(path)), Problem(4), "cpu")) + " was built"
    except UserError as error:
        said = str(error)
    now = peak()
    found[path.stem] = said, now - before, time.perf_counter() - started
print(json.dumps(found))
"""


def test_a_file_that_describes_a_larger_network_than_it_holds_is_refused_at_little_cost(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, make in HOSTILE.items():
        torch.save(make(), folder / f"{name}.pth")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == HOSTILE.keys()
    unit = 1024
    for name, (said, memory, seconds) in found.items():
        assert f"{name}.pth: " in said
        assert "was built" not in said
        assert "billion" not in name or "is the number of one of" in said, "not even counted to"
        assert "\n" not in said
        assert memory * unit < 500e6, (name, memory)
        assert seconds < 10, (name, seconds)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_what_is_no_network_for_the_job_is_named(rrdb: Path, shared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rrdb\.pth: ESRGAN is for factor 4, not 2"):
        spandrel.load(spandrel.Parameters(path=str(rrdb)), Problem(2), "cpu")
    other = shared / "weights/lpips/alexnet_features.pth"
    with pytest.raises(UserError, match=r"alexnet_features\.pth: spandrel recognises no architecture"):
        spandrel.load(spandrel.Parameters(path=str(other)), Problem(4), "cpu")
    (tmp_path / "cut.pth").write_bytes(rrdb.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cut\.pth: not a file of plain tensors"):
        spandrel.load(spandrel.Parameters(path=str(tmp_path / "cut.pth")), Problem(4), "cpu")
    with pytest.raises(UserError, match=r"path: nowhere\.pth does not exist"):
        spandrel.files(spandrel.Parameters(path="nowhere.pth"), 4)
