"""Shape of a compact diffusion network; known without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["EDMConfig"]

FACTORS = (4, 8)
MOST_CHANNELS, MOST_BLOCKS = 4096, 1000
FINE_SCALE, COARSE_SCALE = 14.0, 8.0


@dataclass(frozen=True)
class EDMConfig:
    """Size of the network, and what it was trained on; stored in the weight file's metadata.

    Attributes
    ----------
    factor : int
        Scale factor, 4 or 8.
    encoder_width, encoder_blocks, fine_width : int
        Of the flow's encoder, as in `ida_rd.models.flow.FlowConfig`.
    width, deep_width : int
        Channels of the denoiser at half the HR size, and below.
    embedding, frequencies : int
        Of the noise level: channels, and Fourier frequencies.
    head_width : int
        Channels of the head that predicts mean and scale of the residual.
    filters : tuple of str
        What made the LR images of the training pairs. With more than one it does not know which.
    """

    factor: int = 4
    encoder_width: int = 64
    encoder_blocks: int = 24
    fine_width: int = 32
    width: int = 48
    deep_width: int = 128
    embedding: int = 96
    frequencies: int = 16
    head_width: int = 64
    filters: tuple[str, ...] = ("bicubic",)

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise ValueError(f"factor {self.factor}, not {' or '.join(map(str, FACTORS))}")
        if not all(type(one) is int and 1 <= one <= MOST_CHANNELS for one in self.sizes()):
            raise ValueError("its sizes are whole numbers of 1 or more")
        if self.encoder_blocks > MOST_BLOCKS:
            raise ValueError("a network of that size is none")
        if not self.filters or not all(isinstance(one, str) for one in self.filters):
            raise ValueError("no names of filters")

    def sizes(self) -> tuple[int, ...]:
        """All whole numbers but the factor."""
        return tuple(getattr(self, one.name) for one in fields(self) if one.name not in ("factor", "filters"))

    @property
    def levels(self) -> int:
        """Of the encoder's features: half the HR size, and so on down to LR size."""
        return self.factor.bit_length() - 1

    @property
    def multiple(self) -> int:
        """What the sides of an LR image are padded to a multiple of: the denoiser has three sizes, from HR / 2 down."""
        return max(1, 8 // self.factor)

    @property
    def feature_widths(self) -> tuple[int, ...]:
        """Channels of the encoder's features, level by level."""
        return (*((self.fine_width,) * (self.levels - 1)), self.encoder_width)

    @property
    def feature_scales(self) -> tuple[float, ...]:
        """What features are multiplied by, level by level: the flow left them tiny."""
        return (*((FINE_SCALE,) * (self.levels - 1)), COARSE_SCALE)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the metadata of a weight file."""
        return asdict(self) | {"filters": list(self.filters)}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> EDMConfig:
        """What `as_dict` gave.

        Raises
        ------
        Exception
            Of any kind, if it is something else.
        """
        values = dict(stored)
        filters = values.pop("filters")
        if not isinstance(filters, list):  # a text has letters, not filters
            raise ValueError("no list of filters")
        return EDMConfig(filters=tuple(filters), **values)
