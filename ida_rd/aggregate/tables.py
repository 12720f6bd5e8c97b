"""The tables of a run: for people (Markdown), for papers (LaTeX) and for programs (CSV)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ida_rd.core import typeset
from ida_rd.core.pairs import FEW, FEWEST, disagreements
from ida_rd.core.tables import marked_name
from ida_rd.core.typeset import counted, interval, latex_text, number, p_value, share

__all__ = [
    "differences_markdown",
    "disagreement_note",
    "effect",
    "flat_note",
    "markdown_table",
    "mean_std_csv",
    "mean_std_latex",
    "mean_std_markdown",
    "primary_note",
]

BRANCH = ("upscaler", "factor", "downscaler")


def markdown_table(
    table: pd.DataFrame,
    distortions: dict[str, dict[str, Any]],
    order: list[str],
    skipped: dict[str, str],
    confidence: float,
    flat: int = 0,
    *,
    primary: str | None = None,
    disagreeing: str = "",
) -> str:
    """Set the long table as Markdown: one row per branch, one column per distortion, best in bold.

    Sorted by the leading distortion, best first, within each upscaler and factor. `flat` images have no structure;
    `disagreeing` is the `disagreement_note`.
    """
    lead = order[0]
    heads = [_head(distortions[name]) for name in order]
    parts = _has_parts(table, lead)
    if parts:
        heads.insert(1, "variance : squared error")
    rows = []
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        cells = group.set_index(["downscaler", "distortion"])
        name = marked_name(upscaler, group.marks.iloc[0])
        best = {name: _sorted(group, name, distortions)[0] for name in order}
        for downscaler in _sorted(group, lead, distortions):
            row = [_cell(cells.loc[downscaler, name], best[name] == downscaler) for name in order]
            if parts:
                row.insert(1, _parts(cells.loc[downscaler, lead]))
            of = cells.loc[downscaler, lead]
            row += [share(of["first_draw_failures"]), share(of["clipped_rate"])]
            rows.append([name, f"x{factor}", downscaler, *row])
    lines = typeset.markdown_table([*BRANCH, *heads, "failed", "clipped"], rows)
    lines += ["", *_about(table, confidence), *primary_note(primary, distortions, order, skipped)]
    if flat:
        lines += [flat_note(flat, int(table.images.max()))]
    if parts:
        lines += [
            f"{distortions[lead]['label']} is the sum of variance (half the mean distance between an image's samples)"
            " and the squared error of their mean."
        ]
    if disagreeing:
        lines += [disagreeing]
    lines += _failures(table)
    lines += [f"**Skipped: {name}**, because {reason}." for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"


def _about(table: pd.DataFrame, confidence: float) -> list[str]:
    """Of what the numbers are, and how far their intervals can be believed."""
    counts = sorted({(int(p), int(n), int(k)) for p, n, k in table[["photographs", "images", "samples"]].to_numpy()})
    shown = "; ".join(f"N = {counted(p, n)}, K = {k} sample{'s' if k > 1 else ''}" for p, n, k in counts)
    fewest = counts[0][0]
    interval_of = f" [{confidence:.0%} interval over photographs]" if fewest >= FEWEST else ""
    lines = [f"Mean over photographs{interval_of}; {shown}. Best in bold."]
    if fewest < FEWEST:
        lines += [f"**Fewer than {FEWEST} photographs: nothing can be said of others**, so there is no interval."]
    elif fewest < FEW:
        lines += [
            f"**Fewer than {FEW} photographs**: the interval of scores that are skewed is too short (some 80 to 90 % of"
            f" those of {confidence:.0%} hold)."
        ]
    lines += ["Intervals of two downscalers may overlap though they differ: compare them by their paired differences."]
    return lines


def primary_note(
    primary: str | None, distortions: dict[str, dict[str, Any]], order: list[str], skipped: dict[str, str]
) -> list[str]:
    """Say which distortion the run is judged by; a list of one sentence or none."""
    lead = distortions[order[0]]["label"]
    if primary in skipped:
        return [
            f"**The primary outcome, {primary}, could not be computed here.** Sorted by {lead}, which params.yaml names"
            " as secondary: no verdict rests on it."
        ]
    return [f"The primary outcome is {lead}."] if len(order) > 1 else []


def _failures(table: pd.DataFrame) -> list[str]:
    """What failed, and what the official code would have made of it."""
    lines = [
        "failed: samples that were not finite when first drawn; they are drawn again, at most twice, and left out if"
        " that fails too"
        + (f" (up to {share(lost)} of a row)" if (lost := float(table.nonfinite_rate.max())) else "")
        + ". clipped: sub-pixels outside [0, 255]."
    ]
    bounds = table[table.mean_with_failures.notna()] if "mean_with_failures" in table else table[:0]
    if len(bounds):
        lines += [
            "Scored as the official code does, which does not draw again and takes them as black: "
            + "; ".join(
                f"{row.downscaler} ({row.distortion}) {number(row.mean_with_failures)}" for row in bounds.itertuples()
            )
            + "."
        ]
    return lines


def disagreement_note(
    pairs: pd.DataFrame, distortions: dict[str, dict[str, Any]], order: list[str], level: float
) -> str:
    """Say which pairs the distortions order differently, both significantly; empty if none."""

    def labels(side: tuple[tuple[str, float], ...]) -> str:
        return ", ".join(distortions[name]["label"] for name, _ in side)

    told = [
        f"{one.less} loses less than {one.more} by {labels(one.by)}, more by {labels(one.against)}"
        for one in disagreements(pairs, order, level)
    ]
    return f"**Distortions disagree significantly**: {'; '.join(dict.fromkeys(told))}." if told else ""


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
    return f"{row['variance']:.3f} : {row['bias']:.3f}{ratio}"


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


def differences_markdown(
    differences: pd.DataFrame,
    lead: str,
    label: str,
    confidence: float,
) -> str:
    """Set the paired differences by the leading distortion: which downscalers differ significantly?"""
    rows = []
    for row in differences[differences.distortion == lead].to_dict("records"):
        differ = "yes" if row["p_holm"] < 1 - confidence else "no"
        cells = [row["upscaler"], f"x{row['factor']}", row["loses_less"], row["loses_more"]]
        cells += [interval(row["difference"], row["low"], row["high"]), effect(row["effect"]), f"{row['share']:.0%}"]
        rows.append([*cells, p_value(row["p_holm"]), differ])
    head = ["upscaler", "factor", "loses less", "loses more", "difference", "effect", "share", "p (Holm)"]
    lines = typeset.markdown_table([*head, "differ significantly"], rows)
    lines += [
        "",
        f"Paired differences of {label} over the photographs [{confidence:.0%} interval, for each pair by itself]."
        " effect: the mean in standard deviations of the photographs' differences; share: photographs whose difference"
        " has the sign of the mean. p: signs flipped by photograph, corrected by Holm's method for all pairs: they"
        f" differ significantly below {1 - confidence:.2g}.",
    ]
    leading = differences[differences.distortion == lead]
    fewest = int(leading.photographs.min()) if len(leading) else 0
    least = min(1.0, len(leading) * 2.0 ** (1 - fewest))
    if least > 1 - confidence:
        lines.append(
            f"**{fewest} photographs are too few for this test**: with {len(leading)} pairs it cannot give less than"
            f" {p_value(least)}, however clear the differences."
        )
    return "\n".join(lines) + "\n"


def effect(value: float | None) -> str:
    """Set an effect size; all differences alike have none."""
    return "" if value is None or pd.isna(value) else f"{value:.2f}"
