"""A forger who knows the program: changes something in a bundle, and makes all that derives from it fit again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ida_rd.aggregate.results import aggregate, photographs_in, provenance
from ida_rd.aggregate.surprise import write_surprise_tables
from ida_rd.aggregate.write import write_tables
from ida_rd.bundle.derived import citations, licences, readme, results_of
from ida_rd.bundle.publish import write_checksums
from ida_rd.bundle.schema import PublishedResults
from ida_rd.bundle.versions import VERSIONS
from ida_rd.core.files import sha256_file, write_json, write_text
from ida_rd.core.project import Branch
from ida_rd.core.tables import read_table


def change(path: Path, how: Callable[[Any], Any]) -> None:
    """Change a JSON file in place."""
    data = json.loads(path.read_text())
    how(data)
    write_json(path, data)


def change_rows(bundle: Path, name: str, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a branch's rows, such as ``flow-compact/x4/mine``."""
    path = bundle / f"rows/{name}.csv"
    how(read_table(path, hint="")).to_csv(path, index=False)


def make_fit(bundle: Path) -> None:
    """Write again every file that derives from rows and ``recipes/aggregate.json``, and the checksums."""
    recipe = json.loads((bundle / "recipes/aggregate.json").read_text())
    old = json.loads((bundle / "results.json").read_text())
    photographs = photographs_in(read_table(bundle / "subset.csv", hint=""))
    table = read_table(bundle / "tables/images.csv", hint="")
    rates = {
        (d, int(f), i): rate
        for d, f, i, rate in zip(table.downscaler, table.factor, table.image_id, table.rate_bpp, strict=True)
    }
    rows = {Branch.of(b): bundle / f"rows/{Branch.of(b).path}.csv" for b in recipe["branches"]}
    numbers = aggregate(recipe, photographs, lambda branch: read_table(rows[branch], hint=""), rates)
    write_tables(bundle / "tables", recipe, numbers)
    samples = yaml.safe_load((bundle / "params.yaml").read_text())["samples"]
    for path, method in VERSIONS[2].files(recipe["recipes"]).items():
        write_json(bundle / f"recipes/{path}.json", method)
    environments = {b.path: json.loads(p.with_suffix(".json").read_text()) for b, p in rows.items()}
    sha = sha256_file(bundle / "subset.csv")
    read = json.loads((bundle / "surprise.json").read_text())
    write_json(bundle / "provenance.json", provenance(recipe, sha, environments) | {"surprise": read})
    write_surprise_tables(bundle / "tables", read_table(bundle / "surprise.csv", hint=""), photographs, recipe)
    hashes = {branch: sha256_file(path) for branch, path in rows.items()}
    made = results_of(recipe, samples=samples, summary=numbers.summary, dataset_sha256=sha, rows=hashes)
    results = PublishedResults.model_validate(
        made | {key: old[key] for key in ("program", "commit", "uncommitted_changes")}
    )
    write_json(bundle / "results.json", results.model_dump())
    write_text(bundle / "README.md", readme((bundle / "tables/ida_rd.md").read_text(), results, images=True))
    write_text(bundle / "LICENCES.md", licences(recipe, results.weights))
    write_text(bundle / "CITATIONS.bib", citations(recipe["recipes"], recipe["attributes"]))
    for copied in (bundle / "page").glob("*.csv"):
        source = bundle / ("balance.csv" if copied.name == "balance.csv" else f"tables/{copied.name}")
        shutil.copyfile(source, copied)
    shutil.copyfile(bundle / "provenance.json", bundle / "page/provenance.json")
    write_checksums(bundle)
