"""What a checkpoint of an IRN is by the names of its tensors, read without torch: ``plan`` asks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.headers import read_header

__all__ = ["HAAR", "blocks_of", "check_factor"]

OPERATION = re.compile(r"(?:module\.)?operations\.([0-9]{1,4})\.(.+)")
HAAR = "haar_weights"


def blocks_of(names: Iterable[str]) -> tuple[int, ...]:
    """Coupling blocks after each Haar step, by the names of the tensors.

    Raises
    ------
    ValueError
        They are not those of an IRN.
    """
    found = [match for name in names if (match := OPERATION.fullmatch(name))]
    present = {int(match[1]) for match in found}
    steps = sorted(int(match[1]) for match in found if match[2] == HAAR)
    if not steps or steps[0] != 0 or present != set(range(len(present))):
        raise ValueError(
            f"it has no tensor operations.0.{HAAR}" if 0 not in steps else "some of its blocks are missing"
        )
    ends = [*steps[1:], len(present)]
    return tuple(end - start - 1 for start, end in zip(steps, ends, strict=True))


def check_factor(path: Path, factor: int) -> None:
    """Refuse a file that is not an IRN of the factor.

    Raises
    ------
    UserError
        Says what it is instead.
    """
    try:
        blocks = blocks_of(read_header(path).names)
    except ValueError as error:
        raise UserError(f"{path} is not an IRN network ({error}): give the file of one") from None
    if 2 ** len(blocks) != factor:
        raise UserError(f"{path} is an IRN network for factor {2 ** len(blocks)}, not {factor}: give one for {factor}")
