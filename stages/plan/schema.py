"""The keys of ``params.yaml``: what they mean is said there, what is allowed is said here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stages.core.methods import NAME, Parameters

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
    """Section ``attributes``."""

    source: Literal["image-statistics", "table"]
    path: str | None = None
    columns: list[str] | None = None

    @model_validator(mode="after")
    def _path_fits(self) -> Attributes:
        if self.source == "table" and not self.path:
            raise ValueError("source table needs path: your CSV file")
        if self.source != "table" and (self.path or self.columns):
            raise ValueError(f"path and columns are for source table; source is {self.source}")
        return self


class Balance(Parameters):
    """Section ``balance``."""

    groups: Annotated[Whole, Field(ge=2)]
    size: Annotated[Whole, Field(ge=2)]


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
