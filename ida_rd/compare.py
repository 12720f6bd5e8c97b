"""What did this branch of work change? A summary that a pull request can carry."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.statistics import Photographs, by_photograph, paired_difference
from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.methods import validate
from ida_rd.core.readers import parse_json, read_json
from ida_rd.core.software import needs
from ida_rd.core.tables import parse_table, read_table
from ida_rd.core.typeset import interval, markdown_table, number, p_value, places_of
from ida_rd.plan.schema import Aggregate

__all__ = ["Comparison", "compare", "comparison_markdown"]

IMAGES, PROVENANCE = "metrics/tables/images.csv", "metrics/provenance.json"
OTHER = "compare with a revision whose results this version has written"
KEYS = ["upscaler", "factor", "downscaler"]
NO_SCORE = (*KEYS, "image_id", "photograph", "samples", "rate_bpp", "without_structure")


@dataclass(frozen=True)
class Comparison:
    """A run against another version of it.

    Attributes
    ----------
    changes : DataFrame
        One row per branch and distortion that both have: old and new mean over their common photographs, change,
        interval, effect, share and p of the paired difference (`ida_rd.aggregate.statistics.Difference`), p_holm;
        ``same`` if every image's value is the same.
    added, removed : list of str
        Branches that only the new, or the old, run has.
    causes : list of str
        Differences in what made the numbers: code, parameters, weights, data set, seed.
    other : str
        Name of the other version.
    level : float
        Below which p_holm a change is beyond noise: 1 - confidence of the run.
    """

    changes: pd.DataFrame
    added: list[str]
    removed: list[str]
    causes: list[str]
    other: str
    level: float = 0.05


def compare(root: Path, revision: str, level: float | None = None) -> Comparison:
    """Compare the run in the working tree with the one that a git revision has committed.

    Parameters
    ----------
    root : Path
        Root of the repository, or an experiment's folder.
    revision : str
        Branch, tag or commit.
    level : float, optional
        Below which p_holm a change is beyond noise; by default 1 - the run's confidence.

    Raises
    ------
    UserError
        No such revision, or it has no results.
    """
    needs("jinja2")  # the page's own words for what differs
    new = read_table(root / IMAGES, hint="run `make repro` first")
    old = parse_table(_show(root, revision, IMAGES), f"{revision}:{IMAGES}", OTHER)
    provenance = read_json(root / PROVENANCE, hint="run `make repro` first")
    before = parse_json(_show(root, revision, PROVENANCE), f"{revision}:{PROVENANCE}", OTHER)
    with decoding(f"{root / PROVENANCE} is not this program's", "run `make repro` first"):
        settings = {key: provenance[key] for key in ("confidence", "resamples")}
        given = validate(Aggregate, settings, where=str(root / PROVENANCE))
        seed = int(provenance["seed"])
    with decoding(f"this run and {revision} cannot be compared", OTHER):
        changes = _changes(old, new, given.confidence, given.resamples, seed)
        names, mine = (list(dict.fromkeys(map(tuple, table[KEYS].to_numpy()))) for table in (old, new))
        return Comparison(
            changes,
            [_name(key) for key in mine if key not in names],
            [_name(key) for key in names if key not in mine],
            _causes(before, provenance),
            revision,
            1 - given.confidence if level is None else level,
        )


def _changes(old: pd.DataFrame, new: pd.DataFrame, confidence: float, resamples: int, seed: int) -> pd.DataFrame:
    """One row per branch and distortion that both have; see `Comparison`."""
    distortions = [c for c in new.columns if c not in NO_SCORE]
    names = {tuple(key): None for key in old[KEYS].to_numpy()}
    mine = {tuple(key): None for key in new[KEYS].to_numpy()}
    photographs = dict(zip(new.image_id, new.photograph, strict=True)) if "photograph" in new else None
    rows = []
    for key in (k for k in mine if k in names):
        a, b = (_branch(table, key) for table in (old, new))
        common = a.index.intersection(b.index)
        for distortion in (d for d in distortions if d in old.columns):
            pair = pd.concat([a.loc[common, distortion], b.loc[common, distortion]], axis=1, keys=["old", "new"])
            pair = pair.dropna().astype(float)
            if len(pair) >= 2:
                row = _change(pair, photographs, confidence, resamples, seed)
                rows.append(dict(zip(KEYS, key, strict=True)) | {"distortion": distortion} | row)
    changes = pd.DataFrame(rows)
    if rows:
        for _, group in changes[~changes.same].groupby("distortion"):
            changes.loc[group.index, "p_holm"] = holm(list(group.p))
    return changes


def _change(
    pair: pd.DataFrame, photographs: Photographs | None, confidence: float, resamples: int, seed: int
) -> dict[str, Any]:
    """Compare an old and a new column of image means."""
    found = asdict(
        paired_difference(pair.old, pair.new, photographs, confidence=confidence, resamples=resamples, seed=seed)
    )
    means = {name: float(by_photograph(pair[name], photographs).mean()) for name in pair}
    return means | {"change": found.pop("mean")} | found | {"same": bool((pair.old == pair.new).all())}


def _show(root: Path, revision: str, path: str) -> bytes:
    """Return a file as it is in a revision."""
    if revision.startswith("-"):
        raise UserError(f"compare: {revision!r} is no revision; `git branch --all` lists the branches")
    command = ["git", "show", f"{revision}:./{path}"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("compare: git is not installed; it keeps the other version's results") from None
    if done.returncode == 0:
        return done.stdout
    known = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", revision], cwd=root, capture_output=True, check=False
    )
    if known.returncode:
        raise UserError(f"compare: git knows no revision {revision!r} here; `git branch --all` lists the branches")
    raise UserError(f"compare: {revision} has no {path}: its results were not committed, or are older than this format")


def _branch(table: pd.DataFrame, key: tuple[Any, ...]) -> pd.DataFrame:
    mask = np.logical_and.reduce([table[name] == value for name, value in zip(KEYS, key, strict=True)])
    return table[mask].set_index("image_id")


def _name(key: tuple[Any, ...]) -> str:
    return f"{key[0]} x{key[1]} {key[2]}"


def _causes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = [
        text
        for key, text in (
            ("dataset_sha256", "the test set"),
            ("seed", "the seed"),
            ("images", "where images come from"),
            ("attributes", "the attributes of the images"),
            ("balance", "the balance"),
        )
        if old.get(key) != new.get(key)
    ]
    before, after = _flat(old["methods"]), _flat(new["methods"])
    for path in sorted(before.keys() & after.keys()):
        differ = [
            part
            for part in ("method", "parameters", "degrade", "code", "weights", "files", "packages", "samples")
            if before[path].get(part) != after[path].get(part)
        ]
        if "code" in differ:
            a, b = before[path]["code"], after[path]["code"]
            files = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
            shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
            differ[differ.index("code")] = f"code ({shown})"
        if differ:
            found.append(f"{path}: {', '.join(differ)}")
    from ida_rd.report.page import software

    environments = [software(record["environments"]) for record in (old, new)]
    for key in sorted(environments[0].keys() & environments[1].keys()):
        if environments[0][key] != environments[1][key]:
            found.append(f"{key}: {environments[0][key]}, now {environments[1][key]}")
    return found


def _flat(methods: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return recipes by path, each distortion by itself."""
    flat = {path: recipe for path, recipe in methods.items() if path != "distort"}
    return flat | {f"distort/{name}": recipe for name, recipe in methods["distort"]["distortions"].items()}


