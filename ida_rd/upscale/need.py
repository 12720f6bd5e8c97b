"""How much memory an image takes: by what a method says per pixel, at the size that the image is computed at.

A method says ``memory(parameters, factor, samples)``, bytes per pixel; one that computes an image at another size than
that of the HR image says which, by ``made_at(parameters, height, width)``, of an HR image. A chain takes what the step
of it takes that takes most, each at the size that it computes its own image at. No sample depends on any of it: it
decides how many processes are started, so that nothing that a recipe hashes imports this module.
"""

from __future__ import annotations

from ida_rd.core.methods import OpenedMethod
from ida_rd.upscale import cascade
from ida_rd.upscale.contract import memory_of

__all__ = ["need_of"]


def need_of(method: OpenedMethod, factor: int, samples: int, height: int, width: int) -> float | None:
    """Bytes that a method says it takes for an HR image on a CPU, beyond its networks; None if it says nothing.

    Parameters
    ----------
    method : OpenedMethod
    factor, samples : int
    height, width : int
        Of the HR image.
    """
    if isinstance(method.parameters, cascade.Parameters):
        return _of_chain(method.parameters, factor, samples, height, width)
    if (memory := memory_of(method, factor, samples)) is None:
        return None
    if callable(made_at := getattr(method.module, "made_at", None)):
        height, width = made_at(method.parameters, height, width)
    return memory * height * width


def _of_chain(parameters: cascade.Parameters, factor: int, samples: int, height: int, width: int) -> float | None:
    """As `ida_rd.upscale.cascade.memory` counts: from the second step on the samples are enlarged one by one."""
    most, left = 0.0, factor
    for i, (method, of_step) in enumerate(cascade._steps(parameters)):
        left //= of_step
        need = need_of(method, of_step, 1 if i else samples, height // left, width // left)
        if need is None:
            return None
        most = max(most, need)
    return most + 3 * cascade.EIGHT_BIT_COPIES * samples * height * width
