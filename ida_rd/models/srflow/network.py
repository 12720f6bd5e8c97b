"""SRFlow, layer by layer, with the parameter names of the official checkpoints.

This is the network to train, to compute likelihoods with, and to check `decoder` against, which
samples it several times faster.

Per level: squeeze; two flow steps without, K with a conditional coupling; at all but the last two
levels half of the channels leave as a latent (the split). "encode" runs from image to latents.

References
----------
.. [1] Lugmayr et al., "SRFlow: learning the super-resolution space with normalizing flow", ECCV 2020.
.. [2] Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", NeurIPS 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.bijections import (
    actnorm_parameters,
    affine_decode,
    affine_encode,
    mix_decode,
    mix_encode,
    mix_logdet,
    squeeze,
    unsqueeze,
)
from ida_rd.models.srflow.config import SRFlowConfig
from ida_rd.models.srflow.encoder import Features, RRDBEncoder

__all__ = ["QUANTISATION", "SCALE_FLOOR", "SRFlowNet"]

SCALE_FLOOR = 1e-4  # added to the sigmoid of a coupling's scale
QUANTISATION = 32  # levels of the dequantisation noise
LOG_2PI = math.log(2 * math.pi)


class ActNorm(nn.Module):
    """Per-channel ``(x + bias) * exp(logs)`` [2]_."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.logs = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.bias) * self.logs.exp()

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set the parameters from data, unless they have been set."""
        if not self.bias.any():
            bias, logs = actnorm_parameters(x)
            self.bias.copy_(bias.view_as(self.bias))
            self.logs.copy_(logs.view_as(self.logs))


class InvertibleConv(nn.Module):
    """Holds the (C, C) matrix of an invertible 1x1 convolution [2]_."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0].contiguous())


class NormalisedConv(nn.Module):
    """Convolution without bias, then its own actnorm (no part of the log-determinant)."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(outputs, inputs, size, size))
        self.actnorm = ActNorm(outputs)

    def forward(self, x: Tensor, initialise: bool) -> Tensor:
        y = F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        if initialise:
            self.actnorm.initialise(y)
        return self.actnorm(y)


class ScaledConv(nn.Module):
    """3x3 convolution whose output is multiplied by ``exp(3 logs)``; zero at the start [2]_."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.logs = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=1) * (3 * self.logs).exp()


class CouplingNet(nn.Sequential):
    """3x3, 1x1, 3x3 convolutions: inputs to interleaved shifts (even channels) and raw scales (odd)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(
            NormalisedConv(inputs, hidden, 3),
            nn.ReLU(),
            NormalisedConv(hidden, hidden, 1),
            nn.ReLU(),
            ScaledConv(hidden, 2 * outputs),
        )

    def shift_scale(self, x: Tensor, initialise: bool) -> tuple[Tensor, Tensor]:
        """Shift and scale, each (B, outputs, H, W); the scale lies in (1e-4, 1.0001)."""
        first, middle, last = self[0], self[2], self[4]
        h = last(F.relu(middle(F.relu(first(x, initialise)), initialise)))
        return h[:, 0::2], torch.sigmoid(h[:, 1::2] + 2) + SCALE_FLOOR


class Coupling(nn.Module):
    """Feature-conditional affine map of all channels, then the conditional affine coupling [1]_, section 3.3."""

    def __init__(self, channels: int, conditioning: int, hidden: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.fAffine = CouplingNet(self.kept + conditioning, hidden, channels - self.kept)
        self.fFeatures = CouplingNet(conditioning, hidden, channels)

    def encode(self, x: Tensor, features: Tensor, initialise: bool) -> tuple[Tensor, Tensor]:
        shift, scale = self.fFeatures.shift_scale(features, initialise)
        x = affine_encode(x, shift, scale)
        logdet = scale.log().sum(dim=(1, 2, 3))
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        shift, scale = self.fAffine.shift_scale(torch.cat([kept, features], dim=1), initialise)
        y = torch.cat([kept, affine_encode(moved, shift, scale)], dim=1)
        return y, logdet + scale.log().sum(dim=(1, 2, 3))

    def decode(self, y: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = y[:, : self.kept], y[:, self.kept :]
        shift, scale = self.fAffine.shift_scale(torch.cat([kept, features], dim=1), False)
        y = torch.cat([kept, affine_decode(moved, shift, 1 / scale)], dim=1)
        logdet = -scale.log().sum(dim=(1, 2, 3))
        shift, scale = self.fFeatures.shift_scale(features, False)
        return affine_decode(y, shift, 1 / scale), logdet - scale.log().sum(dim=(1, 2, 3))


class FlowStep(nn.Module):
    """Actnorm, invertible 1x1 convolution, and the coupling where there is one."""

    def __init__(self, channels: int, conditioning: int | None, hidden: int) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.invconv = InvertibleConv(channels)
        self.affine = None if conditioning is None else Coupling(channels, conditioning, hidden)

    def _mix(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.actnorm.bias.flatten(), self.actnorm.logs.flatten(), self.invconv.weight

    def encode(self, x: Tensor, features: Tensor, initialise: bool) -> tuple[Tensor, Tensor]:
        if initialise:
            self.actnorm.initialise(x)
        x, logdet = mix_encode(x, *self._mix())
        if self.affine is None:
            return x, logdet
        x, added = self.affine.encode(x, features, initialise)
        return x, logdet + added

    def decode(self, y: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        logdet = torch.zeros((), dtype=y.dtype, device=y.device)
        if self.affine is not None:
            y, logdet = self.affine.decode(y, features)
        bias, logs, weight = self._mix()
        return mix_decode(y, bias, logs, weight), logdet - mix_logdet(logs, weight, y.shape[2] * y.shape[3])


class Squeeze(nn.Module):
    """Marks a level's start in the list of layers; has no parameters."""


