"""Sample SRFlow: K images of one LR image for little more than the price of one.

The same function as `SRFlowNet.decode`, rearranged:

* nothing that depends on LR alone is computed per sample: the encoder, the feature-conditional
  affine maps, and the part of each coupling's first convolution (linear in its inputs) that sees
  the conditioning features, which is 320 of its 326 to 368 input channels;
* actnorms and output scales are folded into the convolutions, actnorm and 1x1 inverse into one
  matrix, and the steps without coupling into one matrix;
* block outputs are pixels repeated r times: a 3x3 convolution of them is computed at LR size,
  one small convolution for each distinct phase of the r x r grid;
* all samples go through a step together, and its conditioning is dropped after it. So the memory
  does not grow with the number of steps, and large images need no tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ida_rd.models.bijections import affine_decode, mix_inverse, unsqueeze
from ida_rd.models.srflow.encoder import Features, resize_blocks
from ida_rd.models.srflow.network import (
    SCALE_FLOOR,
    Coupling,
    CouplingNet,
    FlowStep,
    NormalisedConv,
    ScaledConv,
    Split,
    Squeeze,
    SRFlowNet,
)

__all__ = ["Decoder"]

# On a GPU, samples go through a step in groups of at most this many pixels (of that level), which bounds
# the memory of its hidden layers. On a CPU they go one by one: a group is no faster there, and so a
# sample is the same to the last bit whichever others are drawn with it.
GROUP_PIXELS = 1 << 20


class _Phase(NamedTuple):
    """One small convolution: its kernel, where its window starts, and the phases (dy, dx) that it gives."""

    kernel: Tensor
    start: tuple[int, int]
    places: list[tuple[int, int]]


class _Conv(NamedTuple):
    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class _Net(NamedTuple):
    """What follows the first convolution of a coupling net. The last gives all shifts, then all raw scales."""

    middle: _Conv
    last: _Conv

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Shift, and one over the scale."""
        h = self.last(F.relu_(self.middle(hidden)))
        shift, raw = h.chunk(2, dim=1)
        return shift, torch.sigmoid(raw + 2).add_(SCALE_FLOOR).reciprocal_()


class _Step(NamedTuple):
    own: _Conv  # of the level's own features: hidden inputs of both nets
    phases: list[_Phase]  # of the block outputs
    kept: _Conv  # of the channels that the coupling keeps
    features_net: _Net
    coupling_net: _Net
    mix: _Conv


class _Level(NamedTuple):
    ratio: int  # pixels of the level per LR pixel; 0: half the LR size
    split: Split | None
    steps: list[_Step]  # in decode order
    plain: _Conv


class Decoder:
    """`SRFlowNet.decode` without log-determinant, for the K samples of one LR image.

    Parameters
    ----------
    net : SRFlowNet
        Weights are copied and rearranged; later changes of `net` have no effect.
    """

    def __init__(self, net: SRFlowNet) -> None:
        self.config = net.config
        self.levels: list[_Level] = []
        layers = net.layers()
        starts = [i for i, layer in enumerate(layers) if isinstance(layer, Squeeze)]
        with torch.no_grad():
            for level, (start, end) in enumerate(zip(starts, [*starts[1:], len(layers)], strict=True)):
                ratio = net.config.factor // 2 ** (level + 1)
                steps = [layer for layer in layers[start:end] if isinstance(layer, FlowStep)]
                plain = [step for step in steps if step.affine is None]
                coupled = [step for step in steps if step.affine is not None]
                splits = [layer for layer in layers[start:end] if isinstance(layer, Split)]
                self.levels.append(
                    _Level(
                        ratio,
                        splits[0] if splits else None,
                        [_fold_step(step, net.config.features, ratio) for step in reversed(coupled)],
                        _fold_mixes(plain[::-1]),
                    )
                )

    @torch.inference_mode()
    def decode(self, latents: Sequence[Tensor], features: Features) -> Tensor:
        """Latents (K, C, h, w) in encode order to (K, 3, H, W), not clipped, given features of batch 1."""
        waiting = list(latents)
        x = waiting.pop().contiguous(memory_format=torch.channels_last)
        for index in reversed(range(len(self.levels))):
            level = self.levels[index]
            group = _group(x)
            if level.split is not None:
                leaving = waiting.pop()
                pairs = zip(x.split(group), leaving.split(group), strict=True)
                x = torch.cat([level.split.decode(kept, latent)[0] for kept, latent in pairs])
            own = features.levels[index].contiguous(memory_format=torch.channels_last)
            blocks = (
                resize_blocks(features.blocks, own.shape[-1]) if level.ratio < 2 else F.pad(features.blocks, [1] * 4)
            )
            blocks = blocks.contiguous(memory_format=torch.channels_last)
            for step in level.steps:
                x = self._step(step, x, own, blocks, level.ratio, group)
            x = unsqueeze(torch.cat([level.plain(part) for part in x.split(group)]))
        return x

    def _step(self, step: _Step, x: Tensor, own: Tensor, blocks: Tensor, ratio: int, group: int) -> Tensor:
        hidden = step.own(own)
        if ratio < 2:
            hidden += F.conv2d(blocks, step.phases[0].kernel, padding=1)
        else:
            _add_phases(hidden, step.phases, blocks, ratio)
        for_features, for_coupling = hidden.chunk(2, dim=1)
        for_coupling = for_coupling.contiguous(memory_format=torch.channels_last)  # read once per sample
        shift, inverse = step.features_net(F.relu(for_features))
        return torch.cat([_invert(step, part, for_coupling, shift, inverse) for part in x.split(group)])


