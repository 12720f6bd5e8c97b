"""Cards of an upscaler on a folder of HR images, in one call; and how cards are written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ida_rd.calibration.branch import LEAST_SAMPLES, calibrate_branch
from ida_rd.calibration.card import Card
from ida_rd.calibration.draw import cards_figure
from ida_rd.calibration.energy import energy_differences, energy_markdown
from ida_rd.calibration.glance import glance_figure, several
from ida_rd.calibration.resampling import Settings
from ida_rd.calibration.text import Cards, cards_curves, cards_latex, cards_markdown, cards_table
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.pairs import FEWEST
from ida_rd.core.project import Branch
from ida_rd.core.tables import write_table
from ida_rd.downscale.stage import write_lr
from ida_rd.plan.stage import write_recipes
from ida_rd.report.figures import save
from ida_rd.scoring import prepared
from ida_rd.upscale.stage import write_sr

__all__ = ["calibrate", "check_new", "records", "refuse_deterministic", "write_cards"]


def calibrate(
    upscaler: Mapping[str, Any] | str,
    images: Path | str,
    *,
    downscalers: Sequence[str] = ("bicubic",),
    factor: int = 4,
    samples: int = 5,
    photograph_before: str | None = None,
    settings: Settings | None = None,
) -> tuple[dict[Branch, Card], tuple[str, ...]]:
    """Downscale, reconstruct K times, and hold the samples against exact ones.

    Parameters
    ----------
    upscaler : dict or str
        A method as in ``params.yaml``, or its name.
    images : path
        Folder of HR images.
    downscalers : sequence of str
        Names, as for `ida_rd.score`.
    factor, samples : int
        K of at least `LEAST_SAMPLES`.
    photograph_before : str, optional
        As for `ida_rd.score`.
    settings : Settings, optional

    Returns
    -------
    cards : dict
        By branch.
    notes : tuple of str
        What was left out.

    Raises
    ------
    UserError
        Whatever is wrong with the input, in one line; the upscaler is deterministic, or K too small.
    """
    settings = settings or Settings()
    if samples < LEAST_SAMPLES:
        raise UserError(f"samples: K is {samples}: calibration needs at least {LEAST_SAMPLES} samples per image")
    cards: dict[Branch, Card] = {}
    notes = []
    with prepared(
        {name: name for name in downscalers},
        images,
        factor=factor,
        upscaler=upscaler,
        samples=samples,
        distortions={"psnr": {"method": "pixel"}},  # a plan has one; it is not computed
        seed=settings.seed,
        missing_weights="error",
        confidence=settings.confidence,
        resamples=10000,
        photograph_before=photograph_before,
    ) as run:
        recipe = run.recipes["aggregate"]
        refuse_deterministic(recipe)
        if (count := len(set(run.tiles.values()))) < FEWEST:
            raise UserError(
                f"HR images: of {count} photographs: give at least {FEWEST}; an interval over fewer says nothing"
            )
        write_recipes(run.recipes, run.project.plan)
        for branch in (Branch.of(record) for record in recipe["branches"]):
            write_lr(run.project, branch.downscaler, branch.factor, run.store)
            write_sr(run.project, branch, run.store)
            downscaler = run.recipes[f"downscale/x{branch.factor}/{branch.downscaler}"]
            cards[branch], left_out = calibrate_branch(run.project, branch, downscaler, run.tiles, settings)
            notes += [f"{branch.title}: {left_out} images left out: a sample was not finite."] if left_out else []
    return cards, tuple(notes)


def refuse_deterministic(recipe: Mapping[str, Any]) -> None:
    """Raise for an upscaler of a plan that has no samples to calibrate."""
    for key, known in recipe["upscalers"].items():
        if "deterministic" in known["marks"]:
            raise UserError(f"upscaler {key.partition('/')[2]}: is deterministic: it has no samples to calibrate")


def check_new(folder: Path) -> None:
    """Refuse to write cards where something is."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: name a new folder")


def records(cards: Cards) -> list[dict[str, Any]]:
    """The cards as JSON: names, verdict, and all rows; an unknown number is null."""
    return [
        {
            "upscaler": branch.upscaler,
            "factor": branch.factor,
            "downscaler": branch.downscaler,
            "verdict": {word: list(spaces) for word, spaces in card.verdict.items()},
            "samples": card.samples,
            "images": card.images,
            "photographs": card.photographs,
            "confidence": card.settings.confidence,
            "rows": [
                {key: None if value != value else value for key, value in row.items()}
                for row in card.rows.to_dict("records")
            ],
        }
        for branch, card in cards.items()
    ]


def write_cards(cards: Cards, folder: Path, title: str, notes: tuple[str, ...] = ()) -> None:
    """Write ``calibration.csv``, ``.md``, ``.json``, ``.tex`` and the figure, and what it draws as ``curves.csv``.

    Of several decoders there are ``glance.png`` and ``energy.csv`` besides.
    """
    with atomic_folder(folder) as made:
        add_cards(cards, made, title, notes)


def add_cards(cards: Cards, folder: Path, title: str, notes: tuple[str, ...] = ()) -> None:
    """The same, into a folder that is being made."""
    write_table(folder / "calibration.csv", cards_table(cards))
    write_table(folder / "curves.csv", cards_curves(cards))
    shown = ["glance", "calibration"] if several(cards) else ["calibration"]
    text = cards_markdown(cards, title, notes)
    if len(paired := energy_differences(cards)):
        write_table(folder / "energy.csv", paired)
        text += "\n" + "\n".join(energy_markdown(paired, 1 - next(iter(cards.values())).settings.confidence)) + "\n"
    text += "".join(f"\n![{name}]({name}.png)\n" for name in shown)
    write_text(folder / "calibration.md", text)
    write_text(folder / "calibration.tex", cards_latex(cards))
    write_json(folder / "calibration.json", records(cards))
    # Of several decoders it is a sheet of dozens of panels: megabytes, if it were drawn as finely as one.
    save(cards_figure(cards, title), folder / "calibration", dpi=100 if several(cards) else 200)
    if several(cards):
        save(glance_figure(cards, title), folder / "glance")
