"""Functions of packages that are rarely installed: what each is, and what is said where it is not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator
from ida_rd.core.software import MissingSoftware
from ida_rd.downscale import convolve, resample, resize
from ida_rd.downscale.recipe import downscale_recipe

RNG = generator("test")
SIZE = (64, 64)
Image = NDArray[np.uint8]


def _by(backend: str, name: str, hr: Image) -> NDArray[Any]:
    library = resize.BACKENDS[backend]
    pytest.importorskip(library.package, reason=f"needs the package {library.package}: {library.install}")
    return resize.downscale(hr, SIZE, rng=RNG, backend=backend, filter=name).astype(int)


@pytest.fixture
def hr(astronaut: Image) -> Image:
    return np.ascontiguousarray(astronaut[:256, :256])


@pytest.mark.parametrize(
    ("backend", "name", "kernel"),
    [
        ("fast-image-resize", "box", "box"),
        ("fast-image-resize", "bilinear", "bilinear"),
        ("fast-image-resize", "catmull-rom", "bicubic"),
        ("fast-image-resize", "mitchell", "mitchell"),
        ("fast-image-resize", "lanczos3", "lanczos3"),
        ("scalerack", "lanczos", "lanczos3"),
        ("scalerack", "mks2013", "mks2013"),
        ("scalerack", "mks2021", "mks2021"),
        ("skia", "mipmap", "box"),
    ],
)
def test_a_function_is_the_kernel_of_its_name_but_for_rounding(backend: str, name: str, kernel: str, hr: Image) -> None:
    theirs = _by(backend, name, hr)
    ours = convolve.downscale(hr, SIZE, rng=RNG, kernel=kernel).astype(int)
    assert np.abs(theirs - ours).mean() < 1.2  # a mipmap rounds on each of its levels
    assert np.abs(theirs - ours).max() < 24
    others = [k for k in ("box", "bilinear", "bicubic", "mitchell", "lanczos3", "mks2013", "mks2021") if k != kernel]
    apart = [np.abs(theirs - convolve.downscale(hr, SIZE, rng=RNG, kernel=k)).mean() for k in others]
    assert min(apart) > np.abs(theirs - ours).mean()


def test_skias_others_are_not_antialiased(hr: Image) -> None:
    stripes = np.zeros_like(hr)
    stripes[:, ::4] = 255
    for name in ("nearest", "linear", "mitchell"):  # they take the HR pixels in the middle, where no stripe is
        assert _by("skia", name, stripes)[8:-8, 8:-8].max() == 0
    assert np.abs(_by("skia", "mipmap", stripes) - 64).max() <= 1
    assert np.array_equal(_by("skia", "nearest", hr), hr[1::4, 1::4])


def test_splineops_has_the_corners_on_one_another(hr: Image) -> None:
    """A ramp: its LR image is stretched against everybody else's, by as much as is said."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, 0).repeat(3, 2)
    centres = resample.downscale(ramp, SIZE, rng=RNG, filter="box").astype(float)[32, :, 0]
    for name in resize.BACKENDS["splineops"].filters:
        lr = _by("splineops", name, ramp)[32, :, 0]
        assert np.allclose(lr[4:-4], np.linspace(0, 255, 64)[4:-4], atol=1), name
        assert 0.7 < centres[4] - lr[4] <= 2, name
        assert 0.7 < lr[-5] - centres[-5] <= 2, name
    projected = _by("splineops", "least-squares", hr)
    assert np.abs(projected - _by("splineops", "cubic-antialiasing", hr)).mean() < 2


@pytest.mark.slow
def test_content_adaptive_keeps_the_mean_of_a_photograph(astronaut: Image) -> None:
    """On 16 pixels square: it takes a second for few LR pixels."""
    pytest.importorskip("scalerack", reason="needs the package scalerack")
    piece = np.ascontiguousarray(astronaut[60:76, 200:216])
    lr = resize.downscale(piece, (4, 4), rng=RNG, backend="scalerack", filter="content-adaptive")
    box = resample.downscale(piece, (4, 4), rng=RNG, filter="box")
    assert lr.shape == (4, 4, 3)
    assert abs(lr.astype(float).mean() - box.mean()) < 8


@pytest.mark.parametrize("backend", ["fast-image-resize", "skia", "splineops", "scalerack"])
def test_a_package_that_is_not_installed_is_named_with_its_cure(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = resize.BACKENDS[backend]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, p=None: None if n == library.package else find(n, p))
    entry = {"method": "resize", "backend": backend, "filter": next(iter(library.filters))}
    with pytest.raises(MissingSoftware, match=rf"package {library.package} is not installed: {library.install}$"):
        downscale_recipe("mine", entry, 4, 0, download=False)


def test_what_a_filter_needs_beside_its_package_is_in_the_recipe() -> None:
    adaptive = resize.packages(resize.Parameters(backend="scalerack", filter="content-adaptive"))
    assert adaptive.keys() == {"scalerack", "skimage"}
    assert resize.packages(resize.Parameters(backend="scalerack", filter="lanczos")).keys() == {"scalerack"}


@pytest.mark.parametrize("error", ["ImportError('libEGL.so.1: cannot open')", "OSError('cannot load libvips')"])
def test_a_package_that_cannot_be_loaded_is_one_line(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hr: Image
) -> None:
    (tmp_path / "skia.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "skia", raising=False)
    with pytest.raises(UserError, match=r"^the package skia cannot be loaded \(.*cannot.*\): install") as caught:
        resize.downscale(hr, SIZE, rng=RNG, backend="skia", filter="linear")
    assert "\n" not in str(caught.value)
