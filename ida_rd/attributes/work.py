"""Look into image files: which candidates each has, and what the sources say about them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.candidates import cut, read_candidate_file, rectangles
from ida_rd.core.images import ImageError
from ida_rd.core.methods import OpenedMethod, open_method
from ida_rd.core.weights import expecting
from ida_rd.engine.store import Record

__all__ = ["PLACE", "File", "measuring", "open_work", "part_name"]

PLACES = "places"  # the part of a file that belongs to no source: where its candidates lie; no source has this name
PLACE = ["image_id", "file", "x", "y", "width", "height", "sha256"]

Measure = Callable[[list[NDArray[np.uint8]]], list[dict[str, Any]]]


class File(NamedTuple):
    """An image file: the id of its candidates, its name in the source folder, and what its content is."""

    image_id: str
    file: str
    sha256: str


class _Source(NamedTuple):
    """A source that measures images: its function, and how many images it takes at a time."""

    measure: Measure
    batch: int | None


def part_name(file: File, source: str | None = None) -> str:
    """Name of a part of a unit: what a source says about a file's candidates, or where these lie."""
    return f"{source or PLACES}:{file.image_id}"


def measuring(recipe: dict[str, Any]) -> dict[str, OpenedMethod]:
    """The sources of a recipe that measure images, by name."""
    opened = {name: open_method(entry) for name, entry in recipe["sources"].items()}
    return {name: method for name, method in opened.items() if hasattr(method.module, "measure")}


def open_work(recipe: dict[str, Any], device: str) -> Callable[[list[File], list[str]], dict[str, Record]]:
    """Load the sources of a recipe; return the function of some files."""
    sources = {}
    for name, method in measuring(recipe).items():
        with expecting(recipe["sources"][name]):
            measure = method.module.measure(method.parameters, recipe["sources"][name]["attributes"])
        sources[name] = _Source(measure, getattr(method.module, "BATCH", None))
    return partial(_look, recipe, sources)


def _look(
    recipe: dict[str, Any], sources: dict[str, _Source], given: list[File], parts: list[str]
) -> dict[str, Record]:
    """What is asked for about some files' candidates. A file that cannot be used gives the reason instead."""
    images = recipe["images"]
    folder = images.get("path")
    result: dict[str, Record] = {}
    tiles: dict[File, list[NDArray[np.uint8]]] = {}
    for file in given:
        if not any(part_name(file, source) in parts for source in (None, *sources)):
            continue
        try:
            image = read_candidate_file(file.file, folder, sha256=file.sha256)
            size = (image.shape[1], image.shape[0])
            places = rectangles(file.image_id, *size, images["crop"], recipe["multiple"], images.get("resize"))
            tiles[file] = [cut(image, *place[1:]) for place in places]
            value: Any = [dict(zip(PLACE, (p[0], file.file, *p[1:], file.sha256), strict=True)) for p in places]
        except ImageError as error:
            tiles[file] = []
            value = {"bad": f"{file.file}: {error}"}
        result[part_name(file)] = Record(value)
    for name, source in sources.items():
        asked = [file for file in tiles if part_name(file, name) in parts]
        told = _measure(source, [tile for file in asked for tile in tiles[file]])
        for file in asked:
            result[part_name(file, name)] = Record([next(told) for _ in tiles[file]])
    return {part: record for part, record in result.items() if part in parts}


def _measure(source: _Source, images: list[NDArray[np.uint8]]) -> Any:
    """What a source says about each image, in turn."""
    step = source.batch or max(len(images), 1)
    batches = [images[start : start + step] for start in range(0, len(images), step)]
    return iter([told for batch in batches for told in source.measure(batch)])
