"""Measure trained weights of the embedded flow on images that training never saw; writes the figures as JSON.

    python measure.py --weights FILE --validation BSDS500/val --lpips ALEXNET --out FIGURES.json

Heat by heat: PSNR and LPIPS to the HR image, and LPIPS between two samples, which are apart by twice
the posterior's variance, LPIPS being a squared distance of features. Then how the network ranks Pillow's
filters at the heats that can be its preset. The preset is the lowest of them at which the network tells
these filters apart as the paper found: bilinear and bicubic lose less than lanczos, lanczos less than
nearest, each by a paired interval that excludes zero. Last, how far it runs off on noise of 0.2.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ida_rd.aggregate.statistics import bootstrap_interval
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_json
from ida_rd.core.images import image_files, read_image
from ida_rd.core.seeds import Draw, generator
from ida_rd.distort import lpips, pixel
from ida_rd.training.flow import validation_bits
from ida_rd.upscale.eight_bit import to_samples
from ida_rd.upscale.flow.sampler import load_network

HEATS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
ORDER_HEATS = (0.9, 1.0, 1.1, 1.2)
FILTERS = ("bilinear", "bicubic", "lanczos", "box", "nearest")
ORDER = (("bilinear", "lanczos"), ("bicubic", "lanczos"), ("lanczos", "nearest"))  # (loses less, loses more)
NOISE = 0.2
CROP = 256


def crops(folder: Path, count: int) -> dict[str, NDArray[np.uint8]]:
    """Centre crops (256, 256, 3), uint8, of the first `count` images."""
    found = {}
    for image_id, path in list(image_files(folder, what="--validation").items())[:count]:
        image = read_image(path)
        y, x = (image.shape[0] - CROP) // 2, (image.shape[1] - CROP) // 2
        if min(y, x) < 0:
            raise UserError(f"{path}: smaller than {CROP} x {CROP} pixels")
        found[image_id] = np.ascontiguousarray(image[y : y + CROP, x : x + CROP])
    return found


def downscale(image: NDArray[np.uint8], factor: int, name: str = "bicubic") -> Tensor:
    """(H, W, 3) uint8 by one of Pillow's filters to (1, 3, h, w) in [0, 1]."""
    size = (image.shape[1] // factor, image.shape[0] // factor)
    small = np.array(Image.fromarray(image).resize(size, Image.Resampling[name.upper()]))
    return torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255


class _Table:
    """Values of named columns of named rows, an image after the other."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, column: str, value: float) -> None:
        self._values.setdefault(row, {}).setdefault(column, []).append(float(value))

    def means(self) -> dict[str, dict[str, float]]:
        return {row: {key: float(np.mean(x)) for key, x in columns.items()} for row, columns in self._values.items()}

    def holds(self, row: str, less: str, more: str) -> bool:
        """Whether the paired interval of column `more` minus column `less` is above zero."""
        columns = self._values[row]
        difference = np.array(columns[more]) - np.array(columns[less])
        return bootstrap_interval(difference, 0.95, 10000, 0)[0] > 0


@torch.inference_mode()
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
        Samples an image, at least 2.
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
    net = load_network(weights)
    factor = net.config.factor
    images = crops(validation, count)
    psnr = pixel.load(pixel.Parameters(), "cpu")
    perceptual = lpips.load(lpips.Parameters(path=str(backbone)), "cpu")
    candidates = [heat for heat in heats if heat in ORDER_HEATS] or [heat for heat in heats if heat]
    by_heat, order, bits = _Table(), _Table(), {}
    lost = clipped = scored = noisy = 0.0

    def latents(image_id: str, lr: Tensor) -> Tensor:
        shape = net.latent_shape(*lr.shape[2:])
        return torch.from_numpy(np.stack([Draw(0, image_id, k).normal(shape) for k in range(samples)]))

    for image_id, crop in tqdm(images.items(), disable=None):
        hr = np.ascontiguousarray(crop.transpose(2, 0, 1))
        levels, features = psnr.reference(hr), perceptual.reference(hr)
        for name in FILTERS:
            lr = downscale(crop, factor, name)
            given, z = net.condition(lr), latents(image_id, lr)
            if name == "bicubic":
                by_heat.add("bicubic", "psnr", psnr.distance(levels, to_samples(given.base).sr)[0])
                by_heat.add("bicubic", "lpips", perceptual.distance(features, to_samples(given.base).sr)[0])
            for heat in heats if name == "bicubic" else candidates:
                sr, finite, outside = to_samples(net.decode(heat * (z if heat else z[:1]), given))
                lost, clipped, scored = lost + (~finite).sum(), clipped + outside.sum(), scored + len(sr)
                distance = perceptual.distance(features, sr).mean()
                if heat in candidates:
                    order.add(str(heat), name, distance)
                if name != "bicubic":
                    continue
                by_heat.add(str(heat), "psnr", psnr.distance(levels, sr).mean())
                by_heat.add(str(heat), "lpips", distance)
                if len(sr) > 1:
                    by_heat.add(str(heat), "between", perceptual.distance(perceptual.reference(sr[0]), sr[1:]).mean())

    kept = {str(heat): [f"{a} < {b}" for a, b in ORDER if order.holds(str(heat), a, b)] for heat in candidates}
    preset = next((heat for heat in candidates if len(kept[str(heat)]) == len(ORDER)), candidates[-1])
    largest = {"bicubic": 0.0, f"noise {NOISE}": 0.0}
    for image_id, crop in tqdm(images.items(), desc="noise", disable=None):
        lr = downscale(crop, factor)
        noise = torch.from_numpy(generator("noise", image_id).standard_normal(lr.shape, dtype=np.float32))
        for key, given_lr in zip(largest, (lr, (lr + NOISE * noise).clamp(0, 1)), strict=True):
            pixels = net.decode(preset * latents(image_id, lr), net.condition(given_lr))
            lost, noisy = lost + (~torch.isfinite(pixels).flatten(1).all(1)).sum().item(), noisy + len(pixels)
            largest[key] = max(largest[key], float(pixels.nan_to_num(torch.inf).abs().max()))
    for side in (160, CROP, None):
        bits[str(side or "whole")] = validation_bits(net, validation, crop=side, count=count)

    return {
        "factor": factor,
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation": {"images": len(images), "crop": CROP, "samples": samples},
        "bits_per_dimension": bits,
        "heats": by_heat.means(),
        "order": order.means(),
        "order_kept": kept,
        "preset_heat": preset,
        "filters_at_preset": order.means()[str(preset)],
        "largest_pixel_at_preset": largest,
        "samples": int(scored + noisy),
        "not_finite": lost / (scored + noisy),
        "clipped": clipped / scored,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--validation", type=Path, required=True, help="folder of images never trained on")
    parser.add_argument("--lpips", type=Path, required=True, help="torchvision's AlexNet weights")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--count", type=int, default=50, help="images")
    parser.add_argument("--samples", type=int, default=2, help="samples an image")
    parser.add_argument("--heats", type=float, nargs="+", default=HEATS, help="ascending")
    a = parser.parse_args()
    figures = measure(a.weights, a.validation, a.lpips, count=a.count, samples=a.samples, heats=a.heats)
    write_json(a.out, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    exit_with_line(main)
