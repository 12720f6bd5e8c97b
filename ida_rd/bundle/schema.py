"""``results.json`` of a published benchmark: what is in it, by version. Its JSON Schema is published beside it.

A version that was published once is read forever. Any change to the file is a new version, with a model of its own.
"""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ida_rd.core.errors import UserError
from ida_rd.core.methods import NAME
from ida_rd.core.project import Branch

__all__ = [
    "RESULTS_SCHEMA",
    "BranchResult",
    "DistortionInfo",
    "InvalidResults",
    "PublishedResults",
    "Results",
    "Results1",
    "ScoreRecord",
    "program",
    "read_results",
]

RESULTS_SCHEMA = 2

# A bundle is a stranger's: every length and number has a bound.
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$", max_length=100)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", max_length=64)]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40,64}$", max_length=64)]
Text = Annotated[str, Field(max_length=2000)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e300, le=1e300)]
MOST_BRANCHES = 10_000
MOST_DISTORTIONS = 100


class InvalidResults(UserError):
    """A ``results.json`` that does not follow its schema."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DistortionInfo1(_Record):
    """Name as shown in tables, direction and range of a distortion."""

    label: Text
    better: Literal["lower", "higher"]
    perfect: Number
    low: Number | None
    high: Number | None
    squared: bool
    minimum_side: int = Field(ge=1, le=2**20)
    weights: Annotated[dict[Text, Text | None], Field(max_length=100)]


class DistortionInfo(DistortionInfo1):
    """Of version 2: also what kind of distortion it is, such as ``learned``."""

    kind: Text


class ScoreRecord1(_Record):
    """Score of a branch by a distortion, in its unit; None where one sample per image does not suffice."""

    mean: Number
    std_images: Number = Field(ge=0)
    std_samples: Number | None
    ci_low: Number
    ci_high: Number
    variance: Number | None
    bias: Number | None
    variance_to_bias: Number | None


class ScoreRecord(ScoreRecord1):
    """Of version 2: without an interval for few photographs; also the score with failed first draws as black."""

    ci_low: Number | None  # type: ignore[assignment]
    ci_high: Number | None  # type: ignore[assignment]
    mean_with_failures: Number | None


class _Branch(_Record):
    """An upscaler, factor and downscaler; ``sha256`` is of the file of its rows, ``rows/<branch>.csv``."""

    upscaler: Name
    factor: int = Field(ge=2, le=1024)
    downscaler: Name
    stochastic: bool
    images: int = Field(ge=2, le=10**6)
    samples: int = Field(ge=1, le=1000)
    rate_bpp: float = Field(gt=0, le=1000)
    nonfinite_rate: Share
    clipped_rate: Share
    sha256: Digest

    @property
    def branch(self) -> Branch:
        """Its names."""
        return Branch(self.upscaler, self.factor, self.downscaler)

    @property
    def file(self) -> str:
        """Where its rows are; what the record says of that is not asked."""
        return f"rows/{self.branch.path}.csv"


class BranchResult1(_Branch):
    """Of version 1: also where its rows are."""

    rows: Text
    scores: Annotated[dict[Name, ScoreRecord1], Field(max_length=MOST_DISTORTIONS)]


class BranchResult(_Branch):
    """Of version 2: also what a reader must know about its upscaler, and the family of models that it belongs to.

    ``photographs`` that the images are tiles of; the share of samples that were not finite when first drawn.
    """

    photographs: int = Field(ge=1, le=10**6)
    first_draw_failures: Share
    scores: Annotated[dict[Name, ScoreRecord], Field(max_length=MOST_DISTORTIONS)]
    marks: Annotated[list[Text], Field(max_length=20)]
    kind: Text


class Tolerance(_Record):
    """Of version 1: how far a distance may lie from the published one, as the publisher thinks. Nobody asks for it."""

    same_software: Number
    other_software: Number


class _Results(_Record):
    """What all versions have in common."""

    program: Annotated[str, Field(pattern=r"^ida-rd [0-9A-Za-z.+!-]{1,100}$")]
    commit: Commit | None
    uncommitted_changes: bool | None
    seed: int = Field(ge=0, le=2**63 - 1)
    samples: int = Field(ge=1, le=1000)
    confidence: float = Field(gt=0, lt=1)
    resamples: int = Field(ge=100, le=100_000)
    dataset_sha256: Digest
    weights: Annotated[dict[Text, Digest], Field(max_length=1000)]
    distortion_order: Annotated[list[Name], Field(min_length=1, max_length=MOST_DISTORTIONS)]
    skipped: Annotated[dict[Text, Text], Field(max_length=1000)]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of the file."""
        schema = cls.model_json_schema()
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "IDA-RD results", **schema}


class Results1(_Results):
    """The whole file, version 1: of ida-rd 0.1.0."""

    schema_version: Literal[1]
    tolerance: Tolerance
    distortions: Annotated[dict[Name, DistortionInfo1], Field(max_length=MOST_DISTORTIONS)]
    branches: Annotated[list[BranchResult1], Field(min_length=1, max_length=MOST_BRANCHES)]


class PublishedResults(_Results):
    """The whole file, version 2: what `ida_rd.bundle.publish.publish` writes."""

    schema_version: Literal[2]
    distortions: Annotated[dict[Name, DistortionInfo], Field(max_length=MOST_DISTORTIONS)]
    branches: Annotated[list[BranchResult], Field(min_length=1, max_length=MOST_BRANCHES)]


Results = Results1 | PublishedResults
MODELS: dict[int, type[Results1] | type[PublishedResults]] = {1: Results1, 2: PublishedResults}


def program() -> str:
    """Name and version of this program, as bundles name it."""
    return f"ida-rd {importlib.metadata.version('ida-rd')}"


def read_results(data: Any) -> Results:
    """Check the content of ``results.json``, of whatever version.

    Parameters
    ----------
    data : Any
        The file's content, as it was decoded.

    Raises
    ------
    InvalidResults
        It does not follow its schema; the first place is named.
    UserError
        It is of a newer version than this program knows.
    """
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and RESULTS_SCHEMA < version < 10**6:
        wrote = data.get("program")
        raise UserError(
            f"results.json: has schema version {version}, and {program()} reads up to {RESULTS_SCHEMA}: update it to"
            f" the version that wrote the bundle ({str(wrote)[:100] if wrote else 'unknown'}) or a later one"
        )
    model = MODELS.get(version, PublishedResults) if isinstance(version, int) else PublishedResults
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise InvalidResults(f"results.json: {where}: {first['msg'][:200]}") from None
