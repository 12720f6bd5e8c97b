"""Measure trained weights of the embedded flow on images that training never saw; writes the figures as JSON.

    python measure.py --weights FILE --validation BSDS500/val --lpips ALEXNET --out FIGURES.json

Heat by heat: PSNR and LPIPS to the HR image, LPIPS between samples (half of it is how far they spread, since LPIPS is a
squared distance of features), and the energy score of samples in these features. Then how LPIPS ranks Pillow's
filters at some heats. Last, how far the network diverges on noise of 0.2.

The preset heat is set by a rule that is blind to any order of filters (`preset`): it is 1, the only heat that samples
the p(HR | LR) which training fitted, unless another one has a lower energy score on LR images as the network was
trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.statistics import mean_interval, sign_flip_p
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.models.flow import load_network
from ida_rd.training.flow import validation_bits
from ida_rd.training.measure import (
    ENLARGED,
    Curves,
    Tools,
    centre_crops,
    curves,
    distances_of,
    largest_pixels,
    measure_command,
)
from ida_rd.training.patches import pillow
from ida_rd.upscale.eight_bit import to_samples

HEATS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
OWN = 1.0  # the latent's standard deviation in training
ORDER_HEATS = (0.9, 1.0, 1.1, 1.2)
TRAINED = "bicubic"  # the filter that the network was trained with
FILTERS = ("bilinear", "bicubic", "lanczos", "box", "nearest")
ORDER = (("bilinear", "lanczos"), ("bicubic", "lanczos"), ("lanczos", "nearest"))  # (loses less, loses more)
NOISE = 0.2
CROP = 256
LEVEL, RESAMPLES, SEED = 0.05, 10000, 0
RULE = (
    "1, the heat at which samples are of the fitted p(HR | LR), unless another heat above 0 of the grid has a lower"
    f" energy score on the validation images (LR by {TRAINED}, as in training; features of LPIPS), by sign flips of the"
    f" paired differences, with Holm's correction over the heats, at {LEVEL}; then the one with the lowest. No order of"
    " downscalers is looked at."
)
GIVEN = "Given by hand."


def preset(energy: dict[float, NDArray[np.float64]]) -> tuple[float, dict[float, dict[str, float | None]]]:
    """Choose the heat by `RULE`.

    Parameters
    ----------
    energy : dict
        Energy score of every image, by heat; (N,).

    Returns
    -------
    heat : float
    tests : dict
        By heat other than `OWN`: mean difference from that, its interval by itself, and p, also by Holm's method.
    """
    drawing = [heat for heat in energy if heat > 0]
    differences = {heat: energy[heat] - energy[OWN] for heat in drawing if heat != OWN}
    p = {heat: sign_flip_p(values, RESAMPLES, SEED) for heat, values in differences.items()}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    tests: dict[float, dict[str, float | None]] = {}
    for heat, values in differences.items():
        low, high = mean_interval(values, 1 - LEVEL)
        tests[heat] = {"difference": float(values.mean()), "low": low, "high": high}
        tests[heat] |= {"p": p[heat], "p_holm": corrected[heat]}
    lower = [heat for heat in tests if corrected[heat] < LEVEL and energy[heat].mean() < energy[OWN].mean()]
    return min(lower, key=lambda heat: energy[heat].mean(), default=OWN), tests


def order_claims(found: Curves, heats: Sequence[float]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Which of the paper's claims about filters hold at each heat, and which are reversed; Holm over all of them."""
    claims = [(heat, *pair) for heat in heats for pair in ORDER]
    differences = [found.of_images(b, heat, "lpips") - found.of_images(a, heat, "lpips") for heat, a, b in claims]
    p = holm([sign_flip_p(values, RESAMPLES, SEED) for values in differences])
    kept: dict[str, list[str]] = {str(heat): [] for heat in heats}
    turned: dict[str, list[str]] = {str(heat): [] for heat in heats}
    for (heat, less, more), values, value in zip(claims, differences, p, strict=True):
        if value < LEVEL and values.mean() > 0:
            kept[str(heat)].append(f"{less} < {more}")
        elif value < LEVEL:
            turned[str(heat)].append(f"{more} < {less}")
    return kept, turned