def comparison_markdown(comparison: Comparison) -> str:
    """Set what changed as Markdown: by how much, and whether beyond noise."""
    lines = [f"### IDA-RD: this branch against `{comparison.other}`", ""]
    changes, level = comparison.changes, comparison.level
    moved = changes[~changes.same] if len(changes) else changes
    if not len(moved):
        lines.append(f"No score changed: {len(changes)} are the same on every image.")
    else:
        rows = []
        for row in moved.to_dict("records"):
            places = places_of(row["old"])
            shown = [number(row[key], places) for key in ("old", "new")]
            change = interval(row["change"], row["low"], row["high"], places=places, signed=True)
            beyond = "**yes**" if row["p_holm"] < level else "no"
            cells = [row["upscaler"], f"x{row['factor']}", row["downscaler"], row["distortion"], *shown, change]
            cells += ["" if pd.isna(row["effect"]) else f"{row['effect']:.2f}", f"{row['share']:.0%}"]
            rows.append([*cells, p_value(row["p_holm"]), beyond])
        lines += markdown_table(
            [*KEYS, "distortion", "before", "now", "change", "effect", "share", "p", "beyond noise"], rows
        )
        lines += [
            "",
            f"{len(moved)} of {len(changes)} scores changed. Paired over the photographs that both have; effect: the"
            " change in standard deviations of theirs; share: those whose change has its sign; p: signs flipped by"
            f" photograph, Holm's correction within a distortion; a change is beyond noise below {level:.2g}.",
        ]
    for title, names in (("New", comparison.added), ("Gone", comparison.removed)):
        if names:
            lines += ["", f"{title}: {', '.join(names)}."]
    if comparison.causes:
        lines += ["", "<details><summary>Differences in what made the numbers</summary>", ""]
        lines += [f"* {cause}" for cause in comparison.causes]
        lines += ["", "</details>"]
    else:
        lines += ["", "No difference in code, parameters, weights, data or library versions."]
    return "\n".join(lines) + "\n"
