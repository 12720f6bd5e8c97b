"""What differs between bundles of different versions: where their recipes lie, what their tables have.

A bundle is checked by what its own version promises, and its numbers are computed as its version did:
`Version.upgrade` turns its recipe into what `Version.aggregate` takes. What is written here about a released version is
never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ida_rd.aggregate.results import Results as Numbers
from ida_rd.aggregate.results import aggregate
from ida_rd.aggregate.write import write_tables
from ida_rd.bundle.first.results import aggregate_1, write_tables_1
from ida_rd.bundle.schema import Results
from ida_rd.core.project import Branch

__all__ = ["RELEASED_WEIGHTS", "VERSIONS", "Version", "version_of"]

Recipe = dict[str, Any]

# Weights that ship with the program, by the hash that they had in a release: bundles outlive the files.
RELEASED_WEIGHTS = {
    "flow-compact.x2": ("e2aaf3f5e668f75b79a295c0252df3dde82d132a4304979c093f2ec93d5ca834",),
    "flow-compact.x4": ("a179268a5b80b4fb4306372bd43d592c61502fda92738072229ae5be606dbea9",),
    "flow-compact.x8": ("c959adf621a6fcaf89e683ffb332260476b5cd7d7306708d5aa20f8f76841ff0",),
}


@dataclass(frozen=True)
class Version:
    """What a version of bundles promises.

    Attributes
    ----------
    number : int
        ``schema_version`` of ``results.json``.
    columns : mapping
        Columns of each ``tables/*.csv`` by the file's stem; ``{}`` stands for the name of each distortion.
    texts : tuple of str
        Other files of ``tables/`` for people.
    counts : tuple of str
        What ``results.json`` and ``tables/ida_rd.json`` say about a branch besides its scores.
    provenance : tuple of str
        Keys of ``provenance.json`` that repeat ``recipes/aggregate.json``.
    upgrade : callable
        From its ``recipes/aggregate.json`` to that of today.
    files : callable
        From the recipes in ``recipes/aggregate.json`` to what the other files below ``recipes/`` must hold.
    aggregate : callable
        Computes its numbers, as `ida_rd.aggregate.results.aggregate` does today.
    write_tables : callable
        Writes them as it wrote them.
    """

    number: int
    columns: Mapping[str, tuple[str, ...]]
    texts: tuple[str, ...]
    counts: tuple[str, ...]
    provenance: tuple[str, ...]
    upgrade: Callable[[Recipe], Recipe]
    files: Callable[[Recipe], Recipe]
    aggregate: Callable[..., Numbers]
    write_tables: Callable[[Path, Recipe, Numbers], None]

    def path(self, claim: str) -> str:
        """Where the recipe of a method lies that lies at `claim` today."""
        parts = claim.split("/")
        return "/".join(parts[:3]) if self.number == 1 and parts[0] == "upscale" else claim

    def promised(self, table: str, distortions: list[str]) -> list[str]:
        """Columns that a table must have."""
        columns: list[str] = []
        for column in self.columns.get(table, ()):
            columns += [column.format(name) for name in distortions] if "{}" in column else [column]
        return columns

    def methods(self, recipe: Recipe, branch: Branch) -> dict[str, Recipe]:
        """Recipes of a branch's methods, by the path of their file below ``recipes/``: all that made its rows."""
        files = self.files(recipe["recipes"])
        shared = f"upscale/x{branch.factor}/{branch.upscaler}"
        own = f"{shared}/{branch.downscaler}"
        paths = [f"downscale/x{branch.factor}/{branch.downscaler}", own if own in files else shared, "distort"]
        return {path: files[path] for path in paths}


def version_of(results: Results) -> Version:
    """The version of a bundle."""
    return VERSIONS[results.schema_version]


KINDS_1 = {"lpips": "learned", "structural": "structural", "pixel": "pixel"}


def _upgrade_1(recipe: Recipe) -> Recipe:
    """Version 1 has descriptors inside the recipes of upscalers, and distortions without their kind."""
    upscalers = {}
    for path, method in recipe["recipes"].items():
        if path.startswith("upscale/"):
            known = method["descriptor"]
            marks = {
                "deterministic": not known["stochastic"],
                "not blind": not known["blind"],
                "non-commercial": "non-commercial" in known["licence"].lower(),
            }
            upscalers[path.removeprefix("upscale/")] = known | {
                "marks": [mark for mark, is_so in marks.items() if is_so]
            }
    methods = recipe["recipes"]["distort"]["distortions"]
    kinds = {name: {"kind": KINDS_1[methods[name]["method"]]} for name in recipe["distortions"]}
    distortions = {name: known | kinds[name] for name, known in recipe["distortions"].items()}
    return recipe | {"upscalers": upscalers, "distortions": distortions}


def _files_1(recipes: Recipe) -> Recipe:
    return recipes


def _files_2(recipes: Recipe) -> Recipe:
    """A file for each branch, where ``aggregate.json`` holds what the branches of an upscaler share only once."""
    files = {}
    for path, method in recipes.items():
        room, _, rest = path.partition("/")
        factor, _, name = rest.partition("/")
        if room != "upscale" or "/" in name:
            files[path] = method
            continue
        start = f"downscale/{factor}/"
        files |= {f"{path}/{other.removeprefix(start)}": method for other in recipes if other.startswith(start)}
    return files


BRANCH = ("upscaler", "factor", "downscaler")
COUNTS_1 = ("stochastic", "images", "samples", "rate_bpp", "nonfinite_rate", "clipped_rate")
SCORE = ("mean", "std_images", "std_samples", "ci_low", "ci_high", "variance", "bias", "variance_to_bias")
COLUMNS_1: dict[str, tuple[str, ...]] = {
    "ida_rd": (*BRANCH, "distortion", *SCORE, *COUNTS_1),
    "images": (*BRANCH, "image_id", "samples", "rate_bpp", "{}"),
    "differences": (
        *("upscaler", "factor", "distortion", "loses_less", "loses_more", "images"),
        *("difference", "low", "high", "p", "p_holm"),
    ),
    "ranks": (
        *("upscaler", "factor", "distortion", "downscaler"),
        *("mean_rank", "friedman_p", "critical_difference", "images"),
    ),
    "agreement": (
        *("between", "a", "b", "upscaler", "factor", "distortion"),
        *("downscalers", "kendall", "spearman", "low", "high"),
    ),
    "variance": (*BRANCH, "distortion", "mean", "between_images", "between_samples", "K", "N", "sample_share"),
    "leading": ("branch", "score", "ci_low", "ci_high", "rate_bpp", "mean_rank"),
    "mean_std": (*BRANCH, "{}_mean", "{}_std"),
}
TEXTS_1 = ("ida_rd.md", "mean_std.md", "mean_std.tex", "differences.md")
PROVENANCE_1 = ("images", "attributes", "balance", "seed", "confidence", "resamples", "skipped")

COUNTS_2 = (
    *("stochastic", "photographs", "images", "samples", "rate_bpp"),
    *("first_draw_failures", "nonfinite_rate", "clipped_rate", "marks"),
)
CELL = ("upscaler", "factor", "distortion")
COLUMNS_2 = COLUMNS_1 | {
    "ida_rd": (*BRANCH, "distortion", *SCORE, "mean_with_failures", *COUNTS_2),
    "images": (*BRANCH, "image_id", "photograph", "samples", "rate_bpp", "{}"),
    "differences": (
        *(*CELL, "loses_less", "loses_more", "photographs", "images"),
        *("difference", "low", "high", "effect", "share", "p", "p_holm"),
    ),
    "ranks": (*CELL, "downscaler", "mean_rank", "photographs"),
    "variance": (
        *(*BRANCH, "distortion", "mean", "between_photographs", "between_images", "between_samples"),
        *("K", "M", "photographs", "N", "sample_share", "design_effect"),
    ),
}

VERSIONS = {
    1: Version(1, COLUMNS_1, TEXTS_1, COUNTS_1, PROVENANCE_1, _upgrade_1, _files_1, aggregate_1, write_tables_1),
    2: Version(
        2,
        COLUMNS_2,
        TEXTS_1,
        COUNTS_2,
        (*PROVENANCE_1, "primary", "upscalers"),
        lambda recipe: recipe,
        _files_2,
        aggregate,
        write_tables,
    ),
}
