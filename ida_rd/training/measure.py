"""Measure a trained decoder that draws samples, on images that training never saw: heat by heat, filter by filter.

The distances and the rounding to 8 bits belong to rooms that training does not know: the former are asked for by name
(`distances_of`), the latter is provided by whoever measures (`Tools`); ``experiments/train-flow-compact/measure.py`` is
an example.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.bar import follow
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.images import image_files, read_image
from ida_rd.core.methods import find_method
from ida_rd.core.seeds import Draw, generator
from ida_rd.training.patches import Downscaling, Pixels
from ida_rd.training.validation import centre_crop

__all__ = [
    "ENLARGED",
    "Curves",
    "Distance",
    "Network",
    "Tools",
    "centre_crops",
    "curves",
    "distances_of",
    "energy_score",
    "largest_pixels",
    "lr_of",
    "measure_command",
    "split",
]

ENLARGED = "enlarged"  # stands where a heat does: the plain enlargement that the samples start from


class Network(Protocol):
    """A network that draws samples given an LR image."""

    def condition(self, lr: Tensor, /) -> Any:
        """What depends on the LR image (1, 3, h, w) alone; ``base`` is its plain enlargement, (1, 3, H, W)."""
        ...

    def decode(self, z: Tensor, given: Any, /) -> Tensor:
        """Samples (K, 3, H, W), range about [0, 1], of latents."""
        ...

    def latent_shape(self, height: int, width: int, /) -> tuple[int, ...]:
        """Shape of the latent of an LR image."""
        ...


class Distance(Protocol):
    """A loaded distortion."""

    def reference(self, hr: Pixels, /) -> Any:
        """What is needed of the HR image (3, H, W), uint8."""
        ...

    def distance(self, reference: Any, sr: Pixels, /) -> NDArray[np.float64]:
        """Distances of (K, 3, H, W), uint8; (K,)."""
        ...


class Rounded(Protocol):
    """Samples as 8-bit images."""

    @property
    def sr(self) -> Pixels: ...
    @property
    def finite(self) -> NDArray[np.bool_]: ...
    @property
    def clipped(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Tools:
    """What measuring takes from elsewhere.

    Attributes
    ----------
    distances : dict of str to Distance
    rounded : callable
        Rounds (K, 3, H, W), range about [0, 1], to 8 bits, and says what is lost by it.
    """

    distances: Mapping[str, Distance]
    rounded: Callable[[Tensor], Rounded]


def distances_of(names: Sequence[str], backbone: Path | str | None) -> dict[str, Distance]:
    """Load distances on the CPU, with their defaults.

    Parameters
    ----------
    names : sequence of str
        Of ``psnr`` and ``lpips``.
    backbone : Path or str, optional
        File of torchvision's AlexNet, for LPIPS; None: it is in torch's cache.
    """
    path = None if backbone is None else str(backbone)
    methods: dict[str, tuple[str, dict[str, Any]]] = {"psnr": ("pixel", {}), "lpips": ("lpips", {"path": path})}
    found = {}
    for name in names:
        method, given = methods[name]
        module = find_method("distort", method, where=name)
        found[name] = module.load(module.Parameters(**given), "cpu")
    return found


@dataclass
class Curves:
    """Distances by filter and heat, one value per image.

    Attributes
    ----------
    values : dict
        By (filter, heat), a list per distance. The heat is `ENLARGED` for the plain enlargement; the distance between
        samples is called ``between``, the energy score ``energy``.
    samples, not_finite : int
        Samples drawn, and those of them that were not finite.
    clipped : float
        Sum of the samples' shares of clipped pixels.
    """

    values: dict[tuple[str, float | str], dict[str, list[float]]] = field(default_factory=dict)
    samples: int = 0
    not_finite: int = 0
    clipped: float = 0.0

    def add(self, downscaler: str, heat: float | str, name: str, value: float) -> None:
        """Append an image's value."""
        self.values.setdefault((downscaler, heat), {}).setdefault(name, []).append(float(value))

    def means(self, downscaler: str, heat: float | str) -> dict[str, float]:
        """Means over images, by distance."""
        return {name: float(np.mean(values)) for name, values in self.values[downscaler, heat].items()}

    def of_images(self, downscaler: str, heat: float | str, name: str) -> NDArray[np.float64]:
        """One distance, image by image: (N,)."""
        return np.array(self.values[downscaler, heat][name], np.float64)


