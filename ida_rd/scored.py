"""What `ida_rd.score` returns: tables to look at and to save."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.amounts import amounts_markdown
from ida_rd.aggregate.own import own_markdown
from ida_rd.aggregate.results import flat_images
from ida_rd.aggregate.tables import differences_markdown, disagreement_note, flat_note, markdown_table
from ida_rd.amounts import BLURS
from ida_rd.core.amounts import amount_words
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, write_text
from ida_rd.core.tables import write_table
from ida_rd.core.temporary import remove_stale, temporary_folder
from ida_rd.core.typeset import counted, interval

__all__ = ["SAVED", "Result", "check_target"]

TABLES, TEXT = ("scores", "differences", "images", "rows"), "scores.md"
LADDER = "ladder"
SAVED = (*(f"{name}.csv" for name in TABLES), TEXT)  # and the ladder's, if there is one


@dataclass(frozen=True)
class Result:
    """The result of scoring.

    Attributes
    ----------
    scores : DataFrame
        One row per upscaler, factor, downscaler and distortion; see ``metrics/tables/ida_rd.csv`` in the docs.
    differences : DataFrame
        One row per pair of downscalers and distortion: paired difference, interval, p, corrected p.
    images : DataFrame
        Image means. ``rows`` has every sample.
    rows : DataFrame
    skipped : dict
        What could not be computed, and why.
    recipe : dict
        What was checked and run: parameters, hashes of code and weights, descriptions of the distortions.
    own : DataFrame
        What the upscalers say of their own samples, such as the share that converged; empty if they say nothing.
    ladder : DataFrame
        What bicubic with rising blurs loses, where blur-equivalents were asked for; otherwise empty.
    """

    scores: pd.DataFrame
    differences: pd.DataFrame
    images: pd.DataFrame
    rows: pd.DataFrame
    skipped: dict[str, str]
    recipe: dict[str, Any]
    own: pd.DataFrame = field(default_factory=pd.DataFrame)
    ladder: pd.DataFrame = field(default_factory=pd.DataFrame)

    def markdown(self) -> str:
        """Return the table of scores, as Markdown; below it, what they amount to, and what upscalers say of samples."""
        recipe = self.recipe
        flat = flat_images(self.images)
        distortions, confidence = recipe["distortions"], recipe["confidence"]
        table = markdown_table(
            *(self.scores, distortions, recipe["distortion_order"], self.skipped, confidence, flat),
            primary=recipe.get("primary"),
            disagreeing=disagreement_note(self.differences, distortions, recipe["distortion_order"], 1 - confidence),
        )
        if len(self.ladder):
            table += (
                f"\n{amounts_markdown(self.scores, distortions, recipe['distortion_order'], confidence, BLURS[-1])}"
            )
        return table + (f"\n{own_markdown(self.own, recipe['upscalers'])}" if len(self.own) else "")

    def differences_markdown(self) -> str:
        """Return the paired differences by the leading distortion, as Markdown."""
        lead = self.recipe["distortion_order"][0]
        label = self.recipe["distortions"][lead]["label"]
        return differences_markdown(self.differences, lead, label, self.recipe["confidence"])

    def __repr__(self) -> str:
        return self.markdown()

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        order, distortions = self.recipe["distortion_order"], self.recipe["distortions"]
        lead = order[0]
        cells = self.scores.assign(
            text=[
                interval(mean, low, high)
                for mean, low, high in zip(self.scores["mean"], self.scores.ci_low, self.scores.ci_high, strict=True)
            ]
        )
        if len(self.ladder):
            words = [amount_words(row, BLURS[-1]) for row in self.scores.to_dict("records")]
            cells["text"] += pd.Series(words, cells.index).map("; blur {}".format)
        index = ["upscaler", "factor", "downscaler"]
        wide = cells.pivot_table("text", index, "distortion", aggfunc="first", sort=False)[order]
        leading = self.scores[self.scores.distortion == lead].set_index(index)["mean"]
        ranked = leading.sort_values(ascending=distortions[lead]["better"] == "lower", kind="stable").index
        arrows = {name: "↓" if distortions[name]["better"] == "lower" else "↑" for name in order}
        wide = wide.loc[ranked].rename(columns={name: f"{distortions[name]['label']} {arrows[name]}" for name in order})
        wide.columns.name = None
        count, samples = int(self.scores.images.max()), int(self.scores.samples.max())
        note = (
            f"Mean over photographs [{self.recipe['confidence']:.0%} interval];"
            f" N = {counted(int(self.scores.photographs.max()), count)}, K = {samples} samples."
        )
        notes = "".join(
            f"<br><b>Skipped: {name}</b>, because {escape(reason)}." for name, reason in self.skipped.items()
        )
        if flat := flat_images(self.images):
            note += f" {flat_note(flat, count)}"
        if len(self.ladder):
            note += " blur: of so many LR pixels, by which bicubic loses as much; share of the way to nearest."
        return wide.to_html() + f"<p>{note}{notes}</p>"

    def save(self, folder: Path | str) -> None:
        """Write all tables as CSV, and the Markdown, into a folder: all of them or none.

        Raises
        ------
        UserError
            Where `check_target` does.
        """
        folder = Path(folder)
        check_target(folder)
        if not folder.is_dir():
            with atomic_folder(folder) as made:
                self._write(made)
            return
        remove_stale(folder)
        with temporary_folder(folder) as partial:
            self._write(partial)
            for name in [*([f"{LADDER}.csv"] if len(self.ladder) else []), *SAVED]:
                (partial / name).rename(folder / name)

    def _write(self, folder: Path) -> None:
        for name in (*TABLES, LADDER) if len(self.ladder) else TABLES:
            write_table(folder / f"{name}.csv", getattr(self, name))
        write_text(folder / TEXT, self.markdown() + "\n" + self.differences_markdown())


def check_target(folder: Path | str) -> None:
    """Refuse a folder for `Result.save` that is a file, or has a file that would be overwritten."""
    folder = Path(folder)
    if folder.is_dir():
        if there := [name for name in (*SAVED, f"{LADDER}.csv") if os.path.lexists(folder / name)]:
            raise UserError(f"{folder} has {' and '.join(there)} already: choose another folder, or move them away")
    elif os.path.lexists(folder):
        raise UserError(f"{folder} is a file: give a folder")
