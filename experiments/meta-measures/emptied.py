"""LR images that tell nothing of the HR image, or next to nothing: what every real downscaler must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def constant(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
    """The mean colour everywhere: the best of all images without content, by squared error."""
    colour = np.rint(hr.mean(axis=(0, 1))).astype(np.uint8)
    return np.broadcast_to(colour, (*size, 3)).copy()


def shuffled(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
    """The pixels of the bicubic LR image in random order: its colours alone."""
    lr = np.asarray(Image.fromarray(hr).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    return rng.permutation(lr.reshape(-1, 3)).reshape(lr.shape)


def random(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
    """Noise, every level alike."""
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)
