"""The structure encoder: maps of the LR image's latent, which depend on the time [1]_ (section 3.1).

References
----------
.. [1] Wang et al., "Exploiting diffusion prior for real-world image super-resolution", IJCV 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.stablesr.config import GROUPS, StructureConfig

__all__ = ["Maps", "StructureEncoder", "structure_of"]

LONGEST = 10_000.0  # of the wavelengths of the embedding, in units of 2 pi
Maps = dict[int, Tensor]  # by their width


def _embedded(t: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Cosines, then sines, of times: (B,) to (B, width)."""
    count = width // 2
    rates = torch.exp(-math.log(LONGEST) * torch.arange(count, dtype=torch.float32, device=t.device) / count)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1).to(dtype)


class _Residual(nn.Module):
    """Residual block to which a time is added."""

    def __init__(self, inside: int, outside: int, embedded: int) -> None:
        super().__init__()
        conv = nn.Conv2d(inside, outside, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, inside), nn.SiLU(), conv)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedded, outside))
        # The place of the published network's dropout, which is 0, is kept for the numbers in the names.
        conv = nn.Conv2d(outside, outside, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, outside), nn.SiLU(), nn.Identity(), conv)
        self.skip_connection = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        found = self.in_layers(x) + self.emb_layers(embedded)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(found)


class _Attention(nn.Module):
    """Attention over all pixels. Channels are split into heads first, and within a head into q, k and v."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.proj_out = (
            nn.GroupNorm(GROUPS, width),
            nn.Conv1d(width, 3 * width, 1),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        batch, width, height, _ = x.shape
        given = self.qkv(self.norm(x).flatten(2))
        split = given.view(batch, self.heads, 3 * width // self.heads, -1).transpose(2, 3)
        q, k, v = (part.contiguous() for part in split.chunk(3, dim=3))
        found = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(batch, width, -1)
        return x + self.proj_out(found).unflatten(2, (height, -1))


class _Down(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        return self.op(x)


class _First(nn.Conv2d):
    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class StructureEncoder(nn.Module):
    """The network."""

    def __init__(self, config: StructureConfig) -> None:
        super().__init__()
        self.config = config
        embedded, widths = config.embedded, config.widths
        self.time_embed = nn.Sequential(nn.Linear(widths[0], embedded), nn.SiLU(), nn.Linear(embedded, embedded))
        blocks: list[list[nn.Module]] = [[_First(config.latent, widths[0], 3, padding=1)]]
        channels = widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                block: list[nn.Module] = [_Residual(channels, width, embedded)]
                channels = width
                blocks.append([*block, _Attention(width, config.heads)] if level in config.attention else block)
            if level < len(widths) - 1:
                blocks.append([_Down(width)])
        self.input_blocks = nn.ModuleList(nn.ModuleList(block) for block in blocks)
        self.middle_block = nn.ModuleList(
            [
                _Residual(channels, channels, embedded),
                _Attention(channels, config.heads),
                _Residual(channels, channels, embedded),
            ]
        )
        self.fea_tran = nn.ModuleList(_Residual(width, config.outside, embedded) for width in widths)

    def forward(self, latent: Tensor, t: Tensor) -> Maps:
        """Maps of (B, C, h, w) at times (B,): of the features at the end of each level, by their width."""
        embedded = self.time_embed(_embedded(t, self.config.widths[0], latent.dtype))
        x, found = latent, []
        for block in (*self.input_blocks, self.middle_block):
            assert isinstance(block, nn.ModuleList)
            if isinstance(block[0], _Down):
                found.append(x)
            for part in block:
                x = part(x, embedded)
        maps = [part(one, embedded) for part, one in zip(self.fea_tran, [*found, x], strict=True)]
        return {one.shape[3]: one for one in maps}


def structure_of(config: StructureConfig, state: Mapping[str, Tensor]) -> StructureEncoder:
    """A structure encoder with given tensors, frozen."""
    with torch.device("meta"):
        net = StructureEncoder(config)
    net.load_state_dict(state, assign=True)
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()
