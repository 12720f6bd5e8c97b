"""ST-LPIPS: the figures of the published package, its weight files, and a run that has no other learned distance."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, stage_here
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ida_rd.core import weights
from ida_rd.core.errors import UserError
from ida_rd.distort import st_lpips
from ida_rd.distort.check import check_distortion
from ida_rd.distort.st_lpips import STLPIPS, Parameters
from ida_rd.models.shift_tolerant import Blur, ShiftTolerant
from ida_rd.scoring import named_distortion

PACKAGE = "stlpips-pytorch"
BACKBONES = ("alex", "vgg")


def _installed() -> bool:
    try:
        return bool(importlib.metadata.version(PACKAGE))
    except importlib.metadata.PackageNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not _installed(), reason=f"the extra `perceptual` ({PACKAGE}) is not installed")


def _chw(image: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


@pytest.fixture(scope="module")
def alex() -> STLPIPS:
    return st_lpips.load(Parameters(), "cpu")


@pytest.mark.parity("ida_rd.distort.st_lpips", "ida_rd.models.shift_tolerant")
@pytest.mark.parametrize(
    ("backbone", "expected"), [("alex", (0.148, 0.332, 0.003)), ("vgg", (0.262, 0.453, 0.009))], ids=BACKBONES
)
def test_a_blur_and_a_shift_cost_what_the_package_says(
    shared: Path, backbone: str, expected: tuple[float, ...]
) -> None:
    """Blurs by 1 and 2 pixels, and a shift by one: what the package gave, to its three digits."""
    kitten = Image.open(shared / "golden/nriqa/inputs/kitten_256.png").convert("RGB")
    blurred = [_chw(kitten.filter(ImageFilter.GaussianBlur(radius))) for radius in (1, 2)]
    hr = _chw(kitten)
    measure = st_lpips.load(Parameters(backbone=backbone), "cpu")  # type: ignore[arg-type]
    values = measure.distance(measure.reference(hr), np.stack([*blurred, np.roll(hr, 1, axis=2)]))
    assert np.round(values, 3).tolist() == list(expected)


def test_the_packages_own_example(shared: Path, alex: STLPIPS) -> None:
    """The one distance that its description states; its pair of images is LPIPS's."""
    folder = shared / "weights" / "lpips"
    reference, first = (_chw(Image.open(folder / f"ex_{name}.png")) for name in ("ref", "p0"))
    value = alex.distance(alex.reference(reference), first[None])
    assert value[0] == pytest.approx(0.7777554988861084, rel=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_contract_is_kept(backbone: str) -> None:
    check_distortion(st_lpips, {"backbone": backbone}, side=64)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_smallest_side_is_taken(backbone: str) -> None:
    side = st_lpips.describe(Parameters(backbone=backbone)).minimum_side  # type: ignore[arg-type]
    measure = st_lpips.load(Parameters(backbone=backbone), "cpu")  # type: ignore[arg-type]
    images = np.random.default_rng(0).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    assert measure.distance(measure.reference(images[0]), images[1:])[0] > 0
    with pytest.raises(RuntimeError):  # SPEC: 16 raises
        measure.reference(images[0, :, :16, :16])


def test_it_splits_into_bias_and_variance(alex: STLPIPS, astronaut: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(3)
    hr = np.ascontiguousarray(astronaut[100:164, 200:264].transpose(2, 0, 1))
    sr = np.clip(hr + rng.normal(4, 12, (4, *hr.shape)), 0, 255).astype(np.uint8)
    assert st_lpips.describe(Parameters()).squared
    reference = alex.reference(hr)
    distance, spread = alex.with_spread(reference, sr)
    assert distance == pytest.approx(alex.distance(reference, sr), abs=1e-9)
    for k in range(4):
        others = alex.distance(alex.reference(sr[k]), np.delete(sr, k, axis=0))
        assert spread[k] == pytest.approx(others.mean(), abs=1e-6)
    assert alex.maps(reference, sr).shape == (4, 64, 64)
    assert alex.maps(reference, sr).mean(axis=(1, 2)) == pytest.approx(distance, rel=0.05)


def test_the_heads_are_not_negative_and_the_filters_are_binomial(alex: STLPIPS) -> None:
    """Without the first it would be no squared distance; the second are stored, and would be taken as they are."""
    assert all(float(w.min()) >= 0 for w in alex.network.weights())
    own = [part for part in alex.network.modules() if isinstance(part, Blur)]
    assert len(own) == 3
    for part in own:
        assert torch.equal(part.filt, Blur(part.filt.shape[0]).filt)


def test_no_code_of_the_package_is_imported() -> None:
    code = """
import sys
from ida_rd.distort import st_lpips
st_lpips.load(st_lpips.Parameters(), "cpu")
print([name for name in sys.modules if "stlpips" in name.replace("_", "")])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ida_rd.distort.st_lpips']"


def test_another_file_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "alex.pth"
    torch.save(ShiftTolerant("alex").state_dict(), path)
    with pytest.raises(UserError, match=r"alex\.pth \(weights st-lpips\.alex\) has sha256 .*, expected b356b382"):
        st_lpips.load(Parameters(path=str(path)), "cpu")
    monkeypatch.setattr(weights.Weight, "accepts", lambda self, digest: True)
    with pytest.raises(UserError, match=r"alex\.pth: not ST-LPIPS's vgg weights") as error:
        st_lpips.load(Parameters(backbone="vgg", path=str(path)), "cpu")
    assert "\n" not in str(error.value)


def _run_without_lpips(project: Path, empty: Path) -> subprocess.CompletedProcess[str]:
    parameters = yaml.safe_load((project / "params.yaml").read_text()) | {"missing_weights": "skip"}
    learned = {"lpips": {"method": "lpips"}, "st": {"method": "st-lpips"}}
    parameters |= {"distortions": learned | parameters["distortions"], "primary": "lpips"}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    return stage_here("plan", cwd=project, env={"TORCH_HOME": str(empty)})


def test_it_leads_a_run_without_lpips_weights(project: Path, tmp_path: Path) -> None:
    done = _run_without_lpips(project, tmp_path / "none")
    assert done.returncode == 0, done.stderr
    recipe = json.loads((project / "data/plan/aggregate.json").read_text())
    assert recipe["distortion_order"] == ["st", "dss", "psnr"]
    assert list(recipe["skipped"]) == ["lpips"]
    assert json.loads((project / "data/plan/distort.json").read_text())["distortions"]["st"]["weights"] == {
        "st-lpips.alex": "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee"
    }


def test_its_usual_name() -> None:
    assert named_distortion("st-lpips-vgg") == {"method": "st-lpips", "backbone": "vgg"}
