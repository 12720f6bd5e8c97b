"""Check a published bundle: is it complete, and does all in it follow from its rows and its parameters?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.results import Results as Numbers
from ida_rd.aggregate.results import photographs_in, provenance, without_structure
from ida_rd.bundle.claims import claims_of
from ida_rd.bundle.derived import citations, licences, readme, results_of, weights_of
from ida_rd.bundle.folder import DAMAGED, SIGNATURE, SUMS, Bundle, refusal
from ida_rd.bundle.numbers import branch_problems, of_this_program, result_problems, table_problems
from ida_rd.bundle.rows import row_problems, test_set
from ida_rd.bundle.schema import RESULTS_SCHEMA, InvalidResults, PublishedResults, Results, read_results
from ida_rd.bundle.source import source_problems
from ida_rd.bundle.told import SURPRISE, told_files, write_told
from ida_rd.bundle.unverified import called_otherwise, left_open
from ida_rd.bundle.versions import RELEASED_WEIGHTS, version_of
from ida_rd.core.errors import UserError
from ida_rd.core.files import canonical_json
from ida_rd.core.foreign import reason
from ida_rd.core.methods import validate
from ida_rd.core.project import Branch
from ida_rd.core.readers import parse_yaml
from ida_rd.core.temporary import run_files
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.plan.schema import RunParameters

__all__ = ["Verified", "verify"]

FIXED = (
    "CITATIONS.bib",
    "LICENCES.md",
    "README.md",
    SUMS,
    "balance.csv",
    "balance.json",
    "params.yaml",
    "provenance.json",
    "recipes/aggregate.json",
    "recipes/attributes.json",
    "recipes/balance.json",
    "recipes/report.json",
    "results.json",
    "results.schema.json",
    "subset.csv",
)
FIGURE = re.compile(r"figures/[a-z_]+(-[a-z0-9_-]+)?\.(png|svg|pdf)")
PAGE = re.compile(
    r"page/(index\.html|provenance\.json|[a-z_]+\.csv|[a-z_]+(-[a-z0-9_-]+)?\.png|images/\d+/[a-z0-9-]+\.(png|webp))"
)
COPIES = {"page/provenance.json": "provenance.json", "page/balance.csv": "balance.csv"}
# Of what is computed again: resampling costs images x resamples for each score and each pair. A small file must not
# ask for hours.
LEAST_WORK, WORK_PER_BYTE = 10**9, 10**5
MOST_COMPARED = 10**9  # characters


@dataclass(frozen=True)
class Verified:
    """A bundle that holds up, and all that was read of it: what else is done with it is done with this.

    Attributes
    ----------
    bundle : Bundle
    results : Results
    parameters : RunParameters
    recipe : dict
        ``recipes/aggregate.json``.
    rows : dict
        Rows by branch.
    rates : dict
        (downscaler, factor, image id) to bits per HR pixel.
    numbers : Results
        What was computed from the rows.
    unverified : list of str
        What stands in the bundle and was not verified.
    notes : list of str
        What a reader of the bundle should know besides.
    """

    bundle: Bundle
    results: Results
    parameters: RunParameters
    recipe: dict[str, Any]
    rows: dict[Branch, pd.DataFrame]
    rates: dict[tuple[str, int, str], float]
    numbers: Numbers
    unverified: list[str]
    notes: list[str]


def verify(folder: Path) -> Verified:
    """Check a bundle of any version against itself and against this program.

    Every file is read once, from where this program expects it. Checked are: checksums, and that no file is missing,
    added, a link or a device; ``results.json`` against the schema of its version; that the recipes say what
    ``params.yaml`` says, and methods what they are; that every image of the test set has every sample, once; that
    weights are those that the methods ask for, with hashes that the catalogue accepts and that the files shipped with
    the program have or had; that every table, every summary and every text is what rows and recipes give (by the rules
    of `ida_rd.bundle.numbers`); and that no two branches have the same values, which is most likely a mix-up.
    What is left is listed in `Verified.unverified`.

    Parameters
    ----------
    folder : Path
        Folder written by `ida_rd.bundle.publish.publish`, of this version or an earlier one.

    Raises
    ------
    Refused
        With every problem found.
    UserError
        Not a bundle, or one of a newer version.
    """
    bundle = Bundle(folder)
    problems = [*bundle.odd, *bundle.checksums()]
    try:
        results = read_results(bundle.json("results.json"))
    except InvalidResults as error:
        raise refusal(folder, [*problems, str(error)]) from None
    checked: Verified | None = None
    try:
        found, checked = _contents(bundle, results)
        problems += found
    except UserError as error:  # a file that is missing, or not JSON or CSV
        problems.append(str(error))
    except Exception as error:  # whatever a form that nobody expected does
        problems.append(
            "a recipe or table does not have the form that this program writes"
            f" ({type(error).__name__}: {reason(error)})"
        )
    if problems or checked is None:
        raise refusal(folder, problems)
    return checked


def _contents(bundle: Bundle, results: Results) -> tuple[list[str], Verified | None]:
    """Compare recipes, rows and summaries with each other."""
    recipe = bundle.json("recipes/aggregate.json")
    parameters = _parameters(bundle)
    if results.skipped != recipe["skipped"]:
        return ["results.json: skipped differs from recipes/aggregate.json"], None
    version = version_of(results)
    _refuse_many(parameters)
    claims = claims_of(parameters, results.skipped)
    problems = source_problems(bundle, results, recipe, parameters, claims, version)
    problems += _said_twice(results, recipe)
    paths = [*version.files(recipe["recipes"])] if not problems else []
    problems += _names(bundle, results, recipe, paths) if paths else []
    images, odd = test_set(bundle, parameters, results)
    methods = version.files(recipe["recipes"])
    samples = {
        record.branch: methods[version.path(f"upscale/x{record.factor}/{record.upscaler}/{record.downscaler}")][
            "samples"
        ]
        for record in results.branches
    }
    rows, broken = row_problems(bundle, results, images, samples)
    problems += odd + broken
    problems += _weights(results, recipe)
    if problems:
        return problems, None
    _refuse_costly(bundle, results, parameters, len(images))
    rates, missing = _rates(bundle, recipe, images)
    if missing:
        return missing, None
    today = version.upgrade(recipe)
    manifest = bundle.table("subset.csv")
    flat = without_structure(manifest)
    numbers = version.aggregate(today, photographs_in(manifest), lambda branch: rows[branch], rates, flat)
    problems += _mix_ups(rows, results)
    problems += _derived(bundle, results, parameters, recipe, today, numbers)
    unverified = [*claims.unknown, *left_open(bundle, results, recipe)]
    notes = called_otherwise(parameters)
    return problems, Verified(bundle, results, parameters, recipe, rows, rates, numbers, unverified, notes)


def _parameters(bundle: Bundle) -> RunParameters:
    values = parse_yaml(bundle.bytes("params.yaml"), "params.yaml", hint=DAMAGED)
    try:
        return validate(RunParameters, values, where="")
    except UserError as error:
        raise UserError(f"params.yaml: {str(error).removeprefix(': ')}") from None


def _refuse_many(parameters: RunParameters) -> None:
    """Refuse more branches than such parameters can be compared for: the parameters stand in each one's recipe."""
    branches = len(parameters.downscalers) * len(parameters.decoders()) * len(parameters.factors)
    if branches * len(canonical_json(parameters.model_dump(mode="json"))) > MOST_COMPARED:
        raise UserError(f"params.yaml: {branches:,} branches with parameters as long are more than can be verified")


