"""The classic filters, as done by the libraries that people resize images with.

    {method: resample, filter: bicubic}                                    # Pillow, as in the official IDA-RD
    {method: resample, backend: torch, filter: bilinear, antialias: true}

The same name means different things. An antialiased filter widens its kernel with the factor, so that
every HR pixel counts; one that is not takes a few HR pixels around each LR one and skips the rest, however
smooth its kernel is. ``antialias`` chooses where a library has the choice. A library that is not
installed is missing software: see ``missing_software`` in ``params.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, ValidationInfo, field_validator

from ida_rd.core.errors import did_you_mean
from ida_rd.core.methods import Parameters as Base
from ida_rd.downscale.eight_bit import round_levels

__all__ = ["BACKENDS", "REACH", "Parameters", "downscale", "packages"]

HARMLESS = ("backend", "filter", "antialias")
# Of lanczos, the widest antialiased filter. pyvips shrinks by half the factor first: where that is not a whole number
# of pixels (5, 7, 9, ...), its grid depends on the size of the image, and no margin makes a crop the same.
REACH = 3

Pixels = NDArray[np.uint8]
Size = tuple[int, int]  # (h, w)


def _pillow(hr: Pixels, size: Size, kernel: str, antialias: bool) -> Pixels:
    return np.asarray(Image.fromarray(hr).resize(size[::-1], Image.Resampling[kernel]))


def _opencv(hr: Pixels, size: Size, kernel: str, antialias: bool) -> Pixels:
    import cv2

    return cv2.resize(hr, size[::-1], interpolation=getattr(cv2, kernel)).astype(np.uint8)


def _torch(hr: Pixels, size: Size, kernel: str, antialias: bool) -> Pixels:
    import torch
    from torch.nn.functional import interpolate

    x = torch.from_numpy(np.ascontiguousarray(hr.transpose(2, 0, 1)))[None].float()
    lr = interpolate(x, size, mode=kernel, antialias=antialias)
    return round_levels(lr[0].permute(1, 2, 0).double().numpy())


def _skimage(hr: Pixels, size: Size, kernel: str, antialias: bool) -> Pixels:
    from skimage.transform import resize

    return round_levels(resize(hr, size, order=int(kernel), anti_aliasing=antialias, preserve_range=True))


def _pyvips(hr: Pixels, size: Size, kernel: str, antialias: bool) -> Pixels:
    import pyvips

    image = pyvips.Image.new_from_array(hr)
    lr = image.resize(size[1] / hr.shape[1], vscale=size[0] / hr.shape[0], kernel=kernel)
    return np.asarray(lr.numpy(), np.uint8)


class Backend(NamedTuple):
    """A library: its package, its names of the filters, those that leave a choice of antialiasing, and its default."""

    package: str
    resize: Callable[[Pixels, Size, str, bool], Pixels]
    filters: dict[str, str]
    optional_antialias: tuple[str, ...] = ()
    antialias: bool = False


BACKENDS = {
    "pillow": Backend(
        "PIL",
        _pillow,
        {name: name.upper() for name in ("box", "bilinear", "hamming", "bicubic", "lanczos", "nearest")},
    ),
    "opencv": Backend(
        "cv2",
        _opencv,
        {
            "area": "INTER_AREA",
            "bilinear": "INTER_LINEAR",
            "bicubic": "INTER_CUBIC",
            "lanczos": "INTER_LANCZOS4",
            "nearest": "INTER_NEAREST",
        },
    ),
    "torch": Backend(
        "torch",
        _torch,
        {name: name for name in ("area", "bilinear", "bicubic", "nearest", "nearest-exact")},
        optional_antialias=("bilinear", "bicubic"),
    ),
    "skimage": Backend(
        "skimage",
        _skimage,
        {"nearest": "0", "bilinear": "1", "bicubic": "3"},
        optional_antialias=("bilinear", "bicubic"),
        antialias=True,
    ),
    "pyvips": Backend(
        "pyvips",
        _pyvips,
        {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic", "mitchell": "mitchell", "lanczos": "lanczos3"},
    ),
}


class Parameters(Base):
    """Whose filter, and which."""

    backend: Literal["pillow", "opencv", "torch", "skimage", "pyvips"] = Field(  # first: the others depend on it
        default="pillow", description="library that resizes"
    )
    filter: str = Field(
        description="the library's filter; "
        + "; ".join(f"{name}: {', '.join(b.filters)}" for name, b in BACKENDS.items()),
        json_schema_extra={"enum": [*sorted({name for backend in BACKENDS.values() for name in backend.filters})]},
    )
    antialias: bool | None = Field(
        default=None,
        description="whether every HR pixel counts, for torch's and skimage's bilinear and bicubic; null: the library's"
        " default",
    )

    @field_validator("filter")
    @classmethod
    def _backend_has_it(cls, name: str, info: ValidationInfo) -> str:
        backend = info.data.get("backend")
        if backend and name not in BACKENDS[backend].filters:
            raise ValueError(f"{backend} has no such filter; {did_you_mean(name, BACKENDS[backend].filters)}")
        return name

    @field_validator("antialias")
    @classmethod
    def _backend_leaves_it_open(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        backend, name = info.data.get("backend"), info.data.get("filter")
        if value is not None and backend and name and name not in BACKENDS[backend].optional_antialias:
            raise ValueError(f"{backend}'s {name} leaves no choice; leave the key out")
        return value


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them; their versions are part of the recipe."""
    if parameters.backend == "pillow":
        return {}  # goldens hold it to the same bits in every version
    return {BACKENDS[parameters.backend].package: "pip install 'ida-rd[libraries]', or whatever gives you that package"}


def downscale(
    hr: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    rng: np.random.Generator,
    filter: str,
    backend: str = "pillow",
    antialias: bool | None = None,
) -> NDArray[np.uint8]:
    """Resize with one of a library's filters.

    Parameters
    ----------
    hr : ndarray
        (H, W, 3), uint8, sRGB.
    size : tuple of int
        (h, w) of the LR image.
    rng : Generator
        Not used.
    filter : str
        One of ``BACKENDS[backend].filters``. Nothing but the name is common to, say, two libraries'
        bicubic: Keys' kernel has a = -0.5 in Pillow, pyvips and torch with antialias, -0.75 in OpenCV and
        torch without; scikit-image's is a cubic spline.
    backend : str
        ``pillow``: antialiased filters, in 8 bits, bit for bit the official IDA-RD's. ``opencv``: none is
        antialiased, but ``area`` averages what each LR pixel covers. ``torch``: ``interpolate`` in float32,
        rounded; not antialiased unless asked for. ``skimage``: ``transform.resize`` in float64, rounded; a
        Gaussian blur before it unless told otherwise. ``pyvips``: ``resize``, antialiased.
    antialias : bool, optional

    Returns
    -------
    ndarray
        (h, w, 3), uint8.
    """
    library = BACKENDS[backend]
    wanted = library.antialias if antialias is None else antialias
    return library.resize(hr, size, library.filters[filter], wanted and filter in library.optional_antialias)
