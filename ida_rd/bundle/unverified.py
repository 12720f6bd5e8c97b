"""What a reader of a verified bundle should know: what nothing here can check, and names that mislead."""

from __future__ import annotations

from typing import Any

from ida_rd.bundle.folder import Bundle
from ida_rd.bundle.numbers import of_this_program
from ida_rd.bundle.own import OWN
from ida_rd.bundle.schema import Results
from ida_rd.core.methods import known_methods
from ida_rd.core.weights import catalogue
from ida_rd.plan.schema import RunParameters

__all__ = ["called_otherwise", "left_open"]

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def called_otherwise(parameters: RunParameters) -> list[str]:
    """Downscalers whose name is that of a filter or method that they are not."""
    known = {*known_methods("downscale"), *FILTERS}
    notes = []
    for name, entry in parameters.downscalers.items():
        is_ = entry.get("filter") or entry.get("method")
        if name in known and str(is_) != name:
            notes.append(
                f"the downscaler called {name} is {entry.get('method')}" + (f", {is_}" if "filter" in entry else "")
            )
    return notes


def left_open(bundle: Bundle, results: Results, recipe: dict[str, Any]) -> list[str]:
    """What nothing here can check, for people to know."""
    own = of_this_program(results)
    figures = sum(name.startswith("figures/") for name in bundle.files)
    page = sum(name.startswith("page/") for name in bundle.files)
    found = [
        "that the rows come from these methods and images (--rerun computes some again)",
        "program, commit, environments, hashes of code and files, why something was skipped: the publisher's word",
        "balance.json, balance.csv: how the test set was chosen (--rerun chooses it again)",
    ]
    if "surprise.csv" in bundle.files:
        found.append("surprise.csv: how far decoders are from home; tables/surprise.csv follows from it")
    if OWN in bundle.files:
        found.append(f"{OWN}: what upscalers say of their own samples; tables/own_columns.csv follows from it")
    if figures:
        found.append(f"figures/: {figures} files, as they were drawn")
    if page:
        found.append(f"page/: {page} files, as they were made; only its tables and figures are compared")
    if not own:
        found.append(
            f"README.md, LICENCES.md, CITATIONS.bib, results.schema.json, Markdown and LaTeX tables: their wording is"
            f" that of {results.program}; so are tables, columns and values that only that program knows"
        )
    known = catalogue()
    if unknown := [key for key in results.weights if known[key].file is None and not known[key].sha256]:
        found.append(f"weights {', '.join(unknown)}: nobody has published their hash")
    if data := [name for name, source in recipe["attributes"].items() if source.get("terms")]:
        found.append(f"attributes by {', '.join(data)}")
    return found
