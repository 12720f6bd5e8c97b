"""What a measure sees of an image: all of it in RGB, or its luma alone, with or without its border.

Papers about rescaling and super-resolution measure Y of YCbCr, 16 to 235, and leave out a border as wide as the factor.

References
----------
.. [1] Recommendation ITU-R BT.601, "Studio encoding parameters of digital television": Y of 8-bit R, G and B.
.. [2] Xiao et al., "Invertible image rescaling", ECCV 2020, which is measured so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

__all__ = ["UNIT", "Border", "Channel", "StatedIfSet", "View"]

# Y is 16 + (65.481 R + 128.553 G + 24.966 B) / 255 [1]_: of integers, so that differences are exact.
LUMA = (65481, 128553, 24966)
UNIT = 255_000  # of that sum, in grey levels
OFFSET = 16

Channel = Annotated[
    Literal["rgb", "y"],
    Field(description="rgb: all three; y: luma (BT.601, 16 to 235, not rounded), as papers about rescaling measure"),
]
Border = Annotated[int, Field(ge=0, le=256, description="pixels that are left out along every side; the factor, say")]


class StatedIfSet(BaseModel):
    """Parameters of which `channel` and `border` are written down only where they are set.

    They came later: a recipe that does not use them stays the one that it was.
    """

    @model_serializer(mode="wrap")
    def _stated(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {name for name in ("channel", "border") if getattr(self, name) == type(self).model_fields[name].default}
        return {key: value for key, value in handler(self).items() if key not in unset}


@dataclass(frozen=True)
class View:
    """Which part of an image, and which channels."""

    channel: Literal["rgb", "y"] = "rgb"
    border: int = 0

    def side(self, least: int) -> int:
        """Smallest side of an image of which `least` pixels are left."""
        return least + 2 * self.border

    def label(self, name: str, unit: str = "") -> str:
        """Name of a measure, as tables and figures print it."""
        seen = ["Y"] if self.channel == "y" else []
        seen += [f"border {self.border}"] if self.border else []
        note = "; ".join(part for part in (", ".join(seen), unit) if part)
        return f"{name} ({note})" if note else name

    def inner(self, images: NDArray[Any]) -> NDArray[Any]:
        """(..., H, W) without the border; a view."""
        if not self.border:
            return images
        return images[..., self.border : -self.border, self.border : -self.border]

    def levels(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Y of (..., 3, H, W), uint8, in grey levels, without the border: (..., 1, h, w)."""
        return OFFSET + self.sums(image) / UNIT

    def sums(self, image: NDArray[Any]) -> NDArray[np.int32]:
        """`levels` less 16 in units of 1 / 255000 grey levels: whole numbers, (..., 1, h, w)."""
        inner = self.inner(image)
        total = np.zeros((*inner.shape[:-3], 1, *inner.shape[-2:]), np.int32)
        for c, weight in enumerate(LUMA):
            total[..., 0, :, :] += inner[..., c, :, :].astype(np.int32) * np.int32(weight)
        return total
