"""Check ``params.yaml`` and turn it into recipes: one small JSON file per named method.

Everything that can be wrong is found here, before anything expensive runs; nothing here imports
torch.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from ida_rd.core.candidates import check_sizes, digest, file_hashes, fingerprint, listing
from ida_rd.core.code import code_hashes
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.files import atomic_folder, read_json, read_yaml, sha256_file, write_json
from ida_rd.core.methods import Parameters, find_method, validate
from ida_rd.core.recipes import SCHEMA
from ida_rd.core.software import MissingSoftware, package_version
from ida_rd.core.weights import MissingWeights, locate
from ida_rd.plan.schema import MethodEntry, RunParameters

__all__ = ["make_recipes", "read_parameters", "same_on_disk", "write_recipes"]

Recipes = dict[str, dict[str, Any]]


def read_parameters(path: Path) -> RunParameters:
    """Read and check ``params.yaml``."""
    values = read_yaml(path, hint="run this in the root of the repository or in an experiment")
    try:
        return validate(RunParameters, values, where="")
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(': ')}") from None


class _Problems:
    """Collects user errors, so that one run of ``plan`` shows them all."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def collect(self, where: str) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            text = str(error)
            self.messages.append(text if text.startswith(where) else f"{where}: {text}")

    def raise_all(self) -> None:
        if self.messages:
            raise UserError("; ".join(dict.fromkeys(self.messages)))


def _method(root: Path, stage: str, section: str, name: str, entry: MethodEntry) -> tuple[ModuleType, Any, dict]:
    """Find a method and check its parameters; return it, them, and the common part of its recipe."""
    where = f"{section}.{name}"
    if not isinstance(entry.get("method"), str):
        raise UserError(f"{where}.method: is missing: name the method of {name}")
    module = find_method(stage, entry["method"], where=where)
    model: type[BaseModel] = getattr(module, "Parameters", Parameters)
    given = {key: value for key, value in entry.items() if key != "method"}
    values = validate(model, given, where=where)
    assert module.__file__ is not None
    recipe = {
        "schema": SCHEMA,
        "stage": stage,
        "name": name,
        "method": entry["method"],
        "parameters": values.model_dump(mode="json"),
        "code": code_hashes(f"ida_rd.{stage}.stage", Path(module.__file__)),
    }
    if hasattr(module, "packages"):
        wanted = module.packages(values)
        recipe["packages"] = {name: package_version(name, install=install) for name, install in wanted.items()}
    return module, values, recipe


def _user_files(root: Path, module: ModuleType, values: Any, factor: int) -> dict[str, str]:
    """Hashes of the files that a method names as part of its result (a program, a folder of LR images)."""
    if not hasattr(module, "files"):
        return {}
    hashes: dict[str, str] = {}
    for path in module.files(values, factor):
        if path.suffix == ".py":
            # A user's module imports from where the pipeline runs; a method of ours, from the code's root.
            hashes |= code_hashes(path)
        else:
            hashes[path.name] = sha256_file(path)
    return hashes


def _stage_code(root: Path, stage: str) -> dict[str, str]:
    entries = [f"ida_rd.{stage}.stage"] + (["ida_rd.aggregate.write"] if stage == "aggregate" else [])
    return code_hashes(*entries)


