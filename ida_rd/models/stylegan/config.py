"""Shapes of StyleGAN's synthesis networks; torch is not imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["RESOLUTIONS", "SynthesisConfig", "official_channels"]

RESOLUTIONS = (8, 16, 32, 64, 128, 256, 512, 1024)


def official_channels(resolution: int) -> tuple[int, ...]:
    """Channels of the blocks 4x4, 8x8, ... of the published networks."""
    return tuple(min(8192 >> (r - 1), 512) for r in range(2, int(math.log2(resolution)) + 1))


@dataclass(frozen=True)
class SynthesisConfig:
    """Shape of a synthesis network.

    Attributes
    ----------
    channels : tuple of int
        Of the blocks 4x4, 8x8, ...
    latent : int
        Length of a style.
    """

    channels: tuple[int, ...]
    latent: int = 512

    @property
    def resolution(self) -> int:
        """Side of the image."""
        return 2 ** (len(self.channels) + 1)

    @property
    def layers(self) -> int:
        """Number of styles, and of noise maps."""
        return 2 * len(self.channels)

    def side(self, layer: int) -> int:
        """Side of noise map `layer`, from 0."""
        return 2 ** (layer // 2 + 2)
