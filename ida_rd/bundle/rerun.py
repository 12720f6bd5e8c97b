"""Do the rows of a bundle follow from the images? Compute branches again, and compare sample by sample."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from ida_rd.bundle.schema import RESULTS_SCHEMA, Results, read_results
from ida_rd.bundle.verify import DAMAGED, NOT_WHOLE, Verification, refusal
from ida_rd.bundle.versions import VERSIONS, version_of
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.seeds import generator
from ida_rd.core.tables import read_table, spread_column
from ida_rd.engine.script import store_of
from ida_rd.pipeline import choose_images, compute_branches
from ida_rd.plan.stage import write_plan

__all__ = ["rerun"]

OWN = ("command", "folder", "python")  # their files are the publisher's
NOT_COMPARED = {"schema", "code"}  # of recipes of another version: files had other names


def rerun(bundle: Path, count: int, *, seed: int, images: Path | None) -> list[dict[str, Any]]:
    """Compute a random choice of branches again from the images, and compare sample by sample.

    The work is done in this process, in a temporary project with a store of its own: nothing that was computed before
    is reused, and nothing is left behind.

    Parameters
    ----------
    bundle : Path
        A bundle that `ida_rd.bundle.verify.verify` accepts.
    count : int
        How many branches.
    seed : int
        Of the choice.
    images : Path, optional
        Folder of the HR images, if it is not where the publisher's was.

    Returns
    -------
    list of dict
        Per branch: its name, the largest difference relative to max(1, size), its distortion, the tolerance, and
        whether the code differs from the publisher's.

    Raises
    ------
    Verification
        A difference beyond the tolerance, or another test set.
    UserError
        Nothing can be run here, and why.
    """
    results = read_results(bundle)
    recipe = read_json(bundle / "recipes/aggregate.json", hint=NOT_WHOLE)
    parameters = read_json(bundle / "recipes/report.json", hint=NOT_WHOLE)["parameters"]
    possible = _possible(results, parameters)
    order = generator("verify", seed, len(possible)).permutation(len(possible))
    chosen = [possible[i] for i in sorted(order[:count])]
    names = [name for name in results.distortion_order if not _is_own(parameters["distortions"][name])]
    if not names:
        raise UserError("verify: every distortion is a method of the publisher's own: none can be run here")
    parameters |= {
        "downscalers": _only(parameters["downscalers"], {b.downscaler for b in chosen}),
        "upscalers": _only(parameters["upscalers"], {b.upscaler for b in chosen}),
        "distortions": _only(parameters["distortions"], set(names)),
        # What was chosen must run: a note that it cannot is not a result.
        "missing_software": "error",
        "missing_weights": "error",
    }
    if images is not None:
        parameters["images"]["path"] = str(images.expanduser().resolve())
    found, problems = [], []
    with tempfile.TemporaryDirectory(prefix="ida-rd-") as work:
        project = Project(Path(work))
        project.parameters.write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")
        store = store_of(project)
        with _quietly("the test set"):
            recipes = write_plan(project)
            choose_images(project, store)
        if sha256_file(project.subset) != results.dataset_sha256:
            raise Verification(
                f"{bundle} is refused: these images give another test set; name the publisher's by --images"
            )
        for branch in tqdm(chosen, desc="branches", unit="branch", disable=not sys.stderr.isatty()):
            with _quietly(branch.title):
                compute_branches(project, [branch], store)
            entry = _compare(bundle, project, branch, results, names)
            entry["differs"] = _recipes_that_differ(results, recipe, recipes, branch, names)
            found.append(entry)
            if entry["largest"] > entry["tolerance"]:
                problems.append(
                    f"{entry['branch']}: {entry['distortion']} of {entry['where']} differs by {entry['largest']:.3g},"
                    f" more than {entry['tolerance']:g}" + (f" (but {entry['differs']})" if entry["differs"] else "")
                )
    if problems:
        raise refusal(bundle, problems)
    return found


def _is_own(entry: Any) -> bool:
    """Whether a method is the publisher's own, or needs files that are; or one within it is, at any depth."""
    if isinstance(entry, list):
        return any(_is_own(part) for part in entry)
    if not isinstance(entry, Mapping):
        return False
    method = str(entry.get("method", ""))
    return method in OWN or "." in method or any(_is_own(part) for part in entry.values())


def _possible(results: Results, parameters: Mapping[str, Any]) -> list[Branch]:
    own = {
        name
        for section in ("downscalers", "upscalers")
        for name, entry in parameters[section].items()
        if _is_own(entry)
    }
    possible = [b.branch for b in results.branches if not {b.downscaler, b.upscaler} & own]
    if not possible:
        raise UserError("verify: every branch uses the publisher's own programs or images: none can be run here")
    return possible


def _only(section: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: entry for name, entry in section.items() if name in names}


@contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Do not show the stages' own messages: only why `what` cannot be computed."""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    except UserError as error:
        raise UserError(f"verify: {what} cannot be computed again here: {error}") from None


def _compare(bundle: Path, project: Project, branch: Branch, results: Results, names: list[str]) -> dict[str, Any]:
    """Largest difference of a branch's rows from the published ones."""
    rows = next(bundle / record.rows for record in results.branches if record.branch == branch)
    path = project.rows_of(branch)
    published = read_table(rows, hint=DAMAGED)
    both = published.merge(read_table(path, hint=""), on=["image_id", "sample"], suffixes=("", ":again"), how="outer")
    columns = [c for name in names for c in (name, spread_column(name)) if c in published]
    largest, where, distortion = 0.0, "", columns[0]
    for column in columns:
        a, b = both[column].to_numpy(float), both[f"{column}:again"].to_numpy(float)
        difference = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(a)))
        difference = np.where(np.isnan(difference), np.inf, difference)
        worst = int(difference.argmax())
        if difference[worst] > largest:
            largest, distortion = float(difference[worst]), column
            where = f"{both.image_id[worst]}, sample {both['sample'][worst]}"
    before = read_json(rows.with_suffix(".json"), hint=NOT_WHOLE)
    same = before == read_json(path.with_suffix(".json"), hint="")
    return {
        "branch": branch.title,
        "largest": largest,
        "distortion": distortion,
        "where": where,
        "tolerance": results.tolerance.same_software if same else results.tolerance.other_software,
        "same_software": same,
    }


def _recipes_that_differ(
    results: Results, recipe: dict[str, Any], here: dict[str, Any], branch: Branch, names: list[str]
) -> str:
    """Which recipes of a branch are not the publisher's here; empty if all are.

    For a bundle of an earlier version, whose code lay in other files, parameters, seeds and weights are compared.
    """
    version = version_of(results)
    fresh = VERSIONS[RESULTS_SCHEMA].methods({"recipes": here}, branch)
    published = version.methods(recipe, branch)
    published["distort"] = published["distort"] | {
        "distortions": _only(published["distort"]["distortions"], set(names))
    }
    same_schema = version.number == RESULTS_SCHEMA
    odd = [
        path
        for (path, before), now in zip(published.items(), fresh.values(), strict=True)
        if (before != now if same_schema else _contradict(before, now))
    ]
    notes = [f"the recipe of {', '.join(odd)} is different here"] if odd else []
    if not same_schema:
        notes.append(f"the code was that of {results.program}")
    return ", ".join(notes)


def _contradict(before: Any, now: Any) -> bool:
    """Whether two recipes differ in something that both of them say."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return bool(before != now)
    return any(_contradict(before[key], now[key]) for key in before.keys() & now.keys() - NOT_COMPARED)
