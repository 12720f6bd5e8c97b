"""Measure a trained compact diffusion decoder on images that training never saw; writes the figures as JSON.

    python by_steps.py --weights FILE --validation BSDS500/val --lpips ALEXNET --out FIGURES.json

By steps of the solver: PSNR and LPIPS to the HR image, LPIPS between samples, and the energy score of samples in these
features. LPIPS is a squared distance, so half of it between two samples is their variance, and the rest of it to the HR
image is the squared error of their mean: for samples of the true posterior the two are equal. Then, at the preset
steps, all of it by filter; the gain of the denoiser at each noise level, which should be 1; and how far pixels get on
LR images with noise of 0.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.solver import Solver, noise_levels
from ida_rd.training.edm_watch import Sampled, Watch
from ida_rd.training.measure import (
    ENLARGED,
    Tools,
    centre_crops,
    curves,
    distances_of,
    largest_pixels,
    measure_command,
    split,
)
from ida_rd.training.patches import pillow
from ida_rd.upscale.edm import Parameters
from ida_rd.upscale.eight_bit import to_samples

STEPS = (6, 8, 12, 16, 25)
FILTERS = ("bicubic", "bilinear", "lanczos", "box", "nearest")
PRESET = Parameters().steps
LABELS = {"lpips": "LPIPS (AlexNet)", "bias2": "bias^2", "ratio": "variance : bias^2", "energy": "energy score"}
NOISE = 0.2
CROP = 256
HEAT = 1.0  # it has no other


def measure(
    weights: Path,
    validation: Path,
    backbone: Path,
    *,
    count: int,
    samples: int,
    steps: Sequence[int] = STEPS,
    filters: Sequence[str] = FILTERS,
    crop: int = CROP,
) -> dict[str, Any]:
    """Measure a network.

    Parameters
    ----------
    weights, validation, backbone : Path
        Exported weights, folder of images of which centre crops of the first `count` are taken, AlexNet's weights.
    count, samples, crop : int
        Images, samples of each, pixels.
    steps : sequence of int
        Of the solver; `PRESET` among them.
    filters : sequence of str
        What makes LR images; by the first, the steps are compared.

    Returns
    -------
    dict
        Figures as JSON: ``steps`` and ``filters``, means by steps and by filter; ``enlarged``, those of the plain
        enlargement; ``gains`` by noise level; ``largest_pixel``; how many samples were drawn, were not finite, and the
        share of pixels that were clipped.
    """
    if samples < 2:
        raise UserError(f"--samples {samples}: how far samples spread takes 2 or more")
    if PRESET not in steps:
        raise UserError(f"--steps {' '.join(map(str, steps))}: {PRESET} must be among them: filters are compared there")
    net = load_network(weights)
    factor, images = net.config.factor, centre_crops(validation, crop, count, what="--validation")
    tools = Tools(distances_of(["psnr", "lpips"], backbone), to_samples)
    networks = {number: Sampled(net, Solver(noise_levels(number)), torch.float32) for number in steps}
    by_steps, by_filter, drawn, lost, clipped = {}, {}, 0, 0, 0.0
    enlarged: dict[str, float] = {}
    for number, network in networks.items():
        names = filters if number == PRESET else filters[:1]
        plan = [(pillow(name), [HEAT]) for name in names]
        between = dict.fromkeys(names, "lpips")
        found = curves(network, images, plan, tools, factor=factor, samples=samples, between=between)
        by_steps[str(number)] = split(found.means(filters[0], HEAT))
        if number == PRESET:
            by_filter = {name: split(found.means(name, HEAT)) for name in names}
            enlarged = found.means(filters[0], ENLARGED)
        drawn, lost, clipped = drawn + found.samples, lost + found.not_finite, clipped + found.clipped
    clean, noisy, more, also = largest_pixels(
        networks[PRESET], images, pillow(filters[0]), factor=factor, samples=samples, heat=HEAT, noise=NOISE
    )
    watch = Watch(
        *(validation,), count=min(count, 12), crop=crop, filters=filters[:1], steps=PRESET, samples=2,
        lpips=str(backbone), precision=torch.float32,
    )  # fmt: skip
    return {
        "factor": factor,
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "filters_trained": list(net.config.filters),
        "validation": {"images": len(images), "crop": crop, "samples": samples},
        "preset": PRESET,
        "labels": LABELS,
        "steps": by_steps,
        "filters": by_filter,
        "enlarged": enlarged,
        "gains": {key.removeprefix("gain_"): value for key, value in watch.gains(net).items()},
        "largest_pixel": {filters[0]: clean, f"noise {NOISE}": noisy},
        "samples": drawn + more,
        "not_finite": lost + also,
        "clipped": clipped / drawn,
    }


def main() -> None:
    own = {"--steps": {"type": int, "nargs": "+", "default": STEPS, "help": "of the solver"}}
    measure_command(measure, __doc__.split("\n")[0], own)


if __name__ == "__main__":
    exit_with_line(main)
