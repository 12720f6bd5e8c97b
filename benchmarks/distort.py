"""Distances, against the `lpips` package and against the sampling that goes before them, in turn in this process.

    python benchmarks/distort.py [--path alexnet.pth] [--backbone alex] [--threads 2] [--repeats 9]

LPIPS of K = 5 samples of one HR image: the package, called pair by pair, recomputes the features of the HR image for
each pair, 10 passes of the network where 6 are enough. Then the default distortions of K = 3 samples of 256 x 256
pixels, in one thread, as a share of the time in which the embedded flow draws these. All are warmed up. Peak memory
(Linux) is what one call adds in a fresh process. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ida_rd.core.seeds import Draw, generator
from ida_rd.distort import lpips, pixel, structural
from ida_rd.upscale import flow
from ida_rd.upscale.contract import Problem

SAMPLES, SIDES = 5, (256, 1024)
DRAWN = 3


def images(side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An HR image (3, side, side) and K samples around it."""
    random = generator("benchmark", side)
    hr = random.integers(0, 256, (3, side, side), dtype=np.uint8)
    noise = random.normal(0, 20, (SAMPLES, 3, side, side))
    return hr, np.clip(hr + noise, 0, 255).astype(np.uint8)


def contestants(ours: lpips.LPIPS, side: int) -> dict[str, Callable[[], NDArray[np.float64]]]:
    """Both ways, from 8-bit images to numbers."""
    hr, sr = images(side)

    def scaled(image: NDArray[np.uint8]) -> torch.Tensor:
        return 2 * torch.from_numpy(image[None]).float() / 255 - 1

    def peer() -> NDArray[np.float64]:
        with torch.inference_mode():
            return np.array([float(ours.network(scaled(hr), scaled(image))) for image in sr])

    return {"ours": lambda: ours.distance(ours.reference(hr), sr), "peer": peer}


def shares(ours: lpips.LPIPS, repeats: int) -> dict[str, float]:
    """Time of the default distortions over that of sampling, with and without LPIPS: medians of ratios."""
    hr, sr = images(256)
    sr = sr[:DRAWN]
    lr = np.ascontiguousarray(hr.reshape(3, 64, 4, 64, 4).mean(axis=(2, 4)).astype(np.uint8))
    sampler = flow.load(flow.Parameters(), Problem(4), "cpu")
    draws = [Draw(0, "benchmark", k) for k in range(DRAWN)]
    measures = [structural.load(structural.Parameters(metric=name), "cpu") for name in ("fsim", "dss", "ms-ssim")]
    measures.append(pixel.load(pixel.Parameters(metric="psnr"), "cpu"))

    def structures() -> None:
        for measure in measures:
            measure.distance(measure.reference(hr), sr)

    all_ways: dict[str, Callable[[], object]] = {
        "sampling": lambda: sampler.sample(lr, draws),
        "without_lpips": structures,
        "lpips": lambda: ours.with_spread(ours.reference(hr), sr),
    }
    times = {name: np.array(values) for name, values in milliseconds(all_ways, repeats).items()}
    whole = times["without_lpips"] + times["lpips"]
    return {
        "without_lpips": round(float(np.median(times["without_lpips"] / times["sampling"])), 3),
        "with_lpips": round(float(np.median(whole / times["sampling"])), 3),
        "sampling_ms": round(float(times["sampling"].min())),
    }


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


def resident(line: str) -> float:
    """MiB of this process, by a line of Linux's /proc: now (VmRSS) or at most (VmHWM)."""
    found = re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", choices=("alex", "vgg", "squeeze"), default="alex")
    parser.add_argument("--path", help="its torchvision weights; otherwise those in torch's cache")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--alone", nargs=2, metavar=("WHICH", "SIDE"), help="do one of them once; print its peak memory"
    )
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    ours = lpips.load(lpips.Parameters(backbone=a.backbone, path=a.path), "cpu")
    if a.alone:
        call = contestants(ours, int(a.alone[1]))[a.alone[0]]
        held = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak: what was loaded does not count
        call()
        print(resident("VmHWM") - held)
        return
    figures: dict[str, object] = {"backbone": a.backbone, "samples": SAMPLES, "threads": a.threads}
    for side in SIDES:
        both = contestants(ours, side)
        difference = float(np.abs(both["ours"]() - both["peer"]()).max())
        times = milliseconds(both, a.repeats)
        peak = {}
        for name in both:
            command = [sys.executable, __file__, "--backbone", a.backbone, "--threads", str(a.threads)]
            command += ["--alone", name, str(side), *(["--path", a.path] if a.path else [])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peak[name] = round(float(done.stdout))
        ratio = float(np.median(np.array(times["peer"]) / np.array(times["ours"])))
        print(
            f"{side} px: {min(times['ours']):.0f} ms, the package {min(times['peer']):.0f} ms, ratio (median of"
            f" {a.repeats}) {ratio:.2f}; peak {peak['ours']} MiB, the package {peak['peer']} MiB; largest difference"
            f" {difference:.1e}"
        )
        figures[str(side)] = {"ratio": round(ratio, 3), "peak_mib": peak, "largest_difference": difference}
    torch.set_num_threads(1)
    figures["share_of_sampling"] = found = shares(ours, a.repeats)
    print(
        f"default distortions, of the time of sampling ({found['sampling_ms']} ms): {found['with_lpips']:.2f}, without"
        f" LPIPS {found['without_lpips']:.2f}"
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
