"""One image: what a card needs to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ida_rd.calibration.ranks import rank_histogram
from ida_rd.calibration.spaces import features, octaves, projections, wavelets
from ida_rd.calibration.spread import mean_lengths, squared_parts

__all__ = ["Measured", "measure", "wavelet_name"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What is measured of one image and its K samples, by space.

    Attributes
    ----------
    histograms : mapping
        Space to the rank histogram, (K + 1,).
    squares : mapping
        Space to variance and bias^2.
    lengths : mapping
        Space to the mean length between samples, and from samples to the original.
    hr, plain : ndarray
        (P, C): features of the original, and of the enlarged LR image.
    sr : ndarray
        (K, P, C): those of the samples.
    off : ndarray or None
        (K,): by how many levels (RMSE) the downscaler's image of each sample differs from the LR image; None where the
        downscaler is not at hand, or draws at random.
    """

    histograms: Mapping[str, Array]
    squares: Mapping[str, tuple[float, float]]
    lengths: Mapping[str, tuple[float, float]]
    hr: NDArray
    plain: NDArray
    sr: NDArray
    off: Array | None = None


def wavelet_name(octave: int) -> str:
    """Name of an octave of wavelets, 0 the finest, by the width of its details in HR pixels."""
    return f"wavelets {2 ** (octave + 1)} px"


def measure(hr: NDArray, lr: NDArray[np.uint8], sr: NDArray, off: Array | None = None) -> Measured:
    """Measure an image.

    Parameters
    ----------
    hr : ndarray
        (H, W, 3), grey levels.
    lr : ndarray
        (h, w, 3), uint8.
    sr : ndarray
        (K, H, W, 3), grey levels, K of at least 2.
    off : ndarray, optional
        See `Measured`.
    """
    size = (hr.shape[1], hr.shape[0])
    plain = np.asarray(Image.fromarray(lr).resize(size, Image.Resampling.BICUBIC))
    told = features(np.concatenate([hr[None], plain[None], sr]))
    of_hr, of_plain, of_sr = told[0], told[1], told[2:]
    histograms = {"pixels": rank_histogram(hr, sr)}
    levels = hr.astype(np.float32), sr.astype(np.float32)
    squares = {"pixels": squared_parts(*levels)}
    count = octaves(hr.shape[0] // lr.shape[0])
    pairs = zip(wavelets(hr, count), wavelets(sr, count), strict=True)
    for octave, (one, many) in enumerate(pairs):
        histograms[wavelet_name(octave)] = rank_histogram(one, many)
        squares[wavelet_name(octave)] = squared_parts(one, many)
    histograms["features"] = rank_histogram(projections(of_hr), projections(of_sr))
    squares["features"] = squared_parts(of_hr, of_sr)
    # Pixels are one long vector, as the score of images takes them; cells are vectors of features.
    flat = levels[0].reshape(1, -1), levels[1].reshape(len(sr), 1, -1)
    lengths = {"pixels": mean_lengths(*flat), "features": mean_lengths(of_hr, of_sr)}
    return Measured(histograms, squares, lengths, of_hr, of_plain, of_sr, off)
