"""What the recipes of a bundle must say: they follow from its ``params.yaml``, the one source.

Nothing of the publisher's is opened or run: the methods of this program are asked what they are with these parameters,
without those that name files. What a module of the publisher's own is, nobody can know who does not run it; it is
listed as not verified.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ida_rd.adapt.contract import find_adapter
from ida_rd.adapt.recipe import adaptation_of
from ida_rd.attributes.recipe import stated as stated_source
from ida_rd.bundle.confine import is_own, objections, opens_nothing
from ida_rd.core.errors import UserError
from ida_rd.core.methods import SECTION, OpenedMethod, method_recipe, open_method
from ida_rd.core.project import Branch, Project
from ida_rd.core.recipes import SCHEMA, identity
from ida_rd.distort.recipe import stated as stated_distortion
from ida_rd.downscale.recipe import skipped_recipe
from ida_rd.downscale.recipe import stated as stated_downscaler
from ida_rd.plan.schema import RunParameters
from ida_rd.upscale.columns import declared
from ida_rd.upscale.contract import Descriptor
from ida_rd.upscale.recipe import as_adapted, own_weights
from ida_rd.upscale.recipe import stated as stated_upscaler

__all__ = ["Claims", "claims_of"]

Recipe = dict[str, Any]
NOWHERE = os.path.join(os.devnull, "nowhere")  # a path at which no system has a file
DECIDED_BY_A_FILE = "settings"  # of an upscaler whose parameters name a file: that may hold its preset


@dataclass
class Claims:
    """What must stand in ``recipes/aggregate.json``, as far as ``params.yaml`` decides it.

    Attributes
    ----------
    branches : list of Branch
    distortions : dict
        By name, in order: what is known about each; None for a module of the publisher's own.
    upscalers : dict
        ``x4/<name>`` to what is known about it, with its ``marks``; None likewise.
    methods : dict
        Recipes by their path in ``recipes``, those of distortions as ``distort/<name>``: the keys that are decided.
    weights : dict
        Ids of the weights of each of these, where they are known.
    own : dict
        Ids that ship and in whose place each of these has a file of the publisher's own: bundles of before named it so.
    packages : dict
        Modules that may be missing and that each of these asks for, where they are known.
    sources : dict
        Recipes of the sources of attributes, by name, and their terms.
    data : dict
        Further keys of the recipe.
    unknown : list of str
        What cannot be verified, and why.
    """

    branches: list[Branch] = field(default_factory=list)
    distortions: dict[str, Recipe | None] = field(default_factory=dict)
    upscalers: dict[str, Recipe | None] = field(default_factory=dict)
    methods: dict[str, Recipe] = field(default_factory=dict)
    weights: dict[str, set[str]] = field(default_factory=dict)
    own: dict[str, set[str]] = field(default_factory=dict)
    packages: dict[str, set[str]] = field(default_factory=dict)
    sources: dict[str, Recipe] = field(default_factory=dict)
    data: Recipe = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def claims_of(parameters: RunParameters, skipped: Mapping[str, str]) -> Claims:
    """Derive what the recipes must say.

    Parameters
    ----------
    parameters : RunParameters
        The bundle's.
    skipped : mapping
        Names of downscalers and distortions that could not run, and why, as the bundle says.

    Raises
    ------
    UserError
        Parameters of a method that this program refuses, or a name among `skipped` that may not be skipped.
    """
    claims = Claims()
    _check_skipped(parameters, skipped)
    for name, entry in parameters.downscalers.items():
        if is_own(entry):
            claims.unknown.append(f"downscalers.{name}: a module of the publisher's own")
        for factor in parameters.factors:
            _downscaler(claims, parameters, name, entry, factor, skipped)
    for name, entry in parameters.upscalers.items():
        if is_own(entry):
            claims.unknown.append(f"upscalers.{name}: a module of the publisher's own, and all that is said of it")
        for factor in parameters.factors:
            _upscaler(claims, parameters, name, entry, factor)
    for name, entry in parameters.adapted.items():
        claims.unknown.append(
            f"adapted.{name}: its weights, which the publisher trained, are not here; S* and gap follow from the rows"
        )
        plain, adaptation = adaptation_of(entry, where=f"adapted.{name}")
        for factor in parameters.factors:
            preset = find_adapter(plain, where=f"adapted.{name}").preset(factor)
            budget = adaptation.budget(preset, where=f"adapted.{name}.adapt")
            _upscaler(claims, parameters, name, plain, factor, budget=budget)
    primary = parameters.outcome()
    for name, entry in sorted(parameters.distortions.items(), key=lambda item: item[0] != primary):
        if name not in skipped:
            _distortion(claims, name, entry)
    for stage, section in SECTION.items():
        for name, entry in (getattr(parameters, section) if stage != "attributes" else {}).items():
            if not is_own(entry) and objections(stage, f"{section}.{name}", entry, {}):
                claims.unknown.append(f"{section}.{name}: files or programs of the publisher's own")
    claims.branches = [
        Branch(upscaler, factor, downscaler)
        for upscaler in parameters.decoders()
        for factor in parameters.factors
        for downscaler in parameters.downscalers
        if downscaler not in skipped
    ]
    settings = parameters.attributes.model_extra or {}
    measures = False
    for name, wanted in parameters.attributes.sources().items():
        recipe, method = stated_source(name, wanted, settings)
        claims.sources[name] = recipe | {"terms": getattr(method.module, "TERMS", "")}
        measures = measures or hasattr(method.module, "measure")
    claims.data = {
        "seed": parameters.seed,
        "primary": primary,
        "confidence": parameters.aggregate.confidence,
        "resamples": parameters.aggregate.resamples,
        "images": parameters.images.model_dump(),
        "balance": parameters.balance.model_dump(),
        "multiple": math.lcm(*parameters.factors),
        "opens_images": measures or parameters.images.crop is not None,
    }
    return claims


def _as_recipe(value: Any) -> Any:
    """Tuples as the lists that a recipe has."""
    if isinstance(value, dict):
        return {key: _as_recipe(inner) for key, inner in value.items()}
    return [_as_recipe(inner) for inner in value] if isinstance(value, list | tuple) else value


def _check_skipped(parameters: RunParameters, skipped: Mapping[str, str]) -> None:
    for name in skipped:
        is_downscaler, is_distortion = name in parameters.downscalers, name in parameters.distortions
        may = (is_downscaler and parameters.missing_software == "skip") or (
            is_distortion and parameters.missing_weights == "skip"
        )
        if not may:
            raise UserError(f"skipped: params.yaml does not allow that {name} is skipped")


def _raw(stage: str, name: str, entry: Mapping[str, Any], **more: Any) -> Recipe:
    """Of a module of the publisher's own, only what ``params.yaml`` repeats is known."""
    begun = method_recipe(stage, name, entry)
    return {**begun, **more, "schema": SCHEMA}