def make_recipes(parameters: RunParameters, root: Path, *, download: bool) -> Recipes:
    """Resolve every named method; return recipes by their path below ``data/plan``, without suffix.

    Parameters
    ----------
    parameters : RunParameters
    root : Path
        Root of the code. Data, and modules of the user's own, are found from the working directory.
    download : bool
        Whether missing weights may be downloaded.

    Raises
    ------
    UserError
        Every problem found, in one line.
    """
    problems = _Problems()
    recipes: Recipes = {}
    smallest: int | None = None
    sources: Recipes = {}
    with problems.collect("attributes"):
        sources = _attribute_sources(parameters, root, download=download)
    with problems.collect("images"):
        recipes |= _data_recipes(parameters, root, sources)
        images = parameters.images
        opened = recipes["attributes"]["opens_images"]
        multiple = math.lcm(*parameters.factors)
        smallest = check_sizes(images.source, images.path, images.pattern, images.crop, multiple, all_files=opened)
    skipped: dict[str, str] = {}
    for name, entry in parameters.downscalers.items():
        for factor in parameters.factors:
            with problems.collect(f"downscalers.{name}"):
                try:
                    recipe = _downscale_recipe(parameters, root, name, entry, factor)
                except MissingSoftware as error:
                    if parameters.missing_software == "error":
                        raise
                    if name not in skipped:
                        print(f"warning: downscaler {name} is SKIPPED: {error}", file=sys.stderr)
                    skipped[name] = str(error)
                    recipe = {"schema": SCHEMA, "stage": "downscale", "name": name, "skipped": str(error)}
                recipes[f"downscale/x{factor}/{name}"] = recipe
    for name, entry in parameters.upscalers.items():
        for factor in parameters.factors:
            with problems.collect(f"upscalers.{name}"):
                recipes[f"upscale/x{factor}/{name}"] = _upscale_recipe(
                    parameters, root, name, entry, factor, download=download
                )
    distortions = {}
    for name, entry in parameters.distortions.items():
        with problems.collect(f"distortions.{name}"):
            try:
                distortions[name] = _distortion_entry(smallest, root, name, entry, download=download)
            except MissingWeights as error:
                if parameters.missing_weights == "error":
                    raise
                weights = ", ".join(_distortion_weights(root, name, entry))
                skipped[name] = f"its weights ({weights}) are not on this machine and cannot be downloaded"
                print(f"warning: distortion {name} is SKIPPED: {error}", file=sys.stderr)
    problems.raise_all()
    for name, source in sources.items():
        if "non-commercial" in source["terms"]:
            print(f"note: attributes by {name} are under {source['terms']}", file=sys.stderr)
    if not distortions:
        raise UserError(
            "distortions: none can be computed, for want of weights; add fsim: {method: structural, metric: fsim}"
        )
    if not parameters.downscalers.keys() - skipped.keys():
        raise UserError(
            "downscalers: none can run, for want of software; add bicubic: {method: resample, filter: bicubic}"
        )
    recipes["distort"] = {
        "schema": SCHEMA,
        "distortions": {name: {k: v for k, v in e.items() if k != "descriptor"} for name, e in distortions.items()},
    }
    branches = [
        {"upscaler": u, "factor": f, "downscaler": d}
        for u in parameters.upscalers
        for f in parameters.factors
        for d in parameters.downscalers
        if d not in skipped
    ]
    methods = {path: r for path, r in recipes.items() if path.split("/")[0] in ("downscale", "upscale", "distort")}
    recipes["aggregate"] = {
        "schema": SCHEMA,
        "code": _stage_code(root, "aggregate"),
        "seed": parameters.seed,
        "branches": branches,
        "distortions": {name: entry["descriptor"] for name, entry in distortions.items()},
        "distortion_order": list(distortions),
        "skipped": skipped,
        "recipes": methods,
        "images": {k: v for k, v in recipes["attributes"]["images"].items() if k != "files"},
        "attributes": sources,
        "balance": parameters.balance.model_dump(),
        **parameters.aggregate.model_dump(),
    }
    recipes["report"] = {
        "schema": SCHEMA,
        "distortions": recipes["aggregate"]["distortions"],
        "code": _stage_code(root, "report") | _templates(root),
        "parameters": parameters.model_dump(mode="json"),
        "images": parameters.report.images,
        "browse": parameters.report.browse,
        "confidence": parameters.aggregate.confidence,
        "methods": recipes["distort"]["distortions"],
        "branches": branches,
        "distortion_order": list(distortions),
    }
    return recipes


def _data_recipes(parameters: RunParameters, root: Path, sources: Recipes) -> Recipes:
    images = parameters.images.model_dump()
    measured = [entry.pop("opens_images") for entry in sources.values()]
    opens = images["crop"] is not None or any(measured)
    # A set from which images are chosen by labels alone may be large: only those that are chosen are opened.
    state = fingerprint if opens else listing
    return {
        "attributes": {
            "schema": SCHEMA,
            "code": _stage_code(root, "attributes"),
            "images": images | {"files": state(images["source"], images["path"], images["pattern"])},
            "sources": sources,
            "opens_images": opens,
            "multiple": math.lcm(*parameters.factors),
        },
        "balance": {
            "schema": SCHEMA,
            "code": _stage_code(root, "balance"),
            "images": {"path": images["path"], "multiple": math.lcm(*parameters.factors)},
            "seed": parameters.seed,
            **parameters.balance.model_dump(),
        },
    }


