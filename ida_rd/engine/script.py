"""How a stage's script runs: for as long as DVC lives, with its errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from ida_rd.core.errors import exit_with_line
from ida_rd.core.files import guarded
from ida_rd.core.project import Project
from ida_rd.engine.lifetime import end_with_parent
from ida_rd.engine.shards import ShareEnds, in_a_stage, shard
from ida_rd.engine.store import Store

__all__ = ["run_stage", "store_of"]

OUTPUTS = ("data", "metrics")


def store_of(project: Project) -> Store:
    """The store of a project's finished units, beside which it is kept what they took."""
    return Store(project.state / "store", project.times)


def run_stage(main: Callable[[], None], *, shares: bool = False) -> None:
    """Run a stage's script; a `UserError` becomes one line on stderr and exit code 2.

    Parameters
    ----------
    main : callable
    shares : bool
        Whether it has units, of which it may compute a share: see `ida_rd.engine.shards`.
    """
    end_with_parent()

    def run() -> None:
        with nullcontext() if shard() is None else guarded(_no_output):
            main()

    in_a_stage(shares)
    try:
        exit_with_line(run)
    finally:
        in_a_stage(False)


def _no_output(path: Path) -> None:
    """End the stage before it writes an output: so far a share comes when every unit is finished."""
    here = Path.cwd()
    if any((here / path).is_relative_to(here / folder) for folder in OUTPUTS):
        print(
            f"{shard()}: nothing is left to compute; run without IDA_RD_SHARD to assemble", file=sys.stderr, flush=True
        )
        raise ShareEnds
