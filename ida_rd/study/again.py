"""The differences of a study once more, from what is committed of it: ``images.csv`` and ``provenance.json``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.core.errors import UserError
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.study.judge import Result, Setting, judge
from ida_rd.study.rows import DIGITS, KEYS, of_images
from ida_rd.study.settings import Study
from ida_rd.study.tables import comparison_rows

__all__ = ["check", "from_images"]

HINT = "--from takes a folder of results that `python -m ida_rd.study` wrote"
FACTS = (
    "upscaler",
    "factor",
    "downscaler",
    "image_id",
    "photograph",
    "samples",
    "first_draw_failures",
    "lost",
    "clipped",
)


def from_images(study: Study, folder: Path) -> tuple[Setting, list[Result]]:
    """Judge a study by the images of its results.

    Parameters
    ----------
    study : Study
    folder : Path
        ``results/<data>``.
    """
    record = read_json(folder / "provenance.json", hint=HINT)
    table = read_table(folder / "images.csv", hint=HINT)
    try:
        setting = Setting.of_record(record)
        marks = {path: ", ".join(facts["marks"]) for path, facts in record["upscalers"].items()}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{folder / 'provenance.json'} does not say how the study was judged: {HINT}") from None
    if missing := [name for name in (*FACTS, setting.lead) if name not in table]:
        raise UserError(f"{folder / 'images.csv'} has no column {missing[0]}: {HINT}")
    photographs = dict(zip(table.image_id, table.photograph.astype(str), strict=True))
    results = []
    for (upscaler, factor), branch in table.groupby(list(KEYS[:2]), sort=True):
        conditions = {
            str(name): of_images(images, setting.lead, setting.confidence)
            for name, images in branch.groupby("downscaler", sort=True)
        }
        key = (str(upscaler), int(factor))
        results.append(judge(study, setting, key, conditions, photographs, marks.get(f"x{key[1]}/{key[0]}", "")))
    return setting, results


def check(folder: Path, setting: Setting, results: list[Result]) -> float:
    """Compare the differences with those that ``differences.csv`` has.

    Returns
    -------
    float
        How far they lie apart, at most.

    Raises
    ------
    UserError
        Others are compared, or they lie further apart than the digits of ``images.csv`` explain.
    """
    path = folder / "differences.csv"
    names: list[Any] = ["upscaler", "factor", "group", "condition", "against"]
    theirs, ours = read_table(path, hint=HINT), comparison_rows(results)
    if missing := [name for name in [*names, "difference"] if name not in theirs]:
        raise UserError(f"{path} has no column {missing[0]}: {HINT}")
    theirs, ours = (table.astype(dict.fromkeys(names, str)).set_index(names).difference for table in (theirs, ours))
    if set(theirs.index) != set(ours.index):
        raise UserError(f"{path} compares other conditions than study.yaml: run `python -m ida_rd.study`")
    apart = float(np.abs(theirs - pd.Series(ours)).max())
    largest = max(float(condition.means.abs().max()) for result in results for condition in result.conditions.values())
    if apart > 10.0 ** (math.floor(math.log10(largest)) + 1 - DIGITS):
        raise UserError(
            f"{path} does not follow from images.csv: differences are {apart:.2g} apart; run the study again"
        )
    return apart
