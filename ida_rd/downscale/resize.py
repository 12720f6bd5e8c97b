"""More functions of the libraries that people resize images with, as their users call them.

    {method: resize, backend: pillow, filter: mks2021}
    {method: resize, backend: thumbnail, filter: default, linear: true}   # libvips' thumbnail, in linear light

What `resample` lacks: Pillow's and libvips' magic kernels, libvips' thumbnail, torchvision's functions on 8 bits.
A module of its own, so that it can grow and nothing that `resample` made is made again.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version
from PIL import Image
from pydantic import Field, ValidationInfo, field_validator

from ida_rd.core.errors import did_you_mean
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.software import MissingSoftware

__all__ = ["BACKENDS", "Parameters", "downscale", "packages", "reach"]

HARMLESS = ("backend", "filter", "linear")
REACH = 4  # of mks2021, the widest; reach() says it of each

Pixels = NDArray[np.uint8]
Size = tuple[int, int]  # (h, w)
LIBRARIES = "pip install 'ida-rd[libraries]', or whatever gives you that package"
NATIVE_LANCZOS = Version("0.27")  # of torchvision, on tensors


def _pillow(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    return np.asarray(Image.fromarray(hr).resize(size[::-1], Image.Resampling[name.upper()]))


def _pyvips(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    import pyvips

    image = pyvips.Image.new_from_array(hr)
    lr = image.resize(size[1] / hr.shape[1], vscale=size[0] / hr.shape[0], kernel=name)
    return np.asarray(lr.numpy(), np.uint8)


def _thumbnail(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    import pyvips

    image = pyvips.Image.new_from_array(hr, interpretation="srgb")
    lr = image.thumbnail_image(size[1], height=size[0], size="force", linear=linear)
    return np.asarray(lr.numpy(), np.uint8)


def _torchvision(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    x = torch.from_numpy(np.ascontiguousarray(hr.transpose(2, 0, 1)))
    lr = resize(x, list(size), interpolation=InterpolationMode[name.upper()], antialias=True)
    return np.ascontiguousarray(lr.permute(1, 2, 0).numpy())


class Backend(NamedTuple):
    """A library: its package, its filters with how many LR pixels each reaches, whether it has a linear light."""

    package: str
    resize: Callable[[Pixels, Size, str, bool], Pixels]
    filters: dict[str, int]
    linear: bool = False


BACKENDS = {
    "pillow": Backend("PIL", _pillow, {"mks2013": 2, "mks2021": 4}),
    "pyvips": Backend("pyvips", _pyvips, {"lanczos2": 2, "mks2013": 2, "mks2021": 4}),
    "thumbnail": Backend("pyvips", _thumbnail, {"default": 3}, linear=True),
    "torchvision": Backend("torchvision", _torchvision, {"bilinear": 1, "bicubic": 2, "lanczos": 3}),
}


class Parameters(Base):
    """Whose function, and which."""

    backend: Literal["pillow", "pyvips", "thumbnail", "torchvision"] = Field(  # first: the others depend on it
        description="library that resizes; thumbnail is libvips'"
    )
    filter: str = Field(
        description="the library's filter; "
        + "; ".join(f"{name}: {', '.join(b.filters)}" for name, b in BACKENDS.items()),
        json_schema_extra={"enum": [*sorted({name for backend in BACKENDS.values() for name in backend.filters})]},
    )
    linear: bool = Field(default=False, description="reduce in linear light; thumbnail alone has the choice")

    @field_validator("filter")
    @classmethod
    def _backend_has_it(cls, name: str, info: ValidationInfo) -> str:
        backend = info.data.get("backend")
        if backend and name not in BACKENDS[backend].filters:
            raise ValueError(f"{backend} has no such filter here; {did_you_mean(name, BACKENDS[backend].filters)}")
        return name

    @field_validator("linear")
    @classmethod
    def _backend_has_linear_light(cls, value: bool, info: ValidationInfo) -> bool:
        backend = info.data.get("backend")
        if value and backend and not BACKENDS[backend].linear:
            raise ValueError(f"{backend} has no such choice; leave the key out, or see the method convolve")
        return value


def reach(parameters: Parameters) -> int:
    """How far beyond its own cell an LR pixel depends on HR pixels, in LR pixels."""
    return BACKENDS[parameters.backend].filters[parameters.filter]


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them; their versions are part of the recipe.

    Raises
    ------
    MissingSoftware
        The library is here, but its version lacks the function.
    """
    backend, name = parameters.backend, parameters.filter
    if backend == "pillow" and name.upper() not in Image.Resampling.__members__:
        have = importlib.metadata.version("pillow")
        raise MissingSoftware(f"Pillow {have} has no filter {name.upper()}: pip install 'pillow>=13'")
    if backend == "torchvision" and name == "lanczos":
        have = importlib.metadata.version("torchvision")
        if Version(have) < NATIVE_LANCZOS:
            raise MissingSoftware(
                f"torchvision {have} has no Lanczos for tensors: pip install 'torchvision>={NATIVE_LANCZOS}'"
            )
    return {BACKENDS[backend].package: LIBRARIES}


def downscale(
    hr: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    rng: np.random.Generator,
    backend: str,
    filter: str,
    linear: bool = False,
) -> NDArray[np.uint8]:
    """Resize by one of a library's functions.

    Parameters
    ----------
    hr : ndarray
        (H, W, 3), uint8, sRGB.
    size : tuple of int
        (h, w) of the LR image.
    rng : Generator
        Not used.
    backend : str
        ``pillow``, ``pyvips``: ``Image.resize``. ``thumbnail``: pyvips' ``thumbnail_image``, by its own kernel; of
        an image in memory, so that no file is shrunk while it is read (`command` with ``input: jpeg`` is for that).
        ``torchvision``: ``transforms.v2.functional.resize`` of a tensor of 8 bits, antialiased.
    filter : str
        One of ``BACKENDS[backend].filters``.
    linear : bool
        ``thumbnail_image(linear=True)``.

    Returns
    -------
    ndarray
        (h, w, 3), uint8.
    """
    return BACKENDS[backend].resize(hr, size, filter, linear)