def _said_twice(results: Results, recipe: dict[str, Any]) -> list[str]:
    """What ``results.json`` repeats of the recipe."""
    said = results.model_dump()
    keys = ("seed", "confidence", "resamples", "distortions", "distortion_order")
    problems = [f"results.json: {key} differs from recipes/aggregate.json" for key in keys if said[key] != recipe[key]]
    if [record.branch for record in results.branches] != [Branch.of(record) for record in recipe["branches"]]:
        problems.append("results.json: its branches are not those of recipes/aggregate.json")
    return problems


def _names(bundle: Bundle, results: Results, recipe: dict[str, Any], recipes: list[str]) -> list[str]:
    """Which files a bundle has: those that its version writes, and nothing else."""
    version, own = version_of(results), of_this_program(results)
    rows = [record.file for record in results.branches]
    wanted = {*FIXED, *rows, *(name.removesuffix(".csv") + ".json" for name in rows)}
    wanted |= {f"recipes/{path}.json" for path in recipes}
    wanted |= {"tables/ida_rd.json", *(f"tables/{stem}.csv" for stem in version.columns)}
    wanted |= {f"tables/{name}" for name in version.texts} | ({SIGNATURE} & set(bundle.files))
    wanted |= told_files(bundle, recipe)
    problems = [f"{name}: missing" for name in sorted(wanted - set(bundle.files))]
    for name in bundle.files:
        more = not own and results.schema_version == RESULTS_SCHEMA and name.startswith("tables/")  # a newer one's
        if name not in wanted and not FIGURE.fullmatch(name) and not PAGE.fullmatch(name) and not more:
            problems.append(f"{name}: is no file of a bundle")
    return problems