def _attribute_sources(parameters: RunParameters, root: Path, *, download: bool) -> Recipes:
    """Check the sources of attributes and hash what they rest on."""
    settings = parameters.attributes.model_extra or {}
    found: Recipes = {}
    for name, wanted in parameters.attributes.sources().items():
        where = f"attributes.{name}"
        module = find_method("attributes", name, where="attributes.source")
        values = validate(module.Parameters, settings.get(name) or {}, where=where)
        told = module.names(values)
        for attribute in wanted or []:
            if told is not None and attribute not in told:
                raise UserError(
                    f"attributes.source.{attribute}: {name} does not tell it; {did_you_mean(attribute, told)}"
                )
        assert module.__file__ is not None
        found[name] = {
            "stage": "attributes",
            "method": name,
            "terms": getattr(module, "TERMS", ""),
            "parameters": values.model_dump(mode="json"),
            "attributes": wanted,
            "code": code_hashes(Path(module.__file__)),
            "opens_images": hasattr(module, "measure"),
        }
        try:
            if hasattr(module, "packages"):
                wanted_packages = module.packages(values).items()
                found[name]["packages"] = {
                    key: package_version(key, install=install) for key, install in wanted_packages
                }
            if hasattr(module, "files"):
                found[name]["files"] = digest(module.files(values))
            if hasattr(module, "weights"):
                weights = module.weights(values, wanted, download=download)
                found[name]["weights"] = dict(zip(weights, file_hashes(list(weights.values())), strict=True))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return found


def _downscale_recipe(
    parameters: RunParameters, root: Path, name: str, entry: MethodEntry, factor: int
) -> dict[str, Any]:
    method = {key: value for key, value in entry.items() if key != "degrade"}
    module, values, recipe = _method(root, "downscale", "downscalers", name, method)
    recipe |= {"factor": factor, "files": _user_files(root, module, values, factor)}
    if "degrade" in entry:
        degrade = importlib.import_module("ida_rd.downscale.degrade")
        assert degrade.__file__ is not None
        recipe["degrade"] = degrade.check_steps(entry["degrade"], where=f"downscalers.{name}.degrade")
        recipe["code"] |= code_hashes(Path(degrade.__file__))
    if getattr(module, "RANDOM", False) or recipe.get("degrade"):
        recipe["seed"] = parameters.seed
    return recipe


def _upscale_recipe(
    parameters: RunParameters, root: Path, name: str, entry: MethodEntry, factor: int, *, download: bool
) -> dict[str, Any]:
    module, values, recipe = _method(root, "upscale", "upscalers", name, entry)
    descriptor = module.describe(values, factor)
    found = {key: locate(key, path, download=download) for key, path in descriptor.weights.items()}
    if "non-commercial" in descriptor.licence:
        print(f"note: upscaler {name} x{factor} uses weights under {descriptor.licence}", file=sys.stderr)
    return recipe | {
        "factor": factor,
        "files": _user_files(root, module, values, factor),
        "seed": parameters.seed,
        "samples": parameters.samples if descriptor.stochastic else 1,
        "descriptor": dataclasses.asdict(descriptor),
        "weights": {key: file.sha256 for key, file in found.items()},
    }


def _distortion_weights(root: Path, name: str, entry: MethodEntry) -> list[str]:
    module, values, _ = _method(root, "distort", "distortions", name, entry)
    return list(module.describe(values).weights)


def _distortion_entry(
    smallest: int | None, root: Path, name: str, entry: MethodEntry, *, download: bool
) -> dict[str, Any]:
    module, values, recipe = _method(root, "distort", "distortions", name, entry)
    descriptor = module.describe(values)
    if smallest is not None and smallest < descriptor.minimum_side:
        raise UserError(
            f"{name} needs images of at least {descriptor.minimum_side} pixels a side; the smallest here has {smallest}"
        )
    found = {key: locate(key, path, download=download) for key, path in descriptor.weights.items()}
    return recipe | {
        "descriptor": dataclasses.asdict(descriptor),
        "squared": descriptor.squared,
        "weights": {key: file.sha256 for key, file in found.items()},
    }


def _templates(root: Path) -> dict[str, str]:
    folder = root / "ida_rd" / "report" / "templates"
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(folder.iterdir())}


def write_recipes(recipes: Recipes, target: Path) -> None:
    """Write all recipes into `target`, in place of what was there."""
    with atomic_folder(target) as folder:
        for path, recipe in recipes.items():
            write_json(folder / f"{path}.json", recipe)


def same_on_disk(recipes: Recipes, target: Path) -> bool:
    """Whether `target` holds just these recipes."""
    on_disk = {path.relative_to(target).with_suffix("").as_posix() for path in target.rglob("*.json")}
    if on_disk != set(recipes):
        return False
    try:
        return all(read_json(target / f"{path}.json", hint="") == recipe for path, recipe in recipes.items())
    except UserError:
        return False