def _group(x: Tensor) -> int:
    return 1 if x.device.type == "cpu" else max(1, GROUP_PIXELS // (x.shape[2] * x.shape[3]))


def _invert(step: _Step, x: Tensor, for_coupling: Tensor, shift: Tensor, inverse: Tensor) -> Tensor:
    """Undo coupling, feature-conditional map and channel mix, of some of the samples."""
    kept = x[:, : step.kept.weight.shape[1]]
    moved = affine_decode(x[:, kept.shape[1] :], *step.coupling_net(F.relu_(step.kept(kept).add_(for_coupling))))
    return step.mix(affine_decode(torch.cat([kept, moved], dim=1), shift, inverse))


def _add_phases(target: Tensor, phases: list[_Phase], padded: Tensor, ratio: int) -> None:
    """Add the 3x3 convolution of the r-times repeated blocks; `padded` has one pixel of zeros around."""
    h, w = padded.shape[2] - 2, padded.shape[3] - 2
    for kernel, (y, x), places in phases:
        window = padded[:, :, y : y + h + kernel.shape[2] - 1, x : x + w + kernel.shape[3] - 1]
        result = F.conv2d(window, kernel)
        for dy, dx in places:
            target[:, :, dy::ratio, dx::ratio] += result


def _fold_conv(conv: NormalisedConv) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its actnorm in it."""
    scale = conv.actnorm.logs.double().exp().view(-1, 1, 1, 1)
    bias = (conv.actnorm.bias * conv.actnorm.logs.double().exp()).flatten()
    return conv.weight.double() * scale, bias


def _conv(weight: Tensor, bias: Tensor | None, like: Tensor) -> _Conv:
    weight = weight.to(like.dtype).contiguous(memory_format=torch.channels_last)
    return _Conv(weight, None if bias is None else bias.to(like.dtype).contiguous())


def _fold_net(net: CouplingNet) -> _Net:
    last = cast(ScaledConv, net[4])
    scale = (3 * last.logs.double()).exp()
    weight, bias = last.weight.double() * scale[..., None], last.bias.double() * scale.flatten()
    order = [*range(0, len(weight), 2), *range(1, len(weight), 2)]
    middle = _fold_conv(cast(NormalisedConv, net[2]))
    return _Net(_conv(*middle, last.weight), _conv(weight[order], bias[order], last.weight))


def _fold_step(step: FlowStep, own_channels: int, ratio: int) -> _Step:
    coupling = cast(Coupling, step.affine)
    like = step.invconv.weight
    feature_weight, feature_bias = _fold_conv(cast(NormalisedConv, coupling.fFeatures[0]))
    weight, bias = _fold_conv(cast(NormalisedConv, coupling.fAffine[0]))
    conditioning = torch.cat([feature_weight, weight[:, coupling.kept :]])
    own, blocks = conditioning[:, :own_channels], conditioning[:, own_channels:]
    inverse = mix_inverse(step.actnorm.logs.flatten(), like)
    return _Step(
        own=_conv(own, torch.cat([feature_bias, bias]), like),
        phases=[_Phase(_conv(k, None, like).weight, start, places) for k, start, places in _phases(blocks, ratio)],
        kept=_conv(weight[:, : coupling.kept], None, like),
        features_net=_fold_net(coupling.fFeatures),
        coupling_net=_fold_net(coupling.fAffine),
        mix=_conv(inverse[:, :, None, None], -step.actnorm.bias.double().flatten(), like),
    )


def _fold_mixes(steps: Sequence[FlowStep]) -> _Conv:
    """Steps without coupling, in decode order, as one affine map of the channels."""
    like = steps[0].invconv.weight
    matrix = torch.eye(len(like), dtype=torch.float64, device=like.device)
    offset = torch.zeros(len(like), dtype=torch.float64, device=like.device)
    for step in steps:
        inverse = mix_inverse(step.actnorm.logs.flatten(), step.invconv.weight)
        matrix, offset = inverse @ matrix, inverse @ offset - step.actnorm.bias.double().flatten()
    return _conv(matrix[:, :, None, None], offset, like)


def _phases(weight: Tensor, ratio: int) -> list[_Phase]:
    """Turn a 3x3 kernel over r-times repeated pixels into small kernels over the pixels themselves.

    Tap t of phase d reads pixel ``floor((d + t) / r)`` from its own; the taps that read the same
    pixel are added up, and the inner phases are all alike.
    """
    if ratio < 2:
        return [_Phase(weight, (0, 0), [])]
    sources: dict[tuple[int, ...], list[int]] = {}
    for d in range(ratio):
        sources.setdefault(tuple((d + t) // ratio for t in (-1, 0, 1)), []).append(d)
    phases = []
    for rows, ys in sources.items():
        for columns, xs in sources.items():
            kernel = _merged(_merged(weight, rows, 2), columns, 3)
            phases.append(_Phase(kernel, (1 + rows[0], 1 + columns[0]), [(y, x) for y in ys for x in xs]))
    return phases


def _merged(weight: Tensor, sources: tuple[int, ...], dim: int) -> Tensor:
    """Add up the taps along `dim` that read the same pixel."""
    taps = weight.unbind(dim)
    rows = [sum(tap for tap, s in zip(taps, sources, strict=True) if s == source) for source in sorted(set(sources))]
    return torch.stack(cast(list[Tensor], rows), dim=dim)