def _weights(results: Results, recipe: dict[str, Any]) -> list[str]:
    """Every place that names weights must name the same ones, and they must be those of their id.

    ``results.json`` has one hash for each id; the recipes have that of every file, and all are checked.
    """
    problems = []
    used = weights_of(recipe["recipes"])
    said = {key: hashes[-1] for key, hashes in used.items()}
    if said != results.weights:
        odd = sorted(key for key in said.keys() | results.weights.keys() if said.get(key) != results.weights.get(key))
        problems.append(f"results.json: weights {', '.join(odd)}: the hash differs from the recipes")
    for key, sha in results.weights.items():
        problems += _odd_weights("results.json", key, sha)
    for key, hashes in used.items():
        others = [sha for sha in hashes if sha != results.weights.get(key)]
        problems += [text for sha in others for text in _odd_weights("recipes/aggregate.json", key, sha)]
    return problems


def _odd_weights(where: str, key: str, sha: str) -> list[str]:
    """What is wrong with the hash of a file under an id of weights."""
    known = catalogue().get(key)
    if known is None:
        return [f"{where}: no weights are called {key}"]
    if known.file is None:
        return [] if known.accepts(sha) else [f"{where}: {sha[:12]}... is not the hash of {key}"]
    if sha in RELEASED_WEIGHTS.get(key, ()):
        return []
    try:
        here = locate(key, download=False).sha256
    except (MissingWeights, UserError):
        return []
    if here == sha:
        return []
    return [f"{where}: {key} has the hash {sha[:12]}..., but the file of this version has {here[:12]}..."]


