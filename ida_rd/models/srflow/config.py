"""Shapes of the SRFlow networks: the three of the official release, or any other."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CELEBA_X8", "DF2K_X4", "DF2K_X8", "SRFlowConfig"]


@dataclass(frozen=True)
class SRFlowConfig:
    """Shape of an SRFlow network.

    Attributes
    ----------
    factor : int
        Scale factor, 4 or 8. The flow has one level more than the factor has powers of two.
    features, growth, blocks : int
        Channels, dense-block growth and number of blocks of the RRDB encoder.
    stacked : tuple of int
        Encoder blocks (from 0) whose outputs condition the flow.
    steps : int
        Flow steps with a coupling, per level.
    plain_steps : int
        Flow steps without one before them, per level.
    hidden : int
        Width of the coupling networks.
    """

    factor: int
    blocks: int
    stacked: tuple[int, ...]
    features: int = 64
    growth: int = 32
    steps: int = 16
    plain_steps: int = 2
    hidden: int = 64

    def __post_init__(self) -> None:
        if self.factor not in (4, 8):
            raise ValueError(f"factor must be 4 or 8, not {self.factor}")
        if self.plain_steps < 1:
            raise ValueError("a level has at least one step without a coupling")
        if any(not 0 <= block < self.blocks for block in self.stacked):
            raise ValueError(f"stacked blocks {self.stacked} are not all among the {self.blocks} blocks")

    @property
    def levels(self) -> int:
        """Number of levels; HR sides must be multiples of ``2 ** levels``, that is, LR sides even."""
        return {4: 3, 8: 4}[self.factor]

    @property
    def conditioning(self) -> int:
        """Channels of a level's conditioning features."""
        return self.features * (len(self.stacked) + 1)

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Shapes (C, h, w) of the latents of an LR image of `height` x `width`, in encode order."""
        shapes = []
        channels, h, w = 3, height * self.factor, width * self.factor
        for level in range(1, self.levels + 1):
            channels, h, w = 4 * channels, h // 2, w // 2
            if level < self.levels - 1:
                shapes.append((channels // 2, h, w))
                channels -= channels // 2
        return [*shapes, (channels, h, w)]


DF2K_X4 = SRFlowConfig(factor=4, blocks=23, stacked=(1, 8, 15, 22))
CELEBA_X8 = SRFlowConfig(factor=8, blocks=8, stacked=(1, 3, 5, 7))
DF2K_X8 = SRFlowConfig(factor=8, blocks=23, stacked=(1, 3, 5, 7))
