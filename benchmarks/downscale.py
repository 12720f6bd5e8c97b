"""Downscalers, 1024 x 1024 RGB to 256 x 256 in one thread, each against a peer timed in turn in this process.

    python benchmarks/downscale.py [--repeats 15] [--stage 100]

Peers: for `dpid`, pepedpid (Rust; `pip install pepedpid`); for `perceptual`, its formulas as vectorised
NumPy; for `l0`, the same iteration with complex float64 FFTs of all channels; for `resample`, Pillow from
array to array. `--stage N` also times the downscale stage on N photograph-like images with one worker
and with two, and says where one worker's time goes. The cost of compiling is measured in a fresh process
with an empty cache. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ["RAYON_NUM_THREADS"] = "1"

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from ida_rd.core.files import write_json
from ida_rd.core.images import read_image, write_png
from ida_rd.core.recipes import SCHEMA
from ida_rd.core.seeds import generator
from ida_rd.downscale import dpid, l0, perceptual, resample

ROOT = Path(__file__).resolve().parent.parent

SIDE, FACTOR = 1024, 4
SIZE = (SIDE // FACTOR, SIDE // FACTOR)


def picture(*key: int) -> NDArray[np.uint8]:
    """Smooth shapes, edges and some noise, so that files and weights vary as in a photograph."""
    random = generator("benchmark", *key)
    coarse = Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    patches = Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.NEAREST
    )
    mixed = 0.6 * np.asarray(coarse) + 0.4 * np.asarray(patches) + 3 * random.standard_normal((SIDE, SIDE, 1))
    return np.clip(mixed, 0, 255).astype(np.uint8)


def best(ours: Callable[[], object], peer: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least milliseconds of both, timed in turn after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for kept, run in zip(times, (ours, peer), strict=True):
            started = time.perf_counter()
            run()
            if turn:
                kept.append(1000 * (time.perf_counter() - started))
    return min(times[0]), min(times[1])


def perceptual_numpy(hr: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The formulas of `perceptual` on whole arrays in float64."""
    x = hr / 255
    blocks = x.reshape(SIZE[0], FACTOR, SIZE[1], FACTOR, 3)
    low, square = blocks.mean(axis=(1, 3)), (blocks**2).mean(axis=(1, 3))

    def windows(a: NDArray) -> NDArray:
        return (a[:-1, :-1] + a[1:, :-1] + a[:-1, 1:] + a[1:, 1:]) / 4

    def spread(a: NDArray) -> NDArray:
        out = np.zeros((a.shape[0] + 1, a.shape[1] + 1, 3))
        for part in (out[:-1, :-1], out[1:, :-1], out[:-1, 1:], out[1:, 1:]):
            part += a
        return out

    mean = windows(low)
    between, within = windows(low**2) - mean**2, windows(square) - mean**2
    gain = np.where(between >= 1e-6, np.sqrt(np.maximum(within, 0) / np.maximum(between, 1e-6)), 0)
    return (spread(mean) + spread(gain) * low - spread(gain * mean)) / spread(np.ones_like(mean))


def l0_complex(hr: NDArray[np.uint8], lam: float = 2e-4, kappa: float = 2.0) -> NDArray[np.float64]:
    """The iteration of `l0` with NumPy's complex FFTs."""
    first, taps = l0._taps(FACTOR)
    dense = np.zeros((SIZE[0], SIDE))
    for k, row in enumerate(dense):
        row[(FACTOR * k + first + np.arange(len(taps))) % SIDE] = taps
    data = np.einsum("ay,yxc,bx->abc", dense, hr / 255, dense, optimize=True) / FACTOR**2
    spectrum = np.fft.fft2(data, axes=(0, 1))
    one = l0._autocorrelation(SIZE[0], FACTOR)
    system = (np.outer(one, one) / FACTOR**2)[:, :, None]
    difference = l0._differences(SIZE[0])
    laplacian = (difference[:, None] + difference[None, :])[:, :, None]
    d = np.fft.ifft2(spectrum / system, axes=(0, 1)).real
    beta = 2 * lam
    while beta < l0.BETA_MAX:
        gx, gy = np.roll(d, -1, 1) - d, np.roll(d, -1, 0) - d
        flat = (gx**2 + gy**2).sum(axis=2) < lam / beta
        gx[flat] = 0
        gy[flat] = 0
        divergence = np.roll(gx, 1, 1) - gx + np.roll(gy, 1, 0) - gy
        d = np.fft.ifft2(
            (spectrum + beta * np.fft.fft2(divergence, axes=(0, 1))) / (system + beta * laplacian), axes=(0, 1)
        ).real
        beta *= kappa
    return d


