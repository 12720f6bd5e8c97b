"""What ``resizers.yaml`` asks."""

from __future__ import annotations

from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters

__all__ = ["Question", "Settings", "group_of"]


class Question(Parameters):
    """Key of ``questions`` in ``resizers.yaml``."""

    title: str
    threads: list[str] = Field(default_factory=list)
    pairs: list[tuple[str, str]] = Field(min_length=1)
    kernels: list[str] = Field(default_factory=list)
    factor: int | None = None  # that the question is about, where it is about one
    control: bool = False  # of functions that are one: what they differ by is no difference of the others


class Settings(Parameters):
    """``resizers.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    preset: str
    groups: dict[str, str]
    questions: dict[str, Question]


def group_of(image_id: str, groups: dict[str, str]) -> str:
    """The group that an image's name begins with."""
    found = image_id.split("-")[0]
    if found not in groups:
        raise UserError(f"resizers.yaml: groups: {image_id} begins with none of {', '.join(groups)}: name its group")
    return found
