"""BSRGAN's random degradation model [1]_, the "Type IV" test data of the paper's supplement, table 2.

    {method: bsrgan-type4}

Blur, blur, reduction, final reduction, Gaussian noise and JPEG in a random order, each of random
strength, and one more JPEG; every image has its own draws, which ``draws.json`` beside the LR images
records. The simulated camera of the original (used for a quarter of its images) is left out: it needs
a model of its own. Written from the paper's description with numbers of its released configuration;
there is nothing to compare it with bit for bit.

References
----------
.. [1] Zhang, Liang, Van Gool, Timofte, "Designing a practical degradation model for deep blind image
       super-resolution", ICCV 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.downscale.cubic import cubic
from ida_rd.downscale.degrade import through_jpeg
from ida_rd.downscale.eight_bit import round_levels

__all__ = ["RANDOM", "REACH", "downscale", "resize"]

HARMLESS = ()
RANDOM = True
REACH = None  # what is drawn depends on the size of the image

Image = NDArray[np.float64]  # (H, W, 3) in [0, 1]
KINDS = ("linear", "cubic", "area")
QUALITY = (30, 95)
NOISE_LEVELS = (2, 25)
OPENCV_SLOPE = -0.75  # of its cubic kernel


def downscale(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, draws: dict[str, Any] | None = None
) -> NDArray[np.uint8]:
    """Downscale (H, W, 3) uint8 to `size` (h, w) by a process drawn from `rng`; `draws` receives what was drawn."""
    scale = hr.shape[0] / size[0]
    image = hr / 255
    steps: list[dict[str, Any]] = []
    if scale == 4 and rng.random() < 0.25:
        kind = str(rng.choice(KINDS))
        image = resize(image, (hr.shape[0] // 2, hr.shape[1] // 2), kind)
        steps.append({"resize": {"kind": kind, "size": list(image.shape[:2])}})
        scale = 2
    order = [str(name) for name in rng.permutation(["blur", "blur", "reduce", "final", "noise", "jpeg"])]
    reduce, final = order.index("reduce"), order.index("final")
    if reduce > final:
        order[reduce], order[final] = "final", "reduce"
    for name in order:
        if name == "blur":
            image, drawn = _blur(image, scale, rng)
        elif name == "reduce":
            image, drawn = _reduce(image, scale, rng)
        elif name == "final":
            kind = str(rng.choice(KINDS))
            image, drawn = resize(image, size, kind), {"kind": kind, "size": list(size)}
        elif name == "noise":
            image, drawn = _noise(image, rng)
        elif rng.random() < 0.9:
            image, drawn = _jpeg(image, rng)
        else:
            continue
        image = np.clip(image, 0, 1)
        steps.append({name: drawn})
    image, drawn = _jpeg(image, rng)
    steps.append({"jpeg": drawn})
    if draws is not None:
        draws["steps"] = steps
    return round_levels(255 * image)


def _blur(image: Image, scale: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    """Isotropic or anisotropic Gaussian blur of 7 to 25 pixels, mirrored at the border."""
    side = 2 * int(rng.integers(3, 13)) + 1
    if rng.random() < 0.5:
        sigma = (2 + 0.2 * scale) * rng.random()
        covariance = sigma**2 * np.eye(2)
        drawn: dict[str, Any] = {"side": side, "sigma": sigma}
    else:
        angle, variances = np.pi * rng.random(), (4 + scale) * rng.random(2)
        axis = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        covariance = axis @ np.diag(variances) @ axis.T
        drawn = {"side": side, "angle": angle, "variances": variances.tolist()}
    return _filter(image, _gaussian(side, covariance)), drawn


def _gaussian(side: int, covariance: NDArray[np.float64], shift: float = 0.0) -> NDArray[np.float64]:
    """A sampled Gaussian of sum 1, (side, side), its centre moved by `shift` both ways."""
    # The least variance keeps the kernel a point where no blur was drawn.
    inverse = np.linalg.inv(covariance + 1e-8 * np.eye(2))
    steps = np.arange(side) - (side - 1) / 2 - shift
    x, y = np.meshgrid(steps, steps)
    exponent = -0.5 * (inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y)
    kernel = np.exp(exponent - exponent.max())
    return kernel / kernel.sum()


def _filter(image: Image, kernel: NDArray[np.float64]) -> Image:
    from scipy.signal import fftconvolve

    radius = kernel.shape[0] // 2
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    return fftconvolve(padded, kernel[::-1, ::-1, None], mode="valid", axes=(0, 1))


def _reduce(image: Image, scale: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    """By a random factor of 1 to twice the scale; or a shifted Gaussian, and every scale-th pixel."""
    if rng.random() < 0.75:
        factor, kind = rng.uniform(1, 2 * scale), str(rng.choice(KINDS))
        size = (max(1, int(image.shape[0] / factor)), max(1, int(image.shape[1] / factor)))
        return resize(image, size, kind), {"kind": kind, "factor": factor, "size": list(size)}
    sigma, stride = rng.uniform(0.1, 0.6 * scale), round(scale)
    # Every stride-th pixel from the first on is their upper left: the shift puts the result in their middle.
    kernel = _gaussian(25, sigma**2 * np.eye(2), shift=(stride - 1) / 2)
    return _filter(image, kernel)[::stride, ::stride], {"gaussian": sigma, "stride": stride}


def _noise(image: Image, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    """Gaussian noise of 2 to 25 grey levels: of each channel, common to all, or correlated between them."""
    level = int(rng.integers(NOISE_LEVELS[0], NOISE_LEVELS[1] + 1))
    kind = str(rng.choice(["colour", "grey", "correlated"], p=[0.4, 0.4, 0.2]))
    if kind == "colour":
        noise = level / 255 * rng.standard_normal(image.shape)
    elif kind == "grey":
        noise = level / 255 * rng.standard_normal((*image.shape[:2], 1))
    else:
        rotation = np.linalg.qr(rng.random((3, 3)))[0]
        covariance = rotation.T @ np.diag(rng.random(3)) @ rotation
        noise = NOISE_LEVELS[1] / 255 * rng.multivariate_normal(np.zeros(3), covariance, image.shape[:2])
        return image + noise, {"kind": kind, "covariance": covariance.tolist()}
    return image + noise, {"kind": kind, "level": level}


def _jpeg(image: Image, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    quality = int(rng.integers(QUALITY[0], QUALITY[1] + 1))
    return through_jpeg(round_levels(255 * image), quality) / 255, {"quality": quality}


def resize(image: Image, size: tuple[int, int], kind: str) -> Image:
    """Resize (H, W, 3) as OpenCV names it: ``linear`` and ``cubic`` without antialiasing, ``area`` by coverage.

    Where an axis grows, ``area`` is linear.
    """
    for axis in (0, 1):
        image = np.moveaxis(_resize_axis(np.moveaxis(image, axis, 0), size[axis], kind), 0, axis)
    return image


def _resize_axis(x: Image, size: int, kind: str) -> Image:
    from scipy.sparse import csr_array

    n = x.shape[0]
    if kind == "area" and size < n:
        edges = np.arange(size + 1) * (n / size)
        i = np.arange(n)
        weights = np.clip(np.minimum(i + 1, edges[1:, None]) - np.maximum(i, edges[:-1, None]), 0, None) * (size / n)
        matrix = csr_array(weights)
    else:
        position = (np.arange(size) + 0.5) * (n / size) - 0.5
        first = np.floor(position)
        taps = range(-1, 3) if kind == "cubic" else range(2)
        matrix = csr_array((size, n))
        for tap in taps:
            t = position - first - tap
            weight = cubic(t, OPENCV_SLOPE) if kind == "cubic" else 1 - np.abs(t)
            column = np.clip(first + tap, 0, n - 1).astype(np.int64)  # the border is repeated
            matrix = matrix + csr_array((weight, (np.arange(size), column)), shape=(size, n))
    return (matrix @ x.reshape(n, -1)).reshape(size, *x.shape[1:])
