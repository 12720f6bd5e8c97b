"""The critic of adversarial training, of VGG's kind: what IRN+ was trained against (Xiao et al., ECCV 2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LEAST_PATCH", "Discriminator"]

HALVINGS = 5
LEAST_PATCH = 2**HALVINGS  # pixels: less leaves nothing for the linear layers
HIDDEN = 100
SLOPE = 0.2
WIDTHS = (1, 2, 4, 8, 8)  # of each level, by that of the first


class Discriminator(nn.Module):
    """Patches to logits: high for real ones.

    Parameters
    ----------
    patch : int
        Side of the patches, pixels; 128 and 144 give one network.
    width : int
        Channels of the first level.
    """

    def __init__(self, patch: int = 144, width: int = 64) -> None:
        super().__init__()
        if patch < LEAST_PATCH:
            raise ValueError(f"patches of {patch} pixels: the critic needs {LEAST_PATCH} or more")
        channels = 3
        for level, times in enumerate(WIDTHS):
            out = times * width
            # No bias where a batch norm follows, which has one.
            self.add_module(f"conv{level}_0", nn.Conv2d(channels, out, 3, padding=1, bias=level == 0))
            if level:
                self.add_module(f"bn{level}_0", nn.BatchNorm2d(out))
            self.add_module(f"conv{level}_1", nn.Conv2d(out, out, 4, stride=2, padding=1, bias=False))
            self.add_module(f"bn{level}_1", nn.BatchNorm2d(out))
            channels = out
        self.linear1 = nn.Linear(channels * (patch >> HALVINGS) ** 2, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, patch, patch), range [0, 1], to (B, 1)."""
        for level in range(len(WIDTHS)):
            for half in (0, 1):
                x = self.get_submodule(f"conv{level}_{half}")(x)
                if level or half:
                    x = self.get_submodule(f"bn{level}_{half}")(x)
                x = F.leaky_relu(x, SLOPE)
        return self.linear2(F.leaky_relu(self.linear1(x.flatten(1)), SLOPE))