def _downscaler(
    claims: Claims,
    parameters: RunParameters,
    name: str,
    entry: Recipe,
    factor: int,
    skipped: Mapping[str, str],
) -> None:
    path = f"downscale/x{factor}/{name}"
    if name in skipped:
        claims.methods[path] = skipped_recipe(name, skipped[name])
        return
    if is_own(entry):
        claims.methods[path] = _raw(
            "downscale", name, {k: v for k, v in entry.items() if k != "degrade"}, factor=factor
        )
        return
    recipe, method = stated_downscaler(name, entry, factor, parameters.seed)
    claims.methods[path] = recipe
    _packages(claims, path, method)
    described = method.module.describe(method.parameters).weights if hasattr(method.module, "describe") else {}
    claims.weights[path] = set(described)


def _packages(claims: Claims, path: str, method: Any) -> None:
    found = method.module.packages(method.parameters) if hasattr(method.module, "packages") else {}
    claims.packages[path] = set(found)


def _upscaler(
    claims: Claims, parameters: RunParameters, name: str, entry: Recipe, factor: int, *, budget: Recipe | None = None
) -> None:
    """Claims of an upscaler at a factor; with the `budget` of its training, where it is adapted to each downscaler."""
    key = f"x{factor}/{name}"
    if is_own(entry):
        recipe = _raw("upscale", name, entry, factor=factor, seed=parameters.seed)
        claims.upscalers[key] = None
        for downscaler in parameters.downscalers:
            claims.methods[f"upscale/{key}/{downscaler}"] = recipe
        return
    asked = opens_nothing("upscale", entry)
    said = _said_by(name, entry, asked, factor, parameters)
    if said is None:
        claims.unknown.append(f"upscalers.{name}: a file of the publisher's own, and all that is said of it")
        claims.upscalers[key] = None
        recipe = {"schema": SCHEMA, "stage": "upscale", "name": name, "method": entry["method"]}
        recipe |= {"parameters": _dumped("upscale", name, entry), "factor": factor, "seed": parameters.seed}
        claims.methods |= {f"upscale/{key}/{downscaler}": recipe for downscaler in parameters.downscalers}
        return
    recipe, descriptor, method = said
    own = set(own_weights(method, factor))
    if budget is not None:
        descriptor = dataclasses.replace(as_adapted(descriptor), asks=(*descriptor.asks, "adapted"))
    recipe, known = (
        _as_recipe(recipe),
        _as_recipe(
            dataclasses.asdict(descriptor)
            | {"marks": descriptor.marks() + parameters.images.marks()}
            | declared(method)
        ),
    )
    if asked != entry:  # it names a file: what is in that, and only that, is left open
        recipe = {k: v for k, v in recipe.items() if k != DECIDED_BY_A_FILE}
        recipe["parameters"] = _dumped("upscale", name, entry)
        known = {k: v for k, v in known.items() if k not in (DECIDED_BY_A_FILE, "weights")}
    claims.upscalers[key] = known
    for downscaler in parameters.downscalers:
        path = f"upscale/{key}/{downscaler}"
        of = f"downscale/x{factor}/{downscaler}"
        claims.methods[path] = recipe | _asked(claims, descriptor, of)
        if budget is not None and "skipped" not in claims.methods[of]:
            weights = Project().adapted_of(Branch(name, factor, downscaler)).as_posix()
            claims.methods[path] |= {"adapted": {"path": weights, "budget": budget}}
        _packages(claims, path, method)
        claims.weights[path] = set(descriptor.weights) - own
        claims.own[path] = own


