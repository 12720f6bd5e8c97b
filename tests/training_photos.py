"""What the tests of training and adaptation share: training photographs, a tiny budget, and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image

from ida_rd.adapt.contract import Adaptation
from ida_rd.adapt.photographs import listed
from ida_rd.adapt.recipe import adapt_recipe
from ida_rd.core.images import read_image, write_png
from ida_rd.downscale.recipe import downscale_recipe

TINY: dict[str, Any] = {"steps": 3, "batch": 1, "patch": 32, "warmup": 1, "energy": 0, "precision": "float32"}
PLAIN = {"method": "flow"}


def write_photos(folder: Path, count: int = 2, side: int = 136) -> Path:
    """Write photographs of coffee, (side, side + 8), none of which is part of another photograph that tests use."""
    folder.mkdir(parents=True, exist_ok=True)
    coffee = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB"))
    for i in range(count):
        y, x = 10 + i * 90, 100 + i * 40
        Image.fromarray(coffee[y : y + side, x : x + side + 8]).save(folder / f"t{i}.png")
    return folder


def held_out(photos: Path) -> Path:
    """Images of validation beside photographs: the same ones, mirrored."""
    folder = photos.parent / "held-out"
    for path in photos.glob("*.png") if not folder.exists() else ():
        write_png(folder / path.name, np.ascontiguousarray(read_image(path)[:, ::-1]))
    return folder


def recipe_of(images: Path, downscaler: dict[str, Any], factor: int = 4, **budget: Any) -> dict[str, Any]:
    """The recipe of an adaptation with a tiny budget."""
    adaptation = Adaptation(images=str(images), **(TINY | budget))
    of, _ = downscale_recipe("d", downscaler, factor, 0, download=False)
    found = listed(adaptation, where="adapted.a.adapt")
    return adapt_recipe(
        "a", PLAIN, adaptation, of, factor, found=found, where="adapted.a.adapt", settings={"heat": 1.0}
    )
