"""Lost, or only unreadable? The score of a blind decoder beside that of the same decoder adapted to each downscaler.

    S(f) = S*(f) + gap(f)

S is the blind decoder's score on downscaler f, S* that of the decoder adapted to f, and the gap is what was unreadable
to the first and not lost. Adapting helps on bicubic's LR images too, or harms, without any mismatch: so bicubic,
adapted to bicubic by the same budget, is the control, and what is compared is what lies beyond it:

    S(f) - S(c) = [S*(f) - S*(c)] + [gap(f) - gap(c)]
        excess  =       lost      +    unreadable

S* is no bound. The theory is that of excess minimum risk (Gyorfi, Linder and Walk, Entropy 25:1394, 2023) and of
information that a family of decoders can use (Xu et al., "A theory of usable information under computational
constraints", ICLR 2020): the gap is what a decoder of that family, trained by that budget, did not use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.statistics import Photographs, by_photograph, sign_flip_p
from ida_rd.core.pairs import FEWEST, USUAL

__all__ = ["COLUMNS", "Mean", "adapted_difference", "matched_table", "ratio_interval"]

PARTS = ("gap", "excess", "lost", "unreadable")
COLUMNS = (
    *("blind", "adapted", "factor", "distortion", "downscaler", "control", "photographs", "trainings"),
    *("s", "s_low", "s_high", "s_star", "s_star_low", "s_star_high"),
    *(f"{part}{end}" for part in PARTS for end in ("", "_low", "_high")),
    *(
        "share",
        "share_low",
        "share_high",
        "lost_p_holm",
        "unreadable_p_holm",
        "gap_variance",
        "gap_error",
        "training_sd",
    ),
)
Values = NDArray[np.float64]


def matched_table(
    images: pd.DataFrame, scores: pd.DataFrame, photographs: Photographs, recipe: dict[str, Any]
) -> pd.DataFrame:
    """Part the scores of every blind decoder that has an adapted one.

    Parameters
    ----------
    images, scores : DataFrame
        Of `ida_rd.aggregate.results.Results`.
    photographs : mapping
        Image id to photograph.
    recipe : dict
        ``data/plan/aggregate.json``; ``matched`` lists the families: blind, adapted (a list: one per training, which
        differ by their seed or the photographs left out), factor.

    Returns
    -------
    DataFrame
        One row per family, distortion and downscaler. In the distortion's unit: s and s_star (the mean over
        trainings), gap, excess, lost and unreadable (see above; positive is worse, whatever the distortion's
        direction), each with its interval (low, high). share: of the excess, what was lost, with Fieller's interval;
        empty where the excess is not clearly above zero. lost_p_holm, unreadable_p_holm: that they are zero, by signs
        flipped by photograph for one training, by Student's t for several; Holm's correction over the downscalers.
        gap_variance and gap_error: the gap's two parts, where the distortion is a squared distance and there are two
        samples. training_sd: standard deviation of S* over trainings, pooled over
        the downscalers. Without the control among the downscalers, what lies beyond it is empty.

    Notes
    -----
    Intervals are Student's, over photographs. With several trainings their spread is added, with degrees of freedom by
    Satterthwaite; with one it is not in them. The trainings of an entry share their seed and photographs, and move all
    downscalers alike to a part, which differences do not see: to what lies beyond the control is added what is left of
    the spread when the means of entries and of downscalers are taken out (a two-way layout without replicates).
    """
    found: list[dict[str, Any]] = []
    for family in recipe.get("matched", []):
        for distortion in recipe["distortion_order"]:
            sign = 1.0 if recipe["distortions"][distortion]["better"] == "lower" else -1.0
            found += _rows(images, scores, photographs, family, distortion, sign, recipe)
    return pd.DataFrame(found, columns=list(COLUMNS))


@dataclass(frozen=True)
class Mean:
    """A mean, and what it is known to.

    Attributes
    ----------
    value : float
    error : float
        Standard error; infinite for fewer than `FEWEST` photographs.
    freedom : float
        Degrees of freedom of the error.
    """

    value: float
    error: float
    freedom: float

    def ends(self, confidence: float) -> tuple[float | None, float | None]:
        """Student's interval; None where there is none."""
        if not math.isfinite(self.error):
            return None, None
        half = float(stats.t.ppf((1 + confidence) / 2, self.freedom) * self.error)
        return self.value - half, self.value + half


