"""The keys of ``params.yaml``: what they mean is said there, what is allowed is said here."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from ida_rd.core.errors import did_you_mean
from ida_rd.core.methods import NAME, Parameters, known_methods

__all__ = ["MethodEntry", "RunParameters"]

MethodEntry = dict[str, Any]


def _name(name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} must be of a-z, 0-9, - and _, and begin with a letter or digit")
    return name


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("give a whole number")
    return value


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) != len(values):
        raise ValueError("names a factor twice")
    return values


Whole = Annotated[int, BeforeValidator(_whole)]
Named = dict[Annotated[Any, BeforeValidator(_name)], MethodEntry]
Factor = Annotated[Whole, Field(ge=2)]


class Images(Parameters):
    """Section ``images``."""

    source: Literal["sample-photos", "folder"]
    path: str | None = None
    pattern: str | None = None
    crop: Annotated[Whole, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _path_fits(self) -> Images:
        if self.source == "folder" and not self.path:
            raise ValueError("source folder needs path: the folder of your images")
        for key in ("path", "pattern"):
            if self.source != "folder" and getattr(self, key) is not None:
                raise ValueError(f"{key} is for source folder; source is {self.source}")
        return self


class Attributes(Parameters):
    """Section ``attributes``: a source, or a source for each attribute, and the sources' own parameters."""

    model_config = ConfigDict(extra="allow")  # a source's name is a key: `plan` checks it

    source: str | dict[str, str]

    @model_validator(mode="after")
    def _sources_are_known(self) -> Attributes:
        known = known_methods("attributes")
        for name in self.sources():
            if name not in known:
                raise ValueError(f"source: no source is called {name!r}; {did_you_mean(name, known)}")
        for name in self.model_extra or {}:
            if name not in self.sources():
                raise ValueError(f"{name}: unknown key; {did_you_mean(name, ['source', *self.sources()])}")
        return self

    def sources(self) -> dict[str, list[str] | None]:
        """Sources by name, with the attributes that are wanted of each; None: all."""
        if isinstance(self.source, str):
            return {self.source: None}
        found: dict[str, list[str] | None] = {}
        for attribute, source in self.source.items():
            wanted = found.setdefault(source, [])
            assert wanted is not None
            wanted.append(attribute)
        return found


class AttributeGroups(Parameters):
    """How an attribute is grouped: by edges, by lists of labels, or each label by itself."""

    edges: Annotated[list[float], Field(min_length=1)] | None = None
    labels: list[str] | None = None
    groups: dict[str, list[str]] | None = None
    others: Literal["error", "keep", "leave-out"] = "error"

    @model_validator(mode="after")
    def _one_way(self) -> AttributeGroups:
        if self.edges is not None and self.groups is not None:
            raise ValueError("give edges (of a number) or groups (of labels), not both")
        if self.edges is not None and any(b <= a for a, b in pairwise(self.edges)):
            raise ValueError("edges must rise")
        if self.labels is not None and (self.edges is None or len(self.labels) != len(self.edges) + 1):
            raise ValueError("labels: give one more than there are edges")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: two are the same")
        members = [label for labels in (self.groups or {}).values() for label in labels]
        if len(set(members)) != len(members):
            twice = next(label for label in members if members.count(label) > 1)
            raise ValueError(f"groups: {twice!r} is in two of them")
        return self


class Balance(Parameters):
    """Section ``balance``."""

    method: Literal["kmeans", "stratified"] = "kmeans"
    groups: Annotated[Whole, Field(ge=2)] | None = None
    size: Annotated[Whole, Field(ge=2)]
    attributes: dict[str, AttributeGroups] = Field(default_factory=dict)
    least_probability: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _fits(self) -> Balance:
        if self.method == "kmeans" and self.groups is None:
            raise ValueError("groups: kmeans needs a number of clusters")
        if self.method == "stratified" and self.groups is not None:
            raise ValueError("groups: is for kmeans; stratified takes the cells of balance.attributes")
        if self.method == "stratified" and not self.attributes:
            raise ValueError("attributes: stratified needs to know how they are grouped")
        return self


class Aggregate(Parameters):
    """Section ``aggregate``."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    resamples: Annotated[Whole, Field(ge=100)] = 10000


class Report(Parameters):
    """Section ``report``."""

    images: Annotated[Whole, Field(ge=1)] = 2
    browse: Annotated[Whole, Field(ge=1)] = 6


class RunParameters(Parameters):
    """The whole of ``params.yaml``."""

    seed: Annotated[Whole, Field(ge=0)]
    images: Images
    attributes: Attributes
    balance: Balance
    factors: Annotated[list[Factor], Field(min_length=1), AfterValidator(_distinct)]
    downscalers: Annotated[Named, Field(min_length=1)]
    upscalers: Annotated[Named, Field(min_length=1)]
    samples: Annotated[Whole, Field(ge=1)]
    distortions: Annotated[Named, Field(min_length=1)]
    missing_weights: Literal["skip", "error"] = "error"
    missing_software: Literal["skip", "error"] = "error"
    aggregate: Aggregate = Aggregate()
    report: Report = Report()

    @model_validator(mode="after")
    def _stage_names_differ(self) -> RunParameters:
        # DVC joins the names of a branch by hyphens: a + b-c and a-b + c would be one stage.
        seen: dict[str, tuple[str, str]] = {}
        for upscaler in self.upscalers:
            for downscaler in self.downscalers:
                other = seen.setdefault(f"{upscaler}-{downscaler}", (upscaler, downscaler))
                if other != (upscaler, downscaler):
                    raise ValueError(
                        f"upscaler {upscaler} with downscaler {downscaler}, and {other[0]} with {other[1]}, would both"
                        f" be the stage upscale@{upscaler}-{downscaler}: rename one"
                    )
        return self

    @model_validator(mode="after")
    def _crop_divides(self) -> RunParameters:
        crop = self.images.crop
        for factor in self.factors:
            if crop is not None and crop % factor:
                near = crop - crop % factor or factor
                raise ValueError(f"images.crop is {crop}, which factor {factor} does not divide: use {near}, say")
        return self
