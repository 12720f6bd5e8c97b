"""What the page says of each upscaler and factor: its rows, and what can be said about the first."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ida_rd.core.amounts import amount_words
from ida_rd.core.pairs import disagreements, least_p, to_baseline

__all__ = ["cells"]

KEY = ["upscaler", "factor", "distortion", "downscaler"]


def cells(
    tables: dict[str, pd.DataFrame],
    distortions: dict[str, Any],
    order: list[str],
    baseline: str,
    level: float,
    *,
    end: float | None = None,
) -> list[dict[str, Any]]:
    """Make one entry per upscaler and factor: rows by the leading distortion, and the verdict on the first.

    Parameters
    ----------
    tables : dict
        ``metrics/tables/*.csv`` by stem.
    distortions : dict
        Their descriptors.
    order : list of str
        Distortions, the leading one first.
    baseline : str
        The downscaler that the rows are compared with.
    level : float
        1 - confidence.
    end : float, optional
        Longest blur of the run's ladder, if it has one.
    """
    lead = order[0]
    amounts = tables["amounts"].set_index(KEY).to_dict("index") if "amounts" in tables else {}
    ranks = tables["ranks"][tables["ranks"].distortion == lead].set_index(["upscaler", "factor", "downscaler"])
    contradicted = disagreements(tables["differences"], order, level)
    found = []
    for (upscaler, factor), group in tables["ida_rd"].groupby(["upscaler", "factor"], sort=False):
        pairs = _of(tables["differences"], upscaler, factor, lead)
        values = group.set_index(["downscaler", "distortion"]).to_dict("index")
        leading = group[group.distortion == lead].sort_values(
            ["mean", "downscaler"], ascending=[distortions[lead]["better"] == "lower", True]
        )
        best = {n: _best(group[group.distortion == n], distortions[n]["better"]) for n in order}
        compared = to_baseline(pairs, baseline).set_index("downscaler").to_dict("index")
        low, span = _range(compared)
        rows = []
        for name in leading.downscaler:
            against = compared.get(name, {"difference": 0.0, "low": float("nan")} if name == baseline else None)
            rows.append(
                {
                    **values[name, lead],
                    "downscaler": name,
                    "rank": float(ranks.mean_rank[upscaler, factor, name]),
                    "values": [
                        {
                            **values[name, n],
                            "name": n,
                            "best": best[n] == name,
                            "amount": _amount(amounts, (upscaler, factor, n, name), end),
                        }
                        for n in order
                    ],
                    "against": against,
                    "baseline": name == baseline,
                    "bar": against and {
                        key: 100 * (against[key] - low) / span
                        for key in ("low", "difference", "high")
                        if not pd.isna(against.get(key))
                    },
                }
            )  # fmt: skip
        found.append(
            {
                "upscaler": upscaler,
                "factor": factor,
                "marks": group.marks.fillna("").iloc[0],
                "rows": rows,
                "zero": -100 * low / span,
                "verdict": _verdict(pairs, rows, level),
                "disagreements": sum((d.upscaler, d.factor) == (upscaler, factor) for d in contradicted),
            }
        )
    return found


def _amount(amounts: dict[Any, dict[str, Any]], key: tuple[str, int, str, str], end: float | None) -> str:
    """What a score amounts to, in words; empty where nothing is known."""
    return amount_words(amounts[key], end) if key in amounts else ""


def _of(table: pd.DataFrame, upscaler: str, factor: int, distortion: str) -> pd.DataFrame:
    return table[(table.upscaler == upscaler) & (table.factor == factor) & (table.distortion == distortion)]


def _range(compared: dict[Any, dict[str, float]]) -> tuple[float, float]:
    """From where to how far the differences' bars reach, zero within, and some room around."""
    ends = [row[key] for row in compared.values() for key in ("low", "difference", "high") if not pd.isna(row[key])]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high - low + 2 * margin


def _verdict(pairs: pd.DataFrame, rows: list[dict[str, Any]], level: float) -> dict[str, Any]:
    """Which downscalers the first differs significantly from, and which not; whether any difference could be."""
    first = rows[0]["downscaler"]
    p = {
        other: float(row.p_holm)
        for row in pairs.itertuples()
        for one, other in ((row.loses_less, row.loses_more), (row.loses_more, row.loses_less))
        if one == first
    }
    others = [row["downscaler"] for row in rows[1:]]
    apart = [name for name in others if p.get(name, 1.0) < level]
    least = least_p(pairs)
    return {
        "apart": apart,
        "not": [name for name in others if name not in apart],
        "pairs": len(pairs),
        "least": least if len(pairs) and least >= level else None,
    }


def _best(rows: pd.DataFrame, better: str) -> str:
    return str(rows.sort_values(["mean", "downscaler"], ascending=[better == "lower", True]).downscaler.iloc[0])
