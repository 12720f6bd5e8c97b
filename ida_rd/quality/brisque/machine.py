"""The released support vector machine: two texts, as ``svm-train`` and ``svm-scale`` of LIBSVM write them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import MEBIBYTE, decoding, read_bytes
from ida_rd.core.weights import locate
from ida_rd.quality._natural import Floats

__all__ = ["BEGINS", "MODEL", "RANGE", "Machine", "parse_machine", "parse_range", "read_machine"]

MODEL, RANGE = ("brisque.model", "allmodel"), ("brisque.range", "allrange")  # id in the catalogue, name of the file
# How their sha256 begin: all of it that is on record, and enough to notice a file that was mistaken for another.
BEGINS = {MODEL[0]: "8b04d604", RANGE[0]: "e47d753d"}
FEATURES = 36
DECIMALS = 6  # the released program hands features on as text
LARGEST = 4 * MEBIBYTE
EXPECTED = {"svm_type": "epsilon_svr", "kernel_type": "rbf"}


@dataclass(frozen=True)
class Machine:
    """Support vectors, and the range to which features are scaled.

    Attributes
    ----------
    vectors : ndarray
        (V, 36).
    coefficients : ndarray
        (V,).
    gamma, rho : float
        Of the kernel; minus the bias.
    low, high : ndarray
        (36,) each: what becomes `target`'s ends.
    target : tuple of float
    """

    vectors: Floats
    coefficients: Floats
    gamma: float
    rho: float
    low: Floats
    high: Floats
    target: tuple[float, float]

    def score(self, features: Floats) -> tuple[float, float, float]:
        """Score, largest kernel value and largest absolute scaled feature of (36,)."""
        given = np.array([float(f"{value:.{DECIMALS}f}") for value in features])
        scaled = self.target[0] + (self.target[1] - self.target[0]) * (given - self.low) / (self.high - self.low)
        kernel = np.exp(-self.gamma * ((self.vectors - scaled) ** 2).sum(axis=1))
        return float(self.coefficients @ kernel) - self.rho, float(kernel.max()), float(np.abs(scaled).max())


def read_machine(weights: Mapping[str, str | None]) -> Machine:
    """Read the two released files.

    Parameters
    ----------
    weights : mapping
        The user's path of each, by weight id; None: torch's cache.

    Raises
    ------
    UserError
        One is missing, is another file by its hash, or is no such text.
    """
    texts = []
    for weight_id, _ in (MODEL, RANGE):
        path = locate(weight_id, weights[weight_id], download=False).path
        content = read_bytes(path, LARGEST)
        digest = hashlib.sha256(content).hexdigest()
        if not digest.startswith(BEGINS[weight_id]):
            raise UserError(
                f"{path} (weights {weight_id}) has sha256 {digest}, expected one that begins with {BEGINS[weight_id]}:"
                " a broken or different file; give the released one"
            )
        texts.append((content, path))
    vectors, coefficients, gamma, rho = parse_machine(*texts[0])
    return Machine(vectors, coefficients, gamma, rho, *parse_range(*texts[1]))


def parse_machine(content: bytes, path: Path) -> tuple[Floats, Floats, float, float]:
    """Support vectors (V, 36), coefficients (V,), gamma and rho of LIBSVM's text."""
    with decoding(f"{path}: not a machine of BRISQUE", "give the released file allmodel"):
        head, separator, body = content.decode("ascii").partition("\nSV\n")
        if not separator:
            raise ValueError("it has no line SV")
        facts = dict(line.split(" ", 1) for line in head.splitlines())
        for key, value in EXPECTED.items():
            if facts.get(key, "").strip() != value:
                raise ValueError(f"its {key} is not {value}")
        lines = body.splitlines()
        if len(lines) != int(facts["total_sv"]):
            raise ValueError(f"{len(lines)} support vectors, not {int(facts['total_sv'])}")
        vectors, coefficients = np.zeros((len(lines), FEATURES)), np.empty(len(lines))
        for i, line in enumerate(lines):
            first, *rest = line.split()
            coefficients[i] = float(first)
            for part in rest:
                index, value = part.split(":")
                vectors[i, _place(index)] = float(value)
        gamma, rho = float(facts["gamma"]), float(facts["rho"])
        if not (np.isfinite(vectors).all() and np.isfinite(coefficients).all() and math.isfinite(rho)):
            raise ValueError("its numbers are not all finite")
        if not 0 < gamma < math.inf:
            raise ValueError("its gamma is not above 0")
    return vectors, coefficients, gamma, rho


def parse_range(content: bytes, path: Path) -> tuple[Floats, Floats, tuple[float, float]]:
    """Least and largest value of each feature, (36,) each, and what they become."""
    with decoding(f"{path}: not a range of BRISQUE's features", "give the released file allrange"):
        first, target, *lines = content.decode("ascii").splitlines()
        if first.strip() != "x":
            raise ValueError("its first line is not x")
        low, high = np.full(FEATURES, np.nan), np.full(FEATURES, np.nan)
        for line in lines:
            index, least, most = line.split()
            low[_place(index)], high[_place(index)] = float(least), float(most)
        if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
            raise ValueError(f"it lacks the range of one of {FEATURES} features")
        begin, end = map(float, target.split())
        if not -math.inf < begin < end < math.inf:
            raise ValueError("its second line is not two rising numbers")
    return low, high, (begin, end)


def _place(index: str) -> int:
    place = int(index)
    if not 1 <= place <= FEATURES:
        raise ValueError(f"a feature {place}, of 1 to {FEATURES}")
    return place - 1
