"""Do the recipes of a bundle say what its ``params.yaml`` says? Another method, parameter or seed is a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ida_rd.adapt.recipe import adaptation_of
from ida_rd.aggregate.recipe import aggregate_recipe
from ida_rd.balance.recipe import balance_recipe
from ida_rd.bundle.claims import Claims
from ida_rd.bundle.folder import Bundle
from ida_rd.bundle.numbers import of_this_program
from ida_rd.bundle.schema import Results
from ida_rd.bundle.versions import Version
from ida_rd.core.project import Branch
from ida_rd.core.recipes import SCHEMA
from ida_rd.plan.families import Trained, families
from ida_rd.plan.ladder import amounts_of
from ida_rd.plan.schema import RunParameters
from ida_rd.report.recipe import report_recipe

__all__ = ["code_differences", "source_problems"]

# What a recipe holds besides what params.yaml decides: found on the publisher's machine.
FOUND = ("code", "files", "looking", "packages", "weights")
BESIDES = ("amounts", "matched")  # keys of the recipe that a run may have or not
HASH = re.compile(r"[0-9a-f]{64}")
CLAIMED = ("stochastic", "blind", "matched", "kind", "marks", "factor")  # of an upscaler, whoever wrote the bundle
DESCRIBED = ("label", "better", "perfect", "low", "high", "squared", "kind", "minimum_side")


def _stated(recipe: Any, *, exact: bool) -> Any:
    """A recipe without what was found, at any depth but within the parameters."""
    if not isinstance(recipe, dict):
        return recipe
    left_out = FOUND if exact else (*FOUND, "schema")  # the form of a recipe is its version's
    return {
        key: value if key == "parameters" else _stated(value, exact=exact)
        for key, value in recipe.items()
        if key not in left_out
    }


def _differ(published: Any, wanted: Any, where: str, *, exact: bool) -> list[str]:
    """Where two values differ; unless `exact`, only in what both of them have: another version may say more or less."""
    if isinstance(published, dict) and isinstance(wanted, dict):
        found = []
        for key in sorted(published.keys() | wanted.keys(), key=str):
            place = f"{where}.{key}"
            if key in published and key in wanted:
                found += _differ(published[key], wanted[key], place, exact=exact)
            elif exact:
                found.append(f"{place}: {'does not follow from params.yaml' if key in published else 'missing'}")
        return found
    same = (isinstance(published, bool), published) == (isinstance(wanted, bool), wanted)  # 1 is not True
    return [] if same else [f"{where}: is {published!r}, params.yaml says {wanted!r}"[:300]]


def source_problems(
    bundle: Bundle,
    results: Results,
    recipe: dict[str, Any],
    parameters: RunParameters,
    claims: Claims,
    version: Version,
) -> list[str]:
    """Compare every recipe of a bundle with what its parameters decide.

    Parameters
    ----------
    bundle : Bundle
    results : Results
    recipe : dict
        ``recipes/aggregate.json``.
    parameters : RunParameters
        From its ``params.yaml``.
    claims : Claims
        What follows from them.
    version : Version
    """
    exact = of_this_program(results)
    where = "recipes/aggregate.json"
    said = parameters.model_dump(mode="json")
    published = bundle.json("recipes/report.json")["parameters"]
    if not exact:  # what another version did not know is as if it were left out
        published = _with_defaults(published)
    problems = _differ(published, said, "recipes/report.json: parameters", exact=True)
    if results.samples != parameters.samples:
        problems.append(f"results.json: samples is {results.samples}, params.yaml says {parameters.samples}")
    for key in ("seed", "primary", "confidence", "resamples", "images", "balance"):
        if key == "primary" and version.number == 1:
            continue
        problems += _differ(recipe[key], claims.data[key], f"{where}: {key}", exact=exact)
    besides = _matched(recipe, parameters)
    if "amounts" in recipe or parameters.ladder:  # a bundle of before has none
        besides |= amounts_of(parameters.downscalers, parameters.ladder, results.skipped)
    problems += _differ({key: recipe[key] for key in BESIDES if key in recipe}, besides, where, exact=True)
    if [Branch.of(record) for record in recipe["branches"]] != claims.branches:
        problems.append(f"{where}: its branches are not those of params.yaml")
    order = recipe["distortion_order"]
    if order != list(claims.distortions):
        problems.append(f"{where}: distortion_order is {order}, params.yaml says {list(claims.distortions)}"[:300])
    problems += _methods(recipe, claims, version, exact=exact)
    problems += _descriptions(version.upgrade(recipe), claims, exact=exact)
    problems += _files(bundle, recipe, parameters, claims, version, exact=exact)
    return problems


def _matched(recipe: dict[str, Any], parameters: RunParameters) -> dict[str, Any]:
    """Which adapted decoders stand beside which blind ones, as ``plan`` finds them; nothing in a run without."""
    if not parameters.adapted:
        return {}
    recipes, trained = recipe["recipes"], []
    for name, entry in parameters.adapted.items():
        _, adaptation = adaptation_of(entry, where=f"adapted.{name}")
        which = {key: getattr(adaptation, key) for key in ("images", "lr", "exclude_licence")}
        for factor in parameters.factors:
            paths = [f"upscale/x{factor}/{name}/{downscaler}" for downscaler in parameters.downscalers]
            made = [recipes[path] for path in paths if "adapted" in recipes[path]]
            trained += [Trained(name, factor, made[0], made[0]["adapted"]["budget"], which)] if made else []
    blind = {
        (name, factor): (recipes[f"upscale/x{factor}/{name}"], recipe["upscalers"][f"x{factor}/{name}"])
        for name in parameters.upscalers
        for factor in parameters.factors
        if f"upscale/x{factor}/{name}" in recipes
    }
    found = families(blind, trained)
    return {"matched": found} if found else {}


def _with_defaults(published: dict[str, Any]) -> dict[str, Any]:
    """Parameters as `RunParameters` dumps them, or as they are if it refuses them."""
    try:
        return RunParameters.model_validate(published).model_dump(mode="json")
    except ValidationError:
        return published


def _methods(recipe: dict[str, Any], claims: Claims, version: Version, *, exact: bool) -> list[str]:
    published = dict(version.files(recipe["recipes"]))
    published |= {f"distort/{name}": entry for name, entry in published.pop("distort")["distortions"].items()}
    wanted = {version.path(path): path for path in claims.methods}
    if odd := sorted(published.keys() ^ wanted.keys()):
        which = "is of no method of params.yaml" if odd[0] in published else "is missing"
        return [f"recipes/{odd[0]}.json: {which}"]
    problems = []
    for path, claim in wanted.items():
        entry, where = published[path], f"recipes/{path}.json"
        stated = claims.methods[claim]
        unknown = claim not in claims.packages and "skipped" not in stated  # a module of the publisher's own
        said = {key: value for key, value in _stated(entry, exact=exact).items() if key != "settings" or key in stated}
        problems += _differ(said, _stated(stated, exact=exact), where, exact=exact and not unknown)
        for key in ("parameters", "method", "stage"):
            if key in stated and key not in entry:
                problems.append(f"{where}: {key}: missing")
        given = set(stated.get("parameters", {})) - set(entry.get("parameters", {}))
        if given and not exact:
            problems.append(f"{where}: parameters.{min(given)}: missing")
        problems += _found(entry, where)
        before = set() if exact else claims.own.get(claim, set())
        if claim in claims.weights and set(entry.get("weights", {})) - before != claims.weights[claim]:
            names = ", ".join(sorted(claims.weights[claim])) or "none"
            problems.append(f"{where}: its weights are not those of the method ({names})")
        if exact and claim in claims.packages and set(entry.get("packages", {})) != claims.packages[claim]:
            problems.append(f"{where}: its packages are not those of the method")
    return problems


def _found(entry: Mapping[str, Any], where: str) -> list[str]:
    """What was found on the publisher's machine must at least have its form."""
    for key in ("code", "files", "weights"):
        value = entry.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) and HASH.fullmatch(v) for v in value.values()):
            return [f"{where}: {key}: is no mapping of names to hashes"]
    packages = entry.get("packages", {})
    if not isinstance(packages, dict) or not all(isinstance(v, str) and len(v) < 200 for v in packages.values()):
        return [f"{where}: packages: is no mapping of names to versions"]
    return []


