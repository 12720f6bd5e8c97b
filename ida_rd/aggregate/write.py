"""Write every table of a run: CSV for programs, Markdown for people, LaTeX for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ida_rd.aggregate.amounts import amounts_markdown, amounts_of_run, ladder_of
from ida_rd.aggregate.results import Results
from ida_rd.aggregate.tables import (
    differences_markdown,
    disagreement_note,
    markdown_table,
    mean_std_csv,
    mean_std_latex,
    mean_std_markdown,
)
from ida_rd.core.files import write_json, write_text
from ida_rd.core.tables import write_table

__all__ = ["write_tables"]


def write_tables(folder: Path, recipe: dict[str, Any], results: Results) -> None:
    """Write every table of a run into `folder`."""
    distortions, order, confidence = recipe["distortions"], recipe["distortion_order"], recipe["confidence"]
    for stem, table in results.tables().items():
        write_table(folder / f"{stem}.csv", table)
    write_json(folder / "ida_rd.json", results.summary)
    write_table(folder / "leading.csv", results.leading(order[0]))
    scores = results.shown
    table = markdown_table(
        *(scores, distortions, order, recipe["skipped"], confidence, results.flat),
        primary=recipe.get("primary"),
        disagreeing=disagreement_note(results.differences, distortions, order, 1 - confidence),
    )
    write_text(folder / "ida_rd.md", table)
    write_table(folder / "mean_std.csv", mean_std_csv(scores, distortions, order))
    write_text(folder / "mean_std.md", mean_std_markdown(scores, distortions, order))
    write_text(folder / "mean_std.tex", mean_std_latex(scores, distortions, order))
    if "amounts" in recipe:
        _write_amounts(folder, recipe, results)
    label = distortions[order[0]]["label"]
    write_text(folder / "differences.md", differences_markdown(results.differences, order[0], label, confidence))


def _write_amounts(folder: Path, recipe: dict[str, Any], results: Results) -> None:
    """Write what scores amount to: of what is there, a ladder, nearest, or both."""
    ladder, table = ladder_of(recipe), amounts_of_run(recipe, results)
    write_table(folder / "amounts.csv", table)
    scores = results.shown.merge(table, on=["upscaler", "factor", "distortion", "downscaler"], how="left")
    text = amounts_markdown(
        *(scores, recipe["distortions"], recipe["distortion_order"], recipe["confidence"]),
        ladder[-1][1] if ladder else None,
        with_scores=True,
    )
    write_text(folder / "amounts.md", text)
