"""Memory of the flow: decoding step by step, as the upscaler does, against all steps' conditioning at once.

    python benchmarks/memory.py [--side 512] [--samples 3] [--factors 4 8]

Each figure is of a fresh process with one thread, set up as a worker is: how far its resident memory rises above
that of the loaded network while it reconstructs one image of SIDE x SIDE pixels, in MB per HR megapixel. The peer is
`FlowNet.decode` of `FlowNet.condition`, with which the samples are compared bit by bit. The last line is JSON.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image

from ida_rd.core.images import pixels_sha256, read_image
from ida_rd.core.seeds import Draw
from ida_rd.engine.local import keep_freed_memory
from ida_rd.upscale import flow
from ida_rd.upscale.contract import Problem, Samples
from ida_rd.upscale.eight_bit import to_samples
from ida_rd.upscale.flow.sampler import FlowUpscaler


@torch.inference_mode()
def at_once(upscaler: FlowUpscaler, lr: np.ndarray, draws: list[Draw]) -> Samples:
    """Sample as `FlowNet` itself does: the conditioning of all steps first."""
    image = torch.from_numpy(lr)[None].float() / 255
    given = upscaler.net.condition(image)
    z = torch.from_numpy(np.stack([draw.normal(upscaler.net.latent_shape(*lr.shape[1:])) for draw in draws]))
    return to_samples(torch.cat([upscaler.net.decode(upscaler.heat * part, given) for part in z.split(1)]))


def resident(key: str) -> int:
    """Bytes of resident memory: now (VmRSS), or at most since it was last reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) << 10


def one(factor: int, side: int, samples: int, how: str) -> dict:
    """Reconstruct one image in this process."""
    keep_freed_memory()
    torch.set_num_threads(1)
    upscaler = flow.load(flow.Parameters(), Problem(factor), "cpu")
    assert isinstance(upscaler, FlowUpscaler)
    photo = Image.fromarray(read_image(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    small = np.array(photo.resize((side // factor, side // factor), Image.Resampling.BICUBIC))
    lr = np.ascontiguousarray(small.transpose(2, 0, 1))
    upscaler.sample(np.ascontiguousarray(lr[:, :8, :8]), [Draw(0, "warm", 0)])
    draws = [Draw(0, "benchmark", k) for k in range(samples)]
    Path("/proc/self/clear_refs").write_text("5")  # begin anew with the peak
    before, start = resident("VmRSS"), time.perf_counter()
    found = upscaler.sample(lr, draws) if how == "steps" else at_once(upscaler, lr, draws)
    return {
        "mb_per_megapixel": (resident("VmHWM") - before) / found.sr[0, 0].size,
        "seconds": time.perf_counter() - start,
        "sha256": [pixels_sha256(np.ascontiguousarray(sr.transpose(1, 2, 0))) for sr in found.sr],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--factors", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--one", nargs=2, metavar=("FACTOR", "HOW"), help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(one(int(a.one[0]), a.side, a.samples, a.one[1])))
        return
    results = []
    for factor in a.factors:
        made = {}
        for how in ("steps", "at once"):
            command = [sys.executable, __file__, "--side", str(a.side), "--samples", str(a.samples)]
            done = subprocess.run([*command, "--one", str(factor), how], check=True, capture_output=True, text=True)
            made[how] = json.loads(done.stdout.splitlines()[-1])
        figures = {
            "factor": factor,
            "mb_per_megapixel": made["steps"]["mb_per_megapixel"],
            "at_once": made["at once"]["mb_per_megapixel"],
            "ratio": made["steps"]["mb_per_megapixel"] / made["at once"]["mb_per_megapixel"],
            "ratio_of_seconds": made["steps"]["seconds"] / made["at once"]["seconds"],
            "same_bits": made["steps"]["sha256"] == made["at once"]["sha256"],
        }
        print(figures, file=sys.stderr)
        results.append(figures)
    print(json.dumps({"side": a.side, "samples": a.samples, "factors": results}))


if __name__ == "__main__":
    main()