def _refuse_costly(bundle: Bundle, results: Results, parameters: RunParameters, images: int) -> None:
    size = sum(len(bundle.bytes(record.file)) for record in results.branches)
    count = len(parameters.downscalers)
    cells = len(parameters.decoders()) * len(parameters.factors) * len(results.distortion_order)
    work = images * results.resamples * cells * (count + count * (count - 1) // 2)
    if work > LEAST_WORK + WORK_PER_BYTE * size:
        raise UserError(
            f"results.json: {results.resamples} resamples of {cells} tables of {count} downscalers are more than"
            " rows of this size are worth: publish it with fewer aggregate.resamples"
        )


def _rates(
    bundle: Bundle, recipe: dict[str, Any], images: list[str]
) -> tuple[dict[tuple[str, int, str], float], list[str]]:
    """Bits per HR pixel of every LR image: they are in no row, but in the table of images."""
    table = bundle.table("tables/images.csv")
    rates = {
        (str(d), int(f), str(i)): float(rate)
        for d, f, i, rate in zip(table.downscaler, table.factor, table.image_id, table.rate_bpp, strict=True)
    }
    wanted = [(b["downscaler"], b["factor"], i) for b in recipe["branches"] for i in images]
    if missing := [key for key in wanted if key not in rates]:
        return {}, [f"tables/images.csv: has no row of {missing[0][0]}, image {missing[0][2]}"]
    if odd := [key for key in wanted if not 0 < rates[key] < 1000]:
        return {}, [f"tables/images.csv: rate_bpp of {odd[0][0]}, image {odd[0][2]} is {rates[odd[0]]}"]
    return rates, []


def _derived(
    bundle: Bundle,
    results: Results,
    parameters: RunParameters,
    recipe: dict[str, Any],
    today: dict[str, Any],
    numbers: Numbers,
) -> list[str]:
    """Make again every file that follows from rows and recipes, and compare."""
    version, own = version_of(results), of_this_program(results)
    problems = branch_problems(results, numbers.summary, today["upscalers"])
    environments = {
        record.branch.path: bundle.json(record.file.removesuffix(".csv") + ".json") for record in results.branches
    }
    published = bundle.json("provenance.json")
    fresh = provenance(today, bundle.sha256("subset.csv"), environments)
    if SURPRISE[1] in bundle.files and (read := bundle.json(SURPRISE[1])):
        fresh |= {"surprise": read}
    for key in sorted(published.keys() | fresh.keys()) if own else ("methods", "environments", *version.provenance):
        # As the bundle's own version has it, not as it was made fit for today's.
        wanted = (
            recipe["recipes"]
            if key == "methods"
            else recipe[key]
            if key in recipe and key != "schema"
            else fresh.get(key)
        )
        if published.get(key) != wanted:
            problems.append(f"provenance.json: {key} differs from recipes/aggregate.json")
    with run_files() as folder:
        version.write_tables(folder, today, numbers)
        problems += write_told(bundle, folder, results, recipe, today, numbers)
        problems += table_problems(bundle, folder, results)
        if not own:
            return problems
        table = (folder / "ida_rd.md").read_text(encoding="utf-8")
    assert isinstance(results, PublishedResults)
    hashes = {record.branch: bundle.sha256(record.file) for record in results.branches}
    made = results_of(
        recipe,
        samples=parameters.samples,
        summary=numbers.summary,
        dataset_sha256=bundle.sha256("subset.csv"),
        rows=hashes,
    )
    problems += result_problems(results.model_dump(), made)
    images = any(name.startswith("page/") for name in bundle.files)
    texts = {
        "README.md": readme(table, results, images=images),
        "LICENCES.md": licences(recipe, results.weights),
        "CITATIONS.bib": citations(recipe["recipes"], recipe["attributes"]),
    }
    problems += [f"{name}: is not what the program writes" for name, text in texts.items() if bundle.text(name) != text]
    if bundle.json("results.schema.json") != PublishedResults.json_schema():
        problems.append("results.schema.json: is not that of its version")
    for name in bundle.files:
        original = COPIES.get(name) or (name.replace("page/", "tables/") if name.endswith(".csv") else "")
        if (
            name.startswith("page/")
            and original
            and (original not in bundle.files or bundle.sha256(name) != bundle.sha256(original))
        ):
            problems.append(f"{name}: is no copy of {original}")
        figure = name.replace("page/", "figures/")
        if re.fullmatch(r"page/[^/]+\.png", name) and (
            figure not in bundle.files or bundle.sha256(name) != bundle.sha256(figure)
        ):
            problems.append(f"{name}: is no copy of {figure}")
    return problems


def _mix_ups(rows: Mapping[Branch, pd.DataFrame], results: Results) -> list[str]:
    """Two branches with the same value on every image: a file copied to the wrong place, most likely."""
    names = results.distortion_order
    found = {
        branch.title: table[table.finite].groupby("image_id")[names].mean().sort_index()
        for branch, table in rows.items()
    }
    groups: dict[bytes, list[str]] = {}
    for title, table in found.items():
        groups.setdefault(table.to_numpy().tobytes() + repr(list(table.index)).encode(), []).append(title)
    return [
        f"{a} and {b} have the same values on every image: most likely a mix-up; leave one out"
        for titles in groups.values()
        for a, b in combinations(titles, 2)
    ]
