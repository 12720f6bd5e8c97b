"""K samples of SRFlow (the official x4 shape): ours against sampling one by one with everything recomputed.

    python benchmarks/srflow.py [--sides 64 128] [--samples 5] [--large 512] [--device cpu]

The peer is the same network evaluated layer by layer (`SRFlowNet`), once per sample, with the encoder,
its image branch and the log-determinant, as the official scripts do. Both sides are warmed up and timed
in turn, in this process; the last line is JSON. Differences are of the images as they are written, clipped
to [0, 1], and of what was decoded. `--large SIDE` also samples one image of that LR side in a fresh process
and reports its peak memory.
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

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from golden.srflow.fill_weights import fill  # the tests' weights: any would take as long

from ida_rd.core.images import read_image
from ida_rd.core.seeds import generator
from ida_rd.models.srflow.config import DF2K_X4
from ida_rd.models.srflow.decoder import Decoder
from ida_rd.models.srflow.network import SRFlowNet

HEAT = 0.9


def network(device: torch.device) -> SRFlowNet:
    """The official x4 shape with the tests' weights."""
    net = SRFlowNet(DF2K_X4)
    values = fill({key: tuple(value.shape) for key, value in net.state_dict().items()})
    net.load_state_dict({key: torch.from_numpy(value) for key, value in values.items()})
    return net.to(device).eval().requires_grad_(False)


def inputs(side: int, samples: int, device: torch.device) -> tuple[Tensor, list[Tensor]]:
    """A photograph as an LR image, (1, 3, side, side) in [0, 1], and the latents of its samples."""
    random = generator("benchmark", side)
    photo = Image.fromarray(read_image(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    small = np.array(photo.resize((side, side), Image.Resampling.BICUBIC))
    lr = torch.from_numpy(small).permute(2, 0, 1)[None].to(device).float() / 255
    shapes = DF2K_X4.latent_shapes(side, side)
    return lr, [
        HEAT * torch.from_numpy(random.standard_normal((samples, *s), dtype="float32")).to(device) for s in shapes
    ]


def ours(net: SRFlowNet) -> Callable[[Tensor, list[Tensor]], Tensor]:
    """Encoder once, fast decoder."""
    decoder = Decoder(net)
    encoder = net.RRDB.to(memory_format=torch.channels_last)
    return lambda lr, latents: decoder.decode(latents, encoder(lr.contiguous(memory_format=torch.channels_last)))


def reference(net: SRFlowNet) -> Callable[[Tensor, list[Tensor]], Tensor]:
    """Everything recomputed for each sample."""

    def sample(lr: Tensor, latents: list[Tensor]) -> Tensor:
        features = net.RRDB(lr)
        net.RRDB.head(features)
        return net.decode(latents, features)[0]

    def run(lr: Tensor, latents: list[Tensor]) -> Tensor:
        return torch.cat([sample(lr, [z[k : k + 1] for z in latents]) for k in range(len(latents[0]))])

    return run


def timed(run: Callable[[Tensor, list[Tensor]], Tensor], lr: Tensor, latents: list[Tensor]) -> tuple[float, Tensor]:
    """Seconds, and the result."""
    if lr.device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.inference_mode():
        result = run(lr, latents)
    if lr.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def compare(side: int, samples: int, repeats: int, device: torch.device) -> dict:
    """Time both sides in turn, after a warm-up; the best of each counts."""
    lr, latents = inputs(side, samples, device)
    runs = {"ours": ours(network(device)), "reference": reference(network(device))}
    for run in runs.values():
        timed(run, lr, [z[:1] for z in latents])
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results, peaks = {}, {}
    for _ in range(repeats):
        for name, run in runs.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            elapsed, results[name] = timed(run, lr, latents)
            seconds[name].append(elapsed)
            if device.type == "cuda":
                peaks[f"peak_gib_{name}"] = torch.cuda.max_memory_allocated() / 2**30
    one, other = results["ours"], results["reference"]
    figures = {
        "lr_side": side,
        "samples": samples,
        "ratio": min(seconds["reference"]) / min(seconds["ours"]),
        # The tests' weights are not trained: most of what they decode to is not an image, and is clipped.
        "max_difference_of_images": float((one.clamp(0, 1) - other.clamp(0, 1)).abs().max()),
        "max_difference": float((one - other).abs().max()),
        "max_value": float(other.abs().max()),
    }
    if device.type == "cuda":  # absolute times mean something there
        figures |= peaks | {f"samples_per_second_{name}": samples / min(values) for name, values in seconds.items()}
    return figures


def large(side: int, samples: int, device: torch.device) -> dict:
    """Sample one large image; peak memory of this process."""
    run = ours(network(device))
    lr, latents = inputs(side, samples, device)
    _, sr = timed(run, lr, latents)
    assert sr.shape == (samples, 3, 4 * side, 4 * side)
    peak = (
        torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    )
    return {"lr_side": side, "samples": samples, "peak_gib": peak / 2**30, "finite": bool(torch.isfinite(sr).all())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", type=int, default=None, metavar="SIDE")
    parser.add_argument("--only-large", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = parser.parse_args()
    device = torch.device(a.device)
    torch.backends.cudnn.allow_tf32 = False
    if a.only_large:
        print(json.dumps(large(a.large, a.samples, device)))
        return
    results = {"device": str(device), "threads": torch.get_num_threads(), "sizes": []}
    for side in a.sides:
        results["sizes"].append(compare(side, a.samples, a.repeats, device))
        print(results["sizes"][-1], file=sys.stderr)
    if a.large:
        command = [sys.executable, __file__, "--only-large", "--large", str(a.large), "--samples", str(a.samples)]
        done = subprocess.run([*command, "--device", a.device], check=True, capture_output=True, text=True)
        results["large"] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
