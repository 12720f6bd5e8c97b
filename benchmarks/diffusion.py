"""Upscalers by diffusion: K samples together against one by one, and what a sample costs by network.

    python benchmarks/diffusion.py [--sizes tiny official] [--networks sr3 resshift ldm diffbir] [--samples 5]
                                   [--steps 4] [--tflops 30] [--images 300] [--official-diffbir] [--device cpu]

Networks have the published widths, or those of the tests, and random numbers: any would take as long. The peer of ldm
is the library's own pipeline, called once per sample; that of the others is the same chain, made anew for each sample.
Both sides take `--steps` steps. What the whole chain takes is computed from its parts: what depends on the LR image
alone, a step, and the end. Where K samples together are not 1.3 times as fast, `reason` says what there is to share.

Peak memory is that of a fresh process that makes one sample. TFLOP are counted (a multiplication and an addition are
two), and `hours on a GPU` are these divided by `--tflops`, of one sample of `--images` images; `hours here` are
measured seconds of as many, one after the other. DiffBIR of official size needs 11 GB and minutes: it is counted, and
run where a flag asks for it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from golden.resshift.recipe import TINY as TINY_RESSHIFT
from golden.resshift.recipe import TINY_AUTOENCODER as TINY_VQ
from golden.sr3.recipe import SMALL as TINY_SR3

from ida_rd.core.seeds import Draw
from ida_rd.engine.local import keep_freed_memory
from ida_rd.models.latent.config import LDM_SR_UNET, LDM_SR_VQ, SD2_AUTOENCODER, SD2_UNET
from ida_rd.models.latent.config import AutoencoderConfig as LatentAutoencoder
from ida_rd.models.latent.config import UNetConfig as LatentUNet
from ida_rd.models.resshift.autoencoder import Autoencoder
from ida_rd.models.resshift.config import VARIANTS, AutoencoderConfig, UNetConfig
from ida_rd.models.resshift.layout import autoencoder_shapes as resshift_autoencoder
from ida_rd.models.resshift.layout import unet_shapes as resshift_unet
from ida_rd.models.resshift.network import UNet
from ida_rd.models.resshift.schedule import Shifting
from ida_rd.models.sr3.config import NETWORKS
from ida_rd.models.sr3.layout import shapes_of
from ida_rd.models.sr3.network import SR3Net
from ida_rd.models.sr3.schedule import betas_of
from ida_rd.upscale import ldm, sr3
from ida_rd.upscale.diffusion.ancestral import Ancestral
from ida_rd.upscale.diffusion.chain import Chain, Noise, plain_arithmetic, taken_through
from ida_rd.upscale.resshift.sampler import ResShiftChain
from ida_rd.upscale.sr3.sampler import SR3Chain

WANTED = 1.3  # times as fast as one by one
LATENTS = 16, 64  # sides of DiffBIR's latents: of the tiny networks, and of the least image that it makes, 512 x 512


@dataclass(frozen=True)
class Case:
    """A network of a size, and one LR image.

    Attributes
    ----------
    lr, hr : int
        Sides.
    steps : int
        Those of a chain by default, the decoding ones of ResShift with them.
    nets : list of Module
    chain : callable
        Given a number of steps, does all that depends on the LR image alone.
    library : callable or None
        Given a number of steps, a sample by the library's own pipeline.
    """

    lr: int
    hr: int
    steps: int
    nets: list[nn.Module]
    chain: Callable[[int], Chain[Any]]
    library: Callable[[int], Tensor] | None = None


def filled(shapes: dict[str, tuple[int, ...]], device: torch.device) -> dict[str, Tensor]:
    """Random tensors, scaled so that numbers stay finite."""
    torch.manual_seed(0)
    with device:
        return {
            name: torch.randn(shape) / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else torch.ones(shape) / 2
            for name, shape in shapes.items()
        }


def built(make: Callable[[], nn.Module], shapes: dict[str, tuple[int, ...]], device: torch.device) -> Any:
    """A network with random numbers, on a device."""
    with torch.device("meta"):
        net = make()
    net.load_state_dict(filled(shapes, device), assign=True)
    return net.requires_grad_(False).eval()


def image(side: int, device: torch.device) -> Tensor:
    """An LR image, in [-1, 1]."""
    return (torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1).to(device)


def sr3_case(official: bool, device: torch.device) -> Case:
    """16 to 128, as published; it is given the enlarged image."""
    known = NETWORKS["ffhq_16_128"] if official else TINY_SR3
    side = 128 if official else 32
    net = built(lambda: SR3Net(known.config), shapes_of(known.config), device)
    given = image(side, device)
    return Case(
        side // known.factor,
        side,
        sr3.Parameters().steps,
        [net],
        lambda steps: SR3Chain(net, Ancestral.of(betas_of("linear", steps, 0.1, 0.9)), given),
    )


def resshift_case(official: bool, device: torch.device) -> Case:
    """64 to 256, in the 15 steps of v1; the image is encoded once."""
    config, codes = (UNetConfig(), AutoencoderConfig()) if official else (TINY_RESSHIFT, TINY_VQ)
    side = 64 if official else 32
    unet = built(lambda: UNet(config), resshift_unet(config), device)
    autoencoder = built(lambda: Autoencoder(codes), resshift_autoencoder(codes), device)
    lr, by = image(side, device), Shifting.of(VARIANTS["v1"])

    def chain(steps: int) -> ResShiftChain:
        made = ResShiftChain(unet, autoencoder, by, lr, 512, 448, official=False)
        made.steps, made.times = steps, steps - 1  # the last one decodes
        return made

    return Case(side, 4 * side, VARIANTS["v1"].steps + 1, [unet, autoencoder], chain)


def ldm_case(official: bool, device: torch.device) -> Case:
    """64 to 256; the LR image is an input of every step, and nothing of it is computed before."""
    import diffusers

    from ida_rd.models.latent.layout import autoencoder_shapes, unet_shapes
    from ida_rd.models.latent.networks import autoencoder_of, unet_of
    from ida_rd.upscale.ldm.sampler import LDMChain, steps_of

    if official:
        config, codes, side = LDM_SR_UNET, LDM_SR_VQ, 64
    else:
        config, codes, side = (
            LatentUNet(6, 3, (16, 32, 32), (1, 2), 1, 8, 8),
            LatentAutoencoder((8, 8, 16), 3, 64, 1, 4),
            32,
        )
    unet = unet_of(config, filled(unet_shapes(config), device))
    autoencoder = autoencoder_of(codes, filled(autoencoder_shapes(codes), device))
    lr = image(side, device)
    schedule = diffusers.DDIMScheduler(
        beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    pipeline: Any = diffusers.LDMSuperResolutionPipeline(vqvae=autoencoder, unet=unet, scheduler=schedule)
    pipeline.set_progress_bar_config(disable=True)
    return Case(
        side,
        codes.factor * side,
        ldm.Parameters().steps,
        [unet, autoencoder],
        lambda steps: LDMChain(unet, autoencoder, config, steps_of(ldm.Parameters(steps=steps)), lr),
        lambda steps: pipeline(lr, num_inference_steps=steps, output_type="pt", return_dict=False)[0],
    )


class Controlled:
    """A chain of DiffBIR's parts, whose steps cost what any sampler's do: `ida_rd.upscale.diffusion.chain.Chain`."""

    each = 0.0

    def __init__(self, nets: list[nn.Module], given: Tensor, text: Tensor, steps: int) -> None:
        from ida_rd.models.latent.networks import encoded

        self.stage1, self.autoencoder, self.control, self.unet = nets
        self.text, self.steps = text, steps
        self.condition = encoded(self.autoencoder, self.stage1(given))
        self.shape = tuple(self.condition.shape[1:])

    def begin(self, noise: Noise) -> Tensor:
        return noise.start(self.shape)

    def step(self, number: int, state: Tensor, noise: Noise) -> Tensor:
        from ida_rd.models.latent.networks import controlled

        text, condition = (one.expand(len(state), *one.shape[1:]) for one in (self.text, self.condition))
        return state - 0.01 * controlled(self.unet, self.control, state, 999.0 - number, text, condition)

    def end(self, state: Tensor) -> Tensor:
        from ida_rd.models.latent.networks import decoded

        return torch.cat([decoded(self.autoencoder, latent) for latent in state.split(1)])


def diffbir_case(official: bool, device: torch.device) -> Case:
    """Made at 512 at least: stage 1 and the latent of its image are shared; the control depends on the latent too."""
    from spandrel.architectures.SwinIR import SwinIR

    from ida_rd.models.latent.layout import autoencoder_shapes, control_shapes, unet_shapes
    from ida_rd.models.latent.networks import autoencoder_of, control_of, unet_of

    if official:
        config, codes, width, depths, heads = SD2_UNET, SD2_AUTOENCODER, 180, [6] * 8, 6
    else:
        widths = (32, 64, 128, 128)
        config = LatentUNet(4, 4, widths, (0, 1, 2), head=8, context=32)
        codes, width, depths, heads = LatentAutoencoder(widths, 4, None), 12, [2], 2
    stage1 = SwinIR(
        upscale=8, img_size=64, window_size=8, depths=depths, embed_dim=width, num_heads=len(depths) * [heads],
        mlp_ratio=2, upsampler="nearest+conv", resi_connection="1conv", start_unshuffle=8,
    ).requires_grad_(False).eval()  # fmt: skip
    nets = [
        stage1.to(device),
        autoencoder_of(codes, filled(autoencoder_shapes(codes), device)),
        control_of(config, filled(control_shapes(config), device)),
        unet_of(config, filled(unet_shapes(config), device)),
    ]
    side = 8 * LATENTS[official]
    given, text = (image(side, device) + 1) / 2, torch.zeros(1, 77, config.context or 1, device=device)
    return Case(side // 4, side, 50, nets, lambda steps: Controlled(nets, given, text, steps))


CASES: dict[str, Callable[[bool, torch.device], Case]] = {
    "sr3": sr3_case,
    "resshift": resshift_case,
    "ldm": ldm_case,
    "diffbir": diffbir_case,
}


def noise(first: int, count: int, device: torch.device) -> Noise:
    """That of some samples."""
    return Noise([Draw(0, "benchmark", first + k) for k in range(count)], device)


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds that something takes."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def parts(case: Case, device: torch.device, steps: int) -> dict[str, tuple[float, float]]:
    """Seconds and TFLOP of what a sample is made of: before the first step, a step, the last step and the end."""
    given, chain = noise(0, 1, device), case.chain(steps)
    begun = last = chain.begin(given)
    for i in range(steps - 1):
        last = chain.step(i, last, given)
    runs: dict[str, Callable[[], Any]] = {
        "before": lambda: case.chain(steps),
        "step": lambda: chain.step(0, begun, given),
        "end": lambda: chain.end(chain.step(steps - 1, last, given)),
    }
    found = {}
    for name, run in runs.items():
        took = min(seconds_of(run, device) for _ in range(2))
        with FlopCounterMode(display=False) as counter:
            run()
        found[name] = (took, counter.get_total_flops() / 1e12)
    return found


def compared(case: Case, device: torch.device, samples: int, steps: int) -> dict[str, float]:
    """Seconds of K samples, all ways in turn; the best of two each."""

    def ours(batch: int) -> None:
        chain = case.chain(steps)
        for first in range(0, samples, batch):
            taken_through(chain, noise(first, batch, device))

    def anew() -> None:
        for k in range(samples):
            taken_through(case.chain(steps), noise(k, 1, device))

    def library() -> None:
        assert case.library is not None
        for _ in range(samples):
            case.library(steps)

    ways: dict[str, Callable[[], None]] = {"together": lambda: ours(1), "one batch": lambda: ours(samples)}
    ways["peer"] = library if case.library else anew
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(2):
        for name, way in ways.items():
            seconds[name].append(seconds_of(way, device))
    return {name: min(taken) for name, taken in seconds.items()}


def measured(arguments: argparse.Namespace, name: str, official: bool) -> dict[str, Any]:
    """What one network of one size takes; of official DiffBIR, unless it is asked for, what can be counted."""
    samples, steps = arguments.samples, arguments.steps
    counted = name == "diffbir" and official and not arguments.official_diffbir
    device = torch.device("meta" if counted else arguments.device)
    case = CASES[name](official, device)
    (before, before_flop), (step, step_flop), (end, end_flop) = parts(case, device, steps).values()
    tflop = before_flop + (case.steps - 1) * step_flop + end_flop
    found = {
        "network": name,
        "size": "official" if official else "tiny",
        "parameters, millions": round(sum(p.numel() for net in case.nets for p in net.parameters()) / 1e6, 2),
        "LR side": case.lr,
        "HR side": case.hr,
        "steps": case.steps,
        "TFLOP": {"before": before_flop, "step": step_flop, "end": end_flop, "a sample": tflop},
        "hours on a GPU": arguments.images * tflop / arguments.tflops / 3600,
    }
    if counted:
        return found
    took = compared(case, device, samples, steps)
    whole = before + (case.steps - 1) * step + end
    possible = samples * whole / (before + samples * (whole - before))
    ratio = took["peer"] / min(took["together"], took["one batch"])
    found |= {
        "hours here": arguments.images * whole / 3600,
        "seconds": {"before": before, "step": step, "end": end, "a sample": whole},
        f"seconds of {samples} samples in {steps} steps": took,
        "peer": "the library's pipeline" if case.library else "the same chain, made anew for each sample",
        "peer / ours": ratio,
        "one by one / together, of the whole chain": possible,
        "peak MB": peak(arguments, name, official),
    }
    if min(possible, ratio) < WANTED:
        found["reason"] = (
            f"what depends on the LR image alone is {before / whole:.1%} of a sample: {samples} samples together can be"
            f" {possible:.2f} times as fast, if a batch is no faster per sample"
        )
    return found


def peak(arguments: argparse.Namespace, name: str, official: bool) -> int:
    """Peak memory in MB of a fresh process that makes one sample in two steps: the process's, or the GPU's."""
    command = [sys.executable, __file__, "--one", name, "--device", arguments.device]
    command += ["--sizes", "official" if official else "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def one(arguments: argparse.Namespace) -> None:
    """Make one sample, and print the peak memory."""
    device = torch.device(arguments.device)
    taken_through(CASES[arguments.one](arguments.sizes == ["official"], device).chain(2), noise(0, 1, device))
    if device.type == "cuda":
        print(torch.cuda.max_memory_allocated() >> 20)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def rounded(value: Any) -> Any:
    """The same with four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=["tiny", "official"], default=["tiny", "official"])
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of what is compared, two or more")
    parser.add_argument("--tflops", type=float, default=30.0, help="what a GPU does in a second, sustained, in float32")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--official-diffbir", action="store_true", help="run it, not only count: 11 GB, minutes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("--steps: give two or more")
    plain_arithmetic()
    keep_freed_memory()  # as in the workers of a run
    with torch.inference_mode():
        if arguments.one is not None:
            one(arguments)
            return
        results = []
        for size in arguments.sizes:
            for name in arguments.networks:
                results += [rounded(measured(arguments, name, size == "official"))]
                print(json.dumps(results[-1], indent=1), flush=True)
    about = {"threads": torch.get_num_threads(), "device": arguments.device, "images": arguments.images}
    print(json.dumps(about | {"samples": arguments.samples, "GPU TFLOP/s": arguments.tflops, "results": results}))


if __name__ == "__main__":
    main()
