"""``results.json`` of a published benchmark: what is in it, by version. Its JSON Schema is published beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ida_rd.core.methods import NAME

__all__ = ["RESULTS_SCHEMA", "BranchResult", "DistortionInfo", "PublishedResults", "ScoreRecord", "Tolerance"]

RESULTS_SCHEMA = 1

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DistortionInfo(_Record):
    """Name as set in tables, direction and range of a distortion."""

    label: str
    better: Literal["lower", "higher"]
    perfect: float
    low: float | None
    high: float | None
    squared: bool
    minimum_side: int
    weights: dict[str, str | None]


class ScoreRecord(_Record):
    """Score of a branch by a distortion, in its unit; None where one sample an image cannot tell."""

    mean: float
    std_images: float = Field(ge=0)
    std_samples: float | None
    ci_low: float
    ci_high: float
    variance: float | None
    bias: float | None
    variance_to_bias: float | None


class BranchResult(_Record):
    """An upscaler, factor and downscaler; ``sha256`` is of the file of its rows."""

    upscaler: Name
    factor: int = Field(ge=2)
    downscaler: Name
    stochastic: bool
    images: int = Field(ge=2)
    samples: int = Field(ge=1)
    rate_bpp: float = Field(gt=0)
    nonfinite_rate: Share
    clipped_rate: Share
    rows: str
    sha256: Digest
    scores: dict[Name, ScoreRecord]


class Tolerance(_Record):
    """How far a distance may lie from the published one when it is computed again, relative to max(1, its size)."""

    same_software: float
    other_software: float


class PublishedResults(_Record):
    """The whole file."""

    schema_version: Literal[1]
    program: str
    commit: str | None
    uncommitted_changes: bool | None
    seed: int
    samples: int
    confidence: float
    resamples: int
    dataset_sha256: Digest
    weights: dict[str, Digest]
    distortions: dict[Name, DistortionInfo]
    distortion_order: list[Name]
    skipped: dict[str, str]
    tolerance: Tolerance
    branches: list[BranchResult]

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of the file."""
        schema = PublishedResults.model_json_schema()
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "IDA-RD results", **schema}
