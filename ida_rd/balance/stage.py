"""Choose a balanced test set: an even selection from clusters of the attributes, or from their exact cells."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.balance.groups import Cells, cells, entropy, maximum_entropy
from ida_rd.balance.reduce import reduced
from ida_rd.balance.selection import even_quotas, features, k_means_groups, sequence
from ida_rd.balance.structure import WITHOUT_STRUCTURE, has_structure, structure_warning
from ida_rd.core.candidates import cut, photograph_of, read_candidate_file, rectangles
from ida_rd.core.errors import UserError, did_you_mean, printable
from ida_rd.core.files import atomic_folder, write_json
from ida_rd.core.images import ImageError, pixels_sha256, write_png
from ida_rd.core.project import Project
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table

__all__ = ["PLACE", "Selection", "select", "write_subset", "write_test_set"]

PLACE = {"image_id", "file", "x", "y", "width", "height", "sha256"}
MADE = ("photograph", "group", "order")  # columns that the choice adds
PROBABILITY = ":probability"


def write_test_set(project: Project, *, by_photographs: bool = True) -> None:
    """Write ``data/hr/``, ``data/subset.csv``, ``metrics/balance.json`` and ``metrics/balance.csv``.

    See `select` for `by_photographs`.
    """
    recipe = read_recipe(project, "balance")
    found = select(
        read_table(project.attributes, hint="run `dvc repro attributes`"), recipe, by_photographs=by_photographs
    )
    with atomic_folder(project.hr) as target:
        manifest = write_subset(found.subset, recipe["images"], target)
        # Inside: if these cannot be written, no images appear either.
        write_table(project.subset, manifest)
        write_table(project.metrics / "balance.csv", found.groups)
        flat = list(manifest.image_id[manifest[WITHOUT_STRUCTURE]]) if WITHOUT_STRUCTURE in manifest else []
        counted = {WITHOUT_STRUCTURE: len(flat)} if flat else {}
        write_json(project.metrics / "balance.json", found.metrics | counted)
    if flat:
        print(printable(structure_warning(flat, len(manifest))), file=sys.stderr)


@dataclass(frozen=True)
class Selection:
    """A chosen test set.

    Attributes
    ----------
    subset : DataFrame
        The chosen rows, sorted by image id, with the columns ``photograph`` (which images are tiles of one), ``group``,
        ``order`` (1 for the image chosen first: the first n in this order are a balanced set of n), and the groups of
        each attribute that is grouped.
    metrics : dict
        Scalars: counts of images and photographs, joint entropies in bits, and how far the selection is from the pool.
    groups : DataFrame
        One row per group or joint cell: its attributes' groups, images of the pool, images chosen.
    """

    subset: pd.DataFrame
    metrics: dict[str, Any]
    groups: pd.DataFrame


def select(table: pd.DataFrame, recipe: dict[str, Any], *, by_photographs: bool = True) -> Selection:
    """Select images evenly over photographs, then over groups; see `ida_rd.balance.selection.sequence`.

    Independent of the order of the rows. Within a group the images are taken in a seeded order.

    Parameters
    ----------
    table : DataFrame
        ``data/attributes.csv``; without a column ``file``, every image is a photograph of its own.
    recipe : dict
        ``method`` (kmeans or stratified), ``size``, ``seed``, ``groups`` (of kmeans), ``attributes`` (how each is
        grouped; may be empty for kmeans, which then clusters the attributes as they are), ``least_probability``,
        ``images``, of which ``photograph_before`` counts; see `ida_rd.core.candidates.photograph_of`.
    by_photographs : bool
        Without, nothing is known of photographs, as in bundles of version 1.

    Raises
    ------
    UserError
        Fewer candidates than `size`, or attributes that cannot be grouped as asked.
    """
    table = table.sort_values("image_id", ignore_index=True)
    rules = recipe["attributes"]
    names = list(rules) or [name for name in table.columns if name not in PLACE and ":" not in name]
    candidates = len(table)
    table, left_out = _usable(table, names, rules, recipe["least_probability"])
    if by_photographs:
        before = recipe.get("images", {}).get("photograph_before")
        files = table.get("file", table.image_id)
        table["photograph"] = [photograph_of(str(file), before) for file in files]
    joint = cells(table, rules) if rules else None
    if recipe["method"] == "stratified":
        assert joint is not None  # `plan` refuses it without rules
        group = joint.of
    else:
        group = k_means_groups(_features(table, names, joint), recipe["groups"], recipe["seed"])
    even_quotas(np.bincount(group), recipe["size"])  # refuses too large a size
    largest_first = recipe["method"] == "kmeans"
    order = sequence(
        table.image_id, group, recipe["seed"], largest_first=largest_first, photographs=table.get("photograph")
    )[: recipe["size"]]
    table["group"] = group
    subset = table.iloc[order].assign(order=np.arange(1, len(order) + 1))
    described = joint or Cells(pd.DataFrame({"cluster": np.arange(recipe["groups"])}), group)
    if joint is not None:
        for name in rules:
            subset[name] = joint.table[name].to_numpy()[joint.of[order]]
    subset = subset.sort_values("image_id", ignore_index=True)
    metrics, groups = _report(described, order)
    spread: dict[str, int] = {}
    if by_photographs:
        tiles = subset.photograph.value_counts()
        spread = {"photographs": len(tiles), "most_tiles_of_a_photograph": int(tiles.max())}
    return Selection(
        subset[[c for c in subset if c in PLACE or c in MADE or c in rules]],
        {
            "candidates": candidates,
            "left_out": candidates - len(table),
            **{f"left_out_{reason}": count for reason, count in left_out.items()},
            **spread,
            **metrics,
        },
        groups,
    )


def _usable(
    table: pd.DataFrame, names: list[str], rules: dict[str, Any], least_probability: float
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave out images without an attribute, with an uncertain one, or with a label in no group, and say so."""
    if missing := [name for name in names if name not in table]:
        known = [name for name in table.columns if name not in PLACE and ":" not in name]
        raise UserError(f"balance.attributes: no source gives {missing[0]!r}; {did_you_mean(missing[0], known)}")
    reasons = {"without_attribute": table[names].isna().any(axis=1)}
    uncertain = pd.Series(False, index=table.index)
    for name in names:
        if name + PROBABILITY in table:
            uncertain |= table[name + PROBABILITY] < least_probability
    reasons["uncertain"] = uncertain
    reasons["in_no_group"] = pd.Series(cells(table, rules).of < 0 if rules else False, index=table.index)
    gone = pd.Series(False, index=table.index)
    counts = {}
    for reason, mask in reasons.items():
        counts[reason] = int((mask & ~gone).sum())
        gone |= mask
    if gone.any():
        said = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items() if count)
        print(f"warning: balance: {int(gone.sum())} of {len(table)} images are left out: {said}", file=sys.stderr)
    return table[~gone].reset_index(drop=True), counts