def _said_by(
    name: str, entry: Recipe, asked: Recipe, factor: int, parameters: RunParameters
) -> tuple[Recipe, Descriptor, OpenedMethod] | None:
    """What an upscaler says of itself: where it is given a file, what it says with a file, whichever that is.

    None of one that must look into the file to say anything.
    """
    if asked == entry:
        return stated_upscaler(name, asked, factor, parameters.seed, parameters.samples)
    somewhere = opens_nothing("upscale", entry, instead=NOWHERE)
    _dumped("upscale", name, entry)  # mistakes of the parameters themselves are said
    with suppress(UserError):
        return stated_upscaler(name, somewhere, factor, parameters.seed, parameters.samples)
    return None


def _dumped(stage: str, name: str, entry: Recipe) -> Recipe:
    """Parameters with defaults filled in; checking them opens no file."""
    return open_method(method_recipe(stage, name, entry)).dump()


def _asked(claims: Claims, descriptor: Descriptor, downscaler: str) -> Recipe:
    made = claims.methods[downscaler]
    return {"downscaler": identity(made)} if "downscaler" in descriptor.asks and "skipped" not in made else {}


def _distortion(claims: Claims, name: str, entry: Recipe) -> None:
    path = f"distort/{name}"
    if is_own(entry):
        claims.methods[path], claims.distortions[name] = _raw("distort", name, entry), None
        claims.unknown.append(f"distortions.{name}: a module of the publisher's own, and its label and direction")
        return
    asked = opens_nothing("distort", entry)
    recipe, descriptor, method = stated_distortion(name, asked)
    recipe["parameters"] = _dumped("distort", name, entry)
    known = _as_recipe(dataclasses.asdict(descriptor))
    if asked != entry:
        known.pop("weights")
    claims.methods[path], claims.distortions[name] = recipe, known
    _packages(claims, path, method)
    claims.weights[path] = set(descriptor.weights)
