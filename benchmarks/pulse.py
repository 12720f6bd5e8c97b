"""PULSE's search: K samples together against one by one, and against its steps taken literally.

    python benchmarks/pulse.py [--resolutions 64 256 1024] [--samples 5] [--steps 4] [--factor 8] [--device cpu]

The peer scales the weights anew at every step, repeats each pixel four times before a convolution, and searches for
one sample after the other. All are warmed up and timed in turn, in this process; the last line is JSON: seconds per
sample and step, ratios, and how far a step's images differ. Each resolution's peak memory is that of a fresh process
with one sample. `default_search_hours` is what 300 images of one sample and 100 steps would take, one after the other.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from golden.pulse.recipe import gaussian, image, synthesis  # the tests' weights: any would take as long

from ida_rd.core.seeds import Draw
from ida_rd.engine.local import keep_freed_memory
from ida_rd.models.stylegan.layers import UpConv, fold
from ida_rd.models.stylegan.network import Synthesis
from ida_rd.upscale.pulse import Parameters
from ida_rd.upscale.pulse.fit import Fit
from ida_rd.upscale.pulse.operators import bicubic
from ida_rd.upscale.pulse.search import Found, Start, search, start_of

IMAGES, STEPS = 300, 100  # of the run that the publication of IDA-RD times


def literal(net: Synthesis) -> Synthesis:
    """The same network with up-convolutions as they are described."""

    def forward(layer: UpConv, x: Tensor) -> Tensor:
        weight, bias = layer.used()
        up = F.interpolate(x, scale_factor=2, mode="nearest")
        up = F.conv2d(up, weight.flip(2, 3) if layer.rotated else weight, padding=1)
        return layer.intermediate(up) + bias[:, None, None]

    for module in net.modules():
        if isinstance(module, UpConv):
            module.forward = forward.__get__(module)  # type: ignore[method-assign]
    return net


def searcher(net: Synthesis, factor: int, steps: int, device: torch.device) -> Callable[[int, int], Found]:
    """Searches for the samples from `first` on, `count` together."""
    parameters = Parameters.model_validate({"resolution": net.config.resolution, "steps": steps})
    net = net.to(device)
    fit = Fit(*gaussian(torch.float32)).to(torch.empty(0, device=device))
    side = net.config.resolution // factor
    lr = torch.from_numpy(image(side, side, 1)).to(device)[None].float() / 255

    def run(first: int, count: int) -> Found:
        start = start_of([Draw(0, "benchmark", first + k) for k in range(count)], net, parameters)
        noise = [None if one is None else one.to(device) for one in start.noise]
        return search(net, fit, bicubic(factor), lr, Start(start.latent.to(device), noise), parameters)

    return run


def timed(run: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Seconds, and the images."""
    start = time.perf_counter()
    images = run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, images


def peak(arguments: argparse.Namespace, resolution: int) -> int:
    """Peak memory in MB of a fresh process that takes two steps for one sample."""
    command = [sys.executable, __file__, "--one", str(resolution), "--factor", str(arguments.factor)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def measured(arguments: argparse.Namespace, resolution: int) -> dict[str, Any]:
    device, count, steps = torch.device(arguments.device), arguments.samples, arguments.steps
    net = synthesis(resolution, torch.float32)
    fold(net)
    ours = searcher(net, arguments.factor, steps, device)
    theirs = searcher(literal(synthesis(resolution, torch.float32)), arguments.factor, steps, device)
    ways: dict[str, Callable[[], Tensor]] = {
        "together": lambda: ours(0, count).images,
        "one by one": lambda: torch.cat([ours(k, 1).images for k in range(count)]),
        "literal": lambda: torch.cat([theirs(k, 1).images for k in range(count)]),
    }
    ours(0, 1)
    theirs(0, 1)
    found = {name: timed(way, device) for name, way in ways.items()}
    seconds = {name: took / (count * steps) for name, (took, _) in found.items()}
    images = found["one by one"][1]
    result = {
        "resolution": resolution,
        "seconds per sample and step": {name: round(value, 4) for name, value in seconds.items()},
        "literal / one by one": round(seconds["literal"] / seconds["one by one"], 2),
        "one by one / together": round(seconds["one by one"] / seconds["together"], 2),
        "greatest difference": {name: float((found[name][1] - images).abs().max()) for name in ("together", "literal")},
        "default_search_hours": round(IMAGES * STEPS * min(seconds.values()) / 3600, 2),
    }
    if device.type == "cpu":
        result["peak MB"] = peak(arguments, resolution)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    keep_freed_memory()  # as in the workers of a run
    if arguments.one is not None:
        net = synthesis(arguments.one, torch.float32)
        fold(net)
        searcher(net, arguments.factor, 2, torch.device("cpu"))(0, 1)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    results = []
    for resolution in arguments.resolutions:
        results.append(measured(arguments, resolution))
        print(json.dumps(results[-1], indent=1), flush=True)
    print(json.dumps({"threads": torch.get_num_threads(), "device": arguments.device, "results": results}))


if __name__ == "__main__":
    main()