def adapted_difference(
    images: pd.DataFrame,
    photographs: Photographs,
    family: dict[str, Any],
    distortion: str,
    less: str,
    more: str,
    *,
    better: str,
    resamples: int,
    seed: int,
) -> tuple[Mean, float]:
    """How much more one downscaler loses than another by S*, each to the decoder adapted to it.

    Parameters
    ----------
    images : DataFrame
        Of `ida_rd.aggregate.results.Results`.
    photographs : mapping
        Image id to photograph.
    family : dict
        Of ``matched`` in the aggregation's recipe.
    distortion, less, more : str
        The distortion, and the two downscalers.
    better : str
        The distortion's direction.
    resamples, seed : int
        As for `ida_rd.aggregate.statistics.sign_flip_p`.

    Returns
    -------
    difference : Mean
        With the spread of trainings in its error, where there are several.
    p : float
        That it is zero: by signs flipped by photograph for one training, by Student's t for several.
    """
    sign = 1.0 if better == "lower" else -1.0
    trainings = [_losses(images, photographs, n, family["factor"], distortion, sign) for n in family["adapted"]]
    spread, freedom = _paired_variance(trainings)
    values = np.mean([(table[more] - table[less]).to_numpy(np.float64) for table in trainings], axis=0)
    found = _mean(values[np.isfinite(values)], 2 * spread / len(trainings), freedom)
    return found, _p(values[np.isfinite(values)], found, len(trainings), resamples, seed)


def _p(values: Values, mean: Mean, trainings: int, resamples: int, seed: int) -> float:
    """That a mean difference is zero. Signs flipped by photograph would not know the spread of several trainings."""
    if trainings == 1 or not math.isfinite(mean.error):
        return sign_flip_p(values, resamples, seed)
    return float(2 * stats.t.sf(abs(mean.value) / mean.error, mean.freedom)) if mean.error else 0.0


def _mean(values: Values, training: float = 0.0, freedom: float = math.inf) -> Mean:
    """Mean over photographs, `training` being the variance that trainings add to it, known with so many degrees."""
    count = len(values)
    if count < FEWEST:
        return Mean(float(values.mean()) if count else math.nan, math.inf, 1.0)
    own = float(values.var(ddof=1)) / count
    total = own + training
    if total == 0:
        return Mean(float(values.mean()), 0.0, count - 1)
    # Satterthwaite, Biometrics Bulletin 2, 1946.
    known = total**2 / (own**2 / (count - 1) + (training**2 / freedom if training else 0.0))
    return Mean(float(values.mean()), math.sqrt(total), known)


def ratio_interval(
    part: Values, whole: Values, confidence: float, *, training: float = 0.0, freedom: float | None = None
) -> tuple[float | None, float | None]:
    """Fieller's interval of the ratio of two paired means (Fieller, J. Royal Statistical Society B 16, 1954).

    Parameters
    ----------
    part, whole : ndarray
        (P,), one per photograph.
    confidence : float
    training : float
        Variance that trainings add to the mean of `part`.
    freedom : float, optional
        Degrees of freedom, where that makes them other than those of the values.

    Returns
    -------
    low, high : float or None
        None where the mean of `whole` is not clear of zero, or there are fewer than `FEWEST` values.
    """
    count = len(part)
    if count < FEWEST:
        return None, None
    x, y = float(part.mean()), float(whole.mean())
    covariance = np.cov(part, whole, ddof=1) / count
    t2 = float(stats.t.ppf((1 + confidence) / 2, count - 1 if freedom is None else freedom)) ** 2
    # All r with (x - r y)^2 <= t2 Var(x - r y): between the roots of a r^2 - 2 b r + c.
    a = y**2 - t2 * covariance[1, 1]
    b = x * y - t2 * covariance[0, 1]
    c = x**2 - t2 * (covariance[0, 0] + training)
    root = b**2 - a * c
    if a <= 0 or root < 0:
        return None, None
    return (b - math.sqrt(root)) / a, (b + math.sqrt(root)) / a


