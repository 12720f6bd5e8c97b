"""What StableSR's own networks are: sizes alone, without torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FUSED", "GROUPS", "GROWTH", "PUBLISHED", "SHARED", "StructureConfig"]

GROUPS = 32  # of normalisation, in all of them
SHARED = 128  # channels of what a map becomes before it modulates
GROWTH = 32  # channels that a layer of a dense block adds
FUSED = (1, 2)  # levels of the autoencoder at which features of the LR image are mixed in


@dataclass(frozen=True)
class StructureConfig:
    """The encoder that turns the LR image's latent into maps, at every time.

    Attributes
    ----------
    latent : int
        Channels of a latent.
    widths : tuple of int
        Channels of each level, the first at the latent's size.
    attention : tuple of int
        Levels whose blocks are followed by attention, besides the middle.
    outside : int
        Channels of the maps.
    blocks : int
        Residual blocks of a level.
    heads : int
        Of attention.
    """

    latent: int = 4
    widths: tuple[int, ...] = (256, 256, 512, 512)
    attention: tuple[int, ...] = (0, 1, 2)
    outside: int = 256
    blocks: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if any(width % GROUPS or width % self.heads for width in (*self.widths, self.outside)):
            raise ValueError(f"widths that are not multiples of {GROUPS} groups and of {self.heads} heads")

    @property
    def embedded(self) -> int:
        """Channels of a time."""
        return 4 * self.widths[0]


PUBLISHED = StructureConfig()
