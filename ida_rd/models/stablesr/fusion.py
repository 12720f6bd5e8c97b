"""An autoencoder whose decoder mixes in features of the LR image, as much as one likes [1]_ (equation 5).

References
----------
.. [1] Wang et al., "Exploiting diffusion prior for real-world image super-resolution", IJCV 2024.
.. [2] Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCV workshops 2018:
   section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.latent.config import AutoencoderConfig
from ida_rd.models.latent.networks import autoencoder_of
from ida_rd.models.stablesr.config import FUSED, GROUPS, GROWTH
from ida_rd.models.stablesr.layout import FUSION

__all__ = ["Encoded", "FusedAutoencoder", "encoded", "fused_of"]

EPS = 1e-6  # of normalisation
SLOPE = 0.2  # of what is negative in a dense block
SCALE = 0.2  # of what a dense block, and three of them, add


class Encoded(NamedTuple):
    """What an encoder makes of images.

    Attributes
    ----------
    mean, log_variance : Tensor
        Of latents, (B, C, h, w).
    features : dict
        By level.
    """

    mean: Tensor
    log_variance: Tensor
    features: dict[int, Tensor]


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, inside, EPS), nn.GroupNorm(GROUPS, outside, EPS)
        self.conv1, self.conv2 = nn.Conv2d(inside, outside, 3, padding=1), nn.Conv2d(outside, outside, 3, padding=1)
        self.conv_out = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv1(F.silu(self.norm1(x)))
        return self.conv_out(x) + self.conv2(F.silu(self.norm2(found)))


class _Dense(nn.Module):
    """Five layers, each of which sees all before it [2]_."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for k in range(5):
            layer = nn.Conv2d(width + k * GROWTH, GROWTH if k < 4 else width, 3, padding=1)
            self.add_module(f"conv{k + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        *layers, last = self.children()
        found = x
        for layer in layers:
            found = torch.cat([found, F.leaky_relu(layer(found), SLOPE)], dim=1)
        return x + SCALE * last(found)


class _Dense3(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = _Dense(width), _Dense(width), _Dense(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + SCALE * self.rdb3(self.rdb2(self.rdb1(x)))


class _Fusion(nn.Module):
    """What is added to features of the decoder, given those of the encoder at the same level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode_enc_1 = _Block(2 * width, width)
        self.encode_enc_2 = nn.Sequential(_Dense3(width), _Dense3(width))
        self.encode_enc_3 = _Block(width, width)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        given = torch.cat([encoder.expand(len(decoder), -1, -1, -1), decoder], dim=1)
        return self.encode_enc_3(self.encode_enc_2(self.encode_enc_1(given)))


@contextmanager
def _at(places: Mapping[nn.Module, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """See, or change, the outputs of modules inside the block."""
    with ExitStack() as stack:
        for module, see in places.items():
            handle = module.register_forward_hook(lambda _module, _given, output, see=see: see(output))
            stack.callback(handle.remove)
        yield


def encoded(autoencoder: nn.Module, images: Tensor, levels: tuple[int, ...] = ()) -> Encoded:
    """What the encoder of an autoencoder of diffusers makes of (B, 3, H, W): of the last block of the given levels."""
    net: Any = autoencoder
    features: dict[int, Tensor] = {}
    places = {
        net.encoder.down_blocks[level].resnets[-1]: lambda output, level=level: features.update({level: output})
        for level in levels
    }
    with _at(places):
        found = net.encode(images, return_dict=False)[0]
    return Encoded(found.mean, found.logvar, features)


class FusedAutoencoder(nn.Module):
    """An autoencoder of diffusers, and what its decoder mixes in."""

    def __init__(self, autoencoder: nn.Module, config: AutoencoderConfig) -> None:
        super().__init__()
        self.autoencoder: Any = autoencoder
        self.levels = len(config.widths)
        self.fusions = nn.ModuleDict({str(level): _Fusion(config.widths[level]) for level in FUSED})

    def encode(self, images: Tensor) -> Encoded:
        """What the encoder makes of images (B, 3, H, W), with the features that `decode` takes."""
        return encoded(self.autoencoder, images, FUSED)

    def decode(self, latent: Tensor, features: Mapping[int, Tensor], weight: float) -> Tensor:
        """Images of latents; `weight` 0: by the latents alone."""

        def mixed(level: int) -> Callable[[Tensor], Tensor]:
            return lambda output: output + weight * self.fusions[str(level)](features[level], output)

        blocks = self.autoencoder.decoder.up_blocks
        places = {blocks[self.levels - 1 - level].resnets[-1]: mixed(level) for level in FUSED if weight}
        with _at(places):
            return self.autoencoder.decode(latent, return_dict=False)[0]


def fused_of(config: AutoencoderConfig, state: Mapping[str, Tensor]) -> FusedAutoencoder:
    """A fused autoencoder with given tensors, frozen."""
    plain = {name: value for name, value in state.items() if not name.startswith(FUSION)}
    autoencoder = autoencoder_of(config, plain)
    with torch.device("meta"):
        net = FusedAutoencoder(autoencoder, config)
    own = {name.removeprefix(FUSION): value for name, value in state.items() if name.startswith(FUSION)}
    net.fusions.load_state_dict(own, assign=True)
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()
