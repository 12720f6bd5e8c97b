"""How a stage's script runs: for as long as DVC lives, with its errors in one line."""

from __future__ import annotations

from collections.abc import Callable

from ida_rd.core.errors import exit_with_line
from ida_rd.core.project import Project
from ida_rd.engine.lifetime import end_with_parent
from ida_rd.engine.store import Store

__all__ = ["run_stage", "store_of"]


def store_of(project: Project) -> Store:
    """The store of a project's finished units."""
    return Store(project.state / "store")


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's script; a `UserError` becomes one line on stderr and exit code 2."""
    end_with_parent()
    exit_with_line(main)
