"""The recipe of the surprise: which upscalers have a likelihood, and what decides it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.core.code import code_hashes
from ida_rd.core.methods import OpenedMethod
from ida_rd.core.recipes import SCHEMA, used_weights
from ida_rd.surprise.contract import adapter_of

__all__ = ["SIDE", "model_recipe", "surprise_recipe"]

SIDE = 80  # pixels: of the middle of an HR image, so much is read: a patch as the embedded flow was trained on


def model_recipe(method: OpenedMethod, name: str, factor: int, seed: int) -> dict[str, Any] | None:
    """What decides the likelihood of an upscaler's entry; None if it has none. Heat and samples do not matter."""
    begun = {"stage": "upscale", "name": name, "factor": factor, "seed": seed, "side": SIDE}
    if hasattr(method.module, "likelihood"):
        whole = {"method": str(method.module.__name__), "parameters": method.dump()}
        return begun | whole | {"code": code_hashes(method.file, "ida_rd.surprise.work")}
    adapter = adapter_of(method.module.__name__.rpartition(".")[2]) if _ours(method) else None
    network = adapter.network(method.parameters, factor) if adapter is not None else None
    if adapter is None or network is None:
        return None
    return begun | {
        "method": str(adapter.__name__),
        "weights": used_weights({network.weight: network.path}, download=False),
        "path": network.path,
        "code": code_hashes("ida_rd.surprise.work", Path(str(adapter.__file__))),
    }


def _ours(method: OpenedMethod) -> bool:
    return method.module.__name__.startswith("ida_rd.upscale.")


def surprise_recipe(models: Mapping[str, dict[str, Any]], downscalers: Mapping[str, list[str]]) -> dict[str, Any]:
    """The recipe of the stage.

    Parameters
    ----------
    models : mapping
        ``x4/<upscaler>`` to its `model_recipe`, of those that have one.
    downscalers : mapping
        ``x4`` to the names of the downscalers that can run.
    """
    return {"schema": SCHEMA, "models": dict(models), "downscalers": dict(downscalers)}
