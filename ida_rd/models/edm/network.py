"""The denoiser, and the network that holds it with the flow's encoder and the space of residuals.

References
----------
.. [1] Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022: section 5,
   with sigma_data = 1.
.. [2] Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.edm.config import EDMConfig
from ida_rd.models.edm.space import CHANNELS, Head, Whitening, orthonormal_basis
from ida_rd.models.flow import RESIDUAL_SCALE, Encoder, FlowConfig

__all__ = ["Denoiser", "EDMNet", "Given", "kept_share"]

SLOWEST, FASTEST = 1 / 8, 8.0  # Fourier frequencies of log sigma, radians
FINE_PARTS, MIDDLE_PARTS, DEEP_PARTS = 3, 4, 2  # places at each size that the features enter


def _conv(inputs: int, outputs: int, *, gain: float = 1.0) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    with torch.no_grad():
        conv.weight.mul_(gain)
        cast(Tensor, conv.bias).mul_(gain)
    return conv


class LevelEmbedding(nn.Module):
    """Logarithms of noise levels, (B,), to (B, embedding)."""

    def __init__(self, frequencies: int, width: int) -> None:
        super().__init__()
        steps = torch.linspace(0, 1, frequencies, dtype=torch.float64)
        self.register_buffer("frequencies", (SLOWEST * (FASTEST / SLOWEST) ** steps).float(), persistent=False)
        self.first = nn.Linear(2 * frequencies, width)
        self.second = nn.Linear(width, width)

    def forward(self, log_sigma: Tensor) -> Tensor:
        phase = log_sigma[:, None] * cast(Tensor, self.frequencies)
        return F.silu(self.second(F.silu(self.first(torch.cat([phase.cos(), phase.sin()], dim=1)))))


class Block(nn.Module):
    """Two convolutions beside the identity; noise level [2]_ and features enter between them. No normalisation."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _conv(width, width, gain=0.1)
        self.film = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, features: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.film(level)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift + features, self.first(F.silu(x)), 1 + scale)
        return x + self.second(F.silu(h))


class Denoiser(nn.Module):
    """F of [1]_: three sizes, half the HR sides, a quarter and an eighth."""

    def __init__(self, config: EDMConfig) -> None:
        super().__init__()
        width, deep, level = config.width, config.deep_width, config.embedding
        fine, middle = config.feature_widths[:2]
        self.level = LevelEmbedding(config.frequencies, level)
        self.of_fine = nn.Conv2d(fine, FINE_PARTS * width, 1)
        self.of_middle = nn.Conv2d(middle, MIDDLE_PARTS * deep, 1)
        self.of_deep = nn.Conv2d(config.feature_widths[-1], DEEP_PARTS * deep, 1)
        self.enter = _conv(CHANNELS, width)
        self.fine_in = Block(width, level)
        self.to_middle = nn.Conv2d(4 * width, deep, 1)
        self.middle_in = Block(deep, level)
        self.to_deep = nn.Conv2d(deep, deep, 2, stride=2)
        self.deep = nn.ModuleList(Block(deep, level) for _ in range(2))
        self.from_deep = nn.ConvTranspose2d(deep, deep, 2, stride=2)
        self.middle_out = nn.ModuleList(Block(deep, level) for _ in range(2))
        self.from_middle = nn.Conv2d(deep, 4 * width, 1)
        self.fine_out = Block(width, level)
        self.last = _conv(width, CHANNELS, gain=0.0)

    def hidden(self) -> list[Tensor]:
        """Weights of convolutions between hidden channels."""
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        convolutions = [conv for block in blocks for conv in (block.first, block.second)]
        between = [self.to_middle, self.to_deep, self.from_deep, self.from_middle]
        return [conv.weight for conv in (*convolutions, *between)]

    def condition(self, features: list[Tensor]) -> list[Tensor]:
        """What the features add, by size; `features` are scaled, at half the HR size, a quarter and an eighth."""
        convolutions = (self.of_fine, self.of_middle, self.of_deep)
        return [conv(one) for conv, one in zip(convolutions, features, strict=True)]

    def forward(self, x: Tensor, log_sigma: Tensor, given: list[Tensor]) -> Tensor:
        """(B, 12, H/2, W/2), with ``log_sigma`` (B,) or (1,), and what `condition` gave, of batch B or 1."""
        level = self.level(log_sigma)
        fine, middle, deep = (
            one.chunk(parts, dim=1) for one, parts in zip(given, (FINE_PARTS, MIDDLE_PARTS, DEEP_PARTS), strict=True)
        )
        a = self.fine_in(self.enter(x) + fine[0], fine[1], level)
        b = self.middle_in(self.to_middle(F.pixel_unshuffle(a, 2)) + middle[0], middle[1], level)
        c = self.to_deep(b)
        for block, one in zip(self.deep, deep, strict=True):
            c = block(c, one, level)
        b = b + self.from_deep(c)
        for block, one in zip(self.middle_out, middle[2:], strict=True):
            b = block(b, one, level)
        a = a + F.pixel_shuffle(self.from_middle(b), 2)
        return self.last(F.silu(self.fine_out(a, fine[2], level)))


