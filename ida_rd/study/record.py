"""What lies beside an experiment's results: ``provenance.json``, what made its numbers, and ``images.csv``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ida_rd.core.files import sha256_file, write_json
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table, write_table
from ida_rd.engine.environment import joined
from ida_rd.study.judge import Setting

__all__ = ["program", "provenance", "write_record"]

DIGITS = 6  # of the scores of single images
KEYS = ["upscaler", "factor", "downscaler", "photograph", "image_id"]

SCHEMA = 1
METHOD = ("method", "parameters", "settings", "degrade", "weights", "files", "packages")  # of a recipe
REPEATED = ("seed", "confidence", "resamples", "balance", "skipped")


def provenance(
    recipe: Mapping[str, Any], dataset_sha256: str, environments: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Collect it: small, so that it can be committed beside every table.

    Parameters
    ----------
    recipe : dict
        ``data/plan/aggregate.json``.
    dataset_sha256 : str
        Of ``data/subset.csv``, which has the hash of every image.
    environments : iterable of dict
        What computed each branch: ``data/distortion/<branch>.json``.
    """
    methods = recipe["recipes"]
    stages: dict[str, list[dict[str, str]]] = {}
    for environment in environments:
        for stage, record in environment.items():
            stages.setdefault(stage, []).append(record)
    conditions: dict[str, dict[str, Any]] = {}
    upscalers: dict[str, Any] = {}
    for path, method in sorted(methods.items()):
        stage, _, rest = path.partition("/")
        if stage == "downscale":
            factor, _, name = rest.partition("/")
            conditions.setdefault(name, {})[factor] = _method(method)
        elif stage == "upscale":
            upscalers[rest] = {"samples": method["samples"], **_method(method)}
    distortions = methods.get("distort", {}).get("distortions", {})
    lead = recipe["distortion_order"][0]
    return {
        "schema": SCHEMA,
        "program": program(),
        "dataset_sha256": dataset_sha256,
        # A folder's place says something of the machine, and nothing of the images: their hash does.
        "images": {key: value for key, value in recipe["images"].items() if key != "path"},
        **{key: recipe[key] for key in REPEATED},
        "distortion": {**vars(Setting.of(recipe)), **_method(distortions.get(lead, {}))},
        "upscalers": {
            path: {key: facts[key] for key in ("marks", "licence") if key in facts}
            # One that was adapted to each downscaler has a recipe for each.
            | _once({name: method for name, method in upscalers.items() if f"{name}/".startswith(f"{path}/")})
            for path, facts in recipe["upscalers"].items()
        },
        "conditions": {name: _once(by_factor) for name, by_factor in conditions.items()},
        "environments": {stage: joined(records) for stage, records in stages.items()},
    }


def write_record(
    recipe: Mapping[str, Any], folder: Path, *, images: bool = True, project: Project | None = None
) -> None:
    """Write ``provenance.json`` and, unless an experiment has its own, ``images.csv`` of a run.

    Parameters
    ----------
    recipe : dict
        ``data/plan/aggregate.json``.
    folder : Path
        Of the results.
    images : bool
        Whether the scores of every image are wanted, for any other test.
    project : Project, optional
        Of the run; by default it is in this folder.
    """
    project = project or Project()
    branches = [Branch.of(record) for record in recipe["branches"]]
    hint = "run `dvc repro`"
    environments = [read_json(project.rows_of(one).with_suffix(".json"), hint=hint) for one in branches]
    write_json(folder / "provenance.json", provenance(recipe, sha256_file(project.subset), environments))
    if images:
        table = read_table(project.tables / "images.csv", hint=hint)
        order = list(recipe["distortion_order"])
        write_table(folder / "images.csv", table[[*KEYS, *order]].round(dict.fromkeys(order, DIGITS)))


def program() -> dict[str, str | None]:
    """Version of this program, and the commit of its code where it is a checkout; + where it has been changed since."""
    try:
        installed: str | None = version("ida-rd")
    except PackageNotFoundError:
        installed = None
    here = Path(__file__).resolve().parent.parent
    commit = _git(here, "log", "-1", "--format=%H", "--", ".")
    if commit and _git(here, "status", "--porcelain", "--untracked-files=no", "--", "."):
        commit += "+"
    return {"version": installed, "commit": commit or None}


def _git(folder: Path, *arguments: str) -> str:
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=folder)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def _once(methods: dict[str, Any]) -> dict[str, Any]:
    """One of them, if they are all the same."""
    values = list(methods.values())
    return dict(values[0]) if values and all(value == values[0] for value in values) else methods


def _method(recipe: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: _placeless(recipe[key]) for key in METHOD if recipe.get(key)}
    return found | ({"budget": recipe["adapted"]["budget"]} if recipe.get("adapted") else {})


def _placeless(value: Any) -> Any:
    """The same with the name of each file in the place of its whole path: its hash says which it is."""
    if isinstance(value, Mapping):
        return {key: _placeless(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_placeless(part) for part in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
