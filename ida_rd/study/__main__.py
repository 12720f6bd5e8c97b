"""``python -m ida_rd.study``, in the folder of an experiment."""

from __future__ import annotations

from pathlib import Path

from ida_rd.core.errors import UserError, exit_with_line, printable_lines
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.methods import validate
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import write_table
from ida_rd.report.figures import save
from ida_rd.study.draw import draw
from ida_rd.study.judge import judge
from ida_rd.study.prose import page, paragraph
from ida_rd.study.settings import Study
from ida_rd.study.tables import latex, metrics, table_rows


def main() -> None:
    study = validate(Study, read_yaml("study.yaml", hint="run this in the folder of an experiment"), where="study.yaml")
    recipe = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    branches = {(branch["upscaler"], branch["factor"]) for branch in recipe["branches"]}
    known = {branch["downscaler"] for branch in recipe["branches"]} | recipe["skipped"].keys()
    for name, panel in study.panels.items():
        if odd := [c for c in panel.conditions if c not in known]:
            raise UserError(f"study.yaml: panels.{name}: params.yaml has no downscaler {', '.join(odd)}")
    results = [judge(study, recipe, Path("data/distortion"), *key) for key in sorted(branches)]
    descriptor = recipe["distortions"][recipe["distortion_order"][0]]
    with atomic_folder(Path("results") / study.data) as folder:
        table = table_rows(study, results)
        write_table(folder / "table.csv", table)
        write_text(folder / "study.tex", latex(table, descriptor["label"]))
        text = page(study, results, recipe["skipped"], descriptor, recipe["confidence"])
        write_text(folder / "study.md", text)
        save(draw(study, results, descriptor["label"]), folder / "scores")
        write_json(folder / "study.json", metrics(study, results))
    print(printable_lines("\n\n".join(paragraph(study, result, descriptor["label"]) for result in results)))


if __name__ == "__main__":
    exit_with_line(main)
