"""Check a published bundle: is it complete, and do its summaries follow from its rows?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ida_rd.aggregate.results import aggregate
from ida_rd.aggregate.write import write_tables
from ida_rd.bundle.numbers import branch_problems, table_problems
from ida_rd.bundle.schema import InvalidResults, Results, read_results
from ida_rd.bundle.versions import RELEASED_WEIGHTS, version_of
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.core.weights import MissingWeights, catalogue, locate

__all__ = ["DAMAGED", "NOT_WHOLE", "SUMS", "Verification", "refusal", "verify", "weights_of"]

SUMS = "SHA256SUMS"
ROW = ["image_id", "sample", "finite", "attempts", "clipped"]
SHOWN = 8
NOT_WHOLE = "the bundle is incomplete"
DAMAGED = "the bundle is damaged"


class Verification(UserError):
    """A bundle that does not hold up; the message names every problem found."""


def verify(bundle: Path) -> Results:
    """Check a bundle of any version against itself and against this program.

    Checked are: checksums, and that no file is missing or added; ``results.json`` against the schema of its version;
    that every image of the test set has every sample, once; that recipes, provenance and results say the same, and
    name weights with hashes that the catalogue accepts and that the files shipped with the program have or had; that
    every table and every summary is what the rows give (by the rules of `ida_rd.bundle.numbers`); and that no two
    branches have the same values, which is most likely a mix-up. Hashes of code are for `ida_rd.bundle.rerun.rerun`:
    here they decide nothing.

    Parameters
    ----------
    bundle : Path
        Folder written by `ida_rd.bundle.publish.publish`, of this version or an earlier one.

    Raises
    ------
    Verification
        With every problem found.
    UserError
        Not a bundle, or one of a newer version.
    """
    try:
        results = read_results(bundle)
    except InvalidResults as error:
        raise refusal(bundle, [*_checksums(bundle), str(error)]) from None
    problems = _checksums(bundle)
    try:
        problems += _contents(bundle, results)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        problems.append(f"a recipe or table does not have the form that this program writes ({reason})")
    except UserError as error:  # a file that is missing, or not JSON or CSV
        problems.append(str(error))
    if problems:
        raise refusal(bundle, problems)
    return results


def refusal(bundle: Path, problems: list[str]) -> Verification:
    """One line of all problems."""
    shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
    return Verification(f"{bundle} is refused: " + "; ".join(shown))


def _contents(bundle: Path, results: Results) -> list[str]:
    """Compare recipes, rows and summaries with each other."""
    recipe = read_json(bundle / "recipes/aggregate.json", hint=NOT_WHOLE)
    images = list(read_table(bundle / "subset.csv", hint=NOT_WHOLE).image_id)
    problems = _agreement(bundle, results, recipe) + _weights(results, recipe)
    broken = _rows(bundle, results, images)
    if broken:
        return problems + broken
    return [*problems, *_mix_ups(bundle, results), *_summaries(bundle, results, recipe, images)]


def _checksums(bundle: Path) -> list[str]:
    try:
        lines = (bundle / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        return [f"{SUMS}: missing or damaged"]
    present = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()} - {SUMS}
    problems = [f"{name}: listed in {SUMS}, but missing" for name in sorted(sums.keys() - present)]
    problems += [f"{name}: not listed in {SUMS}" for name in sorted(present - sums.keys())]
    for name in sorted(sums.keys() & present):
        if sha256_file(bundle / name) != sums[name]:
            problems.append(f"{name}: its checksum differs from {SUMS}")
    return problems


def weights_of(recipes: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of the weights of all recipes, by id."""
    entries = [*recipes.values(), *recipes["distort"]["distortions"].values()]
    return {key: sha for entry in entries for key, sha in entry.get("weights", {}).items()}


def _agreement(bundle: Path, results: Results, recipe: dict[str, Any]) -> list[str]:
    """What is said in several places must agree: in results, provenance and the files of recipes."""
    problems = []
    version = version_of(results)
    provenance = read_json(bundle / "provenance.json", hint=NOT_WHOLE)
    if provenance["methods"] != recipe["recipes"]:
        problems.append("provenance.json: its methods are not those of recipes/aggregate.json")
    for key in version.provenance:
        if provenance.get(key) != recipe.get(key):
            problems.append(f"provenance.json: {key} differs from recipes/aggregate.json")
    for path, method in version.files(recipe["recipes"]).items():
        if read_json(bundle / "recipes" / f"{path}.json", hint=NOT_WHOLE) != method:
            problems.append(f"recipes/{path}.json: differs from recipes/aggregate.json")
    said = results.model_dump()
    for key in ("seed", "confidence", "resamples", "distortions", "distortion_order", "skipped"):
        if said[key] != recipe[key]:
            problems.append(f"results.json: {key} differs from recipes/aggregate.json")
    parameters = read_json(bundle / "recipes/report.json", hint=NOT_WHOLE)["parameters"]
    if results.samples != parameters["samples"]:
        problems.append("results.json: samples differs from recipes/report.json")
    keys = [(b["upscaler"], b["factor"], b["downscaler"]) for b in recipe["branches"]]
    if [(b.upscaler, b.factor, b.downscaler) for b in results.branches] != keys:
        problems.append("results.json: its branches are not those of recipes/aggregate.json")
    if sha256_file(bundle / "subset.csv") != results.dataset_sha256:
        problems.append("subset.csv: is not the test set whose hash results.json has")
    return problems