def _descriptions(today: dict[str, Any], claims: Claims, *, exact: bool) -> list[str]:
    """Marks, labels and directions are what the methods say of themselves."""
    problems = []
    for section, known, keys in (
        ("upscalers", claims.upscalers, CLAIMED),
        ("distortions", claims.distortions, DESCRIBED),
    ):
        where = f"recipes/aggregate.json: {section}"
        if today[section].keys() != known.keys():
            problems.append(f"{where}: are not those of params.yaml")
            continue
        for name, wanted in known.items():
            if wanted is None:
                continue
            said = today[section][name]
            open_ = {"settings", "weights"} - wanted.keys()  # where a file of the publisher's decides
            said = {k: v for k, v in said.items() if k not in open_}
            if exact:
                problems += _differ(said, wanted, f"{where}.{name}", exact=True)
                continue
            for key in keys:  # those that its version has
                if key in wanted and key in said and said[key] != wanted[key]:
                    problems.append(
                        f"{where}.{name}.{key}: is {said.get(key)!r}, the method says {wanted[key]!r}"[:300]
                    )
    return problems


def _files(
    bundle: Bundle,
    recipe: dict[str, Any],
    parameters: RunParameters,
    claims: Claims,
    version: Version,
    *,
    exact: bool,
) -> list[str]:
    """The other files below ``recipes/``, and what ``aggregate.json`` says of the sources of attributes."""
    problems = []
    for path, method in version.files(recipe["recipes"]).items():
        if bundle.json(f"recipes/{path}.json") != method:
            problems.append(f"recipes/{path}.json: differs from recipes/aggregate.json")
    attributes = bundle.json("recipes/attributes.json")
    said = parameters.model_dump(mode="json")
    wanted = {
        "recipes/attributes.json": (
            attributes | {"images": {k: v for k, v in attributes["images"].items() if k != "files"}},
            {
                "images": claims.data["images"],
                "sources": {n: {k: v for k, v in s.items() if k != "terms"} for n, s in claims.sources.items()},
                "opens_images": claims.data["opens_images"],
                "multiple": claims.data["multiple"],
                "schema": SCHEMA,
            },
        ),
        "recipes/balance.json": (
            bundle.json("recipes/balance.json"),
            balance_recipe(claims.data["balance"], said["images"], claims.data["multiple"], parameters.seed),
        ),
    }
    for name, (published, fresh) in wanted.items():
        problems += _differ(_stated(published, exact=exact), _stated(fresh, exact=exact), name, exact=exact)
    problems += _differ(
        _stated(recipe["attributes"], exact=exact),
        _stated(claims.sources, exact=exact),
        "recipes/aggregate.json: attributes",
        exact=exact,
    )
    if exact:
        report, again = (
            {key: value for key, value in one.items() if key != "code"}
            for one in (bundle.json("recipes/report.json"), report_recipe(recipe, said))
        )
        problems += _differ(report, again, "recipes/report.json", exact=True)
        problems += [] if recipe["schema"] == SCHEMA else [f"recipes/aggregate.json: schema: is not {SCHEMA}"]
        if bundle.json("recipes/distort.json")["schema"] != SCHEMA:
            problems.append(f"recipes/distort.json: schema: is not {SCHEMA}")
        keys = aggregate_recipe(
            {}, branches=[], upscalers={}, distortions={}, skipped={}, methods={}, data=dict.fromkeys(claims.data)
        ).keys() - {"multiple", "opens_images"} | {"attributes"}
        if odd := sorted((recipe.keys() - {*BESIDES}) ^ keys):
            problems.append(f"recipes/aggregate.json: {odd[0]}: {'is no key of it' if odd[0] in recipe else 'missing'}")
        if recipe["branches"] != [branch.record() for branch in claims.branches]:
            problems.append("recipes/aggregate.json: branches: differ from those of params.yaml")
    return problems


def code_differences(published: Mapping[str, Any], fresh: Mapping[str, Any]) -> list[str]:
    """Files of code whose hash differs between recipes of one version, sorted."""
    before, now = (_code(recipes) for recipes in (published, fresh))
    return sorted(name for name in before.keys() & now.keys() if before[name] != now[name])


def _code(value: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            found |= dict(inner) if key in ("code", "looking") and isinstance(inner, Mapping) else _code(inner)
    return found
