"""How many images and samples show that two downscalers differ? Variance between images and between samples.

A score's rows follow a random-effects model: the value of sample k of image i is m + a_i + e_ik, with variance B
between images and W between samples of an image. The mean over N images with K samples each then has the variance
(B + W / K) / N. The same holds for the difference of two downscalers, sample by sample: the latents are common, so
that both parts of it are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ida_rd.core.errors import UserError

__all__ = ["Components", "components", "images_needed", "paired_rows"]

MOST_IMAGES = 10**6


@dataclass(frozen=True)
class Components:
    """Parts of the variance of a score, or of a difference of two.

    Attributes
    ----------
    mean : float
    between : float
        Variance between images; 0 where the samples alone explain the spread of the image means.
    within : float or None
        Variance between the samples of an image; None where no image has two.
    samples : float
        Samples per image, K (harmonic mean, if some are lost).
    images : int
    """

    mean: float
    between: float
    within: float | None
    samples: float
    images: int

    def share_of_samples(self) -> float | None:
        """Part of the variance of an image mean that more samples would remove."""
        if self.within is None:
            return None
        total = self.between + self.within / self.samples
        return self.within / self.samples / total if total > 0 else 0.0

    def variance_of_image_mean(self, samples: int) -> float:
        """Variance over images of the mean of K samples."""
        if self.within is None:
            if samples != self.samples:
                raise UserError("one sample per image does not show how samples differ: run with samples: 2 or more")
            return self.between
        return self.between + self.within / samples


def components(values: pd.DataFrame, column: str) -> Components:
    """Estimate the parts by the method of moments (one-way analysis of variance).

    Parameters
    ----------
    values : DataFrame
        Columns image_id and `column`, one row per sample; missing values are left out.

    Raises
    ------
    UserError
        Fewer than two images.
    """
    groups = values.dropna(subset=[column]).groupby("image_id", sort=True)[column]
    means, sizes = groups.mean(), groups.size()
    if len(means) < 2:
        raise UserError(f"{column}: {len(means)} images have a value; at least two are needed")
    samples = float(len(sizes) / (1 / sizes).sum())
    spread = groups.var(ddof=1).dropna()
    within = float(spread.mean()) if len(spread) else None
    between = float(means.var(ddof=1)) - (within or 0.0) / samples
    return Components(float(means.mean()), max(between, 0.0), within, samples, len(means))


def paired_rows(a: pd.DataFrame, b: pd.DataFrame, distortion: str) -> pd.DataFrame:
    """Difference b minus a of every sample that both have: columns image_id, sample and `distortion`."""
    keys = ["image_id", "sample"]
    both = a[a.finite].merge(b[b.finite], on=keys, suffixes=("_a", "_b"))
    return both[keys].assign(**{distortion: both[f"{distortion}_b"] - both[f"{distortion}_a"]})


def images_needed(difference: Components, samples: int, *, power: float, level: float) -> int | None:
    """Return the least number of images for which a paired t-test sees a difference as large as the pilot's.

    Parameters
    ----------
    difference : Components
        Of the pilot run's paired differences.
    samples : int
        K, samples per image.
    power : float
        Probability that the test sees it, if it is as large as in the pilot.
    level : float
        Two-sided level of the test.

    Returns
    -------
    int or None
        None if a million images are not enough.
    """
    variance = difference.variance_of_image_mean(samples)
    if variance == 0:
        return 2 if difference.mean != 0 else None
    effect = abs(difference.mean) / float(np.sqrt(variance))

    def reached(count: int) -> bool:
        limit = stats.t.isf(level / 2, count - 1)
        return float(stats.nct.sf(limit, count - 1, effect * np.sqrt(count))) >= power

    if effect < 1e-3 or not reached(MOST_IMAGES):
        return None
    low, high = 1, 2
    while not reached(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
