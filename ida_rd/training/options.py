"""A training's settings as options of its command line: a dataclass whose fields explain themselves."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import field, fields
from pathlib import Path
from typing import Any, TypeVar

from ida_rd.core.errors import UserError, did_you_mean

__all__ = ["check_choices", "names", "numbers", "option", "parse"]

Settings = TypeVar("Settings")


def option(default: Any, explanation: str) -> Any:
    """Field of a dataclass of settings, with what ``--help`` says about it."""
    return field(default=default, metadata={"help": explanation})


def check_choices(settings: Any, **choices: Iterable[str]) -> None:
    """Raise UserError if an option names something that does not exist."""
    for name, known in choices.items():
        if (given := getattr(settings, name)) not in known:
            raise UserError(f"--{name.replace('_', '-')} {given}: {did_you_mean(given, known)}")


def names(option: str, text: str, known: Iterable[str]) -> list[str]:
    """The names with commas between them that an option was given; raise UserError if one does not exist."""
    known, given = list(known), text.split(",")
    for name in given:
        if name not in known:
            raise UserError(f"--{option} {text}: {did_you_mean(name, known) if name else 'give a name between commas'}")
    return given


def numbers(option: str, text: str, least: float) -> list[float]:
    """The numbers from `least` up, with commas between them, that an option was given; raise UserError for others."""
    try:
        given = [float(part) for part in text.split(",")]
    except ValueError:
        given = [math.nan]
    if not all(least <= number < math.inf for number in given):
        raise UserError(f"--{option} {text}: give numbers from {least:g} up with commas between them, such as 1,2")
    return given


def parse(settings: type[Settings], *, prog: str, description: str) -> tuple[Settings, dict[str, Any]]:
    """Read a training's command line.

    Parameters
    ----------
    settings : type
        A dataclass of what decides the weights, made of `option`.
    prog, description : str
        What ``--help`` begins with.

    Returns
    -------
    settings
        What was chosen.
    dict
        Where the run reads and writes, which decides nothing else: ``images``, ``validation``, ``out``,
        ``exclude_licence``, ``initial``, ``log_every``, ``save_every``.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--images", type=Path, required=True, help="folder of training photographs")
    parser.add_argument("--validation", type=Path, required=True, help="folder of images that training never sees")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and the log")
    parser.add_argument(
        "--exclude-licence",
        default="",
        metavar="TEXT",
        help="leave out photographs whose licence in LICENSES.csv begins with this",
    )
    parser.add_argument(
        "--initial",
        type=Path,
        metavar="FILE",
        help="weights to continue from, of this or a smaller network; no L1 stage",
    )
    parser.add_argument("--log-every", type=int, default=50, metavar="STEPS", help="steps per line of log.jsonl")
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="steps per checkpoint")
    known = fields(settings)  # type: ignore[arg-type]
    for one in known:
        text = f"{one.metadata['help']} (default: {one.default})"
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default, help=text)
    given = vars(parser.parse_args())
    return settings(**{one.name: given.pop(one.name) for one in known}), given
