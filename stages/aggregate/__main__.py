"""``python -m stages.aggregate``: write ``metrics/ida_rd.json``, ``metrics/provenance.json``, ``metrics/tables/``."""

from pathlib import Path
from typing import Any

from stages.aggregate.rate import rates
from stages.aggregate.stage import Results, aggregate, provenance
from stages.aggregate.tables import (
    differences_markdown,
    markdown_table,
    mean_std_csv,
    mean_std_latex,
    mean_std_markdown,
)
from stages.core.errors import run_stage
from stages.core.files import atomic_folder, write_json, write_text
from stages.core.recipes import read_recipe
from stages.core.tables import read_table, write_table


def write_tables(folder: Path, recipe: dict[str, Any], results: Results) -> None:
    """Write every table of a run into `folder`."""
    distortions, order, confidence = recipe["distortions"], recipe["distortion_order"], recipe["confidence"]
    for stem, table in results.tables().items():
        write_table(folder / f"{stem}.csv", table)
    write_json(folder / "ida_rd.json", results.summary)
    write_table(folder / "leading.csv", results.leading(order[0]))
    scores = results.scores
    write_text(folder / "ida_rd.md", markdown_table(scores, distortions, order, recipe["skipped"], confidence))
    write_table(folder / "mean_std.csv", mean_std_csv(scores, distortions, order))
    write_text(folder / "mean_std.md", mean_std_markdown(scores, distortions, order))
    write_text(folder / "mean_std.tex", mean_std_latex(scores, distortions, order))
    label = distortions[order[0]]["label"]
    write_text(folder / "differences.md", differences_markdown(results.differences, order[0], label, confidence))


def main() -> None:
    recipe = read_recipe("aggregate")
    subset, rows = Path("data/subset.csv"), Path("data/distortion")
    images = list(read_table(subset, hint="run `dvc repro balance`").image_id)
    branches = list(dict.fromkeys((b["downscaler"], b["factor"]) for b in recipe["branches"]))
    results = aggregate(recipe, images, rows, rates(Path("data/lr"), branches, images))
    with atomic_folder("metrics/tables") as folder:
        write_tables(folder, recipe, results)
    write_json("metrics/provenance.json", provenance(recipe, subset, rows))
    write_json("metrics/ida_rd.json", results.metrics())


if __name__ == "__main__":
    run_stage(main)
