"""Spread against skill, in squares and in lengths, and the energy score.

With x the original, x_1 ... x_K its samples, m their mean and V their variance given LR,

    E |x_k - x|^2 = V + E |m - x|^2       and of exact samples   E |m - x|^2 = V                          (1)

in expectation over images: spread equals skill, Fortin et al. [1]_, who correct it by (K + 1) / K for the mean of K
samples. Here V is the sample variance (K - 1), and the squared error of the samples' *own* mean
is freed of V / K:

    bias^2 = |mean x_k - x|^2 - V / K  =  mean |x_k - x|^2 - V                                              (2)

so that the ratio V : bias^2 is 1 for exact samples whatever K is. In lengths, x_j and x_k being exchangeable with x,

    E |x_j - x_k| = E |x_k - x|                                                                             (3)

and the energy score, Gneiting and Raftery [2]_, equation 21, is

    mean |x_k - x| - 1/2 mean_{j < k} |x_j - x_k|                                                           (4)

unbiased, lower is better; it is strictly proper: in expectation least for exact samples. How low that is nobody knows,
but for them it is half of either side of (3).

References
----------
.. [1] Fortin, Abaza, Anctil, Turcotte, "Why should ensemble spread match the RMSE of the ensemble mean?", J.
   Hydrometeorology 15, 2014.
.. [2] Gneiting, Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["energy_score", "mean_lengths", "squared_parts"]


def squared_parts(original: NDArray, samples: NDArray) -> tuple[float, float]:
    """Variance and bias^2 (2), each a mean over all values; the second may be below zero.

    Parameters
    ----------
    original : ndarray
        (...).
    samples : ndarray
        (K, ...), K of at least 2.
    """
    variance = float(samples.var(axis=0, ddof=1).mean())
    return variance, float(((samples - original) ** 2).mean()) - variance


def mean_lengths(original: NDArray, samples: NDArray) -> tuple[float, float]:
    """Mean length between samples, and from samples to the original: both sides of (3).

    Parameters
    ----------
    original : ndarray
        (P, C): vectors of length C at P places, over which lengths are averaged.
    samples : ndarray
        (K, P, C).

    Returns
    -------
    tuple of float
        Lengths are per component: divided by the root of C.
    """
    count = len(samples)

    def length(difference: NDArray) -> float:
        return float(np.sqrt((difference**2).mean(axis=-1)).mean())

    among = [length(samples[j] - samples[k]) for j, k in combinations(range(count), 2)]
    return float(np.mean(among)), float(np.mean([length(sample - original) for sample in samples]))


def energy_score(among: NDArray, to_original: NDArray) -> NDArray:
    """The energy score (4), from what `mean_lengths` gives."""
    return to_original - among / 2
