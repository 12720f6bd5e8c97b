"""More functions of libraries, and kernels by their formulas."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from ida_rd.core.seeds import generator
from ida_rd.core.software import MissingSoftware
from ida_rd.downscale import convolve, resample, resize
from ida_rd.downscale.check import check_downscaler

RNG = generator("test")
SLOW = "content-adaptive"  # minutes, where it is installed; in test_resize_packages.py
FUNCTIONS = [
    (backend, name) for backend, library in resize.BACKENDS.items() for name in library.filters if name != SLOW
]


def _there(backend: str, name: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {"backend": backend, "filter": name}
    package = resize.BACKENDS[backend].package
    pytest.importorskip(package, reason=f"needs the package {package}: {resize.BACKENDS[backend].install}")
    try:
        resize.packages(resize.Parameters(**parameters))
    except MissingSoftware as missing:
        pytest.skip(str(missing))
    return parameters


@pytest.mark.parametrize(("backend", "name"), FUNCTIONS)
def test_every_function_keeps_the_contract_and_constants(backend: str, name: str) -> None:
    parameters = _there(backend, name)
    check_downscaler(resize, parameters)
    for level in (0, 7, 255):
        lr = resize.downscale(np.full((24, 40, 3), level, np.uint8), (6, 10), rng=RNG, **parameters)
        assert (lr == level).all()


@pytest.mark.parametrize("name", ["mks2013", "mks2021"])
def test_pillows_magic_kernels_are_pillows(name: str, astronaut: NDArray[np.uint8]) -> None:
    parameters = _there("pillow", name)
    lr = resize.downscale(astronaut, (128, 128), rng=RNG, **parameters)
    theirs = Image.fromarray(astronaut).resize((128, 128), getattr(Image.Resampling, name.upper()))
    assert np.array_equal(lr, np.asarray(theirs))


@pytest.mark.parametrize("name", ["mks2013", "mks2021", "lanczos2"])
def test_vips_kernels_are_those_of_vips(name: str, astronaut: NDArray[np.uint8]) -> None:
    parameters = _there("pyvips", name)
    import pyvips

    direct = pyvips.Image.new_from_array(astronaut).resize(0.25, kernel=name).numpy()
    assert np.array_equal(resize.downscale(astronaut, (128, 128), rng=RNG, **parameters), direct)


@pytest.mark.parametrize("linear", [False, True])
def test_a_thumbnail_is_that_of_vips(linear: bool, astronaut: NDArray[np.uint8]) -> None:
    parameters = _there("thumbnail", "default") | {"linear": linear}
    import pyvips

    image = pyvips.Image.new_from_array(astronaut)
    direct = image.thumbnail_image(128, height=128, size="force", linear=linear).numpy()
    lr = resize.downscale(astronaut, (128, 128), rng=RNG, **parameters)
    assert np.array_equal(lr, direct)
    # Half of the rows white: 128 as sRGB, 188 in linear light.
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 255
    middle = resize.downscale(stripes, (16, 16), rng=RNG, **parameters)[8, 8, 0]
    assert abs(int(middle) - (188 if linear else 128)) <= 1


def test_torchvisions_lanczos_is_torchvisions_and_near_pillows(astronaut: NDArray[np.uint8]) -> None:
    parameters = _there("torchvision", "lanczos")
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import Resize

    x = torch.from_numpy(astronaut.copy()).permute(2, 0, 1)
    direct = Resize((128, 128), interpolation=InterpolationMode.LANCZOS)(x).permute(1, 2, 0).numpy()
    lr = resize.downscale(astronaut, (128, 128), rng=RNG, **parameters)
    assert np.array_equal(lr, direct)
    pillow = resample.downscale(astronaut, (128, 128), rng=RNG, filter="lanczos").astype(int)
    assert np.abs(lr.astype(int) - pillow).max() <= 1


def test_a_version_without_the_function_is_missing_software(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"pillow": "12.1.0", "torchvision": "0.26.1"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: old[name])
    monkeypatch.setattr(resize.Image, "Resampling", Image.Transpose)
    with pytest.raises(MissingSoftware, match=r"^Pillow 12\.1\.0 has no filter MKS2021: pip install 'pillow>=13'$"):
        resize.packages(resize.Parameters(backend="pillow", filter="mks2021"))
    with pytest.raises(MissingSoftware, match=r"^torchvision 0\.26\.1 has no Lanczos for tensors: pip install"):
        resize.packages(resize.Parameters(backend="torchvision", filter="lanczos"))
    assert "torchvision" in resize.packages(resize.Parameters(backend="torchvision", filter="bicubic"))


def test_what_a_library_does_not_have_is_said() -> None:
    with pytest.raises(ValidationError, match="pillow has no such filter here"):
        resize.Parameters(backend="pillow", filter="lanczos2")
    with pytest.raises(ValidationError, match="torchvision has no such choice"):
        resize.Parameters(backend="torchvision", filter="lanczos", linear=True)


# Kernels by their formulas.
MAGIC = {
    "quadratic": [1.0],
    "mks2013": [-1 / 4, 3 / 2, -1 / 4],
    "mks2021": [w / 144 for w in (-1, 6, -35, 204, -35, 6, -1)],
}


@pytest.mark.parametrize("kernel", MAGIC)
def test_a_magic_kernel_is_the_quadratic_spline_sharpened(kernel: str) -> None:
    """The golden: the threefold convolution of a box, made here by sums, and its sharpening at whole distances."""
    n = 200  # samples of a unit
    box = np.ones(n) / n
    spline = np.convolve(np.convolve(box, box), box) * n
    at = (np.arange(len(spline)) - (len(spline) - 1) / 2) / n
    x = np.linspace(-6, 6, 1201)
    taps = MAGIC[kernel]
    golden = sum(w * np.interp(x, at + k - len(taps) // 2, spline, left=0, right=0) for k, w in enumerate(taps))
    half, formula = convolve.KERNELS[kernel]
    assert np.abs(formula(x) - golden).max() < 2e-3 * max(np.abs(taps))
    assert half == 1.5 + len(taps) // 2


@pytest.mark.parametrize("kernel", convolve.KERNELS)
def test_a_kernel_ends_where_it_says_and_its_weights_sum_to_one(kernel: str) -> None:
    half, formula = convolve.KERNELS[kernel]
    x = np.arange(-10, 10, 1e-3)
    seen = np.abs(x[np.abs(formula(x)) > 1e-9])
    assert half - 0.02 < seen.max() <= half
    for count, reduced in ((64, 16), (40, 5), (30, 15), (21, 7)):
        _, share = convolve.weights(kernel, count, reduced)
        assert np.allclose(share.sum(axis=1), 1)
    if kernel not in ("lanczos2", "lanczos3"):  # sincs with a window do not quite sum to one
        unit = sum(formula(np.linspace(-0.5, 0.4999, 50) + k) for k in range(-6, 7))
        assert np.allclose(unit, 1)


@pytest.mark.parametrize("light", ["srgb", "linear", "gamma22"])
@pytest.mark.parametrize("kernel", ["box", "mks2021"])
def test_a_kernel_keeps_the_contract_in_every_light(kernel: str, light: str) -> None:
    check_downscaler(convolve, {"kernel": kernel, "light": light})
    levels = np.arange(256, dtype=np.uint8)
    hr = np.repeat(levels, 4)[None, :, None] * np.ones((4, 1, 3), np.uint8)
    if kernel == "box":  # a flat cell keeps its level, whatever the light
        assert np.array_equal(convolve.downscale(hr, (1, 256), rng=RNG, kernel=kernel, light=light)[0, :, 0], levels)


def test_light_is_averaged_as_light() -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[::2] = 255
    means = {n: convolve.downscale(stripes, (4, 4), rng=RNG, kernel="box", light=n)[1, 1, 0] for n in convolve.LIGHTS}
    assert means == {"srgb": 128, "linear": 188, "gamma22": 186}


@pytest.mark.parametrize(
    ("kernel", "backend", "name", "most"),
    [
        ("box", "pillow", "box", 1),
        ("bilinear", "pillow", "bilinear", 1),
        ("bicubic", "pillow", "bicubic", 2),
        ("lanczos3", "pillow", "lanczos", 2),
        ("mks2013", "pillow", "mks2013", 2),
        ("mks2021", "pillow", "mks2021", 2),
    ],
)
def test_a_kernel_is_a_librarys_but_for_rounding(
    kernel: str, backend: str, name: str, most: int, astronaut: NDArray[np.uint8]
) -> None:
    """Pillow rounds to 8 bits between its passes, and cuts off there."""
    hr = np.ascontiguousarray(astronaut[:, :384])
    ours = convolve.downscale(hr, (128, 96), rng=RNG, kernel=kernel).astype(int)
    if name.startswith("mks"):
        theirs = resize.downscale(hr, (128, 96), rng=RNG, **_there(backend, name))
    else:
        theirs = resample.downscale(hr, (128, 96), rng=RNG, backend=backend, filter=name)
    apart = np.abs(ours - theirs)
    assert np.mean(apart > most) < 0.004
    assert np.mean(apart > 1) < 0.01