def _weights(results: Results, recipe: dict[str, Any]) -> list[str]:
    """Every place that names weights must name the same ones, and they must be those of their id."""
    problems = []
    used = weights_of(recipe["recipes"])
    if used != results.weights:
        odd = sorted(key for key in used.keys() | results.weights.keys() if used.get(key) != results.weights.get(key))
        problems.append(f"results.json: weights {', '.join(odd)}: the hash differs from the recipes")
    known = catalogue()
    for key, sha in results.weights.items():
        if key not in known:
            problems.append(f"results.json: no weights are called {key}")
        elif not known[key].accepts(sha):
            problems.append(f"results.json: {sha[:12]}... is not the hash of {key}")
        elif known[key].file is not None and sha not in RELEASED_WEIGHTS.get(key, ()):
            try:
                here = locate(key, download=False).sha256
            except (MissingWeights, UserError):
                continue
            if here != sha:
                problems.append(
                    f"results.json: {key} has the hash {sha[:12]}..., but the file of this version has {here[:12]}..."
                )
    return problems


def _rows(bundle: Path, results: Results, images: list[str]) -> list[str]:
    """Every sample of every image, once, and distances where there is a sample."""
    problems = []
    for branch in results.branches:
        path = bundle / branch.rows
        if not path.is_file():
            problems.append(f"{branch.rows}: missing")
            continue
        if sha256_file(path) != branch.sha256:
            problems.append(f"{branch.rows}: its hash differs from results.json")
        try:
            rows = read_table(path, hint=DAMAGED)
        except UserError as error:
            problems.append(str(error))
            continue
        wanted = {(image, k) for image in images for k in range(branch.samples)}
        columns = [*ROW, *results.distortion_order]
        if absent := [name for name in columns if name not in rows]:
            problems.append(f"{branch.rows}: has no column {', '.join(absent)}")
            continue
        found = list(zip(rows.image_id, rows["sample"], strict=True))
        if gone := sorted(wanted - set(found)):
            problems.append(
                f"{branch.rows}: {len(gone)} rows are missing, the first of image {gone[0][0]}, sample {gone[0][1]}"
            )
        elif len(found) != len(wanted):
            problems.append(f"{branch.rows}: has {len(found)} rows, expected {len(wanted)}")
        elif rows.loc[rows.finite, results.distortion_order].isna().to_numpy().any():
            problems.append(f"{branch.rows}: a finite sample has no distance")
    return problems


def _summaries(bundle: Path, results: Results, recipe: dict[str, Any], images: list[str]) -> list[str]:
    """Compute every summary from the rows, and compare."""
    table = read_table(bundle / "tables/images.csv", hint=NOT_WHOLE)
    rates = {
        (str(d), int(f), str(i)): float(rate)
        for d, f, i, rate in zip(table.downscaler, table.factor, table.image_id, table.rate_bpp, strict=True)
    }
    wanted = [(b["downscaler"], b["factor"], i) for b in recipe["branches"] for i in images]
    if missing := [key for key in wanted if key not in rates]:
        return [f"tables/images.csv: has no row of {missing[0][0]}, image {missing[0][2]}"]
    today = version_of(results).upgrade(recipe)
    try:
        again = aggregate(today, images, bundle / "rows", rates)
    except UserError as error:
        return [str(error)]
    problems = branch_problems(results, again.summary, today["upscalers"])
    with tempfile.TemporaryDirectory(prefix="ida-rd-") as folder:
        write_tables(Path(folder), today, again)
        problems += table_problems(bundle, Path(folder), results)
    return problems


def _mix_ups(bundle: Path, results: Results) -> list[str]:
    """Two branches with the same value on every image: a file copied to the wrong place, most likely."""
    names = results.distortion_order
    found = {}
    for record in results.branches:
        rows = read_table(bundle / record.rows, hint=DAMAGED)
        found[record.branch.title] = rows[rows.finite].groupby("image_id")[names].mean().sort_index()
    problems = []
    for (a, x), (b, y) in combinations(found.items(), 2):
        if x.index.equals(y.index) and np.array_equal(x.to_numpy(), y.to_numpy(), equal_nan=True):
            problems.append(f"{a} and {b} have the same values on every image: most likely a mix-up; leave one out")
    return problems
