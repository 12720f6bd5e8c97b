"""Check a published bundle: is it whole, do its summaries follow from its rows, do the rows follow from the images?"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError
from tqdm import tqdm

from ida_rd.aggregate.results import aggregate
from ida_rd.aggregate.write import write_tables
from ida_rd.bundle.schema import PublishedResults
from ida_rd.core.errors import UserError
from ida_rd.core.files import read_json, sha256_file
from ida_rd.core.project import Branch, Project
from ida_rd.core.seeds import generator
from ida_rd.core.tables import read_table, spread_column
from ida_rd.core.weights import MissingWeights, catalogue, locate

__all__ = ["SUMS", "Verification", "rerun", "used_weights", "verify"]

SUMS = "SHA256SUMS"
ROOT = Path(__file__).resolve().parent.parent
ROW = ["image_id", "sample", "finite", "attempts", "clipped"]
OWN = ("command", "folder", "python")  # their files are the publisher's
RELATIVE = 1e-9  # another version of a library may sum in another order
SHOWN = 8


class Verification(UserError):
    """A bundle that does not hold; the message names every problem found."""


def verify(bundle: Path) -> PublishedResults:
    """Check a bundle against itself and against this program.

    Checked are: checksums, and that no file is missing or added; ``results.json`` against its schema; that every
    image of the test set has every sample, once; that recipes, provenance and results name the same weights, with
    hashes that the catalogue accepts and the files on this machine have; that every table and every summary is what
    the rows give; and that no two branches have the same values, which is most likely a mix-up.

    Parameters
    ----------
    bundle : Path
        Folder written by `ida_rd.bundle.publish.publish`.

    Raises
    ------
    Verification
        With every problem found.
    UserError
        Not a bundle.
    """
    if not (bundle / "results.json").is_file():
        raise UserError(f"{bundle}: is no published bundle: it has no results.json")
    problems = _checksums(bundle)
    try:
        results = PublishedResults.model_validate(read_json(bundle / "results.json", hint="the bundle is damaged"))
    except ValidationError as error:
        first = error.errors()[0]
        problems.append(f"results.json: {'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise _refusal(bundle, problems) from None
    try:
        problems += _contents(bundle, results)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        problems.append(f"a recipe or table is not of the form that this program writes ({reason})")
    except UserError as error:  # a file that is missing or no JSON or CSV
        problems.append(str(error))
    if problems:
        raise _refusal(bundle, problems)
    return results


def _contents(bundle: Path, results: PublishedResults) -> list[str]:
    """Compare recipes, rows and summaries with each other."""
    recipe = read_json(bundle / "recipes/aggregate.json", hint="the bundle is not whole")
    images = list(read_table(bundle / "subset.csv", hint="the bundle is not whole").image_id)
    problems = _weights(bundle, results, recipe)
    broken = _rows(bundle, results, recipe, images)
    if broken:
        return problems + broken
    return [*problems, *_mix_ups(bundle, results), *_summaries(bundle, results, recipe, images)]


def _refusal(bundle: Path, problems: list[str]) -> Verification:
    shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
    return Verification(f"{bundle} is refused: " + "; ".join(shown))


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
            problems.append(f"{name}: its checksum is another than in {SUMS}")
    return problems


def used_weights(recipes: dict[str, Any]) -> dict[str, str]:
    """Return the hashes of the weights of all recipes, by id."""
    entries = [*recipes.values(), *recipes["distort"]["distortions"].values()]
    return {key: sha for entry in entries for key, sha in entry.get("weights", {}).items()}


def _weights(bundle: Path, results: PublishedResults, recipe: dict[str, Any]) -> list[str]:
    """Every place that names weights must name the same, and they must be those of their id."""
    problems = []
    provenance = read_json(bundle / "provenance.json", hint="the bundle is not whole")
    if provenance["methods"] != recipe["recipes"]:
        problems.append("provenance.json: its methods are not those of recipes/aggregate.json")
    for key in ("images", "attributes", "balance"):
        if provenance.get(key) != recipe.get(key):
            problems.append(f"provenance.json: {key} is another than in recipes/aggregate.json")
    used = used_weights(recipe["recipes"])
    for path, method in recipe["recipes"].items():
        own = read_json(bundle / "recipes" / f"{path}.json", hint="the bundle is not whole")
        if own != method:
            problems.append(f"recipes/{path}.json: is another than in recipes/aggregate.json")
    if used != results.weights:
        odd = sorted(key for key in used.keys() | results.weights.keys() if used.get(key) != results.weights.get(key))
        problems.append(f"results.json: weights {', '.join(odd)}: another hash than in the recipes")
    known = catalogue()
    for key, sha in results.weights.items():
        if key not in known:
            problems.append(f"results.json: no weights are called {key}")
        elif not known[key].accepts(sha):
            problems.append(f"results.json: {sha[:12]}... is not the hash of {key}")
        else:
            try:
                here = locate(key, download=False).sha256
            except (MissingWeights, UserError):
                continue
            if known[key].file is not None and here != sha:
                problems.append(
                    f"results.json: {key} has the hash {sha[:12]}..., the file of this version {here[:12]}..."
                )
    if sha256_file(bundle / "subset.csv") != results.dataset_sha256:
        problems.append("subset.csv: is not the test set whose hash results.json has")
    return problems


def _rows(bundle: Path, results: PublishedResults, recipe: dict[str, Any], images: list[str]) -> list[str]:
    """Every branch of the recipe, with every sample of every image, once, and distances where there is a sample."""
    problems = []
    keys = [(b["upscaler"], b["factor"], b["downscaler"]) for b in recipe["branches"]]
    if [(b.upscaler, b.factor, b.downscaler) for b in results.branches] != keys:
        problems.append("results.json: its branches are not those of recipes/aggregate.json")
    if results.distortion_order != recipe["distortion_order"]:
        problems.append("results.json: its distortions are not those of recipes/aggregate.json")
    for branch in results.branches:
        path = bundle / branch.rows
        if not path.is_file():
            problems.append(f"{branch.rows}: missing")
            continue
        if sha256_file(path) != branch.sha256:
            problems.append(f"{branch.rows}: its hash is another than in results.json")
        try:
            rows = read_table(path, hint="the bundle is damaged")
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
            problems.append(f"{branch.rows}: {len(gone)} rows are missing, of image {gone[0][0]}, sample {gone[0][1]}")
        elif len(found) != len(wanted):
            problems.append(f"{branch.rows}: has {len(found)} rows, expected {len(wanted)}")
        elif rows.loc[rows.finite, results.distortion_order].isna().to_numpy().any():
            problems.append(f"{branch.rows}: a finite sample has no distance")
    return problems


def _summaries(bundle: Path, results: PublishedResults, recipe: dict[str, Any], images: list[str]) -> list[str]:
    """Compute every summary from the rows, and compare."""
    table = read_table(bundle / "tables/images.csv", hint="the bundle is not whole")
    rates = {
        (str(d), int(f), str(i)): float(rate)
        for d, f, i, rate in zip(table.downscaler, table.factor, table.image_id, table.rate_bpp, strict=True)
    }
    wanted = [(b["downscaler"], b["factor"], i) for b in recipe["branches"] for i in images]
    if missing := [key for key in wanted if key not in rates]:
        return [f"tables/images.csv: has no row of {missing[0][0]}, image {missing[0][2]}"]
    try:
        again = aggregate(recipe, images, bundle / "rows", rates)
    except UserError as error:
        return [str(error)]
    problems = []
    for branch in results.branches:
        where = f"{branch.upscaler} x{branch.factor} {branch.downscaler}"
        fresh = again.summary[branch.upscaler][f"x{branch.factor}"][branch.downscaler]
        said = branch.model_dump()
        for key in ("stochastic", "images", "samples", "rate_bpp", "nonfinite_rate", "clipped_rate"):
            if not _equal(said[key], fresh[key]):
                problems.append(f"results.json: {where}: {key} is {said[key]}, the rows give {fresh[key]}")
        for name in results.distortion_order:
            for key, value in fresh[name].items():
                stated = said["scores"].get(name, {}).get(key)
                if not _equal(stated, value):
                    problems.append(f"results.json: {where}: {name} {key} is {stated}, the rows give {value}")
    with tempfile.TemporaryDirectory(prefix="ida-rd-") as folder:
        write_tables(Path(folder), recipe, again)
        for path in sorted(Path(folder).iterdir()):
            problems += _compare_file(bundle / "tables" / path.name, path)
    return problems


def _compare_file(published: Path, fresh: Path) -> list[str]:
    name = f"tables/{fresh.name}"
    if not published.is_file():
        return [f"{name}: missing"]
    if published.read_bytes() == fresh.read_bytes():
        return []
    if fresh.suffix != ".csv":
        return [f"{name}: is not what the rows give"]
    a, b = (read_table(path, hint="the bundle is damaged") for path in (published, fresh))
    if list(a.columns) != list(b.columns) or len(a) != len(b):
        return [f"{name}: has other rows or columns than the rows give"]
    for column in b:
        for line, (x, y) in enumerate(zip(a[column], b[column], strict=True)):
            if not _equal(x, y):
                return [f"{name}: line {line + 2}, {column} is {x}, the rows give {y}"]
    return []


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float | int):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-12)
    return bool(a == b)


def _mix_ups(bundle: Path, results: PublishedResults) -> list[str]:
    """Two branches with the same value on every image: a file copied to the wrong place, most likely."""
    names = results.distortion_order
    found = {}
    for branch in results.branches:
        rows = read_table(bundle / branch.rows, hint="the bundle is damaged")
        key = f"{branch.upscaler} x{branch.factor} {branch.downscaler}"
        found[key] = rows[rows.finite].groupby("image_id")[names].mean().sort_index()
    problems = []
    for (a, x), (b, y) in combinations(found.items(), 2):
        if x.index.equals(y.index) and np.array_equal(x.to_numpy(), y.to_numpy(), equal_nan=True):
            problems.append(f"{a} and {b} have the same values on every image: most likely a mix-up; leave one out")
    return problems


def rerun(bundle: Path, count: int, *, seed: int, images: Path | None) -> list[dict[str, Any]]:
    """Compute a random choice of branches anew from the images, and compare sample by sample.

    Parameters
    ----------
    bundle : Path
        A bundle that `verify` accepts.
    count : int
        How many branches.
    seed : int
        Of the choice.
    images : Path, optional
        Folder of the HR images, where it is another than the publisher's.

    Returns
    -------
    list of dict
        Per branch: its name, the largest difference relative to max(1, size), its distortion, the tolerance, and
        whether the code differs from the publisher's.

    Raises
    ------
    Verification
        A difference beyond the tolerance, or another test set.
    """
    results = PublishedResults.model_validate(read_json(bundle / "results.json", hint="the bundle is damaged"))
    recipe = read_json(bundle / "recipes/aggregate.json", hint="the bundle is not whole")
    parameters = read_json(bundle / "recipes/report.json", hint="the bundle is not whole")["parameters"]
    own = {
        name
        for section in ("downscalers", "upscalers")
        for name, e in parameters[section].items()
        if e["method"] in OWN
    }
    possible = [b for b in results.branches if not {b.downscaler, b.upscaler} & own]
    if not possible:
        raise UserError("verify: every branch uses the publisher's own programs or images: none can be run here")
    order = generator("verify", seed, len(possible)).permutation(len(possible))
    chosen = [possible[i] for i in sorted(order[:count])]
    parameters["downscalers"] = _only(parameters["downscalers"], {b.downscaler for b in chosen})
    parameters["upscalers"] = _only(parameters["upscalers"], {b.upscaler for b in chosen})
    parameters["distortions"] = _only(parameters["distortions"], set(results.distortion_order))
    if images is not None:
        parameters["images"]["path"] = str(images.expanduser().resolve())
    found, problems = [], []
    with tempfile.TemporaryDirectory(prefix="ida-rd-") as work:
        folder = Path(work)
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")
        for stage in ("plan", "attributes", "balance"):
            _stage(folder, stage)
        if sha256_file(folder / "data/subset.csv") != results.dataset_sha256:
            raise Verification(
                f"{bundle} is refused: these images give another test set; name the publisher's by --images"
            )
        for branch in tqdm(chosen, desc="branches", unit="branch", disable=not sys.stderr.isatty()):
            names = (str(branch.factor), branch.downscaler)
            _stage(folder, "downscale", names[1], names[0])
            for stage in ("upscale", "distort"):
                _stage(folder, stage, branch.upscaler, *names)
            entry = _compare_rows(bundle, folder, branch, results, recipe)
            found.append(entry)
            if entry["largest"] > entry["tolerance"]:
                problems.append(
                    f"{entry['branch']}: {entry['distortion']} of {entry['where']} differs by {entry['largest']:.3g},"
                    f" more than {entry['tolerance']:g}" + (f" (but {entry['differs']})" if entry["differs"] else "")
                )
    if problems:
        raise _refusal(bundle, problems)
    return found


def _only(section: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: entry for name, entry in section.items() if name in names}


def _stage(folder: Path, stage: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise UserError(f"verify: stage {' '.join([stage, *arguments])} failed: {last}")


def _compare_rows(
    bundle: Path, folder: Path, branch: Any, results: PublishedResults, recipe: dict[str, Any]
) -> dict[str, Any]:
    record = branch.model_dump()
    path = Project(folder).rows_of(Branch.of(record))
    fresh = read_table(path, hint="")
    published = read_table(bundle / branch.rows, hint="the bundle is damaged")
    both = published.merge(fresh, on=["image_id", "sample"], suffixes=("", ":again"), how="outer")
    columns = [c for n in results.distortion_order for c in (n, spread_column(n)) if c in published]
    largest, where, distortion = 0.0, "", columns[0]
    for column in columns:
        a, b = both[column].to_numpy(float), both[f"{column}:again"].to_numpy(float)
        difference = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(a)))
        difference = np.where(np.isnan(difference), np.inf, difference)
        worst = int(difference.argmax())
        if difference[worst] > largest:
            largest, distortion = float(difference[worst]), column
            where = f"{both.image_id[worst]}, sample {both['sample'][worst]}"
    before = json.loads((bundle / branch.rows).with_suffix(".json").read_text(encoding="utf-8"))
    now = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    same = before == now
    tolerance = results.tolerance.same_software if same else results.tolerance.other_software
    return {
        "branch": f"{branch.upscaler} x{branch.factor} {branch.downscaler}",
        "largest": largest,
        "distortion": distortion,
        "where": where,
        "tolerance": tolerance,
        "same_software": same,
        "differs": _code(folder, record, recipe),
    }


def _code(folder: Path, branch: dict[str, Any], recipe: dict[str, Any]) -> str:
    """Which recipes of a branch are not the publisher's here."""
    paths = [
        f"downscale/x{branch['factor']}/{branch['downscaler']}",
        f"upscale/x{branch['factor']}/{branch['upscaler']}",
    ]
    odd = []
    for path in [*paths, "distort"]:
        fresh = read_json(folder / "data/plan" / f"{path}.json", hint="")
        if fresh != recipe["recipes"][path]:
            odd.append(path)
    return f"the recipe of {', '.join(odd)} is another here" if odd else ""
