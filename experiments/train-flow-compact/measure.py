"""Measure trained weights of the embedded flow on images that training never saw; writes the figures as JSON.

    python measure.py --weights FILE --validation BSDS500/val --lpips ALEXNET --out FIGURES.json

Heat by heat: PSNR and LPIPS to the HR image, and LPIPS between two samples, which is twice the
posterior's variance, since LPIPS is a squared distance of features. Then how the network ranks Pillow's
filters at the heats that can be its preset. The preset is the lowest of them at which the network ranks
these filters as the paper found: bilinear and bicubic lose less than lanczos, lanczos less than
nearest, each
with a paired interval that excludes zero. Last, how far it diverges on noise of 0.2.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ida_rd.aggregate.statistics import bootstrap_interval
from ida_rd.core.errors import exit_with_line
from ida_rd.core.files import write_json
from ida_rd.distort import lpips, pixel
from ida_rd.models.flow import load_network
from ida_rd.training.flow import validation_bits
from ida_rd.training.measure import ENLARGED, Curves, Tools, centre_crops, curves, largest_pixels
from ida_rd.training.patches import pillow
from ida_rd.upscale.eight_bit import to_samples

HEATS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
ORDER_HEATS = (0.9, 1.0, 1.1, 1.2)
TRAINED = "bicubic"  # the filter that the network was trained with
FILTERS = ("bilinear", "bicubic", "lanczos", "box", "nearest")
ORDER = (("bilinear", "lanczos"), ("bicubic", "lanczos"), ("lanczos", "nearest"))  # (loses less, loses more)
NOISE = 0.2
CROP = 256


def claims(found: Curves, heat: float) -> list[str]:
    """Which of the paper's claims hold at a heat: the paired interval of the difference is above zero."""
    return [
        f"{less} < {more}"
        for less, more in ORDER
        if bootstrap_interval(found.difference(more, less, heat, "lpips"), 0.95, 10000, 0)[0] > 0
    ]


def measure(
    weights: Path, validation: Path, backbone: Path, *, count: int, samples: int, heats: Sequence[float] = HEATS
) -> dict[str, Any]:
    """Measure bits per dimension, distances against heat, the order of filters, the preset heat, what noise does.

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
        Ascending.

    Returns
    -------
    dict
        Figures as JSON: ``bits_per_dimension`` by side of the crop and of ``whole`` images; ``heats`` and
        ``order``, means by heat; ``order_kept``, which claims hold at a heat; ``preset_heat``;
        ``largest_pixel_at_preset``, on the scale where white is 1;
        ``samples`` drawn, the share of them ``not_finite``, and the share of pixels ``clipped``, noise aside.
    """
    network = load_network(weights)
    factor = network.config.factor
    images = centre_crops(validation, CROP, count, what="--validation")
    tools = Tools(
        {
            "psnr": pixel.load(pixel.Parameters(), "cpu"),
            "lpips": lpips.load(lpips.Parameters(path=str(backbone)), "cpu"),
        },
        to_samples,
    )
    candidates = [heat for heat in heats if heat in ORDER_HEATS] or [heat for heat in heats if heat]
    plan = [(pillow(name), heats if name == TRAINED else candidates) for name in FILTERS]
    found = curves(network, images, plan, tools, factor=factor, samples=samples, between={TRAINED: "lpips"})
    by_heat = {str(heat): found.means(TRAINED, heat) for heat in heats}
    order = {heat: {name: found.means(name, heat)["lpips"] for name in FILTERS} for heat in candidates}
    kept = {heat: claims(found, heat) for heat in candidates}
    preset = next((heat for heat in candidates if len(kept[heat]) == len(ORDER)), candidates[-1])
    clean, noisy, drawn, lost = largest_pixels(
        network, images, pillow(TRAINED), factor=factor, samples=samples, heat=preset, noise=NOISE
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
        "heats": {"bicubic": found.means(TRAINED, ENLARGED), **by_heat},
        "order": {str(heat): means for heat, means in order.items()},
        "order_kept": {str(heat): held for heat, held in kept.items()},
        "preset_heat": preset,
        "filters_at_preset": order[preset],
        "largest_pixel_at_preset": {TRAINED: clean, f"noise {NOISE}": noisy},
        "samples": total,
        "not_finite": (found.not_finite + lost) / total,
        "clipped": found.clipped / found.samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--validation", type=Path, required=True, help="folder of images never trained on")
    parser.add_argument("--lpips", type=Path, required=True, help="torchvision's AlexNet weights")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--count", type=int, default=50, help="images")
    parser.add_argument("--samples", type=int, default=2, help="samples per image")
    parser.add_argument("--heats", type=float, nargs="+", default=HEATS, help="ascending")
    a = parser.parse_args()
    figures = measure(a.weights, a.validation, a.lpips, count=a.count, samples=a.samples, heats=a.heats)
    write_json(a.out, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    exit_with_line(main)
