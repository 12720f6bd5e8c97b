"""What users of resize functions ask, answered: a paragraph and a table per question, group by group.

`questions` are those of ``resizers.yaml``, `verdicts` says what is shown, `said` puts it into words, `drawn` draws it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from drawn import draw_all, drawable  # type: ignore[import-not-found]
from questions import Settings  # type: ignore[import-not-found]
from said import begun, kernels_table, kernels_text, pairs_table, paragraph, tables, what_is_shown  # type: ignore[import-not-found]
from verdicts import Study  # type: ignore[import-not-found]

from ida_rd.core.errors import exit_with_line
from ida_rd.core.files import atomic_folder, write_text
from ida_rd.core.methods import validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_yaml
from ida_rd.core.tables import write_table
from ida_rd.study.record import write_record


def main() -> None:
    found = read_yaml(Path("resizers.yaml"), hint="run this in the folder of the experiment")
    settings = validate(Settings, found, where="resizers.yaml")
    study = Study(settings, Project())
    lines = [f"# What do resize functions lose? {settings.data}", "", begun(study)]
    rows: list[dict[str, Any]] = []
    correlations: list[dict[str, Any]] = []
    for name, question in settings.questions.items():
        if not study.was_asked(question):
            continue
        studies = {distortion: study.by(distortion) for distortion in (study.lead, *study.others)}
        judged = {distortion: one.answers(question) for distortion, one in studies.items()}
        given = (judged[study.lead], {distortion: judged[distortion] for distortion in study.others})
        lines += ["", f"## {question.title}", "", paragraph(study, question, *given), *pairs_table(study, *given)]
        if question.kernels:
            aliasing = {distortion: one.kernels(question.kernels) for distortion, one in studies.items()}
            given = (aliasing[study.lead], {distortion: aliasing[distortion] for distortion in study.others})
            lines += ["", kernels_text(study, *given), *kernels_table(study, *given)]
            correlations += [
                {"question": name, "distortion": distortion, **one}
                for distortion in aliasing
                for one in aliasing[distortion]
            ]
        for distortion, answers in judged.items():
            rows += [{"question": name, "distortion": distortion, **vars(one)} for one in answers]
    table, answered = study.table(), pd.DataFrame(rows)
    main_ones = answered[answered.distortion == study.lead] if rows else answered
    lines[3:3] = [text for x in drawable(main_ones) for text in ("", f"![All questions](answers-x{x}.png)")]
    lines += ["", "## All functions", *tables(study, table)]
    if study.recipe.get("skipped"):
        lines += ["", "Not measured:", ""]
        lines += [f"* {name}: {reason}" for name, reason in sorted(study.recipe["skipped"].items())]
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(study.recipe, folder)
        write_text(folder / "resizers.md", "\n".join(lines) + "\n")
        write_table(folder / "answers.csv", answered)
        draw_all(main_ones, settings, study.descriptor["label"], what_is_shown(study), folder)
        write_table(folder / "table.csv", table)
        if correlations:
            write_table(folder / "aliasing.csv", pd.DataFrame(correlations))
    print("\n".join(lines[:8]))


if __name__ == "__main__":
    exit_with_line(main)
