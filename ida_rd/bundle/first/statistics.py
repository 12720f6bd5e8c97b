"""From per-sample rows to a score with its uncertainty, as version 1 had it.

IDA-RD of a downscaling process (Liang et al., CVPR 2024, arXiv 2403.15139) is the expectation over
images X and reconstructions X^ of the distortion D_Q(X, X^). The estimate is the mean over images
of the mean over an image's samples.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator
from ida_rd.core.tables import spread_column

__all__ = ["Score", "bootstrap_interval", "summarise"]


@dataclass(frozen=True)
class Score:
    """Summary of one branch by one distortion, in the distortion's unit.

    Attributes
    ----------
    mean : float
        Mean over images of the mean over samples: the score.
    std_images : float
        Standard deviation over images (of the image means; n - 1).
    std_samples : float or None
        Mean over images of the standard deviation over samples (n - 1); None for one sample.
    ci_low, ci_high : float
        Bootstrap interval of the mean, over images.
    variance, bias : float or None
        What the mean is made of, where the distortion is a squared distance of embeddings and there are
        two samples or more: half the mean distance between samples of an image, and the rest, the squared
        bias.
    variance_to_bias : float or None
        Their ratio. Samples of the true posterior have the same distribution as the original, so it is 1 for
        them; below 1, the samples are too alike. None if the bias is not positive.
    """

    mean: float
    std_images: float
    std_samples: float | None
    ci_low: float
    ci_high: float
    variance: float | None = None
    bias: float | None = None
    variance_to_bias: float | None = None


def bootstrap_interval(values: NDArray[np.float64], confidence: float, resamples: int, seed: int) -> tuple[Any, Any]:
    """Bias-corrected and accelerated bootstrap interval of the mean, widened for few images.

    Resampling N values knows neither that their spread is itself estimated nor that it comes out smaller by
    sqrt((N - 1) / N): plain intervals of 24 images cover 92 % of the time and not 95. So the confidence is raised by
    as much as turns a normal interval into Student's (at N = 24 from 95 to 96.5 %); the coverage is tested.

    Parameters
    ----------
    values : ndarray
        (N,), one value per image, N >= 2; or (P, N), to be resampled together.
    confidence : float
        Between 0 and 1.
    resamples : int
    seed : int
        All branches of a run draw the same images in each resample.

    Returns
    -------
    low, high : float
        Or ndarrays (P,).

    References
    ----------
    .. [1] Efron, "Better bootstrap confidence intervals", JASA 82, 1987.
    .. [2] Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015, section 4.2
       (the expanded percentile interval, whose widening this is).
    """
    count = values.shape[-1]
    widened = np.sqrt(count / (count - 1)) * stats.t.isf((1 - confidence) / 2, count - 1)
    tail = max(float(stats.norm.sf(widened)), 0.5 / resamples)  # no resample lies further out
    lowest, spread = values.min(axis=-1), np.ptp(values, axis=-1)
    scale = np.where(spread == 0, 1.0, spread)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.filterwarnings("ignore", "invalid value|divide by zero", RuntimeWarning)
        interval = stats.bootstrap(
            # The interval moves and scales with the data; tiny values underflow.
            ((values - lowest[..., None]) / scale[..., None],),
            np.mean,
            confidence_level=1 - 2 * tail,
            n_resamples=resamples,
            batch=max(1, 1000 * count // values.size),
            method="BCa",
            axis=-1,
            rng=generator("bootstrap", seed, count),
        ).confidence_interval
    low = np.where(spread == 0, lowest, lowest + spread * interval.low)
    high = np.where(spread == 0, lowest, lowest + spread * interval.high)
    return (float(low), float(high)) if values.ndim == 1 else (low, high)


def summarise(
    rows: pd.DataFrame, distortion: str, *, confidence: float, resamples: int, seed: int
) -> tuple[Score, pd.Series]:
    """Summarise the rows of one branch.

    Parameters
    ----------
    rows : DataFrame
        Columns image_id, sample, finite, the distortion's, and its spread's (see `spread_column`) where it has
        one; rows that are not finite are left out.

    Returns
    -------
    score : Score
    images : Series
        Mean over samples per image id.

    Raises
    ------
    UserError
        Fewer than two images with a finite sample.
    """
    groups = rows[rows.finite].sort_values(["image_id", "sample"]).groupby("image_id", sort=True)[distortion]
    means = groups.mean()
    if len(means) < 2:
        raise UserError(f"only {len(means)} images have a finite sample: no interval can be given")
    spreads = groups.std(ddof=1).dropna()
    values = means.to_numpy(np.float64)
    low, high = bootstrap_interval(values, confidence, resamples, seed)
    variance, bias = _parts(rows, distortion, means)
    score = Score(
        mean=float(values.mean()),
        std_images=float(values.std(ddof=1)),
        std_samples=float(spreads.mean()) if len(spreads) else None,
        ci_low=low,
        ci_high=high,
        variance=variance,
        bias=bias,
        variance_to_bias=variance / bias if variance is not None and bias and bias > 0 else None,
    )
    return score, means


def _parts(rows: pd.DataFrame, distortion: str, means: pd.Series) -> tuple[float | None, float | None]:
    """Variance and squared bias, means over the images that have two samples."""
    column = spread_column(distortion)
    if column not in rows:
        return None, None
    variances = rows[rows.finite].groupby("image_id", sort=True)[column].mean().dropna() / 2
    if not len(variances):
        return None, None
    return float(variances.mean()), float((means[variances.index] - variances).mean())
