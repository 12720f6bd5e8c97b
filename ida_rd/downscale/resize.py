"""More functions of the libraries that people resize images with, as their users call them.

    {method: resize, backend: pillow, filter: mks2021}
    {method: resize, backend: thumbnail, filter: default, linear: true}   # libvips' thumbnail, in linear light

What `resample` lacks: Pillow's and libvips' magic kernels, libvips' thumbnail, torchvision's functions on 8 bits;
the crate fast_image_resize by its Python package, Skia, splineops' projections on splines, and scalerack. A package
that is not installed is missing software: see ``missing_software`` in ``params.yaml``.
A module of its own, so that it can grow and nothing that `resample` made is made again.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version
from PIL import Image
from pydantic import Field, ValidationInfo, field_validator

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.software import MissingSoftware
from ida_rd.downscale.eight_bit import round_levels

__all__ = ["BACKENDS", "Parameters", "downscale", "packages", "reach"]

HARMLESS = ("backend", "filter", "linear")
REACH = None  # some have no end; reach() says it of each

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


def _fast_image_resize(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer

    source = ImageData(hr.shape[1], hr.shape[0], PixelType.U8x3, hr.tobytes())
    target = ImageData(size[1], size[0], PixelType.U8x3)
    kind = FilterType[name.replace("-", "_")]
    Resizer().resize(source, target, ResizeOptions(resize_alg=ResizeAlg.convolution(kind)))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(*size, 3).copy()


def _skia(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    import skia

    sampling = {
        "nearest": lambda: skia.SamplingOptions(),
        "linear": lambda: skia.SamplingOptions(skia.FilterMode.kLinear),
        "mitchell": lambda: skia.SamplingOptions(skia.CubicResampler.Mitchell()),
        "mipmap": lambda: skia.SamplingOptions(skia.FilterMode.kLinear, skia.MipmapMode.kLinear),
    }[name]()
    kind = skia.ColorType.kRGBA_8888_ColorType
    pixels = np.dstack([hr, np.full(hr.shape[:2], 255, np.uint8)])
    lr = skia.Image.fromarray(pixels, colorType=kind).resize(size[1], size[0], sampling)
    return np.ascontiguousarray(lr.toarray(colorType=kind)[..., :3])


def _splineops(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    import splineops
    from splineops.resize import resize_degrees

    where = {"output_size": size, "axes": (0, 1)}
    if name == "least-squares":
        lr = resize_degrees(hr, **where, interp_degree=3, analy_degree=3, synthe_degree=3)
    else:
        lr = splineops.resize(hr, **where, method=name)
    return round_levels(np.asarray(lr, np.float64))


def _scalerack(hr: Pixels, size: Size, name: str, linear: bool) -> Pixels:
    import scalerack

    where = {"width": size[1], "height": size[0]}
    if name == "content-adaptive":
        return np.asarray(scalerack.content_adaptive_downscale(hr, **where), np.uint8)
    if name.startswith("mks"):
        return np.asarray(scalerack.magic_kernel_sharp(hr, **where, version=int(name[3:])), np.uint8)
    return np.asarray(scalerack.lanczos(hr, **where), np.uint8)


class Backend(NamedTuple):
    """A library: its package and filters, each with how many LR pixels it reaches; None is no end.

    A package that one filter needs beside it; and whether there is a choice of linear light.
    """

    package: str
    resize: Callable[[Pixels, Size, str, bool], Pixels]
    filters: dict[str, int | None]
    install: str = LIBRARIES
    beside: Mapping[str, tuple[str, str]] = MappingProxyType({})
    linear: bool = False


BACKENDS = {
    "pillow": Backend("PIL", _pillow, {"mks2013": 2, "mks2021": 4}),
    "pyvips": Backend("pyvips", _pyvips, {"lanczos2": 2, "mks2013": 2, "mks2021": 4}),
    "thumbnail": Backend("pyvips", _thumbnail, {"default": 3}, linear=True),
    "torchvision": Backend("torchvision", _torchvision, {"bilinear": 1, "bicubic": 2, "lanczos": 3}),
    "fast-image-resize": Backend(
        "cykooz_resizer",
        _fast_image_resize,
        {"box": 0, "bilinear": 1, "catmull-rom": 2, "mitchell": 2, "gaussian": 3, "lanczos3": 3},
        "pip install cykooz-resizer",
    ),
    # Levels of a mipmap halve from the corner of the image, so a crop has others unless the factor is a power of two.
    "skia": Backend(
        "skia", _skia, {"nearest": 1, "linear": 1, "mitchell": 2, "mipmap": None}, "pip install skia-python"
    ),
    # Its grid has the corners of both images on one another, so a crop has another grid.
    "splineops": Backend(
        "splineops", _splineops, {"cubic-antialiasing": None, "least-squares": None}, "pip install splineops"
    ),
    "scalerack": Backend(
        "scalerack",
        _scalerack,
        {"lanczos": 3, "mks2013": 2, "mks2021": 4, "content-adaptive": None},
        "pip install scalerack",
        beside={"content-adaptive": ("skimage", "pip install 'scalerack[content-adaptive-downscale]'")},
    ),
}


class Parameters(Base):
    """Whose function, and which."""

    backend: Literal[  # first: the others depend on it
        "pillow", "pyvips", "thumbnail", "torchvision", "fast-image-resize", "skia", "splineops", "scalerack"
    ] = Field(description="library that resizes; thumbnail is libvips'")
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


def reach(parameters: Parameters) -> int | None:
    """How far beyond its own cell an LR pixel depends on HR pixels, in LR pixels; None: without end."""
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
    library = BACKENDS[backend]
    return {library.package: library.install} | dict([library.beside[name]] if name in library.beside else [])


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
        ``fast-image-resize``: the crate's convolution, by the package cykooz-resizer. ``skia``: ``Image.resize`` of
        skia-python; none is antialiased but ``mipmap``, which browsers use. ``splineops``: projection on cubic
        splines, ``cubic-antialiasing`` the oblique one that it recommends; its grid puts the centres of the corner
        pixels of both images on one another, so that the LR image is stretched by up to half an LR pixel against all
        others here; rounded. ``scalerack``: ``content-adaptive`` is its own program for Kopf, Shamir and Peers,
        Content-adaptive image downscaling, ACM TOG 32(6), 2013, and takes minutes for an image.
    filter : str
        One of ``BACKENDS[backend].filters``.
    linear : bool
        ``thumbnail_image(linear=True)``.

    Returns
    -------
    ndarray
        (h, w, 3), uint8.

    Raises
    ------
    UserError
        The package is installed, but cannot be loaded.
    """
    library = BACKENDS[backend]
    try:
        importlib.import_module(library.package)
    except (ImportError, OSError) as error:  # what it is linked with may be missing
        raise UserError(f"the package {library.package} cannot be loaded ({error}): install what it needs") from None
    return library.resize(hr, size, filter, linear)
