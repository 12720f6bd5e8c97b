"""Numbers that need no stochastic model, and what they explain of the score; pure computations.

Tables have one row per downscaler and image: ``score``, ``bits``, and ``plain ...`` by distortion. Differences to a
baseline are regressed on the predictors' differences, with slopes that all downscalers share and a constant for each:
the constant is the difference that remains where the predictors do not differ. Its standard error leaves out one
photograph at a time, so that what a photograph has in common for all downscalers is not taken for independent evidence
(MacKinnon, Nielsen and Webb, Cluster-robust inference: a guide to empirical practice, J. Econometrics 232, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.comparisons import holm, rank_agreement
from ida_rd.aggregate.statistics import FEWEST, Photographs, by_photograph, paired_difference
from ida_rd.core.errors import UserError

BITS = "bits"


@dataclass(frozen=True)
class Beyond:
    """The differences to the baseline, explained by the predictors' differences.

    Attributes
    ----------
    within : dict
        Of the variance of the differences about each downscaler's mean, the share that each predictor explains, and
        ``all`` together.
    table : DataFrame
        By downscaler: difference, remains, low, high: see `beyond`.
    photographs : int
    """

    within: dict[str, float]
    table: pd.DataFrame
    photographs: int


def predictors_in(table: pd.DataFrame) -> list[str]:
    """Names of the predictors' columns."""
    return [name for name in table if name == BITS or str(name).startswith("plain ")]


def wide(table: pd.DataFrame, column: str, names: list[str], photographs: Photographs) -> pd.DataFrame:
    """(P photographs, D downscalers) of one column; photographs that lack a value are left out."""
    columns = {}
    for name in names:
        values = table[table.downscaler == name].set_index("image_id")[column]
        columns[name] = by_photograph(values, photographs)
    return pd.DataFrame(columns).dropna()


def correlations(table: pd.DataFrame, names: list[str], without: str, photographs: Photographs) -> pd.DataFrame:
    """Spearman's rho of each predictor with the score over the downscalers.

    Returns
    -------
    DataFrame
        By predictor: all, without (one left out), between (Pearson's r squared of the means), and photograph by
        photograph low, median, high (5, 50 and 95 percentiles).
    """
    score = wide(table, "score", names, photographs)
    fewer = [name for name in names if name != without]
    rows = []
    for predictor in predictors_in(table):
        values = wide(table, predictor, names, photographs)
        overall, few = (rank_agreement(values[some].mean(), score[some].mean()) for some in (names, fewer))
        each = [rank_agreement(values.loc[photograph], score.loc[photograph]) for photograph in score.index]
        own = [one["spearman"] for one in each if one is not None]
        low, median, high = np.quantile(own, [0.05, 0.5, 0.95]) if own else (np.nan,) * 3
        rows.append(
            {
                "predictor": predictor,
                "all": overall["spearman"] if overall else np.nan,
                "without": few["spearman"] if few else np.nan,
                "between": float(np.corrcoef(values.mean(), score.mean())[0, 1] ** 2),
                "low": float(low),
                "median": float(median),
                "high": float(high),
            }
        )
    return pd.DataFrame(rows).set_index("predictor")


def _residual(y: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    """Sum of squares of y, (N,), that x, (N, k), does not explain."""
    return float(((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum())


def _remaining(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The constants, (D,), of y (P, D) on x (P, D, k) with a constant per downscaler and common slopes."""
    within = (x - x.mean(axis=0)).reshape(-1, x.shape[2])
    slopes = np.linalg.lstsq(within, (y - y.mean(axis=0)).ravel(), rcond=None)[0]
    return y.mean(axis=0) - x.mean(axis=0) @ slopes


def beyond(table: pd.DataFrame, names: list[str], baseline: str, photographs: Photographs, confidence: float) -> Beyond:
    """Regress the paired differences to the baseline on the predictors' differences.

    Returns
    -------
    Beyond
        In its table: ``difference``, the mean difference of the scores; ``remains``, what of it remains where no
        predictor differs; ``low`` and ``high``, its interval, by the jackknife over photographs and Student's t, for
        all downscalers together (Bonferroni).
    """
    others = [name for name in names if name != baseline]
    predictors = predictors_in(table)
    stacked = {}
    for column in ("score", *predictors):
        values = wide(table, column, names, photographs)
        stacked[column] = values[others].sub(values[baseline], axis=0).to_numpy(np.float64)
    y = stacked["score"]
    x = np.stack([stacked[column] for column in predictors], axis=2)
    count = len(y)
    if count < FEWEST:
        raise UserError(f"{count} photographs have all values; at least {FEWEST} are needed: raise balance.size")
    scale = x.std(axis=(0, 1))
    x = x / np.where(scale > 0, scale, 1)  # numbers of like size; the constants do not depend on it
    centred, about = x - x.mean(axis=0), (y - y.mean(axis=0)).ravel()
    total = float((about**2).sum())
    within = {name: 1 - _residual(about, centred[:, :, i].reshape(-1, 1)) / total for i, name in enumerate(predictors)}
    within["all"] = 1 - _residual(about, centred.reshape(-1, len(predictors))) / total
    remains = _remaining(y, x)
    deleted = np.stack([_remaining(np.delete(y, i, 0), np.delete(x, i, 0)) for i in range(count)])
    error = np.sqrt((count - 1) / count * ((deleted - remains) ** 2).sum(axis=0))
    half = stats.t.ppf(1 - (1 - confidence) / (2 * len(others)), count - 1) * error
    columns = {"difference": y.mean(axis=0), "remains": remains, "low": remains - half, "high": remains + half}
    return Beyond(within, pd.DataFrame(columns, index=pd.Index(others, name="downscaler")), count)


def parting(
    table: pd.DataFrame, degraded: list[str], baseline: str, photographs: Photographs, settings: dict[str, Any]
) -> pd.DataFrame:
    """Paired differences of degraded processes to the baseline, of score and predictors; Holm over all of them."""
    rows: list[dict[str, Any]] = []
    for name in degraded:
        for column in ("score", *predictors_in(table)):
            less, more = (table[table.downscaler == d].set_index("image_id")[column] for d in (baseline, name))
            found = paired_difference(less, more, photographs, **settings)
            ends = {"mean": found.mean, "low": found.low, "high": found.high, "effect": found.effect}
            rows.append({"process": name, "measure": column, **ends, "share": found.share, "p": found.p})
    result = pd.DataFrame(rows, columns=["process", "measure", "mean", "low", "high", "effect", "share", "p"])
    return result.assign(p_holm=holm(list(result.p)))
