"""Pristine models: mean and covariance of the features of sharp patches, read, checked and fitted."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import MEBIBYTE, decoding, read_bytes
from ida_rd.core.weights import locate, read_weights
from ida_rd.quality._natural import Floats
from ida_rd.quality.niqe.patches import FEATURES, features

__all__ = [
    "OWN",
    "RELEASED",
    "SHARP",
    "Pristine",
    "constant",
    "fit",
    "is_released",
    "of_one_patch",
    "parse_mat",
    "read_pristine",
]

OWN, RELEASED = "niqe.pristine", "niqe.released"
SHARP = 0.75  # of a photograph's sharpest patch: what is less sharp is not fitted
LARGEST_MAT = MEBIBYTE


@dataclass(frozen=True)
class Pristine:
    """A multivariate Gaussian of features.

    Attributes
    ----------
    mean : ndarray
        (36,), float64.
    covariance : ndarray
        (36, 36), float64.
    """

    mean: Floats
    covariance: Floats


def is_released(path: str) -> bool:
    """Whether a path is meant to be the released program's model."""
    return Path(path).suffix.lower() == ".mat"


def read_pristine(path: str | None = None) -> Pristine:
    """Read our own model, the released ``modelparameters.mat``, or a ``.safetensors`` of the user's.

    Raises
    ------
    UserError
        Not that file, by its hash; not a file of plain tensors; or not a model of 36 features.
    """
    if path is not None and is_released(path):
        file = locate(RELEASED, path, download=False)
        content = read_bytes(file.path, LARGEST_MAT)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise UserError(f"{file.path} (weights {RELEASED}) changed while it was read: run this again")
        return parse_mat(content, file.path)
    found = read_weights(OWN, path)
    tensors = found.tensors()
    values = {key: tensor.numpy() for key, tensor in tensors.items()}
    return _checked(values.get("mean"), values.get("covariance"), found.path)


def parse_mat(content: bytes, path: Path) -> Pristine:
    """Decode ``modelparameters.mat``."""
    from scipy.io import loadmat

    names = ("mu_prisparam", "cov_prisparam")
    with decoding(f"{path}: not a MATLAB file of a NIQE model", "give the released modelparameters.mat"):
        found = loadmat(io.BytesIO(content), variable_names=names)
    mean, covariance = (found.get(name) for name in names)
    if isinstance(mean, np.ndarray) and mean.shape == (1, FEATURES):
        mean = mean[0]
    return _checked(mean, covariance, path)


def _checked(mean: Any, covariance: Any, path: Path) -> Pristine:
    for name, value, shape in (("mean", mean, (FEATURES,)), ("covariance", covariance, (FEATURES, FEATURES))):
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.shape != shape:
            got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "nothing"
            raise UserError(
                f"{path}: a NIQE model has a {name} of {' x '.join(map(str, shape))} real numbers, this has {got}: give"
                " the released modelparameters.mat, or a file that experiments/fit-niqe wrote"
            )
    mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"{path}: its numbers are not all finite: fit the model again")
    size = np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > 1e-9 * size or np.linalg.eigvalsh(covariance)[0] < -1e-9 * size:
        raise UserError(f"{path}: its covariance is none (not symmetric, or negative): fit the model again")
    return Pristine(mean, covariance)


def fit(photographs: Iterable[NDArray[np.uint8]]) -> tuple[Pristine, list[int]]:
    """Fit a model to the sharp patches of photographs ([1]_ of `ida_rd.quality.niqe`, section II.C).

    Parameters
    ----------
    photographs : iterable of ndarray
        (H, W, 3), uint8.

    Returns
    -------
    model : Pristine
    kept : list of int
        Patches of each photograph that were kept.
    """
    rows, kept = [], []
    for photograph in photographs:
        found, sharpness = features(photograph)
        found = found[sharpness > SHARP * sharpness.max()]
        found = found[np.isfinite(found).all(axis=1)]
        rows.append(found)
        kept.append(len(found))
    if sum(kept) < 2:
        raise UserError(f"{len(kept)} photographs have {sum(kept)} sharp patches: a model needs 2 at least")
    stacked = np.concatenate(rows)
    return Pristine(stacked.mean(axis=0), np.cov(stacked, rowvar=False)), kept


def of_one_patch(model: Pristine, row: Floats) -> float:
    """What the released program gives for an image of one patch, with these 36 features.

    Its mean and covariance of a single row run along the row: of the features remain their mean m and variance v, and v
    is added to every entry of S: ``sqrt(2 (mu - m 1)' (S + v 1 1')^-1 (mu - m 1))``. No score of ours: see `constant`.
    """
    apart = model.mean - row.mean()
    return math.sqrt(2 * (apart @ np.linalg.solve(model.covariance + row.var(ddof=1), apart)))


def constant(model: Pristine) -> float:
    """What `of_one_patch` is for every image, nearly: a number of the model alone.

    As v is much larger than ``1 / (1' S^-1 1)``, the direction 1 drops out, and with it m:
    ``sqrt(2 (mu' S^-1 mu - (1' S^-1 mu)^2 / (1' S^-1 1)))`` has nothing of the image in it.
    """
    one = np.ones(FEATURES)
    by_mean, by_one = np.linalg.solve(model.covariance, np.stack([model.mean, one], axis=1)).T
    squared = model.mean @ by_mean - (one @ by_mean) ** 2 / (one @ by_one)
    return math.sqrt(2 * max(squared, 0.0))  # of few patches, S is all but singular: rounding may leave less than 0
