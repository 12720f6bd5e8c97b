"""NIQE and BRISQUE, against a plain loop over patches with a full search of the table, in turn in this process.

    python benchmarks/quality.py [--sides 512] [--repeats 9]

In one thread, on made images. The loop does what the definition says, one patch and one product at a time; the largest
difference of the features is printed beside the ratio. Goals on one idle core at 512 x 512: 60 ms (NIQE), 90 ms
(BRISQUE). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ida_rd.core.seeds import generator
from ida_rd.quality import brisque, niqe
from ida_rd.quality._natural import RATIOS, SHAPES, halved, luma, normalised
from ida_rd.quality.niqe.patches import SIDE, features

Floats = NDArray[np.float64]


def made_image(side: int) -> NDArray[np.uint8]:
    """A ramp with noise, (side, side, 3)."""
    ramp = np.add.outer(np.linspace(40, 160, side), np.linspace(0, 50, side))[..., None]
    return np.clip(ramp + generator("benchmark", side).normal(0, 20, (side, side, 3)), 0, 255).astype(np.uint8)


def plain_fit(values: Floats) -> tuple[float, float, float]:
    """Shape and both root mean squares, by a search of the whole table."""
    left = math.sqrt(np.mean(values[values < 0] ** 2))
    right = math.sqrt(np.mean(values[values > 0] ** 2))
    g = left / right
    ratio = np.mean(np.abs(values)) ** 2 / np.mean(values**2) * (g**3 + 1) * (g + 1) / (g * g + 1) ** 2
    return float(SHAPES[np.abs(RATIOS - ratio).argmin()]), left, right


def plain_tile(tile: Floats, *, whole: bool) -> list[float]:
    """18 features of a patch, or (`whole`) of an image as BRISQUE has them."""
    if whole:
        power, size = float(np.mean(tile**2)), float(np.mean(np.abs(tile)))
        found = [float(SHAPES[np.abs(1 / RATIOS - power / size**2).argmin()]), power]
    else:
        a, left, right = plain_fit(tile)
        found = [a, (left + right) / 2 * math.sqrt(math.gamma(1 / a) / math.gamma(3 / a))]
    for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        a, left, right = plain_fit(tile * np.roll(tile, shift, axis=(0, 1)))
        scale = math.sqrt(math.gamma(1 / a) / math.gamma(3 / a))
        found += [a, (right - left) * scale * math.gamma(2 / a) / math.gamma(1 / a)]
        found += [left**2, right**2] if whole else [left * scale, right * scale]
    return found


def plain_niqe(image: NDArray[np.uint8]) -> Floats:
    """Features (N, 36), patch by patch."""
    height, width = (side // SIDE * SIDE for side in image.shape[:2])
    grey = luma(image[:height, :width])
    columns = []
    for scale in (1, 2):
        values, side = normalised(grey, "nearest")[0], SIDE // scale
        corners = [(y, x) for x in range(0, width // scale, side) for y in range(0, height // scale, side)]
        columns.append([plain_tile(values[y : y + side, x : x + side], whole=False) for y, x in corners])
        grey = halved(grey)
    return np.hstack(columns)


def plain_brisque(image: NDArray[np.uint8]) -> Floats:
    """Features (36,)."""
    grey = luma(image)
    return np.array(
        [f for part in (grey, halved(grey)) for f in plain_tile(normalised(part, "constant")[0], whole=True)]
    )


def milliseconds(both: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Times of each, in turn, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in both}
    for turn in range(repeats + 1):
        for name, call in both.items():
            started = time.perf_counter()
            call()
            if turn:
                times[name].append(1000 * (time.perf_counter() - started))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[192, 512])
    parser.add_argument("--repeats", type=int, default=9)
    a = parser.parse_args()
    measure = niqe.load(niqe.Parameters())
    figures: dict[str, dict[str, float]] = {}
    with threadpool_limits(1):
        for side in a.sides:
            image = made_image(side)
            peers: dict[str, tuple[Callable[[], object], Callable[[], object], Floats, Floats]] = {
                "niqe": (
                    lambda image=image: measure.score(image),  # type: ignore[misc]
                    lambda image=image: niqe.distance(measure.model, plain_niqe(image)),  # type: ignore[misc]
                    features(image)[0],
                    plain_niqe(image),
                ),
                "brisque": (
                    lambda image=image: brisque.features(image),  # type: ignore[misc]
                    lambda image=image: plain_brisque(image),  # type: ignore[misc]
                    brisque.features(image),
                    plain_brisque(image),
                ),
            }
            for name, (ours, peer, found, expected) in peers.items():
                times = milliseconds({"ours": ours, "peer": peer}, a.repeats)
                ratio = float(np.median(np.array(times["peer"]) / np.array(times["ours"])))
                apart = float(np.abs(found - expected).max())
                print(
                    f"{name}, {side} px: {min(times['ours']):.0f} ms, the loop {min(times['peer']):.0f} ms, ratio"
                    f" (median of {a.repeats}) {ratio:.2f}; largest difference {apart:.1e}"
                )
                figures[f"{name} {side}"] = {
                    "ms": round(min(times["ours"]), 1), "ratio": round(ratio, 3), "largest_difference": apart
                }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
