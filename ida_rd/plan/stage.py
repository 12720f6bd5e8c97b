"""Check ``params.yaml`` and turn it into recipes: one small JSON file per named method and branch.

Everything that can be wrong is found here, before anything expensive runs; nothing here imports
torch. What a recipe holds is each room's own affair: see its ``recipe.py``.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ida_rd.adapt.photographs import listed
from ida_rd.adapt.recipe import adapt_recipe, adaptation_of
from ida_rd.aggregate.recipe import aggregate_recipe
from ida_rd.attributes.recipe import attributes_recipe, source_recipes
from ida_rd.balance.recipe import balance_recipe
from ida_rd.core.amounts import rungs_of
from ida_rd.core.candidates import check_sizes, photographs, whole_sizes
from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import atomic_folder, canonical_json, write_json
from ida_rd.core.methods import method_recipe, open_method, validate
from ida_rd.core.names import check_ids
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import YAML_LIMIT, parse_yaml, read_content, read_json
from ida_rd.core.recipes import SCHEMA
from ida_rd.core.software import MissingSoftware
from ida_rd.core.weights import MissingWeights
from ida_rd.distort.recipe import distort_recipe, wanted_weights
from ida_rd.downscale.recipe import downscale_recipe, skipped_recipe
from ida_rd.plan.families import Trained, families
from ida_rd.plan.ladder import amounts_of
from ida_rd.plan.names import check_names
from ida_rd.plan.schema import RunParameters
from ida_rd.report.recipe import report_recipe
from ida_rd.surprise.recipe import model_recipe, surprise_recipe
from ida_rd.upscale.columns import declared
from ida_rd.upscale.contract import Descriptor
from ida_rd.upscale.recipe import branch_recipe, remedy, upscale_recipe

__all__ = ["make_recipes", "read_parameters", "same_on_disk", "write_plan", "write_recipes"]

Recipes = dict[str, dict[str, Any]]


def write_plan(project: Project, *, download: bool = True) -> Recipes:
    """Check ``params.yaml`` and write ``data/plan/``; return the recipes by their path."""
    recipes = make_recipes(read_parameters(project.parameters), download=download)
    write_recipes(recipes, project.plan)
    return recipes


def read_parameters(path: Path) -> RunParameters:
    """Read and check ``params.yaml``."""
    hint = "run this in the root of the repository or in an experiment"
    data = read_content(path, hint=hint, limit=YAML_LIMIT)
    values = parse_yaml(data, str(path), hint)
    try:
        check_names(data, values, str(path))
        return validate(RunParameters, values, where="")
    except MissingSoftware:
        raise
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


class _Plan:
    """Recipes as they are collected, and what was found along the way."""

    def __init__(self, parameters: RunParameters, *, download: bool) -> None:
        self.parameters, self.download = parameters, download
        self.problems = _Problems()
        self.recipes: Recipes = {}
        self.skipped: dict[str, str] = {}
        self.multiple = math.lcm(*parameters.factors)
        self.smallest: int | None = None
        self.all_files = False
        self.sizes: dict[tuple[int, int], str] | None = None
        self.sources: Recipes = {}
        self.terms: dict[str, str] = {}
        self.upscalers: dict[str, dict[str, Any]] = {}
        self.shared: Recipes = {}  # of upscalers, which the recipes of their branches repeat
        self.distortions: dict[str, dict[str, Any]] = {}
        self.surprising: Recipes = {}
        self.trained: list[Trained] = []
        self.amounts: dict[str, Any] = {}

    def data(self) -> None:
        parameters, images = self.parameters, self.parameters.images
        with self.problems.collect("attributes"):
            settings = parameters.attributes.model_extra or {}
            sources = parameters.attributes.sources()
            self.sources, self.terms = source_recipes(sources, settings, download=self.download)
        with self.problems.collect("images"):
            recipe = attributes_recipe(images.model_dump(), self.sources, self.multiple)
            if images.path is not None:
                check_ids(map(_id_of, recipe["images"]["files"]), "images.path")
            if images.photograph_before is not None:
                found = photographs(recipe["images"]["files"], images.photograph_before)
                count = len(recipe["images"]["files"])
                print(f"note: images: {count} files are of {len(found)} photographs, by their names", file=sys.stderr)
            self.recipes["attributes"] = recipe
            self.recipes["balance"] = balance_recipe(
                parameters.balance.model_dump(), images.model_dump(), self.multiple, parameters.seed
            )
            self.all_files = recipe["opens_images"]
            self.smallest = check_sizes(
                images.source,
                images.path,
                images.pattern,
                images.crop,
                self.multiple,
                all_files=self.all_files,
                resize=images.resize,
            )

    def each_downscaler(self) -> None:
        for name, entry in self.parameters.downscalers.items():
            for factor in self.parameters.factors:
                with self.problems.collect(f"downscalers.{name}"):
                    self.recipes[f"downscale/x{factor}/{name}"] = self._downscaler(name, entry, factor)

    def _downscaler(self, name: str, entry: dict[str, Any], factor: int) -> dict[str, Any]:
        try:
            recipe, licence = downscale_recipe(name, entry, factor, self.parameters.seed, download=self.download)
        except MissingSoftware as error:
            if self.parameters.missing_software == "error":
                raise
            if name not in self.skipped:
                print(f"warning: downscaler {name} is SKIPPED: {printable(error)}", file=sys.stderr)
            self.skipped[name] = str(error)
            return skipped_recipe(name, str(error))
        if "non-commercial" in licence:
            print(f"note: downscaler {name} uses weights under {printable(licence)}", file=sys.stderr)
        return recipe

    def each_upscaler(self) -> None:
        for name, entry in self.parameters.upscalers.items():
            if "adapt" in entry:
                self.problems.messages.append(
                    f"upscalers.{name}.adapt: an upscaler that is adapted stands in the section `adapted` of"
                    f" params.yaml: move {name} there; without a pipeline, `ida-rd adapt` makes weights for path"
                )
                continue
            for factor in self.parameters.factors:
                with self.problems.collect(f"upscalers.{name}"):
                    self._branches(name, factor, *self._upscaler(name, entry, factor))
                    opened = open_method(method_recipe("upscale", name, entry))
                    if (model := model_recipe(opened, name, factor, self.parameters.seed)) is not None:
                        self.surprising[f"x{factor}/{name}"] = model

    def _upscaler(
        self, name: str, entry: dict[str, Any], factor: int, *, adapted: bool = False
    ) -> tuple[dict[str, Any], Descriptor]:
        side = self.parameters.images.resize or self.parameters.images.crop
        recipe, descriptor = upscale_recipe(
            name,
            entry,
            factor,
            self.parameters.seed,
            self.parameters.samples,
            size=None if side is None else (side, side),
            download=self.download,
            adapted=adapted,
        )
        if side is None and descriptor.size.hr is not None:
            for (height, width), file in self._sizes().items():
                if problem := descriptor.size.problem(height // factor, width // factor, factor):
                    raise UserError(f"factor {factor}: {file}: {problem}; {remedy(descriptor.size)}")
        return recipe, descriptor

    def _sizes(self) -> dict[tuple[int, int], str]:
        """Sizes of whole images, looked up once, and only for an upscaler that makes one size alone."""
        if self.sizes is None:
            images = self.parameters.images
            self.sizes = whole_sizes(
                images.source, images.path, images.pattern, self.multiple, all_files=self.all_files
            )
        return self.sizes

    def each_adapted(self) -> None:
        """Upscalers that are adapted to each downscaler, and the recipes of their adaptation."""
        for name, entry in self.parameters.adapted.items():
            where = f"adapted.{name}"
            with self.problems.collect(where):
                plain, adaptation = adaptation_of(entry, where=where)
                found = listed(adaptation, where=f"{where}.adapt")
                for factor in self.parameters.factors:
                    recipe, descriptor = self._upscaler(name, plain, factor, adapted=True)
                    made = {}
                    for downscaler in self.parameters.downscalers:
                        if (of := self.recipes.get(f"downscale/x{factor}/{downscaler}")) is not None:
                            made[downscaler] = adapt_recipe(
                                *(name, plain, adaptation, of, factor),
                                found=found,
                                where=f"{where}.adapt",
                                settings=descriptor.settings,
                            )
                    self.recipes |= {f"adapt/x{factor}/{name}/{key}": one for key, one in made.items()}
                    self._branches(name, factor, recipe, descriptor, made)
                    budgets = [one["budget"] for one in made.values() if "budget" in one]
                    if budgets:
                        which = {key: getattr(adaptation, key) for key in ("images", "lr", "exclude_licence")}
                        self.trained.append(Trained(name, factor, recipe, budgets[0], which))

    def _branches(
        self, name: str, factor: int, recipe: dict[str, Any], descriptor: Descriptor, adapted: Recipes | None = None
    ) -> None:
        marks = descriptor.marks() + self.parameters.images.marks()
        if "non-commercial" in marks:
            print(
                f"note: upscaler {name} x{factor} uses weights under {printable(descriptor.licence)}", file=sys.stderr
            )
        self.upscalers[f"x{factor}/{name}"] = (
            dataclasses.asdict(descriptor) | {"marks": marks} | declared(open_method(recipe))
        )
        if not descriptor.asks:
            self.shared[f"upscale/x{factor}/{name}"] = recipe
        for downscaler in self.parameters.downscalers:
            made = self.recipes.get(f"downscale/x{factor}/{downscaler}")
            if made is None:
                continue  # reported as a problem of its own
            by = (adapted or {}).get(downscaler)
            weights = by and {
                "path": Project().adapted_of(Branch(name, factor, downscaler)).as_posix(),
                "budget": by.get("budget"),
            }
            whole = recipe if "skipped" in made else branch_recipe(recipe, descriptor, made, weights)
            self.recipes[f"upscale/x{factor}/{name}/{downscaler}"] = whole
            if descriptor.asks:
                self.shared[f"upscale/x{factor}/{name}/{downscaler}"] = whole

    def _matched(self) -> dict[str, Any]:
        """Which blind upscalers have adapted ones of their kind; nothing in a run without."""
        blind = {
            (name, factor): (self.shared[f"upscale/x{factor}/{name}"], self.upscalers[f"x{factor}/{name}"])
            for name in self.parameters.upscalers
            for factor in self.parameters.factors
            if f"upscale/x{factor}/{name}" in self.shared
        }
        found = families(blind, self.trained)
        return {"matched": found} if found else {}

    def each_distortion(self) -> None:
        found: Recipes = {}
        for name, entry in self.parameters.distortions.items():
            with self.problems.collect(f"distortions.{name}"):
                try:
                    found[name], descriptor = distort_recipe(
                        name, entry, smallest=self.smallest, download=self.download
                    )
                    self.distortions[name] = dataclasses.asdict(descriptor)
                except MissingWeights as error:
                    if self.parameters.missing_weights == "error":
                        raise
                    weights = ", ".join(wanted_weights(name, entry))
                    self.skipped[name] = f"its weights ({weights}) are not on this machine and cannot be downloaded"
                    print(f"warning: distortion {name} is SKIPPED: {printable(error)}", file=sys.stderr)
        self.recipes["distort"] = {"schema": SCHEMA, "distortions": found}

    def results(self) -> None:
        parameters = self.parameters
        able = [name for name in parameters.downscalers if name not in self.skipped]
        with self.problems.collect("ladder"):
            self.amounts = amounts_of(parameters.downscalers, parameters.ladder, self.skipped)
        self.problems.raise_all()
        rungs = rungs_of(self.amounts)
        asked = [name for name in able if name not in rungs]
        self.recipes["surprise"] = surprise_recipe(self.surprising, {f"x{f}": asked for f in parameters.factors})
        for name, terms in self.terms.items():
            if "non-commercial" in terms:
                print(f"note: attributes by {name} are under {printable(terms)}", file=sys.stderr)
        if not self.distortions:
            raise UserError(
                "distortions: none can be computed, because their weights are missing;"
                " add fsim: {method: structural, metric: fsim}"
            )
        if not parameters.downscalers.keys() - self.skipped.keys():
            raise UserError(
                "downscalers: none can run, because their software is missing;"
                " add bicubic: {method: resample, filter: bicubic}"
            )
        branches = [
            Branch(u, f, d).record()
            for u in parameters.decoders()
            for f in parameters.factors
            for d in parameters.downscalers
            if d not in self.skipped
        ]
        downscalers = {path: recipe for path, recipe in self.recipes.items() if path.startswith("downscale/")}
        images = {key: value for key, value in self.recipes["attributes"]["images"].items() if key != "files"}
        primary = parameters.outcome()
        aggregate = aggregate_recipe(
            {
                "seed": parameters.seed,
                "primary": primary,
                **parameters.aggregate.model_dump(),
                **self._matched(),
                **self.amounts,
            },
            branches=branches,
            upscalers=self.upscalers,
            distortions=dict(sorted(self.distortions.items(), key=lambda item: item[0] != primary)),
            skipped=self.skipped,
            methods=downscalers | self.shared | {"distort": self.recipes["distort"]},
            data={
                "images": images,
                "attributes": {name: recipe | {"terms": self.terms[name]} for name, recipe in self.sources.items()},
                "balance": parameters.balance.model_dump(),
            },
        )
        self.recipes["aggregate"] = aggregate
        self.recipes["report"] = report_recipe(aggregate, parameters.model_dump(mode="json"))


def _id_of(file: str) -> str:
    """The image id of a candidate's file; see `ida_rd.core.candidates.candidate_files`."""
    return unicodedata.normalize("NFC", PurePosixPath(file).stem)


