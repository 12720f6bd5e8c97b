"""``python -m ida_rd.study``, in the folder of an experiment."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.core.errors import UserError, exit_with_line, printable_lines
from ida_rd.core.files import atomic_folder, sha256_file, write_json, write_text
from ida_rd.core.methods import validate
from ida_rd.core.project import Branch
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import read_table, write_table
from ida_rd.report.figures import save
from ida_rd.study.again import check, from_images
from ida_rd.study.draw import draw
from ida_rd.study.judge import Result, Setting, judge
from ida_rd.study.prose import page, paragraph
from ida_rd.study.record import provenance
from ida_rd.study.rows import Condition, images_of, of_rows, photographs_in, rounded
from ida_rd.study.settings import Study
from ida_rd.study.tables import comparison_rows, latex, metrics, table_rows

SUBSET = Path("data/subset.csv")
ROWS = Path("data/distortion")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ida_rd.study", description=__doc__)
    parser.add_argument(
        "--from",
        dest="results",
        type=Path,
        metavar="FOLDER",
        help="compute the differences once more from the images.csv of these results, and compare; writes nothing",
    )
    given = parser.parse_args(arguments)
    study = validate(Study, read_yaml("study.yaml", hint="run this in the folder of an experiment"), where="study.yaml")
    if given.results is None:
        setting, results = _run(study)
    else:
        setting, results = from_images(study, given.results)
    text = "\n\n".join(paragraph(study, setting, result) for result in results)
    if given.results is not None:
        apart = check(given.results, setting, results)
        text += f"\n\nFrom images.csv alone; no difference is further than {apart:.1e} from that of differences.csv."
    print(printable_lines(text))


def _run(study: Study) -> tuple[Setting, list[Result]]:
    """Judge the rows of a run and write its results."""
    recipe = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    known = {branch["downscaler"] for branch in recipe["branches"]} | recipe["skipped"].keys()
    for name, panel in study.panels.items():
        if odd := [c for c in panel.conditions if c not in known]:
            raise UserError(f"study.yaml: panels.{name}: params.yaml has no downscaler {', '.join(odd)}")
    setting = Setting.of(recipe)
    photographs = photographs_in(SUBSET)
    tables: dict[tuple[str, int, str], pd.DataFrame] = {}
    conditions: dict[tuple[str, int], dict[str, Condition]] = {}
    environments = []
    for record in recipe["branches"]:
        branch = Branch.of(record)
        rows = read_table(ROWS / f"{branch.path}.csv", hint="run `dvc repro distort`")
        environments.append(read_json(ROWS / f"{branch.path}.json", hint="run `dvc repro distort`"))
        images = images_of(rows, setting.lead, photographs)
        tables[branch.upscaler, branch.factor, branch.downscaler] = images
        condition = of_rows(rows, images, setting.lead, photographs, setting.confidence)
        conditions.setdefault((branch.upscaler, branch.factor), {})[branch.downscaler] = condition
    results = [
        judge(study, setting, key, conditions[key], photographs, _marks(recipe, *key)) for key in sorted(conditions)
    ]
    with atomic_folder(Path("results") / study.data) as folder:
        write_table(folder / "images.csv", rounded(tables, setting.lead))
        write_json(folder / "provenance.json", provenance(recipe, sha256_file(SUBSET), environments))
        write_table(folder / "table.csv", table_rows(study, results))
        write_table(folder / "differences.csv", comparison_rows(results))
        write_text(folder / "study.tex", latex(study, setting, results))
        write_text(folder / "study.md", page(study, setting, results, recipe["skipped"]))
        save(draw(study, setting, results), folder / "scores")
        write_json(folder / "study.json", metrics(study, results))
    return setting, results


def _marks(recipe: dict[str, Any], upscaler: str, factor: int) -> str:
    return ", ".join(recipe["upscalers"][f"x{factor}/{upscaler}"]["marks"])


if __name__ == "__main__":
    exit_with_line(main)
