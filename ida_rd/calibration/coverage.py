"""Coverage of credible regions by random references: TARP.

Lemos et al. [1]_: choose a reference r at random, not knowing the original. The ball about r that reaches to the
original x holds a share f of the posterior, estimated by the share of the samples that lie nearer to r than x does. If
the samples are exact, f is uniform, whatever the reference: balls that hold a share a of the samples hold the original
in a share a of the cases. If that is so for every reference, samples are exact. It looks at all dimensions together,
where rank histograms look at one.

With K samples the rank of x's distance among theirs is uniform on 0 ... K, and the coverage of level a is
`ida_rd.calibration.ranks.coverage`.

What can be detected depends on the references. From far away balls are half-spaces, and all that is seen is a
projection. Here a reference is a plausible image of the same LR: the features of its plain enlargement, with what such
an enlargement lacked in another photograph (`references`). It depends on LR and on other photographs alone.

References
----------
.. [1] Lemos, Coogan, Hezaveh, Perreault-Levasseur, "Sampling-based accuracy testing of posterior estimators for general
   inference", ICML 2023, arXiv 2302.03026.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ida_rd.calibration.ranks import rank_histogram

__all__ = ["references", "tarp_histogram"]


def references(plain: NDArray, lacking: Sequence[NDArray], count: int, rng: np.random.Generator) -> NDArray:
    """Random references (count, P, C) for an image.

    Parameters
    ----------
    plain : ndarray
        (P, C): features of the enlarged LR image at P places.
    lacking : sequence of ndarray
        (Q, C) each: features of HR less those of the enlarged LR image, of images of other photographs.
    count : int
        References of each place.
    rng : Generator
    """
    pool = np.concatenate(list(lacking))
    return plain + pool[rng.integers(len(pool), size=(count, len(plain)))]


def tarp_histogram(original: NDArray, samples: NDArray, reference: NDArray) -> NDArray[np.float64]:
    """Share of the places and references of each rank of the original's distance, (K + 1,).

    Parameters
    ----------
    original : ndarray
        (P, C).
    samples : ndarray
        (K, P, C).
    reference : ndarray
        (R, P, C).
    """
    to_original = ((original - reference) ** 2).sum(axis=-1)
    to_samples = np.stack([((sample - reference) ** 2).sum(axis=-1) for sample in samples])
    return rank_histogram(to_original, to_samples)