def _rows(
    images: pd.DataFrame,
    scores: pd.DataFrame,
    photographs: Photographs,
    family: dict[str, Any],
    distortion: str,
    sign: float,
    recipe: dict[str, Any],
) -> list[dict[str, Any]]:
    factor, confidence = family["factor"], recipe["confidence"]
    blind = _losses(images, photographs, family["blind"], factor, distortion, sign)
    trainings = [_losses(images, photographs, name, factor, distortion, sign) for name in family["adapted"]]
    adapted = pd.concat(trainings).groupby(level=0, sort=False).mean()[list(blind)]
    spread, freedom = _training_variance(trainings)
    paired, paired_freedom = _paired_variance(trainings)
    each, two = spread / len(trainings), 2 * paired / len(trainings)
    control = USUAL if USUAL in blind else None
    rows: list[dict[str, Any]] = []
    for name in blind:
        s, star = (
            _mean(sign * blind[name].dropna().to_numpy()),
            _mean(sign * adapted[name].dropna().to_numpy(), each, freedom),
        )
        parts = {"gap": (blind[name] - adapted[name], each, freedom)}
        if control is not None:
            excess, lost = blind[name] - blind[control], adapted[name] - adapted[control]
            apart = (0.0 if name == control else two, paired_freedom)
            parts |= {"excess": (excess, 0.0, math.inf), "lost": (lost, *apart), "unreadable": (excess - lost, *apart)}
        row: dict[str, Any] = {
            "blind": family["blind"],
            "adapted": ", ".join(family["adapted"]),
            "factor": factor,
            "distortion": distortion,
            "downscaler": name,
            "control": control,
            "trainings": len(trainings),
            "photographs": int((blind[name] - adapted[name]).notna().sum()),
            **_set("s", s, confidence),
            **_set("s_star", star, confidence),
            "training_sd": math.sqrt(spread) if len(trainings) > 1 else None,
            **_split(scores, family, factor, distortion, name),
        }
        values = {key: series.dropna().to_numpy(np.float64) for key, (series, _, _) in parts.items()}
        means = {key: _mean(values[key], training, known) for key, (_, training, known) in parts.items()}
        for key, mean in means.items():
            row |= _set(key, mean, confidence)
        if control is not None and name != control:
            known = means["lost"].freedom if two else None
            low, high = ratio_interval(values["lost"], values["excess"], confidence, training=two, freedom=known)
            given = low is not None and row["excess"] > 0
            share = (row["lost"] / row["excess"], low, high) if given else (None, None, None)
            row |= dict(zip(("share", "share_low", "share_high"), share, strict=True))
            settings = (len(trainings), recipe["resamples"], recipe["seed"])
            row |= {f"{key}_p": _p(values[key], means[key], *settings) for key in PARTS[2:]}
        rows.append(row)
    for key in PARTS[2:]:
        tested = [row for row in rows if f"{key}_p" in row]
        for row, p in zip(tested, holm([row[f"{key}_p"] for row in tested]), strict=True):
            row[f"{key}_p_holm"] = p
    return rows


def _set(key: str, mean: Mean, confidence: float) -> dict[str, float | None]:
    low, high = mean.ends(confidence)
    return {key: mean.value, f"{key}_low": low, f"{key}_high": high}


def _losses(
    images: pd.DataFrame, photographs: Photographs, upscaler: str, factor: int, distortion: str, sign: float
) -> pd.DataFrame:
    """Photograph means (P, D) of a branch, turned so that more is worse."""
    mine = images[(images.upscaler == upscaler) & (images.factor == factor)]
    names = list(dict.fromkeys(mine.downscaler))
    return pd.DataFrame(
        {
            n: sign * by_photograph(mine[mine.downscaler == n].set_index("image_id")[distortion], photographs)
            for n in names
        }
    )


def _training_variance(trainings: list[pd.DataFrame]) -> tuple[float, float]:
    """Variance of S* over trainings, pooled over the downscalers, and its degrees of freedom."""
    if len(trainings) < 2:
        return 0.0, math.inf
    means = np.stack([table.mean().to_numpy() for table in trainings])
    return float(means.var(axis=0, ddof=1).mean()), float(means.shape[1] * (len(trainings) - 1))


def _paired_variance(trainings: list[pd.DataFrame]) -> tuple[float, float]:
    """Variance of S* over trainings beside what moves all downscalers of an entry alike, and its degrees of freedom."""
    if len(trainings) < 2 or trainings[0].shape[1] < 2:
        return 0.0, math.inf
    first = trainings[0]
    means = np.stack([table[list(first)].mean().to_numpy() for table in trainings])
    rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    freedom = (means.shape[0] - 1) * (means.shape[1] - 1)
    return float(np.square(rest).sum() / freedom), float(freedom)


def _split(
    scores: pd.DataFrame, family: dict[str, Any], factor: int, distortion: str, downscaler: str
) -> dict[str, float | None]:
    """The gap's variance and squared error of the mean, where the scores have them."""
    mine = scores[(scores.factor == factor) & (scores.distortion == distortion) & (scores.downscaler == downscaler)]
    mine = mine.set_index("upscaler")
    parts = {}
    for key, column in (("gap_variance", "variance"), ("gap_error", "bias")):
        values = [mine[column].get(name) for name in (family["blind"], *family["adapted"])] if column in mine else []
        given = bool(values) and not any(value is None or pd.isna(value) for value in values)
        parts[key] = float(values[0] - np.mean(values[1:])) if given else None
    return parts
