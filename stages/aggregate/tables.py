"""The score table, for people (Markdown) and programs (CSV)."""

from __future__ import annotations

from typing import Any

import pandas as pd

__all__ = ["long_table", "markdown_table"]


def long_table(results: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per upscaler, factor, downscaler and distortion."""
    return pd.DataFrame(results)


def markdown_table(
    table: pd.DataFrame,
    distortions: dict[str, dict[str, Any]],
    order: list[str],
    skipped: dict[str, str],
    confidence: float,
) -> str:
    """Set the long table as Markdown: a row a branch, a column a distortion, best in bold.

    Sorted by the leading distortion, best first, within each upscaler and factor.
    """
    lead = order[0]
    heads = [_head(distortions[name]) for name in order]
    parts = _has_parts(table, lead)
    if parts:
        heads.insert(1, "variance : bias²")
    lines = [
        "| upscaler | factor | downscaler | " + " | ".join(heads) + " |",
        "|---|---|---|" + "---|" * len(heads),
    ]
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        cells = group.set_index(["downscaler", "distortion"])
        mark = "" if group.stochastic.all() else " (deterministic)"
        best = {name: _sorted(group, name, distortions)[0] for name in order}
        for downscaler in _sorted(group, lead, distortions):
            row = [_cell(cells.loc[downscaler, name], best[name] == downscaler) for name in order]
            if parts:
                row.insert(1, _parts(cells.loc[downscaler, lead]))
            lines.append(f"| {upscaler}{mark} | x{factor} | {downscaler} | " + " | ".join(row) + " |")
    counts = sorted({(int(n), int(k)) for n, k in zip(table.images, table.samples, strict=True)})
    shown = ", ".join(f"N = {n} images, K = {k} sample{'s' if k > 1 else ''}" for n, k in counts)
    lines += ["", f"Mean over images [{confidence:.0%} bootstrap interval over images]; {shown}. Best in bold."]
    if parts:
        lines += [
            f"{distortions[lead]['label']} is the sum of variance (how far the samples of an image lie apart) and"
            " squared bias; their ratio is 1 for samples of the true posterior."
        ]
    lost = table.nonfinite_rate.max()
    lines += [
        f"Samples that were not finite and are left out: {'none' if lost == 0 else f'up to {lost:.2%} of a row'}."
    ]
    lines += [f"**Skipped: {name}**, because {reason}." for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"


def _has_parts(table: pd.DataFrame, distortion: str) -> bool:
    return "variance" in table and bool(table[table.distortion == distortion].variance.notna().any())


def _parts(row: Any) -> str:
    """Variance, bias and their ratio, for K of at least 2."""
    if pd.isna(row["variance"]):
        return "one sample"
    ratio = "" if pd.isna(row["variance_to_bias"]) else f" = {row['variance_to_bias']:.2f}"
    return f"{row['variance']:.4f} : {row['bias']:.4f}{ratio}"


def _head(descriptor: dict[str, Any]) -> str:
    return f"{descriptor['label']} {'↓' if descriptor['better'] == 'lower' else '↑'}"


def _sorted(group: pd.DataFrame, distortion: str, distortions: dict[str, dict[str, Any]]) -> list[str]:
    rows = group[group.distortion == distortion]
    ascending = distortions[distortion]["better"] == "lower"
    return list(rows.sort_values(["mean", "downscaler"], ascending=[ascending, True]).downscaler)


def _cell(row: Any, best: bool) -> str:
    digits = 2 if abs(row["mean"]) >= 10 else 4
    mean = f"{row['mean']:.{digits}f}"
    return f"{f'**{mean}**' if best else mean} [{row['ci_low']:.{digits}f}, {row['ci_high']:.{digits}f}]"
