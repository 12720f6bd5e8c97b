"""The search: variables on spheres, generator, loss, step.

A step is one image and one gradient. The samples of a batch share nothing: each has its own loss, spheres, test of
success and best image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ida_rd.core.progress import advance
from ida_rd.core.seeds import Draw
from ida_rd.models.stylegan.network import Synthesis
from ida_rd.upscale.pulse.fit import Fit
from ida_rd.upscale.pulse.losses import loss_of
from ida_rd.upscale.pulse.operators import Operator
from ida_rd.upscale.pulse.spheres import SphericalOptimiser

if TYPE_CHECKING:
    from ida_rd.upscale.pulse import Parameters

__all__ = ["Found", "Start", "search", "start_of"]

Watch = Callable[[int, dict[str, Tensor], "SphericalOptimiser"], None]


@dataclass
class Start:
    """Where a search begins, and, when it is over, where it ended.

    Attributes
    ----------
    latent : Tensor
        (B, layers, latent), or (B, 1, latent) if all layers share one.
    noise : list of Tensor or None
        The map of each layer, (B, 1, side, side); None: zero.
    """

    latent: Tensor
    noise: list[Tensor | None]


@dataclass(frozen=True)
class Found:
    """What a search found, per sample.

    Attributes
    ----------
    images : Tensor
        (B, 3, side, side), nominally in [0, 1], not clamped.
    residual : Tensor
        (B,), the mean squared difference of the image, downscaled, and the LR image.
    converged : Tensor
        (B,), bool: whether that was at most eps at some step.
    """

    images: Tensor
    residual: Tensor
    converged: Tensor


def start_of(draws: Sequence[Draw], net: Synthesis, parameters: Parameters) -> Start:
    """The random start of each draw, in float32 on the CPU; a map that is zero takes no random numbers."""
    config, zero = net.config, parameters.zero_layers()

    def normal(shape: tuple[int, ...], label: str) -> Tensor:
        return torch.stack([torch.from_numpy(draw.normal(shape, label)) for draw in draws])

    def noise(layer: int) -> Tensor | None:
        side = config.side(layer)
        return None if layer in zero else normal((1, side, side), f"noise {layer}")

    latent = normal((1 if parameters.tile_latent else config.layers, config.latent), "latent")
    return Start(latent, [noise(layer) for layer in range(config.layers)])


def search(
    net: Synthesis,
    fit: Fit,
    operator: Operator,
    lr: Tensor,
    start: Start,
    parameters: Parameters,
    watch: Watch | None = None,
) -> Found:
    """Search from a start, whose tensors are changed.

    Parameters
    ----------
    net : Synthesis
        Frozen.
    fit : Fit
    operator : callable
        Downscales (B, 3, side, side).
    lr : Tensor
        (1 or B, 3, h, w), in [0, 1].
    start : Start
    parameters : Parameters
    watch : callable, optional
        Given each step's number, terms of the loss, images and styles, and the optimiser before it steps.
    """
    trained = [start.noise[i] for i in parameters.trained_layers()]
    variables = [start.latent, *(noise for noise in trained if noise is not None)]
    for variable in variables:
        variable.requires_grad_()
    optimiser = SphericalOptimiser(
        variables, parameters.optimiser, parameters.rate, parameters.schedule, parameters.steps
    )
    best = torch.full((len(start.latent),), torch.inf, dtype=lr.dtype, device=lr.device)
    kept: Tensor | None = None
    images = residual = best
    for step in range(parameters.steps):
        styles = fit.styles(start.latent).expand(-1, net.config.layers, -1)
        images = (net(styles, start.noise) + 1) / 2
        found = loss_of(parameters.terms, operator(images), lr, styles, parameters.eps)
        optimiser.zero_grad()
        found["total"].sum().backward()
        images, residual = images.detach(), found["residual"].detach()
        better = residual < best
        best = torch.where(better, residual, best)
        if parameters.keep == "best":
            kept = images if kept is None else torch.where(better[:, None, None, None], images, kept)
        if watch is not None:
            watch(step, {k: v.detach() for k, v in found.items()} | {"images": images, "styles": styles}, optimiser)
        optimiser.step()
        advance((step + 1) / parameters.steps)
    for variable in variables:
        variable.requires_grad_(False)
    converged = best <= parameters.eps
    # The image of the last step is that before its update, as published; what the update gives is never made.
    return Found(images, residual, converged) if kept is None else Found(kept, best, converged)
