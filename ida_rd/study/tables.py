"""The tables of a study: for programs (CSV, JSON), for papers (LaTeX) and for people (Markdown)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from ida_rd.core.typeset import interval, latex_tabular, latex_text, markdown_table, number
from ida_rd.study.judge import Comparison, Result, ladder_correlations
from ida_rd.study.settings import Study

__all__ = ["latex", "markdown", "metrics", "table_rows"]


def table_rows(study: Study, results: list[Result]) -> pd.DataFrame:
    """One row per upscaler, factor, panel and condition."""
    rows = []
    paper = study.paper.scores if study.paper else {}
    for result in results:
        compared = {(c.panel, c.condition): c for c in result.comparisons} if study.kind != "order" else {}
        for panel, group in study.panels.items():
            for name, level in group.conditions.items():
                if name not in result.scores:
                    continue
                comparison = compared.get((panel, name))
                difference = asdict(comparison.difference) if comparison else {}
                rows.append(
                    {
                        "upscaler": result.upscaler,
                        "factor": result.factor,
                        "group": panel,
                        "condition": name,
                        "level": level,
                        **asdict(result.scores[name]),
                        "against": comparison.against if comparison else "",
                        **{f"difference_{key}": value for key, value in difference.items()},
                        "paper": paper.get(name),
                    }
                )
    return pd.DataFrame(rows)


def latex(table: pd.DataFrame, label: str) -> str:
    """Set the scores of `table_rows` as the paper does, mean and standard deviation over images, beside its values."""
    paper = bool(table.paper.notna().any())
    note = ["Mean and standard deviation over images. Needs \\usepackage{booktabs}."]
    if paper:
        note.append(
            "The paper's values are from another upscaler and other images: orders can be compared, numbers cannot."
        )
    head = ["", "", "level", latex_text(label), *(["paper"] if paper else [])]
    blocks = []
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        rows = [[rf"\multicolumn{{{len(head)}}}{{l}}{{{latex_text(upscaler)}, $\times{factor}$}}"]]
        last = None
        for row in group.to_dict("records"):
            cells = [latex_text(str(row["group"])) if row["group"] != last else "", latex_text(row["condition"])]
            cells += [latex_text(f"{row['level']:g}" if isinstance(row["level"], float) else str(row["level"]))]
            cells += [rf"${number(row['mean'], 4)} \pm {number(row['std_images'], 4)}$"]
            cells += ([f"{row['paper']:.3f}" if pd.notna(row["paper"]) else ""]) if paper else []
            rows.append(cells)
            last = row["group"]
        blocks.append(rows)
    return latex_tabular("lllc" + ("c" if paper else ""), head, blocks, note=note)


def _verdict(study: Study, comparison: Comparison) -> str:
    """What the interval says other than "more is lost", which is expected."""
    if comparison.shown:
        return ""
    if study.kind == "ranking":
        return " (less)" if comparison.reversed else " (not significant)"
    return " **(reversed)**" if comparison.reversed else " **(not shown)**"


def markdown(study: Study, results: list[Result], label: str) -> str:
    """The tables of all upscalers and factors."""
    lines: list[str] = []
    paper = study.paper.scores if study.paper else {}
    for result in results:
        lines += ["", f"## {result.title}", ""]
        levelled = any(level != "" for group in study.panels.values() for level in group.conditions.values())
        head = ["", "", *(["level"] if levelled else []), f"{label} [interval]"]
        if study.kind != "order":
            head += ["difference [interval]"]
        head += ["paper (other upscaler and images)"] if paper else []
        rows = []
        compared = {(c.panel, c.condition): c for c in result.comparisons} if study.kind != "order" else {}
        for panel, group in study.panels.items():
            names = [name for name in group.conditions if name in result.scores]
            if study.kind in ("ranking", "order"):
                names = result.ranked(names)
            for name in names:
                score = result.scores[name]
                cells = [f"{panel} ({group.axis})" if group.axis else panel, name]
                cells += [str(group.conditions[name])] if levelled else []
                cells += [interval(score.mean, score.ci_low, score.ci_high, places=4)]
                if study.kind != "order":
                    comparison = compared.get((panel, name))
                    cells += [
                        f"{comparison.interval} vs. {comparison.against}{_verdict(study, comparison)}"
                        if comparison
                        else ""
                    ]
                if paper:
                    cells += [f"{paper[name]:.3f}" if name in paper else ""]
                rows.append(cells)
        lines += markdown_table(head, rows)
        if study.kind == "order":
            rows = [[c.against, c.condition, f"{c.interval}{_verdict(study, c)}"] for c in result.comparisons]
            lines += ["", *markdown_table(["loses less", "loses more", f"difference of {label}"], rows)]
    return "\n".join(lines) + "\n"


def metrics(study: Study, results: list[Result]) -> dict[str, Any]:
    """Scalars, for ``dvc metrics``."""
    found: dict[str, Any] = {}
    for result in results:
        entry: dict[str, Any] = {
            "comparisons": len(result.comparisons),
            "shown": sum(c.shown for c in result.comparisons),
            "reversed": sum(c.reversed for c in result.comparisons),
            "samples": result.samples,
            "not_finite": result.lost,
            "scores": {name: score.mean for name, score in result.scores.items()},
        }
        if study.kind == "ladders":
            rho = ladder_correlations(study, result)
            entry["spearman_means"] = {name.replace(".", "_"): value for name, (value, _) in rho.items()}
            entry["spearman_images"] = {name.replace(".", "_"): value for name, (_, value) in rho.items()}
        found.setdefault(result.upscaler, {})[f"x{result.factor}"] = entry
    return found
