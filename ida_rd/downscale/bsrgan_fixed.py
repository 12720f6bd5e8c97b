"""One process of BSRGAN's kind with fixed strengths, the rows of the paper's supplement, table 2.

    {method: bsrgan-fixed, noise: 0.404, blur: 1.2, jpeg: 55}

Isotropic Gaussian blur in HR pixels, bicubic reduction, Gaussian noise, JPEG, each ending in 8 bits.
The authors give three numbers per row, [noise level, blur sigma, JPEG], and no code: order and the mapping
of the noise level, a draw from [0, 1], to BSRGAN's range of 2 to 25 grey levels are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.downscale.degrade import GaussianBlur, GaussianNoise, through_jpeg

__all__ = ["RANDOM", "REACH", "Parameters", "downscale"]

HARMLESS = ("noise", "blur", "jpeg")
RANDOM = True
REACH = None  # the blur can be of any width, and JPEG has a grid


class Parameters(Base):
    """Strengths of the steps."""

    noise: float = Field(ge=0, le=1, description="noise level; 0 stands for 2 grey levels, 1 for 25")
    blur: float = Field(ge=0, le=100, description="standard deviation of the Gaussian blur, in HR pixels")
    jpeg: int = Field(ge=1, le=100, description="quality of the JPEG file")


def downscale(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, noise: float, blur: float, jpeg: int
) -> NDArray[np.uint8]:
    """Downscale (H, W, 3) uint8 to `size` (h, w): blur, bicubic, noise of ``(2 + 23 noise) / 255``, JPEG."""
    blurred = GaussianBlur(sigma=blur, backend="exact").apply(hr, rng)
    lr = np.asarray(Image.fromarray(blurred).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    noisy = GaussianNoise(sigma=(2 + 23 * noise) / 255).apply(lr, rng)
    return through_jpeg(noisy, jpeg)
