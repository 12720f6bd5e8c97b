"""Parameters that all upscalers by diffusion have; known without torch."""

from __future__ import annotations

from pydantic import Field

from ida_rd.core.methods import Parameters

__all__ = ["DiffusionParameters"]


class DiffusionParameters(Parameters):
    """How many samples are computed together, and the terms of the networks."""

    batch: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="samples that are computed together; null: one on a CPU, so that a sample is the same whichever"
        " others there are; on a GPU as many as fit",
    )
    licence: str | None = Field(
        default=None, description="terms of your own files, as the results will state them; null: those that are known"
    )

    def together(self, samples: int) -> int:
        """How many of an image's samples a CPU computes together: by what `memory` of a method counts them."""
        return min(self.batch or 1, samples)
