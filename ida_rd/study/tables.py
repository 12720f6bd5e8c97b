"""The tables of a study: for programs (CSV, JSON), for papers (LaTeX) and for people (Markdown)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from ida_rd.core.typeset import latex_tabular, latex_text, markdown_table, p_value
from ida_rd.study.judge import Comparison, Result, Setting, ladder_correlations
from ida_rd.study.numbers import effect, share, short, spread
from ida_rd.study.settings import Cell, Study

__all__ = ["comparison_rows", "latex", "markdown", "metrics", "table_rows"]


def table_rows(study: Study, results: list[Result]) -> pd.DataFrame:
    """The scores: one row per upscaler, factor, panel and condition; the paper's columns last."""
    rows = []
    columns = study.paper.columns if study.paper else {}
    for result in results:
        for panel, group in study.panels.items():
            for name, level in group.conditions.items():
                if name not in result.conditions:
                    continue
                condition = result.conditions[name]
                row: dict[str, Any] = {"upscaler": result.upscaler, "factor": result.factor, "group": panel}
                row |= {"condition": name, "level": level, **asdict(condition.score)}
                row |= {"photographs": condition.photographs, "images": len(condition.means)}
                for key in ("samples", "lost", "first_draw_failures", "clipped"):
                    row[key] = getattr(condition, key)
                for title, column in columns.items():
                    cell = column.get(name)
                    mean, std = cell if isinstance(cell, tuple) else (cell, None)
                    row |= {f"paper: {title}": mean, f"paper: {title}, std": std}
                rows.append(row)
    table = pd.DataFrame(rows)
    return table.drop(columns=[c for c in table if c.startswith("paper: ") and table[c].isna().all()])


def comparison_rows(results: list[Result]) -> pd.DataFrame:
    """The differences: one row per comparison, in full."""
    rows = []
    for result in results:
        for comparison in result.comparisons:
            row: dict[str, Any] = {"upscaler": result.upscaler, "factor": result.factor}
            row |= {"group": comparison.panel, "condition": comparison.condition, "against": comparison.against}
            difference = asdict(comparison.difference)
            row |= {"difference": difference.pop("mean"), **difference}
            row |= {"p_corrected": comparison.p, "p_alike": comparison.equivalence, "verdict": comparison.verdict}
            rows.append(row)
    return pd.DataFrame(rows)


def _level(level: object) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _paper_cell(cell: Cell | None) -> tuple[str, str]:
    """Mean and standard deviation as text."""
    if cell is None:
        return "", ""
    return (f"{cell[0]:.3f}", f"{cell[1]:.3f}") if isinstance(cell, tuple) else (f"{cell:.3f}", "")


def _by_condition(study: Study, result: Result) -> dict[tuple[str, str], Comparison]:
    """Comparisons by panel and condition, where there is one each."""
    return {} if study.kind == "order" else {(c.panel, c.condition): c for c in result.comparisons}


def _names(study: Study, result: Result, panel: str) -> list[str]:
    """Conditions of a panel in the order of rows: of rungs, or of what they lose."""
    names = [name for name in study.panels[panel].conditions if name in result.conditions]
    return result.ranked(names) if study.kind in ("ranking", "order") else names


def latex(study: Study, setting: Setting, results: list[Result]) -> str:
    """Set scores as the paper does, mean and standard deviation over images, differences, and the paper's values."""
    columns = study.paper.columns if study.paper else {}
    note = [
        "Mean and standard deviation over images; paired difference, p, effect, share of photographs with its sign.",
        "Needs \\usepackage{booktabs}.",
    ]
    if columns:
        note.append("The paper's values are of other upscalers and images: orders can be compared, numbers cannot.")
    apart = study.kind == "order"
    head = ["", "", "level", latex_text(setting.label), *([] if apart else ["difference", "$p$", "$d_z$", "share"])]
    head += [latex_text(title) for title in columns]
    blocks = []
    for result in results:
        compared = _by_condition(study, result)
        rows = [[rf"\multicolumn{{{len(head)}}}{{l}}{{{latex_text(result.upscaler)}, $\times{result.factor}$}}"]]
        for panel, group in study.panels.items():
            for i, name in enumerate(_names(study, result, panel)):
                score = result.conditions[name].score
                cells = [latex_text(panel) if i == 0 else "", latex_text(name)]
                cells += [latex_text(_level(group.conditions[name]))]
                cells += [rf"${short(score.mean)} \pm {short(score.std_images, like=score.mean)}$"]
                cells += [] if apart else _latex_difference(compared.get((panel, name)))
                for column in columns.values():
                    mean, std = _paper_cell(column.get(name))
                    cells.append(rf"${mean} \pm {std}$" if std else mean)
                rows.append(cells)
        blocks.append(rows)
    text = latex_tabular("lllc" + ("" if apart else "cccc") + "c" * len(columns), head, blocks, note=note)
    if apart:
        blocks = [
            [
                [latex_text(c.against), latex_text(c.condition), *_latex_difference(c)]
                for c in result.comparisons
            ]
            for result in results
        ]  # fmt: skip
        text += latex_tabular("llcccc", ["less", "more", "difference", "$p$", "$d_z$", "share"], blocks)
    return text


