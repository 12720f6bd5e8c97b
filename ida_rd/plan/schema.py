"""The keys of ``params.yaml``: what they mean and what is allowed; `ida_rd.reference` makes the documents from it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ida_rd.balance.groups import OTHERS, edge_labels
from ida_rd.core.errors import did_you_mean
from ida_rd.core.methods import Parameters, known_methods
from ida_rd.plan.fields import (
    LONGEST_NAME,
    MOST_BRANCHES,
    MOST_METHODS,
    ONCE,
    WHOLE,
    Attribute,
    Before,
    Edge,
    Factors,
    Label,
    Member,
    MethodEntry,
    Name,
    Named,
    Pattern,
    Text,
)

__all__ = ["LONGEST_NAME", "Aggregate", "MethodEntry", "RunParameters"]


class Images(Parameters):
    """Section ``images``."""

    source: Literal["sample-photos", "folder"] = Field(
        description="sample-photos: 13 photographs in the packages scikit-image, scikit-learn and matplotlib; folder:"
        " your own"
    )
    path: Text | None = Field(default=None, description="folder of your images, for source folder")
    pattern: Pattern | None = Field(
        default=None,
        description='which files of the folder, such as "*_HR.png" or, in sub-folders, "*/*.png"; null: all',
    )
    photograph_before: Before | None = Field(
        default=None,
        description="if your files are tiles of photographs: the text before which a file's name is that of its"
        ' photograph, such as "_s" for 0001_s001.png and 0001_s002.png; its last occurrence counts, in whatever folder;'
        " what lacks it is its own photograph; null: each file is a photograph",
    )
    crop: Annotated[int, Field(ge=2, le=65536), WHOLE] | None = Field(
        default=None,
        description="side of the square tiles that the images are cut into, in pixels, a multiple of the factors; null:"
        " whole images, cropped to such a multiple",
    )
    resize: Annotated[int, Field(ge=8, le=65536), WHOLE] | None = Field(
        default=None,
        description="side to which the tiles of crop pixels, or the largest centred square of each image, are reduced"
        " before they are downscaled, in pixels, a multiple of the factors: for an upscaler that makes one size alone."
        " They are the HR images then, which all tables say; null: none are",
    )
    resize_filter: Literal["box", "bilinear", "hamming", "bicubic", "lanczos"] = Field(
        default="lanczos", description="Pillow's filter by which they are reduced"
    )

    @model_serializer(mode="wrap")
    def _without_resize(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As below: recipes of a run that reduces nothing do not know of it.
        found = handler(self)
        return found if self.resize else {k: v for k, v in found.items() if k not in ("resize", "resize_filter")}

    def marks(self) -> list[str]:
        """What every table must say of all upscalers, since it is true of what they are compared with."""
        return [] if self.resize is None else [f"HR reduced to {self.resize} x {self.resize}"]

    @model_validator(mode="after")
    def _can_be_reduced(self) -> Images:
        if self.resize is None and "resize_filter" in self.model_fields_set:
            raise ValueError("resize_filter is for resize, which is not given")
        if self.resize is not None and self.crop is not None and self.resize > self.crop:
            raise ValueError(
                f"resize is {self.resize}, larger than crop, {self.crop}, and none is enlarged: use a crop of"
                f" {self.resize} or more"
            )
        return self

    @model_validator(mode="after")
    def _path_fits(self) -> Images:
        if self.source == "folder" and not self.path:
            raise ValueError("source folder needs path: the folder of your images")
        for key in ("path", "pattern", "photograph_before"):
            if self.source != "folder" and getattr(self, key) is not None:
                raise ValueError(f"{key} is for source folder; source is {self.source}")
        return self


class Attributes(Parameters):
    """Section ``attributes``: a source, or a source for each attribute, and the sources' own parameters."""

    model_config = ConfigDict(extra="allow")  # a source's name is a key: `plan` checks it

    source: Text | Annotated[dict[Attribute, Text], Field(min_length=1, max_length=MOST_METHODS), ONCE] = Field(
        description="where attributes come from: a source, or a source for each attribute; a source's parameters go"
        " beside this key, under its name"
    )

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
        """Sources by name, with the attributes that are wanted from each; None: all."""
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

    edges: Annotated[list[Edge], Field(min_length=1, max_length=MOST_METHODS)] | None = Field(
        default=None, description="for a number: smallest value of each group but the first, ascending"
    )
    labels: Annotated[list[Label], Field(max_length=MOST_METHODS + 1)] | None = Field(
        default=None,
        description="names of the groups between the edges, one more than there are edges; null: made from them",
    )
    groups: Annotated[dict[Label, list[Member]], Field(min_length=1, max_length=MOST_METHODS), ONCE] | None = Field(
        default=None, description="for labels: groups, each with its labels; null: each label by itself"
    )
    others: Literal["error", "keep", "leave-out"] = Field(
        default="error",
        description="images whose label is in no group: stop, keep them as one more group, or leave them out",
    )

    @model_validator(mode="after")
    def _one_way(self) -> AttributeGroups:
        if self.edges is not None and self.groups is not None:
            raise ValueError("give edges (for a number) or groups (for labels), not both")
        if self.edges is not None and any(b <= a for a, b in pairwise(self.edges)):
            raise ValueError("edges must ascend")
        if self.labels is not None and (self.edges is None or len(self.labels) != len(self.edges) + 1):
            raise ValueError("labels: give one more than there are edges")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: two are the same")
        if self.edges is not None and self.labels is None:
            made = edge_labels(self.edges)
            if len(set(made)) != len(made):
                raise ValueError("edges: two are so close that their groups would have one name: give labels")
        if self.others == "keep" and OTHERS in (self.groups or {}):
            raise ValueError(f"groups: {OTHERS!r} is what others: keep makes: rename the group")
        seen: set[str] = set()
        for label in (label for labels in (self.groups or {}).values() for label in labels):
            if label in seen:
                raise ValueError(f"groups: {label!r} is in two of them")
            seen.add(label)
        return self


