"""The recipe of an upscaler and factor, and that of a branch: for one downscaler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.methods import OpenedMethod, method_recipe, open_method
from ida_rd.core.recipes import found_recipe, identity, stated_recipe, used_weights, user_files
from ida_rd.upscale.contract import Descriptor

__all__ = ["branch_recipe", "stated", "upscale_recipe"]


def stated(
    name: str, entry: Mapping[str, Any], factor: int, seed: int, samples: int
) -> tuple[dict[str, Any], Descriptor, OpenedMethod]:
    """What an entry of ``upscalers`` alone decides of its recipe, what its method says of itself, and the method."""
    begun = method_recipe("upscale", name, entry)
    method = open_method(begun)
    descriptor = method.module.describe(method.parameters, factor)
    recipe = stated_recipe(begun, method) | {
        "factor": factor,
        "seed": seed,
        "samples": samples if descriptor.stochastic else 1,
        "settings": descriptor.settings,
    }
    return recipe, descriptor, method


def upscale_recipe(
    name: str,
    entry: Mapping[str, Any],
    factor: int,
    seed: int,
    samples: int,
    *,
    size: tuple[int, int] | None,
    download: bool,
) -> tuple[dict[str, Any], Descriptor]:
    """Check an entry of ``upscalers`` and make what is common to the recipes of its branches.

    Parameters
    ----------
    name, entry
        Key and value in ``params.yaml``.
    factor, seed, samples : int
    size : tuple of int or None
        Height and width of the HR images, where all are of one size.
    download : bool
        Whether missing weights may be downloaded.
    """
    recipe, descriptor, method = stated(name, entry, factor, seed, samples)
    if size is not None and (problem := descriptor.size.problem(size[0] // factor, size[1] // factor, factor)):
        raise UserError(f"factor {factor}: {problem}; see images.crop")
    recipe |= found_recipe(method, "ida_rd.upscale.work") | {
        "files": user_files(method, factor),
        "weights": used_weights(descriptor.weights, download=download),
    }
    return recipe, descriptor


def branch_recipe(recipe: dict[str, Any], descriptor: Descriptor, downscaler: dict[str, Any]) -> dict[str, Any]:
    """The recipe of an upscaler for one downscaler: it names that one only if the upscaler asks for it."""
    return recipe | ({"downscaler": identity(downscaler)} if "downscaler" in descriptor.asks else {})
