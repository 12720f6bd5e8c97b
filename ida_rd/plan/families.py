"""Which blind upscalers of a run have adapted ones of their kind: what the decomposition of the score is made for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ida_rd.core.files import canonical_json

__all__ = ["Trained", "families"]

BY_TRAINING = ("seed",)  # of a budget: what makes it another training of the same kind


@dataclass(frozen=True)
class Trained:
    """An entry of ``adapted`` at a factor.

    Attributes
    ----------
    name : str
    factor : int
    recipe : dict
        What is common to the recipes of its branches.
    budget : dict
        Of its training.
    photographs : dict
        Which photographs it is trained on, as ``params.yaml`` says, other than a part that is left out.
    """

    name: str
    factor: int
    recipe: dict[str, Any]
    budget: dict[str, Any]
    photographs: dict[str, Any]


def families(
    blind: Mapping[tuple[str, int], tuple[dict[str, Any], dict[str, Any]]], trained: Iterable[Trained]
) -> list[dict[str, Any]]:
    """Group adapted decoders that differ by seed and left-out part alone, and put each group beside its blind one.

    Parameters
    ----------
    blind : mapping
        (name, factor) to the recipe and the descriptor of an upscaler. One that is matched is not blind.
    trained : iterable of Trained

    Returns
    -------
    list of dict
        blind, adapted (names), factor, budget without the seed.
    """
    groups: dict[str, list[Trained]] = {}
    for one in trained:
        budget = {key: value for key, value in one.budget.items() if key not in BY_TRAINING}
        groups.setdefault(canonical_json([one.factor, _kind(one.recipe), budget, one.photographs]), []).append(one)
    found = []
    for group in groups.values():
        first = group[0]
        for (name, factor), (recipe, descriptor) in blind.items():
            if factor == first.factor and not descriptor["matched"] and _kind(recipe) == _kind(first.recipe):
                budget = {key: value for key, value in first.budget.items() if key not in BY_TRAINING}
                members = [one.name for one in group]
                found.append({"blind": name, "adapted": members, "factor": factor, "budget": budget})
    return found


def _kind(recipe: dict[str, Any]) -> dict[str, Any]:
    """What must be the same of a blind decoder and an adapted one: all but where the weights lie."""
    settled = recipe["settings"]  # what the parameters leave open, as it was decided
    parameters = {key: value for key, value in recipe["parameters"].items() if key != "path" and key not in settled}
    found = {key: recipe[key] for key in ("method", "weights", "settings")} | {"parameters": parameters}
    own = sorted((recipe.get("files") or {}).values())  # weights of the user's own, to begin from, by their content
    return found | {"files": own}
