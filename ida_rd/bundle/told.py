"""What a bundle says besides its scores, where a run has it: of its decoders, and what scores amount to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.matched import matched_table
from ida_rd.aggregate.matched_text import matched_markdown
from ida_rd.aggregate.own import write_own_tables
from ida_rd.aggregate.results import Results as Numbers
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.surprise import write_surprise_tables
from ida_rd.bundle.folder import Bundle
from ida_rd.bundle.own import OWN, own_columns_of, published_own_rows
from ida_rd.bundle.schema import Results
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text
from ida_rd.core.tables import write_table

__all__ = ["SURPRISE", "WEIGHTS", "told_files", "write_told"]

SURPRISE = ("surprise.csv", "surprise.json")  # not there in bundles of before
WEIGHTS = "adapted.json"  # hashes of the weights that were adapted, by branch: they themselves are not in a bundle
HASH = re.compile(r"[0-9a-f]{64}")


def told_files(bundle: Bundle, recipe: dict[str, Any]) -> set[str]:
    """Names of these files, by what the recipe of the aggregation says there is."""
    found: set[str] = set()
    stems = []
    if SURPRISE[0] in bundle.files:
        found |= {*SURPRISE}
        stems += ["surprise"] if len(bundle.table(SURPRISE[0])) else []
    if own_columns_of(recipe):
        found.add(OWN)
        stems.append("own_columns")
    if any("adapted" in method for method in recipe["recipes"].values()):
        found.add(WEIGHTS)
    stems += [key for key in ("amounts", "matched") if key in recipe]
    return found | {f"tables/{stem}.{end}" for stem in stems for end in ("csv", "md")}


def write_told(
    bundle: Bundle, folder: Path, results: Results, recipe: dict[str, Any], today: dict[str, Any], numbers: Numbers
) -> list[str]:
    """Make the tables of decoders again; return what is wrong with what they follow from.

    Parameters
    ----------
    bundle : Bundle
    folder : Path
        To write into.
    results : Results
    recipe, today : dict
        ``recipes/aggregate.json``, and as this version has it.
    numbers : Numbers
        Computed from the rows.
    """
    manifest = bundle.table("subset.csv")
    photographs = photographs_in(manifest)
    problems = _weights_problems(bundle, recipe)
    if SURPRISE[0] in bundle.files:
        write_surprise_tables(folder, _surprise(bundle, results, len(photographs)), photographs, today)
    if own_columns_of(recipe):
        own_rows, odd = published_own_rows(bundle, results, recipe, list(manifest.image_id))
        problems += odd
        if not odd:
            write_own_tables(folder, own_rows, photographs, today)
    if families := today.get("matched"):
        table = matched_table(numbers.images, numbers.scores, photographs, today)
        write_table(folder / "matched.csv", table)
        lead = today["distortion_order"][0]
        described = today["distortions"][lead]
        text = matched_markdown(table, families, lead, described, today["confidence"])
        write_text(folder / "matched.md", text)
    return problems


def _weights_problems(bundle: Bundle, recipe: dict[str, Any]) -> list[str]:
    """Every adapted branch names the hash of its weights; whether they were those, nobody can check."""
    wanted = {path.removeprefix("upscale/") for path, method in recipe["recipes"].items() if "adapted" in method}
    if not wanted:
        return []
    said = bundle.json(WEIGHTS)
    if not isinstance(said, dict) or said.keys() != wanted:
        return [f"{WEIGHTS}: does not name the weights of every adapted branch, and no others"]
    if not all(isinstance(sha, str) and HASH.fullmatch(sha) for sha in said.values()):
        return [f"{WEIGHTS}: holds something else than hashes"]
    return []


def _surprise(bundle: Bundle, results: Results, images: int) -> pd.DataFrame:
    """Rows of ``surprise.csv``, of the bundle's own branches: others would cost time for nothing."""
    rows = bundle.table(SURPRISE[0])
    found = rows[["upscaler", "factor", "downscaler"]].drop_duplicates()
    known = {(b.upscaler, b.factor, b.downscaler) for b in (record.branch for record in results.branches)}
    if (
        len(found) > len(known)
        or len(rows) > len(known) * images
        or not known.issuperset(found.itertuples(index=False))
    ):
        raise UserError(f"{SURPRISE[0]}: has rows of a branch or image that is not in results.json")
    return rows
