"""The autoencoder whose latents ResShift refines: VQ-f4 of latent diffusion [1]_, with a codebook before the decoder.

References
----------
.. [1] Rombach et al., "High-resolution image synthesis with latent diffusion models", CVPR 2022.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.resshift.config import GROUPS, AutoencoderConfig
from ida_rd.models.resshift.layout import IMAGE

__all__ = ["Autoencoder"]

EPSILON = 1e-6
PIXELS = 4096  # whose distances to all codes are held at once


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=EPSILON)


def _conv(inside: int, outside: int, side: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, side, padding=side // 2)


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inside), _conv(inside, outside)
        self.norm2, self.conv2 = _norm(outside), _conv(outside, outside)
        self.nin_shortcut = _conv(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(found)))


class _Attention(nn.Module):
    """One head over all pixels, whose map is never held as a whole."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v = (_conv(channels, channels, 1) for _ in range(3))
        self.proj_out = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        # (B, C, h, w) to (B, 1, pixels, C).
        q, k, v = (one(normed).flatten(2).transpose(1, 2)[:, None].contiguous() for one in (self.q, self.k, self.v))
        found = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(found.squeeze(1).transpose(1, 2).reshape(x.shape))


class _Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1, self.attn_1 = _Block(channels, channels), _Attention(channels)
        self.block_2 = _Block(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class _Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # at the right and the bottom alone


class _Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _Level(nn.Module):
    """Residual blocks of one size, and on to the next."""

    def __init__(self, channels: list[int], on: dict[str, nn.Module]) -> None:
        super().__init__()
        self.block = nn.ModuleList(map(_Block, channels[:-1], channels[1:]))
        for name, layer in on.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for name, layer in self.named_children():
            x = layer(x) if name != "block" else x
        return x


class _Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, last = config.widths, len(config.widths) - 1
        self.conv_in = _conv(IMAGE, config.base)
        self.down = nn.ModuleList()
        for level, before in enumerate((config.base, *widths[:-1])):
            width = widths[level]
            on: dict[str, nn.Module] = {"downsample": _Down(width)} if level < last else {}
            self.down.append(_Level([before, *[width] * config.blocks], on))
        self.mid = _Middle(widths[-1])
        self.norm_out, self.conv_out = _norm(widths[-1]), _conv(widths[-1], IMAGE)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class _Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = _conv(IMAGE, widths[-1])
        self.mid = _Middle(widths[-1])
        self.up = nn.ModuleList()
        for level, before in enumerate((*widths[1:], widths[-1])):
            width = widths[level]
            on: dict[str, nn.Module] = {"upsample": _Up(width)} if level else {}
            self.up.append(_Level([before, *[width] * (config.blocks + 1)], on))
        self.norm_out, self.conv_out = _norm(widths[0]), _conv(widths[0], IMAGE)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in range(len(self.up) - 1, -1, -1):
            x = self.up[level](x)
        return self.conv_out(F.silu(self.norm_out(x)))


class _Codebook(nn.Module):
    def __init__(self, codes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.empty(codes, IMAGE))

    def nearest(self, z: Tensor) -> Tensor:
        """Number of the nearest code for each pixel, (B, h, w); the first, where several are as near."""
        codes = self.embedding.weight
        norms = codes.square().sum(dim=1)
        found = []
        for latent in z.permute(0, 2, 3, 1).flatten(1, 2):  # one by one, so that none depends on the others
            for pixels in latent.split(PIXELS):
                distance = pixels.square().sum(dim=1, keepdim=True) + norms - 2 * pixels @ codes.T
                found.append(distance.argmin(dim=1))
        return torch.cat(found).view(len(z), *z.shape[2:])

    def forward(self, z: Tensor) -> Tensor:
        # In the usual order of numbers: in another the normalisations of a processor lose five times as much.
        codes = self.embedding(self.nearest(z)).permute(0, 3, 1, 2).contiguous()
        return codes + 0 * z  # what is not finite has no nearest code, and must not become an image


class Autoencoder(nn.Module):
    """Encoder, codebook and decoder."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = _Encoder(config), _Decoder(config)
        self.quantize = _Codebook(config.codes)
        self.quant_conv, self.post_quant_conv = _conv(IMAGE, IMAGE, 1), _conv(IMAGE, IMAGE, 1)

    def encode(self, x: Tensor) -> Tensor:
        """Images, (B, 3, 4 h, 4 w), in [-1, 1], to latents, (B, 3, h, w), which are not those of the codebook."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Latents to images, nominally in [-1, 1], by way of the nearest codes.

        An image whose latent is not finite is not finite either.
        """
        return self.decoder(self.post_quant_conv(self.quantize(z)))