class Split(nn.Module):
    """Half of the channels leave as a latent, normalised by a Gaussian that the other half predicts [2]_."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kept = channels - channels // 2
        self.conv = ScaledConv(self.kept, 2 * (channels // 2))

    def gaussian(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the leaving channels."""
        h = self.conv(kept)
        return h[:, 0::2], h[:, 1::2]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept, leaving = x[:, : self.kept], x[:, self.kept :]
        mean, logs = self.gaussian(kept)
        latent = (leaving - mean) * (-logs).exp()
        return kept, latent, _gaussian_density(latent, logs)

    def decode(self, kept: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        mean, logs = self.gaussian(kept)
        return torch.cat([kept, mean + logs.exp() * latent], dim=1), -_gaussian_density(latent, logs)


def _gaussian_density(latent: Tensor, logs: Tensor) -> Tensor:
    """Log density of ``mean + exp(logs) * latent``, (B,)."""
    return -0.5 * (2 * logs + latent.square() + LOG_2PI).sum(dim=(1, 2, 3))


class Flow(nn.Module):
    """The flat list of layers, in encode order; its indices are in the checkpoints' keys."""

    def __init__(self, config: SRFlowConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for level in range(1, config.levels + 1):
            channels *= 4
            layers.append(Squeeze())
            layers += [FlowStep(channels, None, config.hidden) for _ in range(config.plain_steps)]
            layers += [FlowStep(channels, config.conditioning, config.hidden) for _ in range(config.steps)]
            if level < config.levels - 1:
                split = Split(channels)
                layers.append(split)
                channels = split.kept
        self.layers = nn.ModuleList(layers)


class SRFlowNet(nn.Module):
    """Conditional flow p(HR | LR); images are float tensors in [0, 1], sRGB, with even LR sides.

    Parameters
    ----------
    config : SRFlowConfig
    """

    def __init__(self, config: SRFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.RRDB = RRDBEncoder(config)
        self.flowUpsamplerNet = Flow(config)

    def layers(self) -> list[nn.Module]:
        """The flow's layers in encode order."""
        return list(self.flowUpsamplerNet.layers)

    def encode(self, hr: Tensor, features: Features, *, initialise: bool = False) -> tuple[list[Tensor], Tensor]:
        """HR to latents.

        Parameters
        ----------
        hr : Tensor
            (B, 3, H, W).
        features : Features
            Of the same B LR images.
        initialise : bool
            Set the actnorms that are still zero from this batch on the way (data-dependent
            initialisation [2]_).

        Returns
        -------
        latents : list of Tensor
            One per split and the last, in encode order; shapes as `SRFlowConfig.latent_shapes`.
        logdet : Tensor
            (B,): log-determinant plus the splits' log densities.
        """
        latents: list[Tensor] = []
        x, logdet = hr, hr.new_zeros(len(hr))
        level, conditioning = -1, hr
        for layer in self.layers():
            if isinstance(layer, Squeeze):
                x, level = squeeze(x), level + 1
                conditioning = features.conditioning(level)
                continue
            if isinstance(layer, Split):
                x, latent, added = layer.encode(x)
                latents.append(latent)
            else:
                x, added = cast(FlowStep, layer).encode(x, conditioning, initialise)
            logdet = logdet + added
        return [*latents, x], logdet

    def decode(self, latents: Sequence[Tensor], features: Features) -> tuple[Tensor, Tensor]:
        """Latents to HR, (B, 3, H, W), not clipped; and minus `encode`'s logdet, (B,)."""
        waiting = list(latents)
        x = waiting.pop()
        logdet = x.new_zeros(len(x))
        level = self.config.levels - 1
        conditioning = features.conditioning(level)
        for layer in reversed(self.layers()):
            if isinstance(layer, Squeeze):
                x, level = unsqueeze(x), level - 1
                if level >= 0:
                    conditioning = features.conditioning(level)
                continue
            if isinstance(layer, Split):
                x, added = layer.decode(x, waiting.pop())
            else:
                x, added = cast(FlowStep, layer).decode(x, conditioning)
            logdet = logdet + added
        return x, logdet

    def nll(
        self, hr: Tensor, lr: Tensor, *, noise: Tensor | None = None, initialise: bool = False
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Negative log-likelihood in bits per *pixel* of three sub-pixels: a third of it is bits per dimension.

        Parameters
        ----------
        hr, lr : Tensor
            (B, 3, H, W) and (B, 3, h, w).
        noise : Tensor, optional
            Uniform numbers in [0, 1) like hr, for dequantisation; the release trains without.
        initialise : bool
            See `encode`.

        Returns
        -------
        nll : Tensor
            (B,).
        latents, logdet
            See `encode`; with noise, the logdet starts from the constant of the dequantisation.
        """
        pixels = hr.shape[2] * hr.shape[3]
        start = 0.0
        if noise is not None:
            hr = hr + (noise - 0.5) / QUANTISATION
            start = -math.log(QUANTISATION) * pixels  # once per pixel, not per sub-pixel: as in the release
        latents, logdet = self.encode(hr, self.RRDB(lr), initialise=initialise)
        logdet = logdet + start
        prior = _gaussian_density(latents[-1], torch.zeros_like(latents[-1]))
        return -(logdet + prior) / (math.log(2) * pixels), latents, logdet
