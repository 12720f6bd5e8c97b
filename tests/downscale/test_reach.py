"""Reach: the LR image of a crop with so wide a margin is the crop of the LR image."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ida_rd.core.methods import find_method, known_methods
from ida_rd.core.seeds import generator
from ida_rd.core.software import MissingSoftware
from ida_rd.downscale import convolve, dpid, l0, perceptual, resample, resize
from ida_rd.downscale.contract import Descriptor, reach_of

Image = NDArray[np.uint8]
SIDE = 16  # of the crop, in LR pixels
UNKNOWN = {"bsrgan-fixed", "bsrgan-type4", "command", "folder", "irn", "python", "resize"}
FILTERS = [
    {"backend": name, "filter": kind, "antialias": antialias}
    for name, backend in resample.BACKENDS.items()
    for kind in backend.filters
    for antialias in ([True, False] if kind in backend.optional_antialias else [None])
]
LOCAL = [
    *((resample, parameters) for parameters in FILTERS),
    *(
        (resize, {"backend": name, "filter": kind})
        for name, library in resize.BACKENDS.items()
        for kind, reach in library.filters.items()
        if reach is not None
    ),
    *((convolve, {"kernel": kernel}) for kernel in convolve.KERNELS),
    *((dpid, {"variant": variant}) for variant in ("real", "matlab_official", "cuda")),
    *((perceptual, {"patch": patch}) for patch in (1, 2, 5)),
]


def there(backend: str, filter: str) -> None:
    """Skip what is not installed, or not in this version."""
    pytest.importorskip(resize.BACKENDS[backend].package)
    try:
        resize.packages(resize.Parameters.model_validate({"backend": backend, "filter": filter}))
    except MissingSoftware as missing:
        pytest.skip(str(missing))


def _crops(method: ModuleType, parameters: dict[str, Any], hr: Image, factor: int, margin: int) -> tuple[Image, Image]:
    """A piece of the middle of an LR image: cut from it, and made of the HR pixels around it alone."""
    if method is resample and resample.BACKENDS[parameters["backend"]].package != "PIL":
        pytest.importorskip(resample.BACKENDS[parameters["backend"]].package)
    if method is resize:
        there(**parameters)
    n = 496 // factor // 2 * 2
    hr = np.ascontiguousarray(hr[: n * factor, : n * factor])
    rng = generator("reach")
    whole = method.downscale(hr, (n, n), rng=rng, **parameters)
    start, end = n // 2 - SIDE // 2 + 1, n // 2 + SIDE // 2 + 1
    around = slice((start - margin) * factor, (end + margin) * factor)
    outer = SIDE + 2 * margin
    part = method.downscale(np.ascontiguousarray(hr[around, around]), (outer, outer), rng=rng, **parameters)
    return whole[start:end, start:end], part[margin : margin + SIDE, margin : margin + SIDE]


def test_every_downscaler_says_how_far_it_reaches() -> None:
    for name in known_methods("downscale"):
        module = find_method("downscale", name, where="x")
        assert hasattr(module, "REACH"), name
        assert (module.REACH is None) == (name in UNKNOWN), name


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize(("method", "parameters"), LOCAL, ids=lambda x: getattr(x, "__name__", str(x)).split(".")[-1])
def test_a_crop_with_a_margin_of_the_reach_gives_the_same_pixels(
    method: ModuleType, parameters: dict[str, Any], factor: int, astronaut: Image
) -> None:
    reach = reach_of(method, method.Parameters(**parameters))
    assert reach is not None
    assert method.REACH is None or reach <= method.REACH
    cut, made = _crops(method, parameters, astronaut, factor, reach)
    assert np.array_equal(cut, made)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (resample, {"backend": "pillow", "filter": "lanczos"}),
        (resize, {"backend": "pillow", "filter": "mks2021"}),
        (convolve, {"kernel": "mks2021"}),
        (dpid, {}),
        (perceptual, {"patch": 1 + perceptual.REACH}),
        (perceptual, {}),
    ],
)
def test_no_smaller_margin_would_do(method: ModuleType, parameters: dict[str, Any], astronaut: Image) -> None:
    reach = reach_of(method, method.Parameters(**{"filter": "box"} | parameters if method is resample else parameters))
    assert reach is not None
    cut, made = _crops(method, parameters, astronaut, 4, reach - 1)
    assert not np.array_equal(cut, made)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_l0_has_no_end_but_fades(factor: int, astronaut: Image) -> None:
    cut, made = _crops(l0, {}, astronaut, factor, l0.REACH)
    off = np.abs(cut.astype(int) - made)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.06
    cut, made = _crops(l0, {}, astronaut, factor, 1)
    assert np.abs(cut.astype(int) - made).max() > 2


def test_a_downscaler_of_ones_own_has_an_unknown_reach() -> None:
    assert reach_of(ModuleType("mine"), None) is None
    assert Descriptor("CC0").weights == {}
