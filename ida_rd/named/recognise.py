"""Of which named benchmark is a bundle? Told from what is in it; it states no id that would have to be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ida_rd.bundle.derived import weights_of
from ida_rd.bundle.verify import Verified
from ida_rd.core.errors import UserError
from ida_rd.named.definition import Benchmark, benchmark, benchmarks, resolved

__all__ = ["benchmark_of"]


def benchmark_of(checked: Verified) -> str | None:
    """Id of the named benchmark that a verified bundle has run, told from what is in it; None if it is of none.

    The bundle states no id that would have to be believed: its test set, decoder, weights, distortions, references,
    K and seed are compared with every definition.
    """
    for name in benchmarks():
        if not _differences(benchmark(name)[0], checked):
            return name
    return None


def _differences(wanted: Benchmark, checked: Verified) -> list[str]:
    """What of a bundle is not as a definition has it."""
    parameters, results = checked.parameters, checked.results
    table = checked.bundle.table("subset.csv")
    found = []
    if sorted(table.pixels_sha256) != sorted(wanted.images.pixels_sha256.values()):
        found.append("images")
    if "photograph" not in table or table.photograph.nunique() != len(table):
        found.append("photographs")
    if list(parameters.factors) != [wanted.factor]:
        found.append("factor")
    for stage, section, entries in (
        ("upscale", parameters.upscalers, wanted.upscalers),
        ("downscale", parameters.downscalers, wanted.references),
        ("distort", parameters.distortions, wanted.distortions),
    ):
        for key, entry in entries.items():
            if not _same(stage, section.get(key), entry):
                found.append(f"{stage}.{key}")
    used = _weights(wanted, checked.recipe["recipes"])
    found += [key for key, sha in wanted.weights.items() if used.get(key) != (sha,)]
    found += [key for key in wanted.distortions if key in results.skipped]
    for key in ("samples", "seed", "confidence", "resamples"):
        if getattr(results, key) != getattr(wanted, key):
            found.append(key)
    return found


def _weights(wanted: Benchmark, recipes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Hashes of the weights of a definition's own entries: others may have another file under the same id."""
    factor = wanted.factor
    starts = (
        *(f"upscale/x{factor}/{key}/" for key in wanted.upscalers),
        *(f"downscale/x{factor}/{key}/" for key in wanted.references),
    )
    mine = {path: recipe for path, recipe in recipes.items() if f"{path}/".startswith(starts)}
    distortions = recipes["distort"]["distortions"]
    mine["distort"] = {"distortions": {key: distortions[key] for key in wanted.distortions if key in distortions}}
    return weights_of(mine)


def _same(stage: str, published: Any, wanted: dict[str, Any]) -> bool:
    """Whether an entry of ``params.yaml`` is what a definition says, defaults included."""
    if published is None:
        return False
    entry = dict(published) if isinstance(published, Mapping) else published.model_dump(mode="json")
    try:
        return entry.get("method") == wanted["method"] and resolved(stage, entry) == resolved(stage, wanted)
    except UserError:  # of another version, with parameters that this one does not know
        return False
