"""``results.json`` of a published benchmark: what is in it, by version. Its JSON Schema is published beside it.

A version that was published once is read forever. Any change to the file is a new version, with a model of its own.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ida_rd.core.errors import UserError
from ida_rd.core.methods import NAME
from ida_rd.core.project import Branch
from ida_rd.core.readers import read_json

__all__ = [
    "RESULTS_SCHEMA",
    "BranchResult",
    "DistortionInfo",
    "InvalidResults",
    "PublishedResults",
    "Results",
    "Results1",
    "ScoreRecord",
    "Tolerance",
    "program",
    "read_results",
]

RESULTS_SCHEMA = 2

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class InvalidResults(UserError):
    """A ``results.json`` that does not follow its schema."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DistortionInfo1(_Record):
    """Name as shown in tables, direction and range of a distortion."""

    label: str
    better: Literal["lower", "higher"]
    perfect: float
    low: float | None
    high: float | None
    squared: bool
    minimum_side: int
    weights: dict[str, str | None]


class DistortionInfo(DistortionInfo1):
    """Of version 2: also what kind of distortion it is, such as ``learned``."""

    kind: str


class ScoreRecord(_Record):
    """Score of a branch by a distortion, in its unit; None where one sample per image does not suffice."""

    mean: float
    std_images: float = Field(ge=0)
    std_samples: float | None
    ci_low: float
    ci_high: float
    variance: float | None
    bias: float | None
    variance_to_bias: float | None


class BranchResult1(_Record):
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

    @property
    def branch(self) -> Branch:
        """Its names."""
        return Branch(self.upscaler, self.factor, self.downscaler)


class BranchResult(BranchResult1):
    """Of version 2: also what a reader must know about its upscaler, and the family of models that it belongs to."""

    marks: list[str]
    kind: str


class Tolerance(_Record):
    """How far a distance may lie from the published one when it is computed again, relative to max(1, its size)."""

    same_software: float
    other_software: float


class _Results(_Record):
    """What all versions have in common."""

    program: str
    commit: str | None
    uncommitted_changes: bool | None
    seed: int
    samples: int
    confidence: float
    resamples: int
    dataset_sha256: Digest
    weights: dict[str, Digest]
    distortion_order: list[Name]
    skipped: dict[str, str]
    tolerance: Tolerance

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of the file."""
        schema = cls.model_json_schema()
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "IDA-RD results", **schema}


class Results1(_Results):
    """The whole file, version 1: of ida-rd 0.1.0."""

    schema_version: Literal[1]
    distortions: dict[Name, DistortionInfo1]
    branches: list[BranchResult1]


class PublishedResults(_Results):
    """The whole file, version 2: what `ida_rd.bundle.publish.publish` writes."""

    schema_version: Literal[2]
    distortions: dict[Name, DistortionInfo]
    branches: list[BranchResult]


Results = Results1 | PublishedResults
MODELS: dict[int, type[Results1] | type[PublishedResults]] = {1: Results1, 2: PublishedResults}


def program() -> str:
    """Name and version of this program, as bundles name it."""
    return f"ida-rd {importlib.metadata.version('ida-rd')}"


def read_results(bundle: Path) -> Results:
    """Read ``results.json`` of a bundle, of whatever version.

    Raises
    ------
    InvalidResults
        Its content does not follow its schema; the first place is named.
    UserError
        There is none, or it is of a newer version than this program knows.
    """
    path = bundle / "results.json"
    if not path.is_file():
        raise UserError(f"{bundle}: is not a published bundle: it has no results.json")
    data = read_json(path, hint="the bundle is damaged")
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > RESULTS_SCHEMA:
        raise UserError(
            f"{path}: has schema version {version}, and {program()} reads up to {RESULTS_SCHEMA}: update it to the"
            f" version that wrote the bundle ({data.get('program', 'unknown')}) or a later one"
        )
    model = MODELS.get(version, PublishedResults) if isinstance(version, int) else PublishedResults
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidResults(f"results.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
