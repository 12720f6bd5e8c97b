"""What the tests of training and adaptation share: training photographs, a tiny budget, and recipes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from conftest import ROOT
from numpy.typing import NDArray
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


def cut_photos(folder: Path, image: NDArray[np.uint8], count: int = 2, side: int = 160) -> Path:
    """Write squares of an image, which lie below each other, into ``folder/photos``."""
    for i in range(count):
        square = image[i * side : (i + 1) * side, 100 : 100 + side]
        write_png(folder / "photos" / f"{i}.png", np.ascontiguousarray(square))
    return folder / "photos"


def held_out(photos: Path) -> Path:
    """Images of validation beside photographs: the same ones, mirrored."""
    folder = photos.parent / "held-out"
    for path in photos.glob("*.png") if not folder.exists() else ():
        write_png(folder / path.name, np.ascontiguousarray(read_image(path)[:, ::-1]))
    return folder


def kill_when(reached: Callable[[], bool], command: list[str], env: dict[str, str]) -> None:
    """Run a command in the project's folder, and kill it once something is reached."""
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not reached() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()


@contextmanager
def dying(training: type, step: str, at: int) -> Iterator[None]:
    """What is trained in here ends as if killed, in a step by its number."""
    does = getattr(training, step)

    def dies(self: Any, number: int) -> Any:
        if number == at:
            raise KeyboardInterrupt
        return does(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, step, dies)
        with pytest.raises(KeyboardInterrupt):
            yield


def recipe_of(
    images: Path, downscaler: dict[str, Any], factor: int = 4, upscaler: dict[str, Any] = PLAIN, **budget: Any
) -> dict[str, Any]:
    """The recipe of an adaptation with a tiny budget."""
    tiny = {key: value for key, value in TINY.items() if key != "energy" or upscaler["method"] == "flow"}
    adaptation = Adaptation(images=str(images), **(tiny | budget))
    of, _ = downscale_recipe("d", downscaler, factor, 0, download=False)
    found = listed(adaptation, where="adapted.a.adapt")
    settings = {"heat": 1.0} if upscaler["method"] == "flow" else {}
    return adapt_recipe("a", upscaler, adaptation, of, factor, found=found, where="adapted.a.adapt", settings=settings)
