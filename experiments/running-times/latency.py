"""One image at a time, in one process: ``python latency.py UPSCALER FACTOR DOWNSCALER WARM_UP IMAGES``, where a run is.

The functions of the stages, called as the engine calls them, on a run's own files: an LR image, one sample of it, its
distances. The first image is apart, since it pays what later ones do not; some more are not counted; then the images
are. Writes ``latency.csv``: a row per call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.core.errors import exit_with_line
from ida_rd.core.files import sha256_file
from ida_rd.core.images import image_files
from ida_rd.core.project import Branch, Project
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import write_table
from ida_rd.distort import work as distort
from ida_rd.downscale import work as downscale
from ida_rd.engine.device import device_name
from ida_rd.engine.times import begin, now
from ida_rd.upscale import work as upscale

LOAD, FIRST, WARM_UP, COUNTED = "load", "first", "warm-up", "counted"


def timed(
    stage: str, device: str, make: Callable[[], Callable[[Any, list[str]], Any]], given: list[Any], parts: list[str],
    warm_up: int, images: int,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows of one stage: what loading took, then call after call."""
    told = {"stage": stage, "device": device.partition(":")[0]}
    begun = begin(device)
    function = make()
    yield told | {"phase": LOAD, "repetition": 0, "image_id": "", "seconds": now(device) - begun}
    for i, one in enumerate(islice(cycle(given), 1 + warm_up + images)):
        phase = FIRST if i == 0 else WARM_UP if i <= warm_up else COUNTED
        begun = now(device)
        function(one, parts)
        seconds = now(device) - begun
        name = one.image_id if isinstance(one, distort.Compared) else one[0]
        yield told | {"phase": phase, "repetition": i, "image_id": name, "seconds": seconds}


def main() -> None:
    import torch

    upscaler, factor, downscaler = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    numbers = int(sys.argv[4]), int(sys.argv[5])
    project, branch = Project(), Branch(upscaler, factor, downscaler)
    device = device_name()
    if device == "cpu":
        torch.set_num_threads(1)  # as a worker has
    recipes = [
        read_recipe(project, "downscale", f"x{factor}", downscaler),
        read_recipe(project, "upscale", f"x{factor}", upscaler, downscaler),
        read_recipe(project, "distort"),
    ]
    hr = {name: path.absolute() for name, path in image_files(project.hr, what="HR images").items()}
    lr = image_files(project.lr_of(downscaler, factor), what="LR images")
    sr = {name: project.sr_of(branch).absolute() / name / "0.webp" for name in hr}
    hashes = {path: sha256_file(path) for path in (*hr.values(), *sr.values()) if path.is_file()}
    pairs = [(name, path) for name, path in hr.items() if sr[name] in hashes]
    compared = [
        distort.Compared(name, path, {0: sr[name]}, {path: hashes[path], sr[name]: hashes[sr[name]]})
        for name, path in pairs
    ]
    names = recipes[2]["distortions"]
    parts = [distort.part_name(n) if distort.squared(entry) else distort.part_name(n, 0) for n, entry in names.items()]
    rows = [
        *timed("downscale", "cpu", lambda: downscale.open_work(recipes[0], "cpu"),
               [(name, path, hashes[path]) for name, path in hr.items()], ["lr"], *numbers),
        *timed("upscale", device, lambda: upscale.open_work(recipes[1], device),
               [(name, path.absolute(), sha256_file(path)) for name, path in lr.items()], ["0"], *numbers),
        *timed("distort", device, lambda: distort.open_work(recipes[2], device), compared, parts, *numbers),
    ]  # fmt: skip
    write_table(Path("latency.csv"), pd.DataFrame(rows))


if __name__ == "__main__":
    exit_with_line(main)
