"""The pipeline in one process: the stages that ``dvc.yaml`` names, in their order, on the same files.

DVC decides what must run again and keeps what was made; the numbers do not depend on it. `run` gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ida_rd.adapt.stage import write_adapted
from ida_rd.aggregate.results import Results
from ida_rd.aggregate.stage import write_results
from ida_rd.attributes.stage import write_attributes
from ida_rd.balance.stage import write_test_set
from ida_rd.core.project import Branch, Project
from ida_rd.core.software import needs
from ida_rd.distort.stage import write_distances
from ida_rd.downscale.stage import write_lr
from ida_rd.engine.lock import working
from ida_rd.engine.script import store_of
from ida_rd.engine.store import Store
from ida_rd.plan.stage import write_plan
from ida_rd.surprise.stage import write_surprise
from ida_rd.upscale.stage import write_sr

__all__ = ["branches_of", "choose_images", "compute_branches", "run"]


def branches_of(recipes: dict[str, dict[str, Any]]) -> list[Branch]:
    """The branches that a plan names; skipped ones are among them, and pass on the reason."""
    paths = [path.split("/") for path in recipes if path.startswith("upscale/")]
    return [Branch(upscaler, int(factor[1:]), downscaler) for _, factor, upscaler, downscaler in paths]


def choose_images(project: Project, store: Store, *, by_photographs: bool = True) -> None:
    """From the plan to the test set; see `ida_rd.balance.stage.select`."""
    write_attributes(project, store)
    write_test_set(project, by_photographs=by_photographs)


def compute_branches(project: Project, branches: Sequence[Branch], store: Store) -> None:
    """From the test set to the distances of some branches."""
    for name, factor in dict.fromkeys((branch.downscaler, branch.factor) for branch in branches):
        write_lr(project, name, factor, store)
    for branch in branches:
        if (project.plan / "adapt" / f"x{branch.factor}" / branch.upscaler / f"{branch.downscaler}.json").is_file():
            write_adapted(project, branch, store)
        write_sr(project, branch, store)
        write_distances(project, branch, store)


def run(project: Project, *, store: Store | None = None, with_report: bool = True) -> Results:
    """Run everything that ``params.yaml`` asks for, from the images to the page.

    Finished units are taken from the store; every stage's output is rewritten.

    Parameters
    ----------
    project : Project
        Folder of ``params.yaml``. Relative paths in it are found from the working directory.
    store : Store, optional
        Where finished units are kept; default: the project's own.
    with_report : bool
        Whether figures and page are wanted.

    Returns
    -------
    Results
    """
    if with_report:
        needs("jinja2")  # now, not after hours
    store = store or store_of(project)
    with working(project):
        recipes = write_plan(project)
        choose_images(project, store)
        compute_branches(project, branches_of(recipes), store)
        write_surprise(project, store)
        results = write_results(project)
        if with_report:
            from ida_rd.report.stage import write_report  # whoever scores draws no page

            write_report(project)
    return results
