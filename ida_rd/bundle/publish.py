"""Publish a finished run: a folder with everything that others need to check it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ida_rd.aggregate.own import own_rows
from ida_rd.bundle.derived import citations, licences, readme, results_of
from ida_rd.bundle.folder import SIGNATURE, SUMS
from ida_rd.bundle.own import OWN
from ida_rd.bundle.schema import PublishedResults, program
from ida_rd.bundle.signature import check_key, sign
from ida_rd.bundle.told import WEIGHTS
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, sha256_file, write_json, write_text
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.software import needs
from ida_rd.core.tables import write_table
from ida_rd.plan.stage import make_recipes, read_parameters, same_on_disk

__all__ = ["publish", "write_checksums"]

SHOWS_IMAGES = "contact_sheet"


def publish(root: Path, target: Path, *, images: bool, key: Path | None = None) -> PublishedResults:
    """Write the bundle of the run in `root`; nothing is left behind if it does not verify.

    Parameters
    ----------
    root : Path
        Root of the repository, or an experiment's folder, in which a run has finished.
    target : Path
        Folder that does not exist yet, or is empty.
    images : bool
        Whether pictures may be in it: the page and its image browser show HR images.
    key : Path, optional
        SSH key that signs it.

    Raises
    ------
    UserError
        The run is not finished or not up to date, or its numbers are not consistent.
    """
    needs("dvc")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not empty: name another folder, or remove it")
    if key is not None:
        check_key(key)
    project = Project(root)
    recipe = read_json(project.plan / "aggregate.json", hint="run `make repro` first, in the root of the repository")
    _refuse_adapted(recipe)
    _refuse_stale(root)
    with atomic_folder(target) as folder:
        results = _write(project, folder, recipe, images=images)
        write_checksums(folder)
        if key is not None:
            sign(folder, key)
        verify(folder)
    return results


def _refuse_adapted(recipe: dict[str, Any]) -> None:
    """Refuse weights of ``ida-rd adapt``: nothing here says which training they had, or beside what they stand.

    Those of the section ``adapted`` are not in a bundle either; `verify` says so of the S* that follow from their rows.
    """
    named = set()
    for key, known in recipe["upscalers"].items():
        if known["matched"] and "adapted" not in known["asks"]:
            named.add(key.partition("/")[2])
    if named:
        raise UserError(
            f"publish: {min(named)} has weights of `ida-rd adapt`, and a bundle does not hold those: publish a run"
            " without it, or one that adapts its decoder itself (section adapted)"
        )


def _refuse_stale(root: Path) -> None:
    """Refuse a run whose outputs do not belong to its parameters and code."""
    if not (root / "dvc.yaml").is_file():
        raise UserError(f"publish: {root} has no dvc.yaml: run this where the pipeline is")
    # Not `dvc`: if the environment is not activated, it is not on the PATH.
    command = [sys.executable, "-m", "dvc", "status", "--json", "dvc.yaml"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"publish: dvc status failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    stale = json.loads(done.stdout or "{}")
    if stale.get("plan") == [
        "always changed"
    ]:  # a project of `ida-rd new`: what it plans now says whether it would run
        project = Project(root)
        if same_on_disk(make_recipes(read_parameters(project.parameters), download=False), project.plan):
            del stale["plan"]
    if stale:
        names = sorted(stale)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise UserError(f"publish: the results are not up to date ({shown}): run `make repro` first")


def _write(project: Project, folder: Path, recipe: dict[str, Any], *, images: bool) -> PublishedResults:
    hint = "run `make repro` first"
    provenance = read_json(project.metrics / "provenance.json", hint=hint)
    report = read_json(project.plan / "report.json", hint=hint)
    kept = shutil.ignore_patterns("surprise.json", "adapt")  # rows that tell no loss; which photographs were trained on
    _copy_folder(project.plan, folder / "recipes", kept)
    _copy_folder(project.tables, folder / "tables")
    for file in (
        project.parameters,
        project.subset,
        *(project.surprise, project.surprise.with_suffix(".json")),
        *(project.metrics / name for name in ("balance.json", "balance.csv", "provenance.json")),
    ):
        shutil.copyfile(file, folder / file.name)
    ignored = None if images else shutil.ignore_patterns(f"{SHOWS_IMAGES}*")
    _copy_folder(project.plots, folder / "figures", ignored)
    if images:
        _copy_folder(project.page, folder / "page")
    if len(own := own_rows(project.sr, recipe)):
        write_table(folder / OWN, own)
    if weights := _adapted_weights(project, recipe):
        write_json(folder / WEIGHTS, weights)
    commit, changed = _commit(project.root)
    results = PublishedResults.model_validate(
        results_of(
            recipe,
            samples=report["parameters"]["samples"],
            summary=read_json(project.tables / "ida_rd.json", hint=hint),
            dataset_sha256=provenance["dataset_sha256"],
            rows=_copy_rows(project, folder, recipe),
        )
        | {"program": program(), "commit": commit, "uncommitted_changes": changed}
    )
    write_json(folder / "results.json", results.model_dump())
    write_json(folder / "results.schema.json", PublishedResults.json_schema())
    write_text(folder / "CITATIONS.bib", citations(recipe["recipes"], recipe["attributes"]))
    write_text(folder / "LICENCES.md", licences(recipe, results.weights))
    table = (project.tables / "ida_rd.md").read_text(encoding="utf-8")
    write_text(folder / "README.md", readme(table, results, images=images))
    return results


def _adapted_weights(project: Project, recipe: dict[str, Any]) -> dict[str, str]:
    """Hashes of the weights that the run adapted, by branch."""
    found = {}
    for record in recipe["branches"]:
        branch = Branch.of(record)
        path = f"x{branch.factor}/{branch.upscaler}/{branch.downscaler}"
        if "adapted" in recipe["recipes"].get(f"upscale/{path}", {}):
            beside = project.adapted_of(branch).with_suffix(".json")
            found[path] = read_json(beside, hint="run `make repro` first")["sha256"]
    return found


def _copy_rows(project: Project, folder: Path, recipe: dict[str, Any]) -> dict[Branch, str]:
    """Copy the rows of every branch; return the hash of each."""
    hashes = {}
    for record in recipe["branches"]:
        branch = Branch.of(record)
        target = folder / "rows" / f"{branch.path}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".csv", ".json"):
            shutil.copyfile(project.rows_of(branch).with_suffix(suffix), target.with_suffix(suffix))
        hashes[branch] = sha256_file(target)
    return hashes


def _copy_folder(source: Path, target: Path, ignore: Any = None) -> None:
    """Copy a folder; the first file that cannot be copied is the error."""
    try:
        shutil.copytree(source, target, ignore=ignore)
    except shutil.Error as error:  # all files' errors, without an error number
        file, _, reason = error.args[0][0]
        short = str(reason).partition(": '")[0]
        raise UserError(
            f"publish: cannot copy {file} ({short}): free some space or fix the permissions, then run again"
        ) from None


def _commit(root: Path) -> tuple[str | None, bool | None]:
    """The commit that the working tree is at, and whether files that git knows differ from it."""
    if shutil.which("git") is None:
        return None, None
    found = [
        subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
        for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    if any(done.returncode for done in found):
        return None, None
    return found[0].stdout.strip(), bool(found[1].stdout.strip())


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS``, in the form that ``sha256sum --check`` reads."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_file(folder / name)}  {name}" for name in paths if name not in (SUMS, SIGNATURE)]
    write_text(folder / SUMS, "\n".join(lines) + "\n")
