"""The recipe of a distortion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.methods import OpenedMethod, method_recipe, open_method
from ida_rd.core.recipes import found_recipe, stated_recipe, used_weights
from ida_rd.distort.contract import Descriptor

__all__ = ["distort_recipe", "stated", "wanted_weights"]


def stated(name: str, entry: Mapping[str, Any]) -> tuple[dict[str, Any], Descriptor, OpenedMethod]:
    """What an entry of ``distortions`` alone decides of its recipe, what its method says of itself, and the method."""
    begun = method_recipe("distort", name, entry)
    method = open_method(begun)
    return stated_recipe(begun, method), method.module.describe(method.parameters), method


def distort_recipe(
    name: str, entry: Mapping[str, Any], *, smallest: int | None, download: bool
) -> tuple[dict[str, Any], Descriptor]:
    """Check an entry of ``distortions`` and make its recipe.

    Parameters
    ----------
    name, entry
        Key and value in ``params.yaml``.
    smallest : int or None
        Smallest side of all HR images, in pixels, where it is known.
    download : bool
        Whether missing weights may be downloaded.
    """
    recipe, descriptor, method = stated(name, entry)
    if smallest is not None and smallest < descriptor.minimum_side:
        raise UserError(
            f"{name} needs images of at least {descriptor.minimum_side} pixels a side; the smallest here has {smallest}"
        )
    recipe |= found_recipe(method, "ida_rd.distort.work")
    return recipe | {"weights": used_weights(descriptor.weights, download=download)}, descriptor


def wanted_weights(name: str, entry: Mapping[str, Any]) -> list[str]:
    """Ids of the weights that a distortion asks for."""
    return list(stated(name, entry)[1].weights)
