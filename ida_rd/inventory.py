"""What is here: methods with their parameters, weights with their licences, and the state of this machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ida_rd.core.errors import UserError
from ida_rd.core.methods import ENTRY, Parameters, find_method, known_methods
from ida_rd.core.software import PIPELINE
from ida_rd.core.weights import MissingWeights, catalogue, locate, torch_cache
from ida_rd.engine.device import devices, engine_name, worker_count
from ida_rd.engine.precision import SLOW, bfloat16_cost

__all__ = ["describe_fields", "health", "methods", "type_in_words", "weights"]

FACTORS = (2, 4, 8, 16)
PROGRAMS = {
    "git": "compare and publish need it for other versions",
    "dvc": f"runs the pipeline: {PIPELINE}",
    "magick": "ImageMagick, for the experiment `resizers`",
}


def methods() -> list[dict[str, Any]]:
    """Every method: stage, name, what it is, its parameters (see `describe_fields`), weights that its defaults need."""
    found = []
    for stage in ENTRY:
        for name in known_methods(stage):
            module = find_method(stage, name, where="list")
            model: type[BaseModel] = getattr(module, "Parameters", Parameters)
            first = (module.__doc__ or "").strip().split("\n\n")[0]
            found.append(
                {
                    "stage": stage,
                    "method": name,
                    "about": re.sub(r" \[\d+\]_", "", " ".join(first.split())).replace("``", "`"),
                    "parameters": describe_fields(model),
                    "weights": _weights_of(stage, module, model),
                }
            )
    return found


def describe_fields(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Of every field, by its key in ``params.yaml``: type in words, default, whether it is required, description."""
    schema = model.model_json_schema()
    found = {}
    for key, field in model.model_fields.items():
        name = field.alias or key
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        found[name] = {
            "type": type_in_words(schema["properties"][name]),
            "default": default.model_dump() if isinstance(default, BaseModel) else default,
            "required": field.is_required(),
            "description": field.description or "",
        }
    return found


def type_in_words(schema: dict[str, Any]) -> str:
    """Say what a JSON schema allows: ``number, 0 to 2, or null``."""
    options = _options(schema)
    if len(options) > 1:
        comma = "," if any("," in option for option in options) else ""
        return f"{', '.join(options[:-1])}{comma} or {options[-1]}"
    return options[0]


def _options(schema: dict[str, Any]) -> list[str]:
    if "anyOf" in schema:
        return [option for part in schema["anyOf"] for option in _options(part)]
    if "enum" in schema:
        return [str(value) for value in schema["enum"]]
    if "const" in schema:
        return [str(schema["const"])]
    kind = schema.get("type", "object" if "$ref" in schema else "anything")
    if kind == "boolean":
        return ["true", "false"]
    if kind == "array":
        items = re.sub(r"number|mapping", r"\g<0>s", type_in_words(schema.get("items", {})), count=1)
        return ["list of " + items.replace(", ", " of ", 1)]
    words = {"integer": "whole number", "string": "text", "object": "mapping"}
    return [", ".join([words.get(kind, kind), *_bounds(schema)])]


def _bounds(schema: dict[str, Any]) -> list[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return [f"{_number(low)} to {_number(high)}"]
    found = [] if low is None else [f"{_number(low)} or more"]
    for key, word in (("exclusiveMinimum", "above"), ("maximum", "at most"), ("exclusiveMaximum", "below")):
        if key in schema:
            found.append(f"{word} {_number(schema[key])}")
    return found


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:g}"


def _weights_of(stage: str, module: Any, model: type[BaseModel]) -> list[str]:
    if stage == "attributes" or not hasattr(module, "describe"):
        return []
    ids: list[str] = []
    try:
        values = model()
    except ValueError:  # a parameter is required: it says which weights
        return []
    for arguments in [(values, factor) for factor in FACTORS] if stage == "upscale" else [(values,)]:
        try:
            ids += module.describe(*arguments).weights
        except UserError:
            continue
    return list(dict.fromkeys(ids))


