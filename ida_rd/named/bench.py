"""``ida-rd bench``: run a named benchmark, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.bundle.schema import program
from ida_rd.core.errors import UserError
from ida_rd.core.images import pixels_sha256
from ida_rd.core.methods import NAME
from ida_rd.core.weights import locate
from ida_rd.named.definition import Benchmark, benchmark
from ida_rd.photos import sample_photographs
from ida_rd.scored import Result
from ida_rd.scoring import FILTERS, Downscaler, Image, score

__all__ = ["parameters_of", "run_benchmark", "told"]


def run_benchmark(name: str, given: Mapping[str, Downscaler]) -> tuple[Result, dict[str, Any]]:
    """Score downscalers by a named benchmark.

    Parameters
    ----------
    name : str
        Its id.
    given : mapping
        Downscalers by name, as `ida_rd.score` takes them; the benchmark's references are scored beside them.

    Returns
    -------
    Result
    dict
        What `told` is told: the benchmark's id, the hash of its definition, and this program.

    Raises
    ------
    UserError
        No such benchmark; the images or weights here are not its own; or what `ida_rd.score` says.
    """
    wanted, sha = benchmark(name)
    images = _images(name, wanted)
    _check_weights(name, wanted)
    result = score(
        _all(name, wanted, given),
        images,
        factor=wanted.factor,
        upscaler=next(iter(wanted.upscalers.values())),
        samples=wanted.samples,
        distortions={**wanted.distortions, **wanted.beside},
        seed=wanted.seed,
        missing_weights="skip",
        confidence=wanted.confidence,
        resamples=wanted.resamples,
    )
    return result, {"benchmark": name, "definition_sha256": sha, "program": program()}


def told(result: Result, what: Mapping[str, Any]) -> dict[str, Any]:
    """The result as plain values; every row says of which benchmark it is."""
    tables = {}
    for table in ("scores", "differences", "images", "rows"):
        rows = getattr(result, table).to_dict("records")
        tables[table] = [
            {"benchmark": what["benchmark"], **{k: None if v != v else v for k, v in row.items()}} for row in rows
        ]
    return {**what, "skipped": result.skipped, **tables}


def parameters_of(name: str, given: Mapping[str, Downscaler], photographs: Path) -> dict[str, Any]:
    """``params.yaml`` of a pipeline that runs a named benchmark, so that a bundle of it can be published.

    Parameters
    ----------
    name, given
        As for `run_benchmark`; folders and names only.
    photographs : Path
        Folder that ``ida-rd photos`` wrote.
    """
    wanted, _ = benchmark(name)
    entries: dict[str, Any] = {}
    for key, value in _all(name, wanted, given).items():
        if isinstance(value, Path):
            entries[key] = {"method": "folder", "path": str(value)}
        elif isinstance(value, str):
            entries[key] = {"method": "resample", "filter": value} if value in FILTERS else {"method": value}
        elif isinstance(value, Mapping):
            entries[key] = dict(value)
        else:
            raise UserError(f"bench: {key}: a pipeline needs a name or a folder, not a function")
    return {
        "seed": wanted.seed,
        "images": {"source": "folder", "path": str(photographs)},
        "attributes": {"source": "image-statistics"},
        "balance": {"groups": 2, "size": len(wanted.images.pixels_sha256)},
        "factors": [wanted.factor],
        "downscalers": entries,
        "upscalers": wanted.upscalers,
        "samples": wanted.samples,
        "distortions": {**wanted.distortions, **wanted.beside},
        "missing_weights": "skip",
        "aggregate": {"confidence": wanted.confidence, "resamples": wanted.resamples},
    }


def _all(name: str, wanted: Benchmark, given: Mapping[str, Downscaler]) -> dict[str, Downscaler]:
    if not given:
        raise UserError("bench: give LR images (--lr) or downscalers (--downscaler)")
    for key in given:
        if key in wanted.references and given[key] != key:
            raise UserError(f"bench: {key} is a reference of {name}: give yours another name")
        if not NAME.fullmatch(key):
            raise UserError(f"bench: the name {key!r} must consist of a-z, 0-9, - and _")
    return {**wanted.references, **{key: value for key, value in given.items() if key not in wanted.references}}


def _images(name: str, wanted: Benchmark) -> dict[str, Image]:
    images = sample_photographs()
    for key, sha in wanted.images.pixels_sha256.items():
        if key not in images or pixels_sha256(images[key]) != sha:
            raise UserError(
                f"bench: the photograph {key} of {name} is not the one in the packages installed here: another version"
                " of scikit-image, scikit-learn, matplotlib or Pillow reads other pixels; install those of the"
                " benchmark's release"
            )
    return {key: images[key] for key in wanted.images.pixels_sha256}


def _check_weights(name: str, wanted: Benchmark) -> None:
    for key, sha in wanted.weights.items():
        if (here := locate(key, download=False).sha256) != sha:
            raise UserError(
                f"bench: {name} is decoded with {key} of the hash {sha[:12]}..., and this version of the program has"
                f" {here[:12]}...: use the version that came with the benchmark, or a later version of the benchmark"
            )