class Given(NamedTuple):
    """All that depends on the LR image alone; computed once and shared by its samples.

    Attributes
    ----------
    space : Whitening
        Of the padded image.
    features : list of Tensor
        What they add to the denoiser, by size.
    size : tuple of int
        Height and width of the HR image, without padding.
    """

    space: Whitening
    features: list[Tensor]
    size: tuple[int, int]

    @property
    def base(self) -> Tensor:
        """The plain enlargement, without padding."""
        return self.space.base[:, :, : self.size[0], : self.size[1]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of y of a sample."""
        return cast(tuple[int, int, int], tuple(self.space.mean.shape[1:]))


def kept_share(sigma: Tensor) -> Tensor:
    """What the noisy y is multiplied by, so that its variance is 1: ``(1 + sigma^2)^(-1/2)``."""
    return (1 + sigma.square()).rsqrt()


class EDMNet(nn.Module):
    """p(HR | LR) by diffusion. LR and HR are float tensors in [0, 1], sRGB, (B, 3, h, w) and (B, 3, H, W).

    Encoder and `prior`, the mean of the flow, are those of a trained flow, and frozen but where all is adapted.
    """

    def __init__(self, config: EDMConfig) -> None:
        super().__init__()
        self.config = config
        levels = (1,) * config.levels
        self.encoder = Encoder(
            FlowConfig(config.factor, config.encoder_width, config.encoder_blocks, config.fine_width, levels, levels)
        )
        self.prior = _conv(config.fine_width, CHANNELS, gain=0.0)
        self.head = Head(config)
        self.denoiser = Denoiser(config)
        self.register_buffer("basis", orthonormal_basis(), persistent=False)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Bicubic enlargement, as that of the flow: what the residual is taken from."""
        size = (lr.shape[2] * self.config.factor, lr.shape[3] * self.config.factor)
        return F.interpolate(lr, size=size, mode="bicubic", align_corners=False, antialias=True)

    def features(self, lr: Tensor) -> list[Tensor]:
        """Features of an LR image with sides of `EDMConfig.multiple`, as the flow left them, from HR / 2 to LR size."""
        return self.encoder(lr)

    def scaled(self, features: list[Tensor]) -> list[Tensor]:
        """Features as head and denoiser take them, at half the HR size, a quarter and an eighth."""
        found = [one * by for one, by in zip(features, self.config.feature_scales, strict=True)]
        return found if len(found) == 3 else [*found, F.avg_pool2d(found[-1], 2)]

    def whitening(self, lr: Tensor, features: list[Tensor]) -> Whitening:
        """Mean and scale of the residual of images with these features."""
        prior = RESIDUAL_SCALE * self.prior(features[0]).float()
        basis = cast(Tensor, self.basis)
        correction, scale = self.head(*self.scaled(features)[:2])
        return Whitening(self.enlarge(lr), F.conv2d(prior, basis[:, :, None, None]) + correction, scale, basis)

    def condition(self, lr: Tensor) -> Given:
        """Compute everything that depends on LR alone, of any sides: they are padded by repeating the border."""
        height, width = lr.shape[2:]
        bottom, right = (-side % self.config.multiple for side in (height, width))
        padded = F.pad(lr, (0, right, 0, bottom), mode="replicate") if bottom or right else lr
        features = self.features(padded)
        size = (height * self.config.factor, width * self.config.factor)
        return Given(self.whitening(padded, features), self.denoiser.condition(self.scaled(features)), size)

    def denoise(self, noisy: Tensor, sigma: Tensor, given: list[Tensor]) -> Tensor:
        """D of [1]_: the expected y given y with noise of deviation ``sigma`` (B,) or (1,), in float32."""
        kept = kept_share(sigma)[:, None, None, None]
        f = self.denoiser(noisy * kept, sigma.log(), given).float()
        return noisy * kept.square() + sigma[:, None, None, None] * kept * f

    def image(self, y: Tensor, given: Given) -> Tensor:
        """HR images (not clipped) of y, without padding."""
        return given.space.image(y)[:, :, : given.size[0], : given.size[1]]
