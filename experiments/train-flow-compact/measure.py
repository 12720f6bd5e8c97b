"""Measure trained weights of the embedded flow on images that training never saw; writes the figures as JSON.

    python measure.py --weights FILE --validation BSDS500/val --lpips ALEXNET --out FIGURES.json

Heat by heat: PSNR and LPIPS to the HR image, and LPIPS between two samples, which are apart by twice
the posterior's variance where LPIPS is a squared distance. Then how the network ranks Pillow's filters
at the preset heat, and how far it runs off on noise of 0.2.
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

from stages.core.errors import UserError, run_stage
from stages.core.files import write_json
from stages.core.images import image_files, read_image
from stages.core.seeds import Draw, generator
from stages.distort import lpips, pixel
from stages.upscale.eight_bit import to_samples
from stages.upscale.flow.sampler import load_network
from stages.upscale.flow.train import validation_bits

HEATS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
FILTERS = ("bilinear", "bicubic", "lanczos", "hamming", "box", "nearest")
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


class _Means:
    """Means of named columns of named rows."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, column: str, value: float) -> None:
        self._values.setdefault(row, {}).setdefault(column, []).append(float(value))

    def __call__(self) -> dict[str, dict[str, float]]:
        return {row: {key: float(np.mean(x)) for key, x in columns.items()} for row, columns in self._values.items()}


@torch.inference_mode()
def measure(
    weights: Path, validation: Path, backbone: Path, *, count: int, samples: int, heats: Sequence[float] = HEATS
) -> dict[str, Any]:
    """Measure bits per dimension, distances against heat, the order of filters, and what noise does.

    Parameters
    ----------
    weights : Path
        Exported weights.
    validation : Path
        Folder of images; centre crops of the first `count` are taken.
    backbone : Path
        torchvision's AlexNet weights.
    samples : int
        Samples an image, at least 2.
    heats : sequence of float
        Ascending.
    """
    net = load_network(weights)
    factor = net.config.factor
    images = crops(validation, count)
    psnr = pixel.load(pixel.Parameters(), "cpu")
    perceptual = lpips.load(lpips.Parameters(path=str(backbone)), "cpu")
    rows = _Means()
    lost = clipped = total = 0.0

    def latents(image_id: str, lr: Tensor) -> Tensor:
        shape = net.latent_shape(*lr.shape[2:])
        return torch.from_numpy(np.stack([Draw(0, image_id, k).normal(shape) for k in range(samples)]))

    for image_id, crop in tqdm(images.items(), desc="heats", disable=None):
        hr = np.ascontiguousarray(crop.transpose(2, 0, 1))
        lr = downscale(crop, factor)
        given = net.condition(lr)
        z = latents(image_id, lr)
        results = {"bicubic": to_samples(given.base)}
        results |= {str(heat): to_samples(net.decode(heat * (z if heat else z[:1]), given)) for heat in heats}
        levels, features = psnr.reference(hr), perceptual.reference(hr)
        for key, (sr, finite, outside) in results.items():
            lost, clipped, total = lost + (~finite).sum(), clipped + outside.sum(), total + len(sr)
            rows.add(key, "psnr", psnr.distance(levels, sr).mean())
            rows.add(key, "lpips", perceptual.distance(features, sr).mean())
            if len(sr) > 1:
                rows.add(key, "between", perceptual.distance(perceptual.reference(sr[0]), sr[1:]).mean())
    means = rows()
    preset = min((heat for heat in heats if heat), key=lambda heat: means[str(heat)]["lpips"])

    order, largest = _Means(), {"bicubic": 0.0, f"noise {NOISE}": 0.0}
    for image_id, crop in tqdm(images.items(), desc="filters and noise", disable=None):
        reference = perceptual.reference(np.ascontiguousarray(crop.transpose(2, 0, 1)))
        for name in FILTERS:
            lr = downscale(crop, factor, name)
            pixels = net.decode(preset * latents(image_id, lr), net.condition(lr))
            order.add("lpips", name, perceptual.distance(reference, to_samples(pixels).sr).mean())
            if name == "bicubic":
                largest["bicubic"] = max(largest["bicubic"], float(pixels.abs().max()))
        lr = downscale(crop, factor)
        noise = torch.from_numpy(generator("noise", image_id).standard_normal(lr.shape, dtype=np.float32))
        noisy = (lr + NOISE * noise).clamp(0, 1)
        pixels = net.decode(preset * latents(image_id, lr), net.condition(noisy))
        lost, total = lost + (~torch.isfinite(pixels).flatten(1).all(1)).sum().item(), total + len(pixels)
        largest[f"noise {NOISE}"] = max(largest[f"noise {NOISE}"], float(pixels.nan_to_num(torch.inf).abs().max()))

    return {
        "factor": factor,
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation": {"images": len(images), "crop": CROP, "samples": samples},
        "bits_per_dimension": {str(c): validation_bits(net, validation, crop=c, count=count) for c in (160, CROP)},
        "heats": means,
        "preset_heat": preset,
        "filters_at_preset": order()["lpips"],
        "largest_pixel_at_preset": largest,
        "not_finite": lost / total,
        "clipped": clipped / total,
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
    run_stage(main)
