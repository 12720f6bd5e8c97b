"""``study.yaml``: what an experiment compares with what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ida_rd.core.methods import Parameters

__all__ = ["Panel", "Paper", "Study"]

Level = int | float | str


class Panel(Parameters):
    """Conditions that belong together, and the level or label of each; ``axis`` says what the levels are."""

    axis: str = ""
    conditions: dict[str, Level] = Field(min_length=1)


class Paper(Parameters):
    """What the paper reports: where, with which upscaler and on what data, and its score of each condition."""

    source: str
    note: str = ""
    scores: dict[str, float] = Field(default_factory=dict)


class Study(Parameters):
    """``study.yaml``."""

    kind: Literal["ladders", "threshold", "order", "ranking"]
    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    claim: str | None = None
    panels: dict[str, Panel]
    baseline: str | None = None
    paper: Paper | None = None
    notes: list[str] = Field(default_factory=list)
