"""``study.yaml``: what an experiment compares with what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ida_rd.core.methods import Parameters

__all__ = ["Cell", "Equivalence", "Panel", "Paper", "Study"]

Level = int | float | str
Cell = float | tuple[float, float]  # a score, or its mean and standard deviation


class Panel(Parameters):
    """Conditions that belong together, and the level or label of each; ``axis`` says what the levels are."""

    axis: str = ""
    conditions: dict[str, Level] = Field(min_length=1)
    log: float | None = None  # levels are drawn by their distance from this one, on a logarithmic axis
    aside: bool = False  # shown, but no part of the claim


class Paper(Parameters):
    """What the paper reports: columns by their title, each of scores of conditions, and rho by panel, as printed."""

    source: str
    note: str = ""
    columns: dict[str, dict[str, Cell]] = Field(default_factory=dict)
    spearman: dict[str, float] = Field(default_factory=dict)

    def means(self) -> dict[str, dict[str, float]]:
        """The columns without standard deviations."""
        return {
            title: {name: cell[0] if isinstance(cell, tuple) else cell for name, cell in column.items()}
            for title, column in self.columns.items()
        }


class Equivalence(Parameters):
    """Which differences are too small to matter, in the unit of ``distortion``, and why."""

    margin: float = Field(gt=0)
    distortion: str
    reason: str


class Study(Parameters):
    """``study.yaml``."""

    kind: Literal["ladders", "threshold", "order", "ranking"]
    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    claim: str | None = None
    panels: dict[str, Panel]
    baseline: str | None = None
    equivalence: Equivalence | None = None
    paper: Paper | None = None
    notes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _paper_speaks_of_these(self) -> Study:
        known = {name for panel in self.panels.values() for name in panel.conditions}
        for title, column in (self.paper.columns if self.paper else {}).items():
            if odd := sorted(column.keys() - known):
                raise ValueError(f"paper.columns.{title}: no panel has the condition {odd[0]}")
        if odd := sorted((self.paper.spearman if self.paper else {}).keys() - self.panels.keys()):
            raise ValueError(f"paper.spearman: no panel is called {odd[0]}")
        return self

    def margin(self, lead: str) -> float | None:
        """The margin within which two are called alike; None: none is set for the distortion that leads."""
        return self.equivalence.margin if self.equivalence and self.equivalence.distortion == lead else None
