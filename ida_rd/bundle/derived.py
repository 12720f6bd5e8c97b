"""What in a bundle follows from its recipes and rows: ``results.json``, README, terms, citations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ida_rd.bundle.folder import SUMS
from ida_rd.bundle.schema import RESULTS_SCHEMA, PublishedResults
from ida_rd.core.errors import UserError
from ida_rd.core.project import Branch
from ida_rd.core.typeset import markdown_table
from ida_rd.core.weights import catalogue

__all__ = ["bibliography", "citations", "licences", "readme", "results_of", "weights_of"]

PACKAGE = Path(__file__).resolve().parent.parent


def weights_of(recipes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the hashes of the weights of all recipes, by id: several where entries have files of their own under one.

    Each is there once, and the one that was named last is last: `results.json` has room for that one.
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in [*recipes.values(), *recipes["distort"]["distortions"].values()]:
        for key, sha in entry.get("weights", {}).items():
            found[key] = (*(one for one in found.get(key, ()) if one != sha), sha)
    return found


def results_of(
    recipe: dict[str, Any],
    *,
    samples: int,
    summary: dict[str, Any],
    dataset_sha256: str,
    rows: dict[Branch, str],
) -> dict[str, Any]:
    """What ``results.json`` says, apart from who wrote it.

    Parameters
    ----------
    recipe : dict
        ``recipes/aggregate.json``.
    samples : int
        K, as ``params.yaml`` asks for it.
    summary : dict
        ``tables/ida_rd.json``.
    dataset_sha256 : str
        Of ``subset.csv``.
    rows : dict
        Hash of each branch's rows.
    """
    branches = []
    for record in recipe["branches"]:
        branch = Branch.of(record)
        upscaler = recipe["upscalers"][f"x{branch.factor}/{branch.upscaler}"]
        entry = summary[branch.upscaler][f"x{branch.factor}"][branch.downscaler]
        scores = {name: entry[name] for name in recipe["distortion_order"]}
        branches.append(
            {
                **asdict(branch),
                **{key: value for key, value in entry.items() if key not in scores},
                "marks": upscaler["marks"],
                "kind": upscaler["kind"],
                "sha256": rows[branch],
                "scores": scores,
            }
        )
    return {
        "schema_version": RESULTS_SCHEMA,
        "samples": samples,
        **{key: recipe[key] for key in ("seed", "confidence", "resamples", "distortions", "distortion_order")},
        "dataset_sha256": dataset_sha256,
        "weights": {key: hashes[-1] for key, hashes in weights_of(recipe["recipes"]).items()},
        "skipped": recipe["skipped"],
        "branches": branches,
    }


def citations(recipes: dict[str, Any], attributes: dict[str, Any]) -> str:
    """Return BibTeX of IDA-RD and of every method, weight file and source of attributes that the recipes use."""
    wanted = {"all"} | {f"weights/{key}" for key in weights_of(recipes)}
    for entry in [*recipes.values(), *recipes["distort"]["distortions"].values(), *attributes.values()]:
        if "method" in entry:
            method = f"{entry['stage']}/{entry['method']}"
            wanted |= {method} | {
                f"{method}/{value}" for value in entry["parameters"].values() if isinstance(value, str)
            }
    # IDA-RD itself first, then by key: moving a file changes no bundle.
    cited = sorted((entry for entry in bibliography() if wanted & entry.keywords), key=lambda e: e.order)
    return "\n\n".join(entry.text for entry in cited) + "\n"


class Entry(NamedTuple):
    """A BibTeX entry: its key, the methods that it describes, and its text without these."""

    key: str
    keywords: frozenset[str]
    text: str

    @property
    def order(self) -> tuple[bool, str]:
        return "all" not in self.keywords, self.key


@cache
def bibliography(package: Path = PACKAGE) -> tuple[Entry, ...]:
    """All entries of the ``.bib`` files beside the methods.

    Raises
    ------
    UserError
        A key that is there twice, or an entry without keywords.
    """
    found: dict[str, Entry] = {}
    for path in sorted(package.rglob("*.bib")):
        for text in re.split(r"\n(?=@)", "\n" + path.read_text(encoding="utf-8"))[1:]:
            key = text.partition("{")[2].partition(",")[0].strip()
            keywords = re.search(r"  keywords = \{([^}]*)\},\n", text)
            if keywords is None:
                raise UserError(f"{path}: {key} has no line of keywords: name the stage/method that it describes")
            if key in found:
                raise UserError(f"{path}: {key} is also in another .bib file, or twice here: keep one")
            words = frozenset(word.strip() for word in keywords[1].split(","))
            found[key] = Entry(key, words, text.strip().replace(keywords[0], ""))
    return tuple(found.values())


def licences(recipe: dict[str, Any], weights: Iterable[str]) -> str:
    """Terms of the program, the upscalers, the weights, the attributes and the images."""
    lines = ["# Terms of what made these numbers", "", "The program: Apache-2.0.", "", "## Upscalers", ""]
    for path, upscaler in recipe["upscalers"].items():
        factor, _, name = path.partition("/")
        lines.append(f"* {name} {factor}: {upscaler['licence'] or 'not stated'}.")
    lines += ["", "## Weights", ""]
    lines += [line for key in sorted(weights) for line in _terms_of(recipe, key)] or ["None."]
    if terms := [
        f"* by {name}: {source['terms']}." for name, source in recipe["attributes"].items() if source["terms"]
    ]:
        lines += ["", "## Attributes of the images", "", *terms]
    lines += ["", "## Images", ""]
    if recipe["images"]["source"] == "sample-photos":
        lines.append(
            "Photographs inside the packages scikit-image, scikit-learn and matplotlib; their terms are in the"
        )
        lines.append("project's docs/data.md.")
    else:
        lines.append(
            "The publisher's own folder. The publisher must state their terms; `subset.csv` names each image and"
        )
        lines.append("the hash of its pixels.")
    return "\n".join(lines) + "\n"


def _terms_of(recipe: Mapping[str, Any], key: str) -> list[str]:
    """Terms of the weights of an id: a line per file and terms, with the entries that use it where there are several.

    Entries may have files of the user's own under one id, where no hash says which is meant: of these the terms are
    what the entry states.
    """
    weight, recipes = catalogue()[key], recipe["recipes"]
    methods = [*recipes.items(), *((f"distort/{k}", one) for k, one in recipes["distort"]["distortions"].items())]
    found: dict[tuple[str, str], list[str]] = {}
    for path, method in methods:
        if key not in method.get("weights", {}):
            continue
        room, factor, name = (*path.split("/"), "", "")[:3]
        described = recipe["upscalers"].get(f"{factor}/{name}", {}) if room == "upscale" else {}
        stated = method.get("parameters", {}).get("licence") if (described.get("weights") or {}).get(key) else None
        own = stated if not weight.file and not weight.sha256 else None
        source = "" if weight.file or own else f" {weight.citation}."
        users = found.setdefault((method["weights"][key], f"{own or weight.licence}.{source}"), [])
        users.append(f"{name} {factor}" if name else factor)
    return [
        f"* {key} (sha256 `{sha}`{'; ' + ', '.join(dict.fromkeys(users)) if len(found) > 1 else ''}): {terms}"
        for (sha, terms), users in found.items()
    ]


def readme(table: str, results: PublishedResults, *, images: bool) -> str:
    """What the folder is; `table` is that of the scores, in Markdown."""
    lines = [
        "# IDA-RD results",
        "",
        table,
        f"Made by {results.program}, commit {results.commit or 'unknown'}"
        + (" with uncommitted changes" if results.uncommitted_changes else "")
        + ". To check them, install the program and run, beside this folder:",
        "",
        "    ida-rd verify FOLDER             # checksums, completeness, every summary against the rows",
        "    ida-rd verify FOLDER --rerun 2   # and two branches again from the images",
        "",
    ]
    files = [
        ("`results.json`", "scores and what made them, by the schema beside it"),
        ("`rows/`", "every sample's distances, and the software and device that computed them"),
        ("`tables/`, `figures/`", "the same for people; paired differences, ranks, agreement"),
        ("`recipes/`, `params.yaml`, `provenance.json`", "parameters, hashes of code, weights and files"),
        ("`subset.csv`, `balance.json`, `balance.csv`", "the test set: hash of every image; its groups"),
        ("`CITATIONS.bib`, `LICENCES.md`", "what to cite; terms of the weights"),
        (f"`{SUMS}`", "checksums of all files"),
    ]
    if images:
        files.append(("`page/index.html`", "the page, with images to look at"))
    lines += markdown_table([None, None], files)
    return "\n".join(lines) + "\n"
