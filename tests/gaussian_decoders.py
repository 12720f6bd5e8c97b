"""What tests of calibration share: images of a Gaussian world, and decoders that are exact, or wrong in a known way."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ida_rd.calibration.card import Card, make_card
from ida_rd.calibration.measure import Measured, measure
from ida_rd.calibration.resampling import Settings
from ida_rd.core.seeds import generator
from ida_rd.models.gaussian_field import Field, Posterior, World
from ida_rd.models.linear_filters import kernel_of

FACTOR = 4
FIELD = Field(sigma=30.0, cutoff=1 / 32)
DECODERS = {
    "exact": (1.0, 0.0),
    "narrow": (0.8, 0.0),
    "wide": (1.2, 0.0),
    "shifted": (1.0, 0.5),
}  # width, shift in s.d.


@cache
def posterior(side: int, name: str = "box") -> Posterior:
    return Posterior(World(FIELD, kernel_of(name, FACTOR), FACTOR), side, side)


@cache
def deviation(side: int) -> float:
    """Standard deviation of a pixel given LR, in levels, by drawing."""
    one, rng = posterior(side), np.random.default_rng(0)
    lr = np.full((3, side // FACTOR, side // FACTOR), FIELD.mean)
    drawn = [one.sample(lr, rng.standard_normal((3, side, side)), rng.standard_normal(lr.shape)) for _ in range(50)]
    return float(np.std(drawn))


def reduced(hr: NDArray) -> NDArray[np.uint8]:
    """Box average of (H, W, 3), rounded: what the decoder knows of."""
    height, width = (side // FACTOR for side in hr.shape[:2])
    lr = hr.reshape(height, FACTOR, width, FACTOR, 3).mean(axis=(1, 3))
    return np.clip(np.rint(lr), 0, 255).astype(np.uint8)


def drawn(
    seed: int, image: int, decoder: str, samples: int, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """An original (H, W, 3), its LR image and samples (K, H, W, 3), all of 8 bits."""
    rng, one = generator("gaussian decoders", seed, image), posterior(side)
    hr = _levels(FIELD.draw(rng.standard_normal((3, side, side))))
    lr = reduced(hr)
    given = lr.transpose(2, 0, 1).astype(np.float64)
    width, shift = DECODERS[decoder]
    mean = one.mean(given)
    found = []
    for _ in range(samples):
        sample = one.sample(given, rng.standard_normal((3, side, side)), rng.standard_normal(given.shape))
        found.append(_levels(mean + width * (sample - mean) + shift * deviation(side)))
    return hr, lr, np.stack(found)


def _levels(planes: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.clip(np.rint(planes), 0, 255).astype(np.uint8).transpose(1, 2, 0))


def measured(seed: int, decoder: str, *, images: int = 16, samples: int = 5, side: int = 32) -> dict[str, Measured]:
    """What is measured of the images of a seed, through one decoder."""
    found = {}
    for image in range(images):
        hr, lr, sr = drawn(seed, image, decoder, samples, side)
        off = np.sqrt([np.square(reduced(one) - lr.astype(float)).mean() for one in sr])
        found[f"i{image:03d}"] = measure(hr, lr, sr, off)
    return found


def card_of(seed: int, decoder: str, *, resamples: int = 600, **sizes: int) -> Card:
    found = measured(seed, decoder, **sizes)
    return make_card(found, {name: name for name in found}, Settings(resamples=resamples, seed=seed))
