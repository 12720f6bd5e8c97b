"""Shards: a stage's units shared among processes that know nothing of each other, with no scheduler.

``IDA_RD_SHARD``
    ``3/16``: the third of sixteen shares. ``slurm``: the share of this task of a SLURM array, by its variables.

A stage that runs with it (``python stages/upscale.py NAME FACTOR DOWNSCALER``) computes its share of the units that are
open into the store, says so, and ends without writing its output; as many as there are shares may run at once, on any
hosts that see the folder. The same command without the setting finds all of them, and assembles.

A unit belongs to a share by its position among all of the stage's units, whatever the store has: so no two shares meet,
and one that runs again does what it has not done.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ida_rd.core.errors import UserError

__all__ = ["Shard", "ShareEnds", "in_a_stage", "shard"]

VARIABLE = "IDA_RD_SHARD"
SLURM = "SLURM_ARRAY_TASK_"
_stage = False


class ShareEnds(SystemExit):
    """A share is computed: the stage ends here, with exit code 0 and without its output."""

    def __init__(self) -> None:
        super().__init__(0)


@dataclass(frozen=True)
class Shard:
    """One of several shares.

    Attributes
    ----------
    number : int
        From 0.
    count : int
    """

    number: int
    count: int

    def has(self, position: int) -> bool:
        """Whether the unit at this position of the list is in it."""
        return position % self.count == self.number

    def __str__(self) -> str:
        return f"share {self.number + 1} of {self.count}"


def in_a_stage(yes: bool) -> None:
    """Say that this process runs the script of a stage: nothing else takes a share."""
    global _stage
    _stage = yes


def shard() -> Shard | None:
    """Return the share that the environment names; None: all is to be done.

    Raises
    ------
    UserError
        A setting that names none; or this is DVC's run, or no stage's script.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if "DVC_STAGE" in os.environ:
        raise UserError(
            f"{VARIABLE} is {text!r}, and DVC removes a stage's output before it runs: run the stage itself, as"
            " `python stages/upscale.py NAME FACTOR DOWNSCALER`, or unset it"
        )
    found = _of_slurm() if text == "slurm" else _of_text(text)
    if not _stage:
        raise UserError(
            f"{VARIABLE} is {text!r}, and only a stage computes a share, as `python stages/upscale.py NAME FACTOR"
            " DOWNSCALER`: unset it"
        )
    return found


def _of_text(text: str) -> Shard:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"{VARIABLE} is {text!r}: give a share and their number, 1/16 to 16/16, or slurm, or unset it")
    return Shard(int(match[1]) - 1, int(match[2]))


def _of_slurm() -> Shard:
    """The share of a task, whatever the ids of its array begin with and however far they are apart."""

    def value(name: str) -> int:
        text = os.environ.get(SLURM + name, "").strip()
        if not text.isdigit():
            raise UserError(
                f"{VARIABLE} is 'slurm', and {SLURM}{name} is {text!r}: this is no task of an array (sbatch"
                " --array=1-16); give a share, as 3/16"
            )
        return int(text)

    task, count, least, most = value("ID"), value("COUNT"), value("MIN"), value("MAX")
    step = (most - least) // (count - 1) if count > 1 else 1
    number, rest = divmod(task - least, max(step, 1))
    if rest or not 0 <= number < count or least + (count - 1) * step != most:
        raise UserError(
            f"{VARIABLE} is 'slurm', and the ids of its array have gaps ({count} from {least} to {most}): use an array"
            " as 1-16, or give a share, as 3/16"
        )
    return Shard(number, count)
