"""The HR images of this experiment: ``python world.py`` writes ``images/``, always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.errors import exit_with_line
from ida_rd.core.files import atomic_folder, write_bytes
from ida_rd.core.images import png_bytes
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.readers import read_yaml
from ida_rd.core.seeds import generator
from ida_rd.models.gaussian_field import Field as GaussianField


class World(Parameters):
    """Key ``world`` of ``exact.yaml``: how many images, of what side, and the field that they are."""

    count: int = Field(ge=5)
    side: int = Field(ge=16)
    seed: int
    sigma: float
    cutoff: float
    floor: float
    correlation: float
    mean: float

    def field(self) -> GaussianField:
        return GaussianField(self.sigma, self.cutoff, self.floor, self.correlation, self.mean)

    def image(self, number: int) -> tuple[NDArray[np.uint8], float]:
        """One HR image (side, side, 3), and the share of its sub-pixels that were clipped."""
        white = generator("exact", self.seed, number).standard_normal((3, self.side, self.side))
        levels = np.rint(self.field().draw(white)).transpose(1, 2, 0)
        clipped = float(((levels < 0) | (levels > 255)).mean())
        return np.ascontiguousarray(np.clip(levels, 0, 255).astype(np.uint8)), clipped


class Settings(Parameters):
    """``exact.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    world: World


def read_settings() -> Settings:
    hint = "run this in the folder of the experiment"
    return validate(Settings, read_yaml("exact.yaml", hint=hint), where="exact.yaml")


def main() -> None:
    world = read_settings().world
    with atomic_folder(Path("images")) as folder:
        for number in range(world.count):
            write_bytes(folder / f"{number:03d}.png", png_bytes(world.image(number)[0]))


if __name__ == "__main__":
    exit_with_line(main)
