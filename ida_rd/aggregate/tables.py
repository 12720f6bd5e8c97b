"""The tables of a run: for people (Markdown), for papers (LaTeX) and for programs (CSV)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ida_rd.core import typeset
from ida_rd.core.tables import marked_name
from ida_rd.core.typeset import interval, latex_text, number, p_value

__all__ = [
    "differences_markdown",
    "flat_note",
    "markdown_table",
    "mean_std_csv",
    "mean_std_latex",
    "mean_std_markdown",
]

BRANCH = ("upscaler", "factor", "downscaler")


def markdown_table(
    table: pd.DataFrame,
    distortions: dict[str, dict[str, Any]],
    order: list[str],
    skipped: dict[str, str],
    confidence: float,
    flat: int = 0,
) -> str:
    """Set the long table as Markdown: one row per branch, one column per distortion, best in bold.

    Sorted by the leading distortion, best first, within each upscaler and factor. `flat` images have no structure.
    """
    lead = order[0]
    heads = [_head(distortions[name]) for name in order]
    parts = _has_parts(table, lead)
    if parts:
        heads.insert(1, "variance : bias²")
    rows = []
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        cells = group.set_index(["downscaler", "distortion"])
        name = marked_name(upscaler, group.marks.iloc[0])
        best = {name: _sorted(group, name, distortions)[0] for name in order}
        for downscaler in _sorted(group, lead, distortions):
            row = [_cell(cells.loc[downscaler, name], best[name] == downscaler) for name in order]
            if parts:
                row.insert(1, _parts(cells.loc[downscaler, lead]))
            rows.append([name, f"x{factor}", downscaler, *row])
    counts = sorted({(int(n), int(k)) for n, k in zip(table.images, table.samples, strict=True)})
    shown = ", ".join(f"N = {n} images, K = {k} sample{'s' if k > 1 else ''}" for n, k in counts)
    lines = typeset.markdown_table([*BRANCH, *heads], rows)
    lines += ["", f"Mean over images [{confidence:.0%} bootstrap interval over images]; {shown}. Best in bold."]
    if flat:
        lines += [flat_note(flat, int(table.images.max()))]
    if parts:
        lines += [
            f"{distortions[lead]['label']} is the sum of variance (how far apart the samples of an image lie) and"
            " squared bias; their ratio is 1 for samples of the true posterior."
        ]
    lost = table.nonfinite_rate.max()
    lines += [
        f"Samples that were not finite and are left out: {'none' if lost == 0 else f'up to {lost:.2%} of a row'}."
    ]
    lines += [f"**Skipped: {name}**, because {reason}." for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"


def flat_note(flat: int, count: int) -> str:
    """What a reader of means must know of images without structure, as Markdown and HTML take it."""
    be = "is" if flat == 1 else "are"
    return (
        f"{flat} of the {count} images {be} nearly of one colour, without structure: a similarity of structures such as"
        " FSIM says little there, and still counts in the mean. The column without_structure of images.csv names them."
    )


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
    return interval(row["mean"], row["ci_low"], row["ci_high"], bold=best)


def _places(group: pd.DataFrame, distortion: str, better: str) -> dict[str, int]:
    """1 for the downscalers of the best mean, 2 for those of the next one."""
    rows = group[group.distortion == distortion].set_index("downscaler")["mean"]
    levels = sorted(rows.unique(), reverse=better == "higher")[:2]
    return {str(name): levels.index(value) + 1 for name, value in rows.items() if value in levels}


def _mean_std_rows(
    table: pd.DataFrame, distortions: dict[str, dict[str, Any]], order: list[str]
) -> list[list[list[tuple[Any, int]]]]:
    """One block per upscaler and factor, of rows of (cells of the row, place), sorted by the leading distortion."""
    blocks = []
    for _, group in table.groupby(["upscaler", "factor"], sort=False):
        cells = group.set_index(["downscaler", "distortion"])
        places = {name: _places(group, name, distortions[name]["better"]) for name in order}
        names = _sorted(group, order[0], distortions)
        blocks.append([[(cells.loc[d, n], places[n].get(d, 0)) for n in order] for d in names])
    return blocks


def _branch_name(row: Any) -> tuple[str, str, str]:
    return marked_name(row["upscaler"], row["marks"]), f"x{row['factor']}", str(row.name[0])


def _mean_std(row: Any) -> tuple[str, str]:
    return number(row["mean"]), number(row["std_images"], typeset.places_of(row["mean"]))


def mean_std_markdown(table: pd.DataFrame, distortions: dict[str, dict[str, Any]], order: list[str]) -> str:
    """Set scores as the paper does: mean ± standard deviation over images, best in bold, second underlined."""
    rows = []
    wrap = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}
    for block in _mean_std_rows(table, distortions, order):
        for cells in block:
            texts = [(*_mean_std(row), place) for row, place in cells]
            values = [f"{wrap[place].format(mean)} ± {std}" for mean, std, place in texts]
            rows.append([*_branch_name(cells[0][0]), *values])
    lines = typeset.markdown_table([*BRANCH, *(_head(distortions[name]) for name in order)], rows)
    lines += ["", "Mean ± standard deviation over images. Best in bold, second underlined."]
    return "\n".join(lines) + "\n"


def mean_std_latex(table: pd.DataFrame, distortions: dict[str, dict[str, Any]], order: list[str]) -> str:
    """Set the same as a LaTeX ``tabular``, for a document that loads booktabs."""
    heads = []
    for name in order:
        arrow = r"$\downarrow$" if distortions[name]["better"] == "lower" else r"$\uparrow$"
        heads.append(f"{latex_text(distortions[name]['label'])} {arrow}")
    blocks = []
    wrap = {0: "{}", 1: r"\mathbf{{{}}}", 2: r"\underline{{{}}}"}
    for block in _mean_std_rows(table, distortions, order):
        rows = []
        for cells in block:
            upscaler, factor, downscaler = map(latex_text, _branch_name(cells[0][0]))
            texts = [(*_mean_std(row), place) for row, place in cells]
            values = [rf"${wrap[place].format(mean)} \pm {std}$" for mean, std, place in texts]
            rows.append([upscaler, rf"$\times{factor[1:]}$", downscaler, *values])
        blocks.append(rows)
    note = "Mean and standard deviation over images; best in bold, second underlined. Needs \\usepackage{booktabs}."
    return typeset.latex_tabular("lll" + "c" * len(order), [*BRANCH, *heads], blocks, note=[note])


def mean_std_csv(table: pd.DataFrame, distortions: dict[str, dict[str, Any]], order: list[str]) -> pd.DataFrame:
    """Lay out the same in wide form, unrounded: one row per branch, two columns per distortion."""
    rows = []
    for block in _mean_std_rows(table, distortions, order):
        for cells in block:
            first = cells[0][0]
            row = {"upscaler": first["upscaler"], "factor": first["factor"], "downscaler": first.name[0]}
            for name, (r, _) in zip(order, cells, strict=True):
                row |= {f"{name}_mean": r["mean"], f"{name}_std": r["std_images"]}
            rows.append(row)
    return pd.DataFrame(rows)


def differences_markdown(differences: pd.DataFrame, lead: str, label: str, confidence: float) -> str:
    """Set the paired differences by the leading distortion: which downscalers differ significantly?"""
    rows = []
    for row in differences[differences.distortion == lead].to_dict("records"):
        differ = "yes" if row["p_holm"] < 1 - confidence else "no"
        cells = [row["upscaler"], f"x{row['factor']}", row["loses_less"], row["loses_more"]]
        cells += [interval(row["difference"], row["low"], row["high"]), p_value(row["p_holm"]), differ]
        rows.append(cells)
    head = [
        "upscaler",
        "factor",
        "loses less",
        "loses more",
        "difference",
        "p (Wilcoxon, Holm)",
        "differ significantly",
    ]
    lines = typeset.markdown_table(head, rows)
    lines += [
        "",
        f"Paired differences of {label} over the images [{confidence:.0%} bootstrap interval, for each pair by itself];"
        " p of Wilcoxon's signed-rank test, corrected by Holm's method for all pairs: they differ significantly"
        f" below {1 - confidence:.2g}.",
    ]
    leading = differences[differences.distortion == lead]
    fewest = int(leading.images.min()) if len(leading) else 0
    least = min(1.0, len(leading) * 2.0 ** (1 - fewest))
    if least > 1 - confidence:
        lines.append(
            f"**{fewest} images are too few for this test**: with {len(leading)} pairs it cannot give less than"
            f" {p_value(least)}, however clear the differences."
        )
    return "\n".join(lines) + "\n"
