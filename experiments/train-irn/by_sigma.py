"""Measure a trained IRN by sigma on images that training never saw; writes the figures as JSON.

    python by_sigma.py --weights FILE --validation BSDS500/val --lpips ALEXNET --out FIGURES.json

PSNR and SSIM are of Y without a border of the factor, as papers about rescaling give them; LPIPS is of RGB. Beside them
stand Pillow's bicubic filter down and up. Then what the dial is worth: paired differences from one sigma to the next,
with Student's interval over the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ida_rd.aggregate.statistics import mean_interval
from ida_rd.core.bar import follow
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.seeds import Draw
from ida_rd.distort import lpips, pixel, structural
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.network import quantise
from ida_rd.training.measure import Distance, Pixels, centre_crops, measure_command
from ida_rd.upscale.eight_bit import to_samples

SIGMAS = tuple(round(0.1 * i, 1) for i in range(11))
CROP = 256
LEVEL = 0.05
MEASURES = {"psnr": "PSNR (Y), dB", "ssim": "1 - SSIM (Y)", "lpips": "LPIPS (AlexNet)"}


def distances(factor: int, backbone: Path) -> dict[str, Distance]:
    """What is measured, by name."""
    return {
        "psnr": pixel.load(pixel.Parameters(channel="y", border=factor), "cpu"),
        "ssim": structural.load(structural.Parameters(metric="ssim", channel="y", border=factor), "cpu"),
        "lpips": lpips.load(lpips.Parameters(path=str(backbone)), "cpu"),
    }


@torch.inference_mode()
def measure(
    weights: Path,
    validation: Path,
    backbone: Path,
    *,
    count: int,
    samples: int,
    sigmas: Sequence[float] = SIGMAS,
    crop: int = CROP,
) -> dict[str, Any]:
    """Measure a network.

    Parameters
    ----------
    weights, validation, backbone : Path
        Exported weights, folder of images of which centre crops of the first `count` are taken, AlexNet's weights.
    count, samples, crop : int
        Images, samples of each (one at sigma 0), pixels.
    sigmas : sequence of float
        Ascending.

    Returns
    -------
    dict
        Figures as JSON: ``sigmas``, means by sigma; ``bicubic``; ``steps``, by measure, the change from a sigma to the
        next with its interval; ``lr_psnr``, of the LR image to bicubic's; ``latent``, the standard deviation of what
        the encoder leaves in the latent.
    """
    if list(sigmas) != sorted(set(sigmas)) or min(sigmas) < 0:
        raise UserError(f"--sigmas {' '.join(map(str, sigmas))}: give them in ascending order, from 0 on")
    net = load_network(weights)
    factor = net.config.factor
    measures = distances(factor, backbone)
    plain = pixel.load(pixel.Parameters(), "cpu")
    found: dict[float | str, dict[str, list[float]]] = {}
    lr_psnr, spread, lost = [], [], 0

    def add(key: float | str, hr: Pixels, sr: Pixels) -> None:
        for name, one in measures.items():
            value = float(np.mean(one.distance(one.reference(hr), sr)))
            found.setdefault(key, {}).setdefault(name, []).append(value)

    crops = centre_crops(validation, crop // factor * factor, count, what="--validation")
    for image_id, image in follow(crops.items(), "images", len(crops)):
        hr = np.ascontiguousarray(image.transpose(2, 0, 1))
        lr, latent, _ = net.encode(torch.from_numpy(hr)[None].float() / 255)
        lr = quantise(lr)
        size = (image.shape[1], image.shape[0])
        small = Image.fromarray(image).resize((size[0] // factor, size[1] // factor), Image.Resampling.BICUBIC)
        bicubic = np.asarray(small).transpose(2, 0, 1)
        add("bicubic", hr, np.asarray(small.resize(size, Image.Resampling.BICUBIC)).transpose(2, 0, 1)[None])
        lr_psnr.append(float(plain.distance(plain.reference(bicubic), to_samples(lr).sr)[0]))
        spread.append(float(latent.square().mean()))
        for sigma in sigmas:
            draws = [Draw(0, image_id, k) for k in range(samples if sigma else 1)]
            parts = []
            for draw in draws:
                noise = torch.from_numpy(draw.normal(tuple(latent.shape[1:])))[None]
                drawn = to_samples(net.decode(lr, sigma * noise))
                lost += int((~drawn.finite).sum())
                parts.append(drawn.sr)
            add(sigma, hr, np.concatenate(parts))
    images = len(lr_psnr)
    steps: dict[str, list[dict[str, float | None]]] = {name: [] for name in MEASURES}
    for name, rows in steps.items():
        for a, b in pairwise(sigmas):
            change = np.array(found[b][name]) - np.array(found[a][name])
            low, high = mean_interval(change, 1 - LEVEL)
            rows.append({"from": a, "to": b, "change": float(change.mean()), "low": low, "high": high})
    return {
        "factor": factor,
        "labels": MEASURES,
        "config": net.config.as_dict(),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "validation": {"images": images, "crop": crop, "samples": samples},
        "bicubic": {name: float(np.mean(values)) for name, values in found["bicubic"].items()},
        "sigmas": {
            str(sigma): {name: float(np.mean(values)) for name, values in found[sigma].items()} for sigma in sigmas
        },
        "steps": steps,
        "lr_psnr": float(np.mean(lr_psnr)),
        "latent": float(np.mean(spread)) ** 0.5,
        "not_finite": lost,
    }


def main() -> None:
    own = {"--sigmas": {"type": float, "nargs": "+", "default": SIGMAS, "help": "ascending"}}
    measure_command(measure, __doc__.split("\n")[0], own, samples="samples per image")


if __name__ == "__main__":
    exit_with_line(main)