def make_recipes(parameters: RunParameters, *, download: bool) -> Recipes:
    """Resolve every named method; return recipes by their path below ``data/plan``, without suffix.

    Parameters
    ----------
    parameters : RunParameters
        Paths in it, and modules of the user's own, are found from the working directory.
    download : bool
        Whether missing weights may be downloaded.

    Raises
    ------
    UserError
        Every problem found, in one line.
    """
    made = _Plan(parameters, download=download)
    made.data()
    made.each_downscaler()
    made.each_upscaler()
    made.each_adapted()
    made.each_distortion()
    made.problems.raise_all()
    made.results()
    return made.recipes


def write_recipes(recipes: Recipes, target: Path) -> None:
    """Write all recipes into `target`, in place of what was there."""
    with atomic_folder(target) as folder:
        for path, recipe in recipes.items():
            write_json(folder / f"{path}.json", recipe)


def same_on_disk(recipes: Recipes, target: Path) -> bool:
    """Whether `target` holds exactly these recipes."""
    on_disk = {path.relative_to(target).with_suffix("").as_posix() for path in target.rglob("*.json")}
    if on_disk != set(recipes):
        return False
    try:
        on_disk_now = ((read_json(target / f"{path}.json", hint=""), recipe) for path, recipe in recipes.items())
        return all(canonical_json(found) == canonical_json(recipe) for found, recipe in on_disk_now)
    except UserError:
        return False
