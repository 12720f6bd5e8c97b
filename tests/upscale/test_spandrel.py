"""The upscaler of checkpoints that the spandrel library recognises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

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


def test_what_is_no_network_for_the_job_is_named(rrdb: Path, shared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rrdb\.pth: ESRGAN is for factor 4, not 2"):
        spandrel.load(spandrel.Parameters(path=str(rrdb)), Problem(2), "cpu")
    other = shared / "weights/lpips/alexnet_features.pth"
    with pytest.raises(UserError, match=r"alexnet_features\.pth: spandrel recognises no architecture"):
        spandrel.load(spandrel.Parameters(path=str(other)), Problem(4), "cpu")
    (tmp_path / "cut.pth").write_bytes(rrdb.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cut\.pth: cannot be loaded"):
        spandrel.load(spandrel.Parameters(path=str(tmp_path / "cut.pth")), Problem(4), "cpu")
    with pytest.raises(UserError, match=r"path: nowhere\.pth does not exist"):
        spandrel.files(spandrel.Parameters(path="nowhere.pth"), 4)