def weights(ids: list[str] | None = None, *, download: bool = False) -> list[dict[str, Any]]:
    """State of weight files: present and verified, missing, or wrong.

    Parameters
    ----------
    ids : list of str, optional
        Ids of the catalogue; None: all.
    download : bool
        Whether to fetch what is missing.
    """
    known = catalogue()
    if unknown := [key for key in ids or [] if key not in known]:
        locate(unknown[0])  # raises, with the nearest name
    found = []
    for key, weight in known.items():
        if ids and key not in ids:
            continue
        entry: dict[str, Any] = {"id": key, "licence": weight.licence, "citation": weight.citation, "size": weight.size}
        try:
            file = locate(key, download=download)
            entry |= {"state": "present", "path": str(file.path), "sha256": file.sha256, "checked": bool(weight.sha256)}
        except MissingWeights as error:
            entry |= {"state": "missing", "problem": str(error)}
        except UserError as error:
            entry |= {"state": "wrong", "problem": str(error)}
        found.append(entry)
    return found


def health() -> list[dict[str, str]]:
    """Return what a run depends on, one entry each: what, state (ok, missing, wrong) and detail."""
    rows = [_row("python", sys.version_info >= (3, 11), platform.python_version(), "3.11 or newer is needed")]
    rows += _packages()
    for program, use in PROGRAMS.items():
        path = shutil.which(program)
        rows.append({"what": program, "state": "ok" if path else "missing", "detail": path or use})
    try:
        rows.append({"what": "device", "state": "ok", "detail": ", ".join(devices())})
        rows.append({"what": "workers", "state": "ok", "detail": str(worker_count())})
        rows += _cluster() if engine_name() == "dask" else []
    except UserError as error:
        rows.append({"what": "device", "state": "wrong", "detail": str(error)})
    rows.append(_bfloat16())
    for key, value in sorted(os.environ.items()):
        if key.startswith("IDA_RD_") or key == "TORCH_HOME":
            rows.append({"what": key, "state": "ok", "detail": value})
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    rows.append(_row("disk", free > 2, f"{free:.0f} GiB free here", "a run keeps every reconstruction"))
    rows.append({"what": "weights cache", "state": "ok", "detail": str(torch_cache())})
    for entry in weights():
        state = {"present": "ok"}.get(entry["state"], entry["state"])
        rows.append({"what": entry["id"], "state": state, "detail": entry.get("path") or entry["problem"]})
    here = Path("params.yaml").is_file() and Path("dvc.yaml").is_file()
    none = "no params.yaml and dvc.yaml here; `ida-rd new DIR` writes them. `score`, `list` and `check` need none"
    detail = str(Path.cwd()) if here else none
    rows.append({"what": "pipeline", "state": "ok" if here else "missing", "detail": detail})
    return rows


def _bfloat16() -> dict[str, str]:
    """Whether the processor computes in bfloat16, as adaptation does where nothing else is said."""
    cost = bfloat16_cost()
    if cost <= SLOW:
        return {"what": "bfloat16", "state": "ok", "detail": f"takes {cost:.1f} times as long as float32"}
    detail = f"takes {cost:.0f} times as long as float32, in software: adapt with precision: float32"
    return {"what": "bfloat16", "state": "missing", "detail": detail}


def _cluster() -> list[dict[str, str]]:
    """The scheduler that the environment names, and each of its workers."""
    try:
        from ida_rd.engine.cluster.look import look_at_cluster

        scheduler, workers = look_at_cluster(Path.cwd())
    except UserError as error:
        return [{"what": "cluster", "state": "wrong", "detail": str(error)}]
    rows = [_row("cluster", bool(workers), f"{len(workers)} workers at {scheduler}", "start `dask worker`")]
    for address, told in workers.items():
        good = not told["problem"]
        seen = ", ".join(told[key] for key in ("host", "versions", "device") if told[key])
        rows.append(_row(f"worker {address}", good, f"{seen}, sees this folder" if good else seen, told["problem"]))
    return rows


def _row(what: str, good: bool, detail: str, problem: str) -> dict[str, str]:
    return {"what": what, "state": "ok" if good else "wrong", "detail": detail if good else f"{detail}: {problem}"}


def _packages() -> list[dict[str, str]]:
    """Versions of the packages that the project requires, and its pipeline, against the required ones."""
    from packaging.requirements import Requirement

    rows = []
    for text in importlib.metadata.requires("ida-rd") or []:
        requirement = Requirement(text)
        here, pipeline = (
            requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in ("", "pipeline")
        )
        if not (here or pipeline):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            detail = f"required: {requirement}" if here else f"the pipeline needs it: {PIPELINE}"
            rows.append({"what": requirement.name, "state": "missing", "detail": detail})
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        rows.append(_row(requirement.name, fits, version, f"required: {requirement.specifier}"))
    return rows