def methods(repeats: int) -> dict[str, float]:
    """Ratio to the peer and megapixels per second of every method."""
    hr, rng = picture(0), generator("unused")
    floats = hr.astype(np.float32) / 255
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "perceptual": (lambda: perceptual.downscale(hr, SIZE, rng=rng), lambda: perceptual_numpy(hr)),
        "l0": (lambda: l0.downscale(hr, SIZE, rng=rng), lambda: l0_complex(hr)),
        "resample": (
            lambda: resample.downscale(hr, SIZE, rng=rng, filter="bicubic"),
            lambda: np.asarray(Image.fromarray(hr).resize(SIZE, Image.Resampling.BICUBIC)),
        ),
    }
    try:
        from pepedpid import dpid_resize
    except ImportError:
        print("dpid: no peer: pip install pepedpid", file=sys.stderr)
    else:
        for lam in (1.0, 0.5, 0.7):
            pairs[f"dpid {lam}"] = (
                lambda lam=lam: dpid.downscale(hr, SIZE, rng=rng, lam=lam),  # type: ignore[misc]
                lambda lam=lam: dpid_resize(floats, *SIZE, lam),  # type: ignore[misc]
            )
    figures = {}
    for name, (ours, peer) in pairs.items():
        mine, theirs = best(ours, peer, repeats)
        figures |= {f"{name}: ratio": theirs / mine, f"{name}: Mpix/s": SIDE * SIDE / 1000 / mine}
        print(f"{name}: {mine:.2f} ms, peer {theirs:.2f} ms, {theirs / mine:.2f} times as fast", file=sys.stderr)
    return figures


FIRST_CALL = """
import time, numpy as np
from ida_rd.downscale import dpid, perceptual
hr = np.zeros((32, 32, 3), np.uint8)
started = time.perf_counter()
dpid.dpid(hr, (8, 8)); perceptual.perceptual(hr, 4)
print(time.perf_counter() - started)
"""


def first_call() -> dict[str, float]:
    """Seconds of a process's first calls: with an empty cache, and with a full one."""
    with tempfile.TemporaryDirectory() as cache:
        seconds = [
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST_CALL],
                    env=os.environ | {"NUMBA_CACHE_DIR": cache},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for _ in range(2)
        ]
    return {"first call, compiling: s": seconds[0], "first call, cached: s": seconds[1]}


def stage(count: int) -> dict[str, float]:
    """The downscale stage on `count` images: with one worker, with two, and the shares of one worker's time."""
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "data/hr").mkdir(parents=True)
        for i in range(count):
            write_png(folder / f"data/hr/{i:03}.png", picture(i))
        base = {"stage": "downscale", "name": "x", "factor": FACTOR, "files": {}}
        recipes = {
            "bicubic": base | {"method": "resample", "parameters": {"filter": "bicubic"}},
            "dpid": base | {"method": "dpid", "parameters": {"lambda": 1.0}},
        }
        for name, recipe in recipes.items():
            write_json(folder / f"data/plan/downscale/x4/{name}.json", recipe | {"schema": SCHEMA})
            seconds = {}
            for workers in (1, 2, 1, 2):
                shutil.rmtree(folder / ".ida-rd", ignore_errors=True)  # its finished units
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, str(ROOT / "stages/downscale.py"), name, str(FACTOR)],
                    cwd=folder,
                    env=os.environ | {"IDA_RD_WORKERS": str(workers)},
                    check=True,
                    capture_output=True,
                )
                seconds[workers] = min(seconds.get(workers, np.inf), time.perf_counter() - started)
            figures[f"stage {name}: two workers"] = seconds[1] / seconds[2]
            figures[f"stage {name}: s with one worker"] = seconds[1]
        shares = {"read": 0.0, "bicubic": 0.0, "dpid": 0.0, "write": 0.0}
        for i in range(count):
            marks = [time.perf_counter()]
            hr = read_image(folder / f"data/hr/{i:03}.png")
            marks.append(time.perf_counter())
            lr = resample.downscale(hr, SIZE, rng=generator("unused"), filter="bicubic")
            marks.append(time.perf_counter())
            dpid.downscale(hr, SIZE, rng=generator("unused"))
            marks.append(time.perf_counter())
            write_png(folder / "out.png", lr)
            marks.append(time.perf_counter())
            for key, span in zip(shares, np.diff(marks), strict=True):
                shares[key] += 1000 * span / count
    return figures | {f"{key}: ms an image": value for key, value in shares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--stage", type=int, default=0, metavar="N", help="images; 0: not timed")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        figures = methods(arguments.repeats) | first_call()
    if arguments.stage:
        figures |= stage(arguments.stage)
    print(json.dumps({key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
