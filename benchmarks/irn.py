"""IRN (the published x4 shape), down and up: ours against a straight reading of its description.

    python benchmarks/irn.py [--sides 256 1024] [--threads 1 2] [--repeats 3]

The peer has the same weights and does what the papers say, operation by operation: Haar steps as grouped convolutions
with the stored signs, dense blocks whose inputs are concatenated anew for each layer, numbers in the order in which
they were loaded. Both sides are warmed up and timed in turn, in this process, the best of each counting, by the clock
and by the processor's time, which a busy machine lengthens less. Memory is of a fresh process with one thread: how far
its peak rises above what it holds with the network loaded, in bytes per HR pixel (Linux only). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from golden.irn.network import PUBLISHED, filled  # the tests' weights: any would take as long

from ida_rd.core.images import read_image
from ida_rd.core.seeds import generator
from ida_rd.models.irn.network import IRNNet

FACTOR, LAYERS = 4, 5
State = dict[str, Tensor]


def network() -> IRNNet:
    """The published x4 shape with the tests' weights, laid out as `load_network` does."""
    return filled(PUBLISHED["x4"], torch.float32).to(memory_format=torch.channels_last)


def photo(side: int) -> Tensor:
    """A photograph of side x side pixels, (1, 3, side, side) in [0, 1]."""
    image = Image.fromarray(read_image(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    pixels = np.array(image.resize((side, side), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().float() / 255


def dense(state: State, name: str, x: Tensor) -> Tensor:
    """A dense block, of the input and all outputs so far."""
    known = [x]
    for i in range(1, LAYERS + 1):
        key = f"{name}.conv{i}"
        x = F.conv2d(torch.cat(known, 1), state[f"{key}.weight"], state[f"{key}.bias"], padding=1)
        known.append(F.leaky_relu(x, 0.2))
    return x


def bands(signs: Tensor, channels: int) -> Tensor:
    """Order of the channels: from band within channel, as grouped convolutions give them, to channel within band."""
    return torch.arange(4 * channels).view(channels, 4).t().flatten()


def straight_down(state: State, hr: Tensor) -> Tensor:
    """All channels of the latent and the LR image."""
    x = hr
    for n in range(operations(state)):
        if (signs := state.get(f"operations.{n}.haar_weights")) is not None:
            channels = x.shape[1]
            x = F.conv2d(x, signs / 4, stride=2, groups=channels)[:, bands(signs, channels)]
            continue
        a, b = x[:, :3], x[:, 3:]
        a = a + dense(state, f"operations.{n}.F", b)
        s = 2 * torch.sigmoid(dense(state, f"operations.{n}.H", a)) - 1
        x = torch.cat([a, b * torch.exp(s) + dense(state, f"operations.{n}.G", a)], 1)
    return x


def straight_up(state: State, x: Tensor) -> Tensor:
    """The HR image of what `straight_down` gives."""
    for n in reversed(range(operations(state))):
        if (signs := state.get(f"operations.{n}.haar_weights")) is not None:
            channels = x.shape[1] // 4
            x = F.conv_transpose2d(x[:, bands(signs, channels).argsort()], signs, stride=2, groups=channels)
            continue
        a, b = x[:, :3], x[:, 3:]
        s = 2 * torch.sigmoid(dense(state, f"operations.{n}.H", a)) - 1
        b = (b - dense(state, f"operations.{n}.G", a)) / torch.exp(s)
        x = torch.cat([a - dense(state, f"operations.{n}.F", b), b], 1)
    return x


def operations(state: State) -> int:
    """How many there are."""
    return 1 + max(int(key.split(".")[1]) for key in state)


def timed(run: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """Seconds by the clock, those of the processor, and the result."""
    wall, used = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        found = run()
    return time.perf_counter() - wall, time.process_time() - used, found


def compare(side: int, threads: int, repeats: int) -> list[dict]:
    """Both directions of one size."""
    torch.set_num_threads(threads)
    net, hr = network(), photo(side)
    state = {key: value.contiguous() for key, value in filled(PUBLISHED["x4"], torch.float32).state_dict().items()}
    with torch.inference_mode():
        lr, latent, _ = net.encode(hr)
        whole = torch.cat([lr, latent], 1).contiguous()
    figures = []
    for way, ours, peer in (
        ("down", lambda: torch.cat(net.encode(hr)[:2], 1), lambda: straight_down(state, hr)),
        ("up", lambda: net.decode(whole[:, :3], whole[:, 3:]), lambda: straight_up(state, whole)),
    ):
        best = {"ours": [math.inf, math.inf], "peer": [math.inf, math.inf]}
        found = {}
        for _ in range(repeats + 1):  # the first is the warm-up, and never the best
            for name, run in (("ours", ours), ("peer", peer)):
                wall, used, found[name] = timed(run)
                best[name] = [min(best[name][0], wall), min(best[name][1], used)]
        figures.append(
            {
                "way": way,
                "side": side,
                "threads": threads,
                "ratio": best["peer"][0] / best["ours"][0],
                "ratio_of_processor": best["peer"][1] / best["ours"][1],
                "max_difference": float((found["ours"] - found["peer"]).abs().max()),
            }
        )
        print(figures[-1], file=sys.stderr)
    return figures


def resident(key: str) -> int:
    """Bytes of resident memory: now (VmRSS), or at most since it was last reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) << 10


def memory(way: str, side: int) -> dict:
    """Bytes per HR pixel of one direction, in this process."""
    torch.set_num_threads(1)
    net, small = network(), photo(64)
    shape = (1, net.config.latent_channels, side // FACTOR, side // FACTOR)
    with torch.inference_mode():
        net.decode(*net.encode(small)[:2])
        hr, lr = photo(side), photo(side // FACTOR)
        latent = torch.from_numpy(generator("benchmark").standard_normal(shape, dtype=np.float32))
        Path("/proc/self/clear_refs").write_text("5")  # begin anew with the peak
        before = resident("VmRSS")
        found = net.encode(hr)[0] if way == "down" else net.decode(lr, latent)
    return {
        "way": way,
        "bytes_per_pixel": (resident("VmHWM") - before) / side**2,
        "finite": bool(found.isfinite().all()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", nargs=2, metavar=("WAY", "SIDE"), help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.memory:
        print(json.dumps(memory(a.memory[0], int(a.memory[1]))))
        return
    sizes = [one for side in a.sides for threads in a.threads for one in compare(side, threads, a.repeats)]
    used = []
    for way in ("down", "up"):
        command = [sys.executable, __file__, "--memory", way, str(max(a.sides))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        used.append(json.loads(done.stdout.splitlines()[-1]))
        print(used[-1], file=sys.stderr)
    print(json.dumps({"sizes": sizes, "memory": used}))


if __name__ == "__main__":
    main()
