"""How far apart are functions? ``python apart.py NAME NAME ...`` of ``params.yaml``, on the sample photographs.

    python apart.py --side 32 perceptual l0 '{method: resize, backend: scalerack, filter: content-adaptive}'

A name is an entry of ``params.yaml``, a method, or an entry as it would stand there. For every two of them: the mean
absolute difference of their LR images, in levels of 255, over the middle of each photograph.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.methods import method_recipe, open_method
from ida_rd.core.readers import read_yaml
from ida_rd.core.typeset import markdown_table
from ida_rd.downscale.recipe import downscale_recipe
from ida_rd.downscale.work import apply
from ida_rd.photos import sample_photographs


def entry_of(text: str, known: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a name of the command line stands for, and how it is called in the table."""
    if not text.startswith("{"):
        return text, known.get(text, {"method": text})
    entry = yaml.safe_load(text)
    if not isinstance(entry, dict) or "method" not in entry:
        raise UserError(f"{text}: no entry with a method, such as {{method: resample, filter: box}}")
    return " ".join(str(value) for value in entry.values()), entry


def reduced(entry: dict[str, Any], images: dict[str, NDArray[np.uint8]], factor: int) -> NDArray[np.float64]:
    """LR images (N, h, w, 3)."""
    downscale_recipe("x", entry, factor, 0, download=False)  # says in a line what is missing
    method = open_method(method_recipe("downscale", "x", entry))
    values = method.parameters.model_dump()
    made = [apply(method.module, hr, factor, values, image_id=name, seed=0) for name, hr in images.items()]
    return np.stack(made).astype(np.float64)


def apart(images: dict[str, NDArray[np.uint8]], entries: dict[str, dict[str, Any]], factor: int) -> pd.DataFrame:
    """Mean absolute difference of every two functions."""
    made = {name: reduced(entry, images, factor) for name, entry in entries.items()}
    return pd.DataFrame({a: {b: float(np.abs(made[a] - made[b]).mean()) for b in made} for a in made})


def main() -> None:
    parser = argparse.ArgumentParser(description="Mean absolute difference of functions' LR images.")
    parser.add_argument("names", nargs="+", help="entries of params.yaml, methods, or entries as they stand there")
    parser.add_argument("--images", type=int, default=3, help="so many sample photographs")
    parser.add_argument("--side", type=int, default=256, help="of the piece in the middle, in pixels")
    parser.add_argument("--factor", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.side % arguments.factor:
        raise UserError(f"--side {arguments.side}: no multiple of {arguments.factor}")
    known = read_yaml(Path("params.yaml"), hint="run this in the folder of the experiment")["downscalers"]
    images = {}
    for name, hr in list(sample_photographs().items())[: arguments.images]:
        y, x = ((edge - arguments.side) // 2 for edge in hr.shape[:2])
        images[name] = np.ascontiguousarray(hr[y : y + arguments.side, x : x + arguments.side])
    table = apart(images, dict(entry_of(text, known) for text in arguments.names), arguments.factor)
    print(f"x{arguments.factor}, {arguments.side} pixels square, {', '.join(images)}", end="\n\n")
    print("\n".join(markdown_table(["", *table], [[a, *(f"{v:.2f}" for v in table.loc[a])] for a in table.index])))


if __name__ == "__main__":
    exit_with_line(main)
