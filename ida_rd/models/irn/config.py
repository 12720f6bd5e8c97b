"""Shapes of the invertible rescaling networks: the published ones, a variant's, or any other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["FACTORS", "IRNConfig", "Subnet"]

FACTORS = (2, 4, 8)
Subnet = Literal["dense", "distilled"]


@dataclass(frozen=True)
class IRNConfig:
    """Shape of a network.

    Attributes
    ----------
    blocks : tuple of int
        Coupling blocks after each Haar step. There are as many steps as the factor has powers of two.
    growth : int
        Channels that each layer of a dense subnet adds; a distilled one has widths of its own.
    subnet : str
        ``dense``: IRN's; ``distilled``: that of FIRN, a smaller variant on the same skeleton.
    """

    blocks: tuple[int, ...] = (8, 8)
    growth: int = 32
    subnet: Subnet = "dense"

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise ValueError(f"{len(self.blocks)} Haar steps: there are networks of 1, 2 and 3")
        if min(self.blocks) < 1 or self.growth < 1:
            raise ValueError("a Haar step is followed by one block or more, of a growth of 1 or more")

    @property
    def factor(self) -> int:
        """Scale factor."""
        return 2 ** len(self.blocks)

    @property
    def latent_channels(self) -> int:
        """Channels of the latent, at the size of the LR image."""
        return 3 * (self.factor**2 - 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the metadata of a weight file."""
        return asdict(self) | {"blocks": list(self.blocks)}