class Balance(Parameters):
    """Section ``balance``."""

    method: Literal["kmeans", "stratified"] = Field(
        default="kmeans",
        description="kmeans: from clusters of the attributes; stratified: from the cells of their groups",
    )
    groups: Annotated[int, Field(ge=2, le=10_000), WHOLE] | None = Field(
        default=None, description="number of clusters, for method kmeans"
    )
    size: Annotated[int, Field(ge=2, le=1_000_000), WHOLE] = Field(
        description="number of images in the test set, chosen evenly over photographs first (a second tile of one only"
        " where each has given one), then over the groups, as far as the candidates allow"
    )
    attributes: Annotated[dict[Attribute, AttributeGroups], Field(max_length=100), ONCE] = Field(
        default_factory=dict,
        description="attributes to balance by, and how each is grouped; empty: all that are known, as they are",
    )
    least_probability: float = Field(
        default=0.0, ge=0, le=1, description="leave out images whose attributes are less certain than this"
    )

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

    confidence: float = Field(default=0.95, ge=0.01, le=0.9999, description="confidence of the intervals")
    resamples: Annotated[int, Field(ge=100, le=100_000), WHOLE] = Field(
        default=10000,
        description="random patterns of signs behind a p-value, above 16 photographs, and resamples behind what scores"
        " amount to",
    )


class Report(Parameters):
    """Section ``report``."""

    images: Annotated[int, Field(ge=1, le=100), WHOLE] = Field(
        default=2, description="number of images on the contact sheets"
    )
    browse: Annotated[int, Field(ge=1, le=1000), WHOLE] = Field(
        default=6, description="number of images to browse on the page"
    )


