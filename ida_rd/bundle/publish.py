"""Publish a finished run: a folder with everything that others need to check it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ida_rd.bundle.schema import RESULTS_SCHEMA, PublishedResults, Tolerance, program
from ida_rd.bundle.verify import SUMS, verify, weights_of
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, sha256_file, write_json, write_text
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.typeset import markdown_table
from ida_rd.core.weights import catalogue

__all__ = ["bibliography", "citations", "publish", "write_checksums"]

PACKAGE = Path(__file__).resolve().parent.parent
SHOWS_IMAGES = "contact_sheet"
# On one machine and versions, distances are the same to the last digits. Another processor or version sums in another
# order: an SR image can differ by a grey level here and there.
TOLERANCE = Tolerance(same_software=1e-6, other_software=1e-2)


def publish(root: Path, target: Path, *, images: bool) -> PublishedResults:
    """Write the bundle of the run in `root`; nothing is left behind if it does not verify.

    Parameters
    ----------
    root : Path
        Root of the repository, or an experiment's folder, in which a run has finished.
    target : Path
        Folder that does not exist yet, or is empty.
    images : bool
        Whether pictures may be in it: the page and its image browser show HR images.

    Raises
    ------
    UserError
        The run is not finished or not up to date, or its numbers are not consistent.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not empty: name another folder, or remove it")
    project = Project(root)
    recipe = read_json(project.plan / "aggregate.json", hint="run `make repro` first, in the root of the repository")
    _refuse_stale(root)
    with atomic_folder(target) as folder:
        results = _write(project, folder, recipe, images=images)
        write_checksums(folder)
        verify(folder)
    return results