def measure(
    weights: Path,
    validation: Path,
    backbone: Path,
    *,
    count: int,
    samples: int,
    heats: Sequence[float] = HEATS,
    given: float | None = None,
) -> dict[str, Any]:
    """Measure bits per dimension, distances against heat, the preset heat, the order of filters, what noise does.

    Parameters
    ----------
    weights : Path
        Exported weights.
    validation : Path
        Folder of images; centre crops of the first `count` are taken.
    backbone : Path
        torchvision's AlexNet weights.
    count : int
        Images.
    samples : int
        Samples per image, at least 2.
    heats : sequence of float
        Ascending, with 1 among them unless `given`.
    given : float, optional
        One of them: the preset, where it is not to be found.

    Returns
    -------
    dict
        Figures as JSON: ``bits_per_dimension`` by side of the crop and of ``whole`` images; ``heats`` and
        ``order``, means by heat; ``order_kept`` and ``order_reversed``, which claims hold at a heat, and which hold
        the other way round; ``energy_score`` by heat; ``energy_tests``, its difference from that at 1;
        ``preset_heat`` and ``preset_rule``; ``largest_pixel_at_preset``, on the scale where white is 1;
        ``samples`` drawn, the share of them ``not_finite``, and the share of pixels ``clipped``, noise aside.

    Raises
    ------
    UserError
        Heats or samples with which no preset can be found.
    """
    if samples < 2:
        raise UserError(f"--samples {samples}: how far samples spread takes 2 or more")
    if (OWN if given is None else given) not in heats:
        raise UserError(
            f"--heats: {OWN if given is None else given:g} must be among them: the preset is compared there"
        )
    network = load_network(weights)
    factor = network.config.factor
    images = centre_crops(validation, CROP, count, what="--validation")
    tools = Tools(distances_of(["psnr", "lpips"], backbone), to_samples)
    ranked = sorted({*(heat for heat in heats if heat in ORDER_HEATS), *([] if given is None else [given])})
    plan = [(pillow(name), heats if name == TRAINED else ranked) for name in FILTERS]
    found = curves(network, images, plan, tools, factor=factor, samples=samples, between={TRAINED: "lpips"})
    energy = {heat: found.of_images(TRAINED, heat, "energy") for heat in heats}
    chosen, tests = preset(energy) if given is None else (given, {})
    if chosen not in ranked:  # the other filters, there too
        others = [(pillow(name), [chosen]) for name in FILTERS if name != TRAINED]
        more = curves(network, images, others, tools, factor=factor, samples=samples, between={})
        found.values |= more.values
        found.samples, found.not_finite = found.samples + more.samples, found.not_finite + more.not_finite
        found.clipped += more.clipped
        ranked = sorted([*ranked, chosen])
    kept, turned = order_claims(found, ranked)
    order = {str(heat): {name: found.means(name, heat)["lpips"] for name in FILTERS} for heat in ranked}
    clean, noisy, drawn, lost = largest_pixels(
        network, images, pillow(TRAINED), factor=factor, samples=samples, heat=chosen, noise=NOISE
    )
    total = found.samples + drawn
    return {
        "factor": factor,
        "parameters": sum(p.numel() for p in network.parameters()),
        "validation": {"images": len(images), "crop": CROP, "samples": samples},
        "bits_per_dimension": {
            str(side or "whole"): validation_bits(network, validation, crop=side, count=count)
            for side in (160, CROP, None)
        },
        "heats": {
            "bicubic": found.means(TRAINED, ENLARGED),
            **{str(heat): found.means(TRAINED, heat) for heat in heats},
        },
        "energy_score": {str(heat): float(values.mean()) for heat, values in energy.items()},
        "energy_tests": {str(heat): test for heat, test in tests.items()},
        "order": order,
        "order_kept": kept,
        "order_reversed": turned,
        "preset_heat": chosen,
        "preset_rule": RULE if given is None else GIVEN,
        "filters_at_preset": order[str(chosen)],
        "largest_pixel_at_preset": {TRAINED: clean, f"noise {NOISE}": noisy},
        "samples": total,
        "not_finite": (found.not_finite + lost) / total,
        "clipped": found.clipped / found.samples,
    }


def main() -> None:
    own = {
        "--heats": {"type": float, "nargs": "+", "default": HEATS, "help": "ascending"},
        "--preset": {
            "type": float, "dest": "given", "metavar": "PRESET",
            "help": "one of the heats, to be the preset instead of what the rule finds",
        },
    }  # fmt: skip
    measure_command(measure, __doc__.split("\n")[0], own)


if __name__ == "__main__":
    exit_with_line(main)
