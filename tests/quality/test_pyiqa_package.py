"""The measures of pyiqa by the package itself, with no network: its values, and its failures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.nriqa import image
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights
from ida_rd.quality import niqe, pyiqa
from ida_rd.quality.check import check_quality
from ida_rd.quality.contract import Undefined
from ida_rd.quality.niqe.model import read_pristine

package: Any = pytest.importorskip(
    "pyiqa", reason="needs the package pyiqa, which is non-commercial: pip install 'ida-rd[pyiqa]'"
)
NOWHERE = "http://127.0.0.1:9"  # nothing answers


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, and no way out."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setattr(package.utils.download_util, "DEFAULT_CACHE_DIR", str(tmp_path / "torch/hub/pyiqa"))


def _parameters(metric: str, **others: Any) -> pyiqa.Parameters:
    return pyiqa.Parameters.model_validate({"metric": metric, **others})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Our own pristine model as a file of the released layout."""
    from scipy.io import savemat

    model = read_pristine()
    savemat(tmp_path / "own.mat", {"mu_prisparam": model.mean[None], "cov_prisparam": model.covariance})
    return tmp_path / "own.mat"


def _said(network: Any, picture: NDArray[np.uint8]) -> float:
    import torch

    return float(network(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255))


@pytest.mark.slow
def test_values_are_the_packages_own_and_the_contract_is_kept(own: Path, astronaut: NDArray[np.uint8]) -> None:
    for metric, options in (("piqe", {}), ("niqe", {"path": str(own)})):
        given = {"pretrained_model_path": options["path"]} if options else {}
        network = package.create_metric(metric, device="cpu", **given)
        measure = pyiqa.load(_parameters(metric, **options))
        for picture in (astronaut, astronaut[:200, :301]):
            assert measure.score(picture).value == _said(network, picture) != 0
        check_quality(pyiqa, {"metric": metric, **options})


def test_niqe_is_nearly_ours_and_ours_is_refused_where_it_is_not_defined(own: Path) -> None:
    """They are within 1 %, also of four patches alone. Of one patch the package gives a number; we refuse."""
    measure = pyiqa.load(_parameters("niqe", path=str(own)))
    ours = niqe.load(niqe.Parameters())
    for name in ("spices_512", "kitten_256", "spices_192"):
        assert measure.score(image(name)).value == pytest.approx(ours.score(image(name)).value, rel=1e-2)
    single = image("kitten_128")
    assert np.isfinite(_said(measure.network, single))
    with pytest.raises(Undefined, match="of a single patch pyiqa takes the covariance for 0"):
        measure.score(single)


def test_an_image_that_it_gives_no_number_for_has_none() -> None:
    with pytest.raises(Undefined, match="piqe of this image is nan"):
        pyiqa.load(_parameters("piqe")).score(np.zeros((64, 64, 3), np.uint8))


def test_directions_and_modes_are_the_packages() -> None:
    for name, metric in pyiqa.METRICS.items():
        known = package.default_model_configs.DEFAULT_CONFIGS[name]
        assert known["metric_mode"] == "NR"
        assert known.get("lower_better", False) == (metric.better == "lower"), name


@pytest.mark.parametrize("metric", ["niqe", "niqe_matlab", "brisque", "brisque_matlab", "ilniqe", "musiq"])
def test_a_download_that_fails_is_told_as_what_we_say_is_missing(
    metric: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The package's own failure names the file that our table names."""
    with pytest.raises(urllib.error.URLError) as caught:
        package.create_metric(metric, device="cpu")
    captured = "".join(capfd.readouterr())
    (name,) = pyiqa.METRICS[metric].files
    line = str(pyiqa.told(caught.value, _parameters(metric), captured))
    assert name.removeprefix("pyiqa/") in line
    assert "in " + str(tmp_path / "torch/hub/pyiqa") in line


@pytest.mark.parametrize("metric", [name for name, metric in pyiqa.METRICS.items() if metric.files])
def test_missing_weights_are_one_line_at_once(metric: str, capfd: pytest.CaptureFixture[str]) -> None:
    for module in pyiqa.METRICS[metric].needs:
        pytest.importorskip(module, reason=f"pyiqa needs {module} for {metric}")
    began = time.perf_counter()
    with pytest.raises(MissingWeights) as caught:
        pyiqa.load(_parameters(metric))
    assert time.perf_counter() - began < 5, "the hub's retries take a minute"
    assert f"weights of pyiqa's {metric} are not here (" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.slow
def test_files_that_are_no_weights_are_one_line_and_run_no_code(tmp_path: Path) -> None:
    import torch

    for name in ("niqe", "brisque", "musiq", "ilniqe"):
        path = tmp_path / f"{name}.mat"
        path.write_bytes(b"none of it")
        with pytest.raises(UserError, match=rf"{name}\.mat: pyiqa cannot read it as weights of {name} \("):
            pyiqa.load(_parameters(name, path=str(path)))
    with pytest.raises(UserError, match=r"path: .*none\.mat does not exist: give a file of weights of pyiqa's niqe"):
        pyiqa.load(_parameters("niqe", path=str(tmp_path / "none.mat")))
    trap, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    torch.save(_Trap(str(sprung)), trap)
    with pytest.raises(UserError, match="it holds more than tensors, or is none of torch's"):
        pyiqa.load(_parameters("musiq", path=str(trap)))
    assert not sprung.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


class _Trap:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.path),))


@pytest.mark.slow
def test_the_command_prints_the_terms_and_one_value_per_image(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    from PIL import Image

    Image.fromarray(astronaut[:200, :200]).save(tmp_path / "a.png")
    Image.fromarray(astronaut[:15, :200]).save(tmp_path / "b.png")
    command = [sys.executable, "-m", "ida_rd.commands", "quality", "a.png", "b.png", "--measure", "pyiqa"]
    done = subprocess.run([*command, "--set", "metric=piqe"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, value, dash = done.stdout.splitlines()
    assert first == "PIQE (by pyiqa: non-commercial); lower is better"
    assert value.startswith("a.png: ")
    assert value.endswith("(side 200)")
    assert dash == "b.png: - (PIQE needs 16 pixels a side; this image has 200 x 15 (it is of blocks of 16 pixels))"
