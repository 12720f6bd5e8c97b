"""Where patches come from: crops by a downscaler that looks no further than its margin, or whole LR images.

A downscaler whose reach is not known, or to which degradations belong, is given whole photographs, once; their LR
images are kept beside the training's state. There, what is drawn anew for every crop otherwise (the JPEG file, turning
and flipping, the phase of the LR grid) is drawn once for each photograph.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.adapt.photographs import read_photograph
from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image, write_png
from ida_rd.core.methods import OpenedMethod, open_method
from ida_rd.core.seeds import generator
from ida_rd.training.patches import JPEG_QUALITY, Downscaling, Pairs, PairSource, PatchSource, through_jpeg

__all__ = ["KEPT", "reach_of", "source_of"]

Pixels = NDArray[np.uint8]
KEPT = "lr"  # folder of whole LR images beside the training's state


def reach_of(downscaler: Mapping[str, Any]) -> int | None:
    """LR pixels that crops need as a margin, by the recipe of a downscaler; None: it takes whole images."""
    if downscaler.get("degrade") or downscaler["method"] == "folder":
        return None
    method = open_method(downscaler)
    # Looked up at run time, as a method is: its code is in the downscaler's recipe, and so in that of the adaptation.
    contract = importlib.import_module("ida_rd.downscale.contract")
    return contract.reach_of(method.module, method.parameters)


def source_of(recipe: Mapping[str, Any], out: Path) -> Pairs:
    """Make the source of patches of an adaptation's recipe; whole LR images are kept in ``out/lr``."""
    budget, factor = recipe["budget"], recipe["factor"]
    folder, files = Path(recipe["images"]["path"]).expanduser(), recipe["images"]["files"]
    reach = recipe["reach"]
    if reach is None:
        pairs = _given(recipe, folder) if "lr" in recipe else _whole(recipe, folder, out / KEPT)
        return PairSource(pairs, factor, budget["patch"], budget["seed"], candidates=budget["candidates"])
    for name, sha256 in files.items():
        read_photograph(folder / name, sha256)  # the source reads them by path: they must be those of the recipe
    return PatchSource(
        [folder / name for name in files],
        factor,
        budget["patch"],
        budget["seed"],
        jpeg=budget["jpeg"],
        candidates=budget["candidates"],
        downscalings=[downscaling(recipe["downscaler"], reach)],
    )


def _reduce(method: OpenedMethod, downscaler: Mapping[str, Any], image_id: str, hr: Pixels) -> Pixels:
    work = importlib.import_module("ida_rd.downscale.work")  # as above
    return work.reduce_image(method, downscaler, image_id, hr)[0]


def downscaling(downscaler: Mapping[str, Any], reach: int) -> Downscaling:
    """A downscaler's recipe as training takes it: a function of crops."""
    method = open_method(downscaler)

    def make(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
        return _reduce(method, downscaler, "training", hr)

    return Downscaling(str(downscaler["name"]), reach, make)


def _given(recipe: Mapping[str, Any], folder: Path) -> list[tuple[Pixels, Pixels]]:
    """Photographs and LR images that were made elsewhere."""
    small = Path(recipe["lr"]["path"]).expanduser()
    by_stem = {Path(name).stem: name for name in recipe["lr"]["files"]}
    pairs = []
    for name, sha256 in recipe["images"]["files"].items():
        lr = small / by_stem[Path(name).stem]
        try:
            pair = read_photograph(folder / name, sha256), read_image(lr, sha256=recipe["lr"]["files"][lr.name])
        except ImageError as error:
            raise UserError(f"LR image {lr}: {error}; mend it, then run again") from None
        pairs.append(pair)
    return pairs


def _whole(recipe: Mapping[str, Any], folder: Path, kept: Path) -> list[tuple[Pixels, Pixels]]:
    """Photographs, each drawn in one form, and their LR images; those that `kept` has are not made again."""
    downscaler, budget, factor = recipe["downscaler"], recipe["budget"], recipe["factor"]
    method = open_method(downscaler)
    pairs, files = [], recipe["images"]["files"].items()
    # All of them before anything is written.
    forms = [
        (sha256, drawn_form(read_photograph(folder / name, sha256), sha256, factor, budget["seed"], budget["jpeg"]))
        for name, sha256 in files
    ]
    for sha256, hr in forms:
        path = kept / f"{sha256}.png"
        if not path.is_file():
            write_png(path, _reduce(method, downscaler, f"training-{sha256[:16]}", hr))
        pairs.append((hr, read_image(path)))
    return pairs


def drawn_form(image: Pixels, sha256: str, factor: int, seed: int, jpeg: float) -> Pixels:
    """A photograph in the one form in which it is downscaled whole: through JPEG or not, turned, flipped, shifted."""
    rng = generator("photograph", seed, sha256)
    compressed, quality = rng.random() < jpeg, int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    if compressed:
        image = through_jpeg(image, quality)
    image = np.rot90(image, int(rng.integers(4)))
    if rng.integers(2):
        image = image[:, ::-1]
    y, x = (int(n) for n in rng.integers(factor, size=2))
    height, width = ((length - start) // factor * factor for length, start in zip(image.shape[:2], (y, x), strict=True))
    return np.ascontiguousarray(image[y : y + height, x : x + width])