class RunParameters(Parameters):
    """The whole of ``params.yaml``."""

    # K-means takes 32 bits.
    seed: Annotated[int, Field(ge=0, le=2**32 - 1), WHOLE] = Field(
        description="seed of the test set, the latents and the bootstrap"
    )
    images: Images = Field(description="the HR images to choose from")
    attributes: Attributes = Field(description="what is known of each image")
    balance: Balance = Field(description="how the test set is chosen")
    factors: Factors = Field(description="scale factors, each once", json_schema_extra={"uniqueItems": True})
    downscalers: Annotated[Named, Field(min_length=1, max_length=MOST_METHODS)] = Field(
        description="the downscalers to score, by a name of your choice (a-z, 0-9, - and _)"
    )
    upscalers: Annotated[Named, Field(min_length=1, max_length=MOST_METHODS)] = Field(
        description="the super-resolution models that try to undo them, by a name of your choice"
    )
    adapted: Annotated[Named, Field(max_length=MOST_METHODS)] = Field(
        default_factory=dict,
        description="upscalers whose weights are first trained on to each downscaler's LR images, by a name of your"
        " choice: as in upscalers, and with adapt",
    )
    ladder: Annotated[list[Name], Field(max_length=MOST_METHODS)] = Field(
        default_factory=list,
        description="names of downscalers that are bicubic, and bicubic followed by Gaussian blurs, in rising order:"
        " tables and page then say of each score as much as which blur it is; see docs/results.md. All but the first"
        " take part in no test and no figure, and each costs as much as any other downscaler; empty: none is named",
    )
    samples: Annotated[int, Field(ge=1, le=1000), WHOLE] = Field(
        description="samples K per LR image; a deterministic upscaler gives 1"
    )
    distortions: Annotated[Named, Field(min_length=1, max_length=MOST_METHODS)] = Field(
        description="distances between HR and SR images, by a name of your choice"
    )
    primary: Name | None = Field(
        default=None,
        description="name of the distortion that is the primary outcome and leads tables and figures; where it cannot"
        " be computed that is said, and the first of the others leads; null: the first",
    )
    missing_weights: Literal["skip", "error"] = Field(
        default="error",
        description="if a distortion's weights are missing and cannot be downloaded: skip it and say so, or stop",
    )
    missing_software: Literal["skip", "error"] = Field(
        default="error",
        description="if a downscaler's package or program is not installed: skip it and say so, or stop",
    )
    aggregate: Aggregate = Field(default=Aggregate(), description="intervals of the scores")
    report: Report = Field(default=Report(), description="figures and page")

    def outcome(self) -> str:
        """Name of the distortion that is the primary outcome, whether or not it can be computed."""
        return self.primary or next(iter(self.distortions))

    @model_validator(mode="after")
    def _primary_is_there(self) -> RunParameters:
        if self.primary is not None and self.primary not in self.distortions:
            known = did_you_mean(self.primary, self.distortions)
            raise ValueError(f"primary: no distortion is called {self.primary!r}; {known}")
        return self

    def decoders(self) -> list[str]:
        """Names of all upscalers, the adapted ones last."""
        return [*self.upscalers, *self.adapted]

    @model_serializer(mode="wrap")
    def _without_empty_sections(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes repeat all parameters: those of a run without adapted upscalers, or a ladder, do not know of them.
        found = handler(self)
        return {key: value for key, value in found.items() if value or key not in ("adapted", "ladder")}

    @model_validator(mode="after")
    def _rungs_are_downscalers(self) -> RunParameters:
        for name in self.ladder:
            if name not in self.downscalers:
                raise ValueError(f"ladder: no downscaler is called {name!r}; {did_you_mean(name, self.downscalers)}")
        if len(set(self.ladder)) != len(self.ladder):
            raise ValueError("ladder: a downscaler is there twice: name each once")
        if len(self.ladder) == 1:
            raise ValueError("ladder: one rung is none: name bicubic and at least one that is blurred")
        if self.ladder and self.adapted:
            raise ValueError(
                "ladder: not with adapted, which would train weights for every rung: run the one without the other"
            )
        return self

    @model_validator(mode="after")
    def _adapted_have_own_names(self) -> RunParameters:
        if both := [name for name in self.adapted if name in self.upscalers]:
            raise ValueError(f"adapted: {both[0]} is also in upscalers: give one of them another name")
        return self

    @model_validator(mode="after")
    def _adapted_know_the_test_images(self) -> RunParameters:
        # Whether a training photograph holds a test image is asked of its pixels, which a reduced one no longer has.
        if self.adapted and self.images.resize is not None:
            raise ValueError("adapted: not with images.resize: reduced images are not found in training photographs")
        return self

    @model_validator(mode="after")
    def _branches_are_few(self) -> RunParameters:
        count = len(self.decoders()) * len(self.factors) * len(self.downscalers)
        if count > MOST_BRANCHES:
            raise ValueError(
                f"{len(self.decoders())} upscalers x {len(self.factors)} factors x {len(self.downscalers)} downscalers"
                f" are {count:,} branches, more than {MOST_BRANCHES:,}"
            )
        return self

    @model_validator(mode="after")
    def _stage_names_differ(self) -> RunParameters:
        # DVC joins the names of a branch by hyphens: a + b-c and a-b + c would be one stage.
        seen: dict[str, tuple[str, str]] = {}
        for upscaler in self.decoders():
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
        key = "crop" if self.images.resize is None else "resize"
        side = getattr(self.images, key)
        for factor in self.factors:
            if side is not None and side % factor:
                near = side - side % factor or factor
                raise ValueError(f"images.{key} is {side}, which factor {factor} does not divide: use {near}, say")
        return self
