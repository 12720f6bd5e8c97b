"""Compute branches of a bundle again: in a process of its own, which its parent can end.

    python -m ida_rd.bundle.again

works in the current folder, on ``params.yaml``, ``branches.json`` and ``version.json`` (the bundle's), which
`ida_rd.bundle.rerun` has written there, and leaves a project: recipes, test set, rows. What it may run and open has
been decided before.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from ida_rd.aggregate.rate import rates
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_json
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.engine.script import store_of
from ida_rd.pipeline import choose_images, compute_branches
from ida_rd.plan.stage import write_plan

__all__ = ["main"]

LARGEST_FILE = 4 * 2**30


def main() -> None:
    """Choose the test set, compute the branches, and measure the rate of their LR images."""
    _bound_files()
    project = Project(Path())
    branches = [Branch.of(record) for record in read_json("branches.json", hint="run `ida-rd verify`")]
    version = read_json("version.json", hint="run `ida-rd verify`")
    store = store_of(project)
    with _quietly("the test set"):
        write_plan(project, download=False)
        choose_images(project, store, by_photographs=version > 1)
    images = list(read_table(project.subset, hint="").image_id)
    found = []
    for branch in branches:
        with _quietly(branch.title):
            compute_branches(project, [branch], store)
            measured = rates(project.lr, [(branch.downscaler, branch.factor)], images)
        found += [[*key, rate] for key, rate in measured.items()]
        write_json("rates.json", found)


@contextlib.contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Do not show the stages' own messages: only why `what` cannot be computed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except UserError as error:
        raise UserError(f"verify: {what} cannot be computed again here: {error}") from None


def _bound_files() -> None:
    """No file may grow without end, and nothing is dumped."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


if __name__ == "__main__":
    exit_with_line(main)
    sys.exit(0)
