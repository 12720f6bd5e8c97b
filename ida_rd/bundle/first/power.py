"""Variance between images and between samples, as version 1 had it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ida_rd.core.errors import UserError

__all__ = ["Components", "components"]


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
