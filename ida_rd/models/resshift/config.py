"""Shapes of ResShift's two networks, and how each published U-Net is sampled; known without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FACTOR", "GROUPS", "VARIANTS", "WINDOW", "AutoencoderConfig", "Config", "UNetConfig", "Variant"]

FACTOR = 4  # of the autoencoder: a latent has the sides of the LR image
GROUPS = 32  # of all normalisations
WINDOW = 8  # side of the windows of attention
MOST_LEVELS, MOST_CHANNELS, MOST_BLOCKS, MOST_CODES = 10, 65536, 100, 2**24


@dataclass(frozen=True)
class Config:
    """What both networks have.

    Attributes
    ----------
    base : int
        Channels at full size.
    multipliers : tuple of int
        Channels of each level, which has half the sides of the one before, in units of `base`.
    blocks : int
        Residual blocks of a level on the way down; there is one more on the way up.
    """

    base: int
    multipliers: tuple[int, ...]
    blocks: int

    def __post_init__(self) -> None:
        values = [one for value in self.as_dict().values() for one in (value if isinstance(value, list) else [value])]
        if not all(type(one) is int and one >= 1 for one in values) or not self.multipliers:
            raise ValueError("its sizes are whole numbers of 1 or more")
        if len(self.multipliers) > MOST_LEVELS or self.blocks > MOST_BLOCKS or max(self.widths) > MOST_CHANNELS:
            raise ValueError("a network of that size is none")
        if any(width % GROUPS for width in (self.base, *self.widths)):
            raise ValueError(f"its channels are not multiples of its {GROUPS} groups")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.base * one for one in self.multipliers)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the metadata of a weight file."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Any:
        """What `as_dict` gave; raises an exception of any kind if it is something else."""
        shape: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in stored.items()}
        return cls(**shape)


@dataclass(frozen=True)
class UNetConfig(Config):
    """Shape of the U-Net; the defaults are those of all published ones.

    Attributes
    ----------
    width : int
        Channels inside the Swin layers.
    head : int
        Channels of each of their heads.
    ratio : int
        Hidden channels of their perceptrons, in units of `width`.
    """

    base: int = 160
    multipliers: tuple[int, ...] = (1, 2, 2, 4)
    blocks: int = 2
    width: int = 192
    head: int = 32
    ratio: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.width * self.ratio, self.head) > MOST_CHANNELS:
            raise ValueError("a network of that size is none")
        if self.width % GROUPS or self.width % self.head:
            raise ValueError("its width is no multiple of its groups and heads")

    @property
    def multiple(self) -> int:
        """What the sides of a latent are padded to a multiple of: one window at the deepest level."""
        return WINDOW * 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class AutoencoderConfig(Config):
    """Shape of the autoencoder; the defaults are those of the published one.

    Attributes
    ----------
    codes : int
        Vectors of its codebook.
    """

    base: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4)
    blocks: int = 2
    codes: int = 8192

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codes > MOST_CODES:
            raise ValueError("a network of that size is none")
        if 2 ** (len(self.multipliers) - 1) != FACTOR:
            raise ValueError(f"its latents are not {FACTOR} times smaller than its images")


@dataclass(frozen=True)
class Variant:
    """How a U-Net was trained, and so must be sampled: with other steps than those it gives nothing of use.

    Attributes
    ----------
    steps : int
    least : float
        Standard deviation of the noise that the first step of the forward chain adds, for kappa of 1 or more.
    kappa : float
        Standard deviation of the noise at the end of the chain, where the image is the enlarged LR image.
    blind : bool
        Whether its LR images were made by many filters, blurs, noises and codecs.
    """

    steps: int
    least: float
    kappa: float = 2.0
    blind: bool = True


VARIANTS = {
    "v1": Variant(15, 0.04),
    "v2": Variant(15, 0.04),
    "v3": Variant(4, 0.2),
    "bicsr": Variant(4, 0.2, blind=False),
}
