"""Shapes of SR3's networks: those of the published files, or any other; known without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["COMPACT", "NETWORKS", "SR3Config", "Trained"]

MOST_LEVELS, MOST_CHANNELS, MOST_BLOCKS = 10, 65536, 100


@dataclass(frozen=True)
class SR3Config:
    """Shape of a network.

    Attributes
    ----------
    base : int
        Channels at full size.
    multipliers : tuple of int
        Channels of each level, which has half the sides of the one before, in units of `base`.
    blocks : int
        Residual blocks of a level on the way down; there is one more on the way up.
    groups : int
        Groups of the normalisations, which the tensors of a file do not tell.
    attention : tuple of int
        Levels, from 0, whose blocks are followed by attention; that in the middle is always there.
    """

    base: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 8)
    blocks: int = 2
    groups: int = 32
    attention: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        sizes = (self.base, *self.multipliers, self.blocks, self.groups)
        if not all(type(size) is int and size >= 1 for size in sizes) or not self.multipliers:
            raise ValueError("its sizes are whole numbers of 1 or more")
        if len(self.multipliers) > MOST_LEVELS or self.blocks > MOST_BLOCKS or max(self.widths) > MOST_CHANNELS:
            raise ValueError("a network of that size is none")
        if self.base % 2 or any(width % self.groups for width in (self.base, *self.widths)):
            raise ValueError(f"its channels are not multiples of its {self.groups} groups, or odd")
        if not set(self.attention) <= set(range(len(self.multipliers))):
            raise ValueError("attention at a level that is not there")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.base * one for one in self.multipliers)

    @property
    def multiple(self) -> int:
        """What the sides of an HR image are padded to a multiple of."""
        return 2 ** (len(self.multipliers) - 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the metadata of a weight file."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Trained:
    """A network, and what it was trained on.

    Attributes
    ----------
    config : SR3Config
    factor : int
        Of its training pairs. The network itself sees enlarged LR images and knows no factor.
    filters : tuple of str
        What made its LR images. With more than one it does not know which.
    """

    config: SR3Config
    factor: int
    filters: tuple[str, ...] = ("bicubic",)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the metadata of a weight file."""
        return self.config.as_dict() | {"factor": self.factor, "filters": list(self.filters)}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> Trained:
        """What `as_dict` gave.

        Raises
        ------
        Exception
            Of any kind, if it is something else.
        """
        values = dict(stored)
        factor, filters = values.pop("factor"), values.pop("filters")
        if type(factor) is not int or factor < 2 or not isinstance(filters, list):  # a text has letters, not filters
            raise ValueError("neither a factor nor a list of filters")
        if not filters or not all(isinstance(one, str) for one in filters):
            raise ValueError("no names of filters")
        shape: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return Trained(SR3Config(**shape), factor, tuple(filters))


# Two are published; the third has the first one's blocks, for whoever trained it. Attention was placed by a nominal
# size, so that it is one level deeper there.
NETWORKS = {
    "ffhq_16_128": Trained(SR3Config(attention=(3,)), 8),
    "ffhq_64_512": Trained(SR3Config(multipliers=(1, 2, 4, 8, 16), blocks=1, groups=16), 8),
    "x4_64_256": Trained(SR3Config(attention=(4,)), 4),
}
COMPACT = SR3Config(base=16, blocks=1, groups=8)  # 4.0 M parameters
