"""Sample the flow in bounded memory: step by step, each image finished before the next.

The same numbers as `FlowNet.decode(z, FlowNet.condition(lr))`, to the last bit on a CPU, in another order:

* levels and steps are walked from coarse to fine. A level's features are computed when it is reached, a step's
  conditioning when that is, once for all samples, and both are dropped after it: memory does not grow with the
  number of steps;
* the latents are overwritten, and so is whatever else nobody reads again;
* samples are finished one by one: whoever asks for the next has already made 8 bits of the last.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ida_rd.models.bijections import bound_, mix_inverse, unsqueeze
from ida_rd.models.flow import (
    AFFINE_LOG_SCALE_BOUND,
    COUPLING_INPUT_CLAMP,
    COUPLING_LOG_SCALE_BOUND,
    GAUSSIAN_LOG_SCALE_BOUND,
    RESIDUAL_SCALE,
    Encoder,
    FlowNet,
    FlowStep,
    ResidualBlock,
)

__all__ = ["decode_in_steps"]


class _Given(NamedTuple):
    """What a step does to every sample alike."""

    inverse_scale: Tensor
    shift: Tensor
    hidden: Tensor
    matrix: Tensor
    bias: Tensor


@torch.no_grad()
def decode_in_steps(net: FlowNet, lr: Tensor, latents: list[Tensor]) -> Iterator[Tensor]:
    """HR images (not clipped) of the latents, in order.

    Parameters
    ----------
    net : FlowNet
    lr : Tensor
        (1, 3, h, w), range [0, 1].
    latents : list of Tensor
        (B, 3 factor^2, h, w) each: groups of samples that go through a step together. They are overwritten, and the
        list is emptied.

    Yields
    ------
    Tensor
        (B, 3, H, W), one per latent.
    """
    features = _from_coarse(net.encoder, lr)
    for level in reversed(range(1, len(net.levels))):
        _undo(net.steps(level), next(features), latents)
        for i in range(len(latents)):
            latents[i] = unsqueeze(latents[i])
    own = next(features)
    _undo(net.steps(0), own, latents)
    features.close()
    mean = net.mean(own)
    scale = bound_(net.log_scale(own), GAUSSIAN_LOG_SCALE_BOUND).exp_()
    del own
    base = net.enlarge(lr)
    while latents:
        x = unsqueeze(latents.pop(0).mul_(scale).add_(mean)).mul_(RESIDUAL_SCALE)
        yield x.add_(base)
        del x


def _from_coarse(encoder: Encoder, lr: Tensor) -> Generator[Tensor, None, None]:
    """Yield the encoder's features from LR size up; those of a level are computed when they are asked for."""
    f = encoder.head(lr - 0.5)
    x = f
    for block in cast(list[ResidualBlock], list(encoder.blocks)):
        x = block.second(F.relu_(block.first(x))).add_(x)
    x = encoder.tail(x)
    f.add_(x)
    del x
    for up, fine in zip(encoder.up, encoder.fine, strict=True):
        yield bound_(f.clone(), encoder.limit)
        f = up(F.relu_(f))
        f = F.relu_(F.pixel_shuffle(f, 2))
        f = fine(f).add_(f)
    f = bound_(f, encoder.limit)  # all that is kept of the finest level, which is the largest
    yield f


def _undo(steps: list[FlowStep], features: Tensor, latents: list[Tensor]) -> None:
    """Undo the steps of a level on all samples; `latents` becomes what comes out."""
    for step in reversed(steps):
        given = _condition(step, features)
        for i in range(len(latents)):
            latents[i] = _decode(step, latents[i], given)
        del given


def _condition(step: FlowStep, features: Tensor) -> _Given:
    log_scale, shift = step.affine(features).chunk(2, dim=1)
    inverse_scale = bound_(log_scale, AFFINE_LOG_SCALE_BOUND).neg_().exp_()
    matrix = mix_inverse(step.mix.logs, step.mix.weight).to(features.dtype)
    hidden = step.from_features(features)
    return _Given(inverse_scale, bound_(shift, step.limit), hidden, matrix[:, :, None, None], -step.mix.bias)


def _decode(step: FlowStep, y: Tensor, given: _Given) -> Tensor:
    """Undo a step; y is overwritten."""
    kept, moved = y[:, : step.kept], y[:, step.kept :]
    h = step.from_latent(kept.clamp(-COUPLING_INPUT_CLAMP, COUPLING_INPUT_CLAMP))
    h = F.relu_(step.middle(F.relu_(h.add_(given.hidden))))
    log_scale, shift = step.last(h).chunk(2, dim=1)
    del h
    moved.mul_(bound_(log_scale, COUPLING_LOG_SCALE_BOUND).neg_().exp_()).sub_(bound_(shift, step.limit))
    del log_scale, shift
    y.mul_(given.inverse_scale).sub_(given.shift)
    return F.conv2d(y, given.matrix, given.bias)