def _refuse_stale(root: Path) -> None:
    """Refuse a run whose outputs do not belong to its parameters and code."""
    if not (root / "dvc.yaml").is_file():
        raise UserError(f"publish: {root} has no dvc.yaml: run this where the pipeline is")
    # Not `dvc`: if the environment is not activated, it is not on the PATH.
    command = [sys.executable, "-m", "dvc", "status", "--json", "dvc.yaml"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"publish: dvc status failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    if stale := json.loads(done.stdout or "{}"):
        names = sorted(stale)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise UserError(f"publish: the results are not up to date ({shown}): run `make repro` first")


def _write(project: Project, folder: Path, recipe: dict[str, Any], *, images: bool) -> PublishedResults:
    hint = "run `make repro` first"
    provenance = read_json(project.metrics / "provenance.json", hint=hint)
    report = read_json(project.plan / "report.json", hint=hint)
    _copy_folder(project.plan, folder / "recipes")
    _copy_folder(project.tables, folder / "tables")
    for file in (
        project.parameters,
        project.subset,
        *(project.metrics / name for name in ("balance.json", "balance.csv", "provenance.json")),
    ):
        shutil.copyfile(file, folder / file.name)
    ignored = None if images else shutil.ignore_patterns(f"{SHOWS_IMAGES}*")
    _copy_folder(project.plots, folder / "figures", ignored)
    if images:
        _copy_folder(project.page, folder / "page")
    commit, changed = _commit(project.root)
    results = PublishedResults.model_validate(
        {
            "schema_version": RESULTS_SCHEMA,
            "program": program(),
            "commit": commit,
            "uncommitted_changes": changed,
            "samples": report["parameters"]["samples"],
            **{key: recipe[key] for key in ("seed", "confidence", "resamples", "distortions", "distortion_order")},
            "dataset_sha256": provenance["dataset_sha256"],
            "weights": weights_of(recipe["recipes"]),
            "skipped": recipe["skipped"],
            "tolerance": TOLERANCE,
            "branches": _branches(project, folder, recipe),
        }
    )
    write_json(folder / "results.json", results.model_dump())
    write_json(folder / "results.schema.json", PublishedResults.json_schema())
    write_text(folder / "CITATIONS.bib", citations(recipe["recipes"], recipe["attributes"]))
    write_text(folder / "LICENCES.md", _licences(recipe, results.weights))
    write_text(folder / "README.md", _readme(project, results, images=images))
    return results


def _branches(project: Project, folder: Path, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Copy the rows of every branch; return what ``results.json`` says about each."""
    summary = read_json(project.tables / "ida_rd.json", hint="run `make repro` first")
    branches = []
    for record in recipe["branches"]:
        branch = Branch.of(record)
        rows = Path("rows") / f"{branch.path}.csv"
        (folder / rows).parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".csv", ".json"):
            shutil.copyfile(project.rows_of(branch).with_suffix(suffix), (folder / rows).with_suffix(suffix))
        upscaler = recipe["upscalers"][f"x{branch.factor}/{branch.upscaler}"]
        entry = summary[branch.upscaler][f"x{branch.factor}"][branch.downscaler]
        scores = {name: entry[name] for name in recipe["distortion_order"]}
        branches.append(
            {
                **asdict(branch),
                **{key: value for key, value in entry.items() if key not in scores},
                "marks": upscaler["marks"],
                "kind": upscaler["kind"],
                "rows": rows.as_posix(),
                "sha256": sha256_file(folder / rows),
                "scores": scores,
            }
        )
    return branches


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


def citations(recipes: dict[str, Any], attributes: dict[str, Any]) -> str:
    """Return BibTeX of IDA-RD and of every method, weight file and source of attributes that the recipes use."""
    wanted = {"all"} | {f"weights/{key}" for key in weights_of(recipes)}
    for entry in [*recipes.values(), *recipes["distort"]["distortions"].values(), *attributes.values()]:
        if "method" in entry:
            method = f"{entry['stage']}/{entry['method']}"
            wanted |= {method} | {
                f"{method}/{value}" for value in entry["parameters"].values() if isinstance(value, str)
            }
    # IDA-RD itself first, then by key: moving a file changes no bundle.
    cited = sorted((entry for entry in bibliography() if wanted & entry.keywords), key=lambda e: e.order)
    return "\n\n".join(entry.text for entry in cited) + "\n"


class Entry(NamedTuple):
    """A BibTeX entry: its key, the methods that it describes, and its text without these."""

    key: str
    keywords: frozenset[str]
    text: str

    @property
    def order(self) -> tuple[bool, str]:
        return "all" not in self.keywords, self.key


@cache
def bibliography(package: Path = PACKAGE) -> tuple[Entry, ...]:
    """All entries of the ``.bib`` files beside the methods.

    Raises
    ------
    UserError
        A key that is there twice, or an entry without keywords.
    """
    found: dict[str, Entry] = {}
    for path in sorted(package.rglob("*.bib")):
        for text in re.split(r"\n(?=@)", "\n" + path.read_text(encoding="utf-8"))[1:]:
            key = text.partition("{")[2].partition(",")[0].strip()
            keywords = re.search(r"  keywords = \{([^}]*)\},\n", text)
            if keywords is None:
                raise UserError(f"{path}: {key} has no line of keywords: name the stage/method that it describes")
            if key in found:
                raise UserError(f"{path}: {key} is also in another .bib file, or twice here: keep one")
            words = frozenset(word.strip() for word in keywords[1].split(","))
            found[key] = Entry(key, words, text.strip().replace(keywords[0], ""))
    return tuple(found.values())


def _licences(recipe: dict[str, Any], weights: dict[str, str]) -> str:
    lines = ["# Terms of what made these numbers", "", "The program: Apache-2.0.", "", "## Upscalers", ""]
    for path, upscaler in recipe["upscalers"].items():
        factor, _, name = path.partition("/")
        lines.append(f"* {name} {factor}: {upscaler['licence'] or 'not stated'}.")
    lines += ["", "## Weights", ""]
    known = catalogue()
    for key, sha in weights.items():
        source = "" if known[key].file else f" {known[key].citation}."
        lines.append(f"* {key} (sha256 `{sha}`): {known[key].licence}.{source}")
    if not weights:
        lines.append("None.")
    if terms := [
        f"* by {name}: {source['terms']}." for name, source in recipe["attributes"].items() if source["terms"]
    ]:
        lines += ["", "## Attributes of the images", "", *terms]
    lines += ["", "## Images", ""]
    if recipe["images"]["source"] == "sample-photos":
        lines.append("Photographs inside the packages scikit-image and scikit-learn; their terms are in the project's")
        lines.append("docs/data.md.")
    else:
        lines.append(
            "The publisher's own folder. The publisher must state their terms; `subset.csv` names each image and"
        )
        lines.append("the hash of its pixels.")
    return "\n".join(lines) + "\n"


def _readme(project: Project, results: PublishedResults, *, images: bool) -> str:
    table = (project.tables / "ida_rd.md").read_text(encoding="utf-8")
    lines = [
        "# IDA-RD results",
        "",
        table,
        f"Made by {results.program}, commit {results.commit or 'unknown'}"
        + (" with uncommitted changes" if results.uncommitted_changes else "")
        + ". To check them, install the program and run, beside this folder:",
        "",
        "    ida-rd verify FOLDER             # checksums, completeness, every summary against the rows",
        "    ida-rd verify FOLDER --rerun 2   # and two branches again from the images",
        "",
    ]
    files = [
        ("`results.json`", "scores and what made them, by the schema beside it"),
        ("`rows/`", "every sample's distances, and the software and device that computed them"),
        ("`tables/`, `figures/`", "the same for people; paired differences, ranks, agreement"),
        ("`recipes/`, `params.yaml`, `provenance.json`", "parameters, hashes of code, weights and files"),
        ("`subset.csv`, `balance.json`, `balance.csv`", "the test set: hash of every image; its groups"),
        ("`CITATIONS.bib`, `LICENCES.md`", "what to cite; terms of the weights"),
        (f"`{SUMS}`", "checksums of all files"),
    ]
    if images:
        files.append(("`page/index.html`", "the page, with images to look at"))
    lines += markdown_table([None, None], files)
    return "\n".join(lines) + "\n"


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS``, in the form that ``sha256sum --check`` reads."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_file(folder / name)}  {name}" for name in paths if name != SUMS]
    write_text(folder / SUMS, "\n".join(lines) + "\n")
