"""From the rows of a run to what a study judges: image by image, and condition by condition.

``images.csv`` of a study's results has all that its tests need: whoever prefers other tests can run them on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.statistics import Photographs, Score, summarise
from ida_rd.core.errors import UserError
from ida_rd.core.tables import read_table

__all__ = ["Condition", "images_of", "of_images", "of_rows", "photographs_in", "rounded"]

DIGITS = 6  # significant, of the scores in images.csv
KEYS = ("upscaler", "factor", "downscaler")


@dataclass(frozen=True)
class Condition:
    """What one condition scores under one upscaler and factor, and what became of its samples.

    Attributes
    ----------
    score : Score
    means : Series
        Mean over samples by image id.
    photographs : int
        With a score.
    most : int
        Samples of the image that has most.
    samples, lost : int
        Samples, and those of them that were never finite.
    first_draw_failures : float
        Share of the samples whose first draw was not finite.
    clipped : float
        Mean share of sub-pixels outside [0, 1], over finite samples.
    """

    score: Score
    means: pd.Series
    photographs: int
    most: int = 1
    samples: int = 1
    lost: int = 0
    first_draw_failures: float = 0.0
    clipped: float = 0.0


def photographs_in(path: Path) -> Photographs | None:
    """Which images are tiles of one photograph, by ``subset.csv``; None if it does not say."""
    table = read_table(path, hint="run `dvc repro balance`")
    if "photograph" not in table:
        return None
    return dict(zip(table.image_id.astype(str), table.photograph.astype(str), strict=True))


def images_of(rows: pd.DataFrame, lead: str, photographs: Photographs | None) -> pd.DataFrame:
    """One row per image: its photograph, what became of its samples, and their mean by the leading distortion."""
    table = rows.sort_values(["image_id", "sample"])
    finite = table[table.finite].groupby("image_id", sort=True)
    table = table.assign(failed=(table.attempts > 1) | ~table.finite, lost=~table.finite)
    found = table.groupby("image_id", sort=True).agg(
        samples=("sample", "size"), first_draw_failures=("failed", "sum"), lost=("lost", "sum")
    )
    found["clipped"] = finite["clipped"].mean()
    found[lead] = finite[lead].mean()
    found = found.reset_index()
    if photographs is not None and (odd := sorted(set(found.image_id) - photographs.keys())):
        raise UserError(f"data/subset.csv has no image {odd[0]}, of which data/distortion has rows: run `dvc repro`")
    names = found.image_id if photographs is None else found.image_id.map(photographs)
    found.insert(1, "photograph", names)
    return found


def of_rows(
    rows: pd.DataFrame, images: pd.DataFrame, lead: str, photographs: Photographs | None, confidence: float
) -> Condition:
    """A condition from the rows of its samples; `images` from `images_of`."""
    score, means = summarise(rows, lead, photographs, confidence=confidence)
    return _condition(score, means, images)


def of_images(images: pd.DataFrame, lead: str, confidence: float) -> Condition:
    """The same from its images alone; of samples' spread the score says nothing then."""
    rows = images.assign(sample=0, finite=images[lead].notna())
    photographs = dict(zip(images.image_id, images.photograph.astype(str), strict=True))
    score, means = summarise(rows, lead, photographs, confidence=confidence)
    return _condition(score, means, images)


def _condition(score: Score, means: pd.Series, images: pd.DataFrame) -> Condition:
    samples = int(images.samples.sum())
    kept = images.samples - images.lost
    return Condition(
        score=score,
        means=means,
        photographs=int(images[images.image_id.isin(means.index)].photograph.nunique()),
        most=int(images.samples.max()),
        samples=samples,
        lost=int(images.lost.sum()),
        first_draw_failures=float(images.first_draw_failures.sum()) / samples,
        clipped=float((images.clipped.fillna(0) * kept).sum() / max(1, int(kept.sum()))),
    )


def rounded(tables: dict[tuple[str, int, str], pd.DataFrame], lead: str) -> pd.DataFrame:
    """All images of all conditions as ``images.csv`` has them: sorted, scores with `DIGITS` significant digits."""
    found = []
    for key, table in sorted(tables.items()):
        keys: dict[str, Any] = dict(zip(KEYS, key, strict=True))
        clipped = table.clipped.map(lambda value: float(f"{value:.3g}"))
        scores = table[lead].map(lambda value: float(f"{value:.{DIGITS}g}"))
        found.append(table.assign(**keys, **{"clipped": clipped, lead: scores}))
    joined = pd.concat(found, ignore_index=True)
    return joined[[*KEYS, *(c for c in joined if c not in KEYS)]]