def _features(table: pd.DataFrame, names: list[str], joint: Cells | None) -> NDArray[np.float64]:
    """What K-means clusters: the groups where attributes are grouped, otherwise the attributes as they are."""
    if joint is None:
        return features(table, names)
    found = joint.table.iloc[joint.of].reset_index(drop=True)
    ordered = {}
    for name in names:
        # The groups of a number have an order, those of labels have none.
        numeric = pd.api.types.is_numeric_dtype(table[name])
        place = {group: i for i, group in enumerate(dict.fromkeys(joint.table[name]))}
        ordered[name] = found[name].map(place).astype(float) if numeric else found[name]
    return features(pd.DataFrame(ordered), names)


def _report(joint: Cells, order: NDArray[np.int64]) -> tuple[dict[str, Any], pd.DataFrame]:
    chosen = np.zeros(len(joint.of), dtype=bool)
    chosen[order] = True
    pool, counts = joint.counts(), joint.counts(chosen)
    size = int(counts.sum())
    metrics = {
        "images": size,
        "groups": len(joint.table),
        "empty_groups": int((pool == 0).sum()),
        "joint_entropy_bits": entropy(counts),
        "maximum_entropy_bits": maximum_entropy(size, np.full(len(pool), size)),
        "pool_allows_bits": maximum_entropy(size, pool),
        "pool_entropy_bits": entropy(pool),
        # Half the sum of absolute differences of shares: 0 where the selection is like the pool, 1 at most.
        "total_variation_from_pool": float(np.abs(counts / size - pool / pool.sum()).sum() / 2),
    }
    quota = math.ceil(size / len(pool))
    return metrics, joint.table.assign(pool=pool, chosen=counts, short=np.minimum(pool - quota, 0) * -1)


def write_subset(subset: pd.DataFrame, images: dict[str, Any], target: Path) -> pd.DataFrame:
    """Write the chosen rectangles as PNG files and return the data set's manifest.

    It has a column ``without_structure`` if any image is without: see `ida_rd.balance.structure`.

    Parameters
    ----------
    subset : DataFrame
        From a `Selection`. A missing rectangle stands for the whole image.
    images : dict
        ``path``, the folder; ``multiple``, the least common multiple of the factors; ``resize`` and ``resize_filter``,
        if the rectangles are squares that are reduced: the manifest's hashes are of what is written, its rectangles of
        where that is in the files.

    Raises
    ------
    UserError
        A file changed or vanished since its attributes were computed.
    """
    rows = []
    last: tuple[str, NDArray[np.uint8]] | None = None
    for row in subset.sort_values(["file", "y", "x"]).to_dict("records"):
        file = row["file"]
        try:
            if last is None or last[0] != file:
                known = row.get("sha256")  # no text, or an empty one, where no image was opened
                sha256 = known if isinstance(known, str) and known else None
                last = (file, read_candidate_file(file, images["path"], sha256=sha256))
            image = last[1]
            if math.isnan(row["width"]):
                size = (image.shape[1], image.shape[0])
                whole = rectangles(row["image_id"], *size, None, images["multiple"], images.get("resize"))
                row |= dict(zip(("x", "y", "width", "height"), whole[0][1:], strict=True))
        except ImageError as error:
            raise UserError(f"{file}: {error}; fix or `touch` it, then run `make repro` again") from None
        place = {key: int(row[key]) for key in ("x", "y", "width", "height")}
        tile = cut(image, **place)
        if tile.shape != (place["height"], place["width"], 3):
            raise UserError(f"{file}: changed while the pipeline ran; run `make repro` again")
        if "resize" in images:
            tile = reduced(tile, images["resize"], images["resize_filter"])
        write_png(target / f"{row['image_id']}.png", tile)
        kept = {key: value for key, value in row.items() if key not in PLACE}
        found = {"pixels_sha256": pixels_sha256(tile), WITHOUT_STRUCTURE: not has_structure(tile)}
        rows.append({"image_id": row["image_id"], **kept, "file": file, **place, **found})
    manifest = pd.DataFrame(rows).sort_values("image_id", ignore_index=True)
    # A column that says nothing would give every test set another hash than it had.
    return manifest if manifest[WITHOUT_STRUCTURE].any() else manifest.drop(columns=WITHOUT_STRUCTURE)