def _latex_difference(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 4
    difference = comparison.difference
    p = "--" if comparison.p is None else f"${p_value(comparison.p)}$"
    ratio = f"${effect(difference)}$" if effect(difference) else ""
    return [f"${comparison.interval}$", p, ratio, share(difference).replace("%", r"\%")]


HEAD = ("p", "effect", "share", "verdict")


def _difference_cells(comparison: Comparison | None) -> list[str]:
    """Interval, and cells below `HEAD`."""
    if comparison is None:
        return [""] * 5
    difference = comparison.difference
    p = "" if comparison.p is None else p_value(comparison.p)
    verdict = comparison.verdict if comparison.shown else f"**{comparison.verdict}**"
    return [f"{comparison.interval} vs. {comparison.against}", p, effect(difference), share(difference), verdict]


def markdown(study: Study, setting: Setting, results: list[Result]) -> str:
    """The tables of all upscalers and factors."""
    lines: list[str] = []
    columns = study.paper.columns if study.paper else {}
    levelled = any(level != "" for group in study.panels.values() for level in group.conditions.values())
    apart = study.kind == "order"
    head = ["", "", *(["level"] if levelled else []), f"{setting.label} [interval]"]
    head += [] if apart else ["difference [interval]", *HEAD]
    head += ["failed", "clipped", *(f"paper: {title}" for title in columns)]
    for result in results:
        lines += ["", f"## {result.title}", ""]
        rows = []
        compared = _by_condition(study, result)
        for panel, group in study.panels.items():
            for name in _names(study, result, panel):
                condition = result.conditions[name]
                score = condition.score
                cells = [f"{panel} ({group.axis})" if group.axis else panel, name]
                cells += [_level(group.conditions[name])] if levelled else []
                cells += [spread(score.mean, score.ci_low, score.ci_high)]
                cells += [] if apart else _difference_cells(compared.get((panel, name)))
                cells += [f"{condition.first_draw_failures:.2%}", f"{condition.clipped:.2%}"]
                for column in columns.values():
                    mean, std = _paper_cell(column.get(name))
                    cells.append(f"{mean} ± {std}" if std else mean)
                rows.append(cells)
        lines += markdown_table(head, rows)
        if apart:
            rows = [[c.against, c.condition, *_difference_cells(c)] for c in result.comparisons]
            rows = [[*row[:2], row[2].partition(" vs. ")[0], *row[3:]] for row in rows]
            lines += ["", *markdown_table(["loses less", "loses more", f"difference of {setting.label}", *HEAD], rows)]
        else:
            lines += _correlations(study, result)
    return "\n".join(lines) + "\n"


def _correlations(study: Study, result: Result) -> list[str]:
    """Spearman's rho by ladder, beside the paper's, if it prints any."""
    printed = study.paper.spearman if study.paper else {}
    if study.kind == "ranking" or (study.kind == "threshold" and not printed):
        return []
    rows = []
    for name, rho in ladder_correlations(study, result).items():
        if study.panels[name].aside:
            continue
        theirs = [f"{printed[name]:.3f}" if name in printed else ""] if printed else []
        rows.append([name, *(f"{value:.3f}" for value in rho), *theirs])
    head = ["Spearman's rho of rung and score", "of the means", "mean of the images'"]
    return ["", *markdown_table([*head, *(["paper, of parameter and score"] * bool(printed))], rows)]


def metrics(study: Study, results: list[Result]) -> dict[str, Any]:
    """Scalars, for ``dvc metrics``."""
    found: dict[str, Any] = {}
    for result in results:
        conditions = result.conditions
        entry: dict[str, Any] = {
            "comparisons": len(result.comparisons),
            "shown": sum(c.shown for c in result.comparisons),
            "reversed": sum(c.reversed for c in result.comparisons),
            "alike": sum(c.alike for c in result.comparisons),
            "photographs": result.photographs,
            "samples": sum(c.samples for c in conditions.values()),
            "not_finite": sum(c.lost for c in conditions.values()),
            "scores": {name: condition.score.mean for name, condition in conditions.items()},
            "first_draw_failures": {name: condition.first_draw_failures for name, condition in conditions.items()},
            "clipped": {name: condition.clipped for name, condition in conditions.items()},
        }
        differences: dict[str, Any] = {}
        for c in result.comparisons:
            values = {"mean": c.difference.mean, "p": c.p, "effect": c.difference.effect, "share": c.difference.share}
            differences.setdefault(c.panel.replace(".", "_"), {})[f"{c.condition} - {c.against}"] = values
        entry["differences"] = differences
        if study.kind == "ladders":
            rho = ladder_correlations(study, result)
            entry["spearman_means"] = {name.replace(".", "_"): value for name, (value, _) in rho.items()}
            entry["spearman_images"] = {name.replace(".", "_"): value for name, (_, value) in rho.items()}
        found.setdefault(result.upscaler, {})[f"x{result.factor}"] = entry
    return found
