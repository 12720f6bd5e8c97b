"""What a named benchmark is: images, factor, decoder, weights, distortions, K and seed, all by value or by hash."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.methods import NAME, Parameters, find_method, validate
from ida_rd.core.readers import parse_yaml

__all__ = ["Benchmark", "benchmark", "benchmarks", "resolved"]

FOLDER = Path(__file__).parent
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*@[1-9][0-9]*")
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Entries = dict[Name, dict[str, Any]]


class Images(Parameters):
    """The HR images: where they are found, and what they must be."""

    source: Literal["sample-photos"]
    crop: Literal[256]
    pixels_sha256: Annotated[dict[str, Digest], Field(min_length=2)]


class Benchmark(Parameters):
    """A named benchmark.

    Attributes
    ----------
    about : str
    images : Images
        By name the hash of each one's pixels (`ida_rd.core.images.pixels_sha256`).
    factor : int
    upscalers : dict
        One decoder, as in ``params.yaml``.
    weights : dict
        Id to sha256.
    references : dict
        Downscalers that every result has beside those that are scored.
    distortions : dict
        They need no download; the first leads.
    beside : dict
        Distortions that are computed too where their weights are at hand; nobody is ranked by them.
    samples, seed, confidence, resamples
        As in ``params.yaml``.
    """

    about: str
    images: Images
    factor: int = Field(ge=2)
    upscalers: Annotated[Entries, Field(min_length=1, max_length=1)]
    weights: dict[str, Digest]
    references: Annotated[Entries, Field(min_length=1)]
    distortions: Annotated[Entries, Field(min_length=1)]
    beside: Entries
    samples: int = Field(ge=1)
    seed: int = Field(ge=0)
    confidence: float
    resamples: int


def benchmarks() -> list[str]:
    """Ids of all named benchmarks, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def benchmark(name: str) -> tuple[Benchmark, str]:
    """A named benchmark, and the sha256 of the file that defines it.

    Raises
    ------
    UserError
        None has this id.
    """
    known = benchmarks()
    if name not in known:
        raise UserError(f"bench: no benchmark is called {name!r}; {did_you_mean(name, known)}")
    content = (FOLDER / f"{name}.yaml").read_bytes()
    return validate(Benchmark, parse_yaml(content, f"{name}.yaml"), where=name), hashlib.sha256(content).hexdigest()


def resolved(stage: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A method's entry with all its defaults: two that are equal are the same method with the same parameters."""
    method = str(entry.get("method"))
    module = find_method(stage, method, where=stage)
    model: type[BaseModel] = getattr(module, "Parameters", Parameters)
    rest = {key: value for key, value in entry.items() if key != "method"}
    return {"method": method, **validate(model, rest, where=stage).model_dump(mode="json")}