def centre_crops(folder: Path, side: int, count: int, *, what: str) -> dict[str, Pixels]:
    """Centre crops (side, side, 3), uint8, of the first `count` images; `what` names the folder in errors."""
    found = {}
    for image_id, path in list(image_files(folder, what=what).items())[:count]:
        image = read_image(path)
        if min(image.shape[:2]) < side:
            raise UserError(f"{path}: smaller than {side} x {side} pixels")
        found[image_id] = centre_crop(image, side, side)
    return found


def lr_of(image: Pixels, factor: int, downscaling: Downscaling, image_id: str) -> Tensor:
    """The LR image (1, 3, h, w), range [0, 1], of an image (H, W, 3), uint8."""
    size = (image.shape[0] // factor, image.shape[1] // factor)
    small = downscaling.make(image, size, rng=generator("measure", downscaling.name, image_id))
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255


def _latents(network: Network, image_id: str, lr: Tensor, samples: int) -> Tensor:
    shape = network.latent_shape(*lr.shape[2:])
    return torch.from_numpy(np.stack([Draw(0, image_id, k).normal(shape) for k in range(samples)]))


@torch.inference_mode()
def curves(
    network: Network,
    images: Mapping[str, Pixels],
    heats: Sequence[tuple[Downscaling, Sequence[float]]],
    tools: Tools,
    *,
    factor: int,
    samples: int,
    between: Mapping[str, str],
) -> Curves:
    """Measure the distance of samples to the HR image, and to each other.

    Parameters
    ----------
    network : Network
    images : dict
        (H, W, 3), uint8, by image id.
    heats : sequence of (Downscaling, sequence of float)
        At which heats the LR images of each downscaler are decoded. At heat 0 there is one sample.
    tools : Tools
    factor, samples : int
        Scale factor, and samples per image.
    between : dict of str to str
        By downscaler, the distance, a squared one of features, that is also taken between samples: its mean over all
        pairs of them, and the energy score. That downscaler's plain enlargement is measured as well.
    """
    found = Curves()
    for image_id, image in follow(images.items(), "curves", len(images)):
        hr = np.ascontiguousarray(image.transpose(2, 0, 1))
        references = {name: one.reference(hr) for name, one in tools.distances.items()}
        for downscaling, own_heats in heats:
            lr = lr_of(image, factor, downscaling, image_id)
            given, z = network.condition(lr), _latents(network, image_id, lr, samples)
            pair = between.get(downscaling.name)
            if pair:
                enlarged = tools.rounded(given.base).sr
                for name, one in tools.distances.items():
                    found.add(downscaling.name, ENLARGED, name, one.distance(references[name], enlarged)[0])
            for heat in own_heats:
                drawn = tools.rounded(network.decode(heat * (z if heat else z[:1]), given))
                found.samples += len(drawn.sr)
                found.not_finite += int((~drawn.finite).sum())
                found.clipped += drawn.clipped.sum()
                to_hr = {name: one.distance(references[name], drawn.sr) for name, one in tools.distances.items()}
                for name, values in to_hr.items():
                    found.add(downscaling.name, heat, name, values.mean())
                if pair:
                    apart = _apart(tools.distances[pair], drawn.sr)
                    found.add(downscaling.name, heat, "energy", energy_score(to_hr[pair], apart))
                    if len(apart):
                        found.add(downscaling.name, heat, "between", apart.mean())
    return found


def _apart(distance: Distance, samples: Pixels) -> NDArray[np.float64]:
    """Distance of every two samples; empty for one."""
    rows = [distance.distance(distance.reference(samples[i]), samples[i + 1 :]) for i in range(len(samples) - 1)]
    return np.concatenate(rows) if rows else np.empty(0)


def split(means: Mapping[str, float]) -> dict[str, float]:
    """Means of a set of samples, with LPIPS parted: half of it between two samples, their variance, and the rest."""
    variance = means["between"] / 2
    bias = means["lpips"] - variance
    return {**means, "variance": variance, "bias2": bias, "ratio": variance / bias}


def energy_score(squared: NDArray[np.float64], apart: NDArray[np.float64]) -> float:
    """Energy score of one image's samples: E||X - X^|| - 1/2 E||X^ - X^'||, estimated without bias.

    ||.|| is a norm of features, so the score is strictly proper for their distribution: in expectation, nothing
    scores lower than samples that are distributed as the original is [1]_, [2]_.

    Parameters
    ----------
    squared : ndarray
        (K,), squared distances of the samples' features to the original's.
    apart : ndarray
        Squared distances of every two samples; empty for one, which then stands for a forecast without spread.

    References
    ----------
    .. [1] Gneiting, Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007, eq. (21).
    .. [2] Szekely, Rizzo, "Energy statistics: a class of statistics based on distances", J. Statistical Planning and
       Inference 143, 2013.
    """
    spread = np.sqrt(np.maximum(apart, 0)).mean() if len(apart) else 0.0
    return float(np.sqrt(np.maximum(squared, 0)).mean() - spread / 2)


@torch.inference_mode()
def largest_pixels(
    network: Network,
    images: Mapping[str, Pixels],
    downscaling: Downscaling,
    *,
    factor: int,
    samples: int,
    heat: float,
    noise: float,
) -> tuple[float, float, int, int]:
    """Measure how far samples run off, also on LR images with noise.

    Returns
    -------
    clean, noisy : float
        Largest absolute value of a pixel, where white is 1, of LR images as they are and with Gaussian noise.
    samples, not_finite : int
        Drawn in all, and those of them that were not finite.
    """
    largest, drawn, lost = [0.0, 0.0], 0, 0
    for image_id, image in follow(images.items(), "noise", len(images)):
        lr = lr_of(image, factor, downscaling, image_id)
        added = torch.from_numpy(generator("noise", image_id).standard_normal(lr.shape, dtype=np.float32))
        for i, given_lr in enumerate((lr, (lr + noise * added).clamp(0, 1))):
            pixels = network.decode(heat * _latents(network, image_id, lr, samples), network.condition(given_lr))
            drawn, lost = drawn + len(pixels), lost + int((~torch.isfinite(pixels).flatten(1).all(1)).sum())
            largest[i] = max(largest[i], float(pixels.nan_to_num(torch.inf).abs().max()))
    return largest[0], largest[1], drawn, lost


def measure_command(
    measure: Callable[..., Mapping[str, Any]],
    description: str,
    own: Mapping[str, Mapping[str, Any]],
    *,
    samples: str = "samples per image, 2 or more",
) -> None:
    """Measure files of weights, images and LPIPS' backbone as a command line says; write the figures as JSON.

    `own` are further options, with what `argparse` is told of each; `samples`, what ``--help`` says of these.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--validation", type=Path, required=True, help="folder of images never trained on")
    parser.add_argument("--lpips", type=Path, required=True, help="torchvision's AlexNet weights")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--count", type=int, default=50, help="images")
    parser.add_argument("--samples", type=int, default=2, help=samples)
    for name, how in own.items():
        parser.add_argument(name, **how)
    given = vars(parser.parse_args())
    out, files = given.pop("out"), [given.pop(name) for name in ("weights", "validation", "lpips")]
    figures = measure(*files, **given)
    write_json(out, figures)
    print(json.dumps(figures))
