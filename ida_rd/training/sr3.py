"""Train SR3: ``python -m ida_rd.training.sr3 --images DIR --validation DIR --out DIR``.

A network learns to find the noise in HR images, given the enlarged LR image and how noisy they are [1]_. A step's
patches, levels and noise are a function of (seed, step), and the state is checkpointed: the same command resumes a run
that was killed.

References
----------
.. [1] Saharia et al., "Image super-resolution via iterative refinement", TPAMI 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.seeds import generator
from ida_rd.core.tensors import read_tensors
from ida_rd.models.sr3.checkpoint import check_header, load_network
from ida_rd.models.sr3.config import COMPACT, NETWORKS, SR3Config, Trained
from ida_rd.models.sr3.network import SR3Net
from ida_rd.models.sr3.schedule import FIRST, LAST, STEPS, betas_of, levels_of
from ida_rd.training.loop import Loop, Product, Stage, cosine
from ida_rd.training.options import check_choices, names, option, parse
from ida_rd.training.patches import FILTERS, Pairs, Pixels, pillow
from ida_rd.training.start import Options, Training, run, source_of
from ida_rd.training.validation import centre_crop, validation_images

__all__ = ["TrainConfig", "denoising_loss", "levels", "train", "validation_loss"]

# What `--network` can name.
SHAPES = {
    "compact": COMPACT,
    "compact-wide": SR3Config(base=32, multipliers=(1, 2, 4, 8), blocks=1, groups=8),  # 9.7 M parameters
    "tiny": SR3Config(base=8, multipliers=(1, 2), blocks=1, groups=4),  # for tests
    "published": NETWORKS["x4_64_256"].config,
}
PRECISIONS = ("float32", "bfloat16")
IMAGES, CROP, LEVELS = 50, 160, 8  # of validation: images, side of their crops, levels of each


@dataclass(frozen=True)
class TrainConfig:
    """What decides the trained weights (besides the images and the library versions); `--help` explains each."""

    network: str = option("compact", f"size of the network: {', '.join(SHAPES)}")
    factor: int = option(4, "scale factor")
    seed: int = option(0, "seed of the initial weights, the patches, the levels and the noise")
    precision: str = option("float32", "float32, or bfloat16 for the convolutions, which is faster where it is native")
    patch: int = option(128, "side of the HR patches, pixels")
    batch: int = option(8, "patches per step")
    steps: int = option(100_000, "steps")
    rate: float = option(2e-4, "Adam's learning rate after the warm-up; published: 1e-4, constant")
    final_rate: float = option(2e-6, "final learning rate, reached by half a cosine")
    warmup_steps: int = option(500, "steps over which the learning rate rises")
    dropout: float = option(0.0, "share of the features that a step leaves out in each block; published: 0.2")
    clip_norm: float = option(1.0, "largest norm of the gradient")
    ema: float = option(0.999, "decay of the averaged weights, which are the ones exported")
    jpeg: float = option(0.75, "share of patches that are compressed as JPEG")
    candidates: int = option(2, "crops drawn per patch, of which the most detailed is taken")
    filters: str = option("bicubic", "what makes the LR images, one drawn per patch: Pillow's filters by name")
    scales: str = option("1", "photographs are also used reduced by these factors, such as 1,2")
    sharpen: float = option(0.0, "share of patches that are sharpened")

    def check(self) -> None:
        """Raise UserError if an option names something that does not exist."""
        check_choices(self, network=SHAPES, precision=PRECISIONS)
        if self.factor < 2:
            raise UserError(f"--factor {self.factor}: give a whole number of 2 or more")
        for what, size in (("the factor", self.factor), ("what the network halves", self.shape().multiple)):
            if self.patch < 1 or self.patch % size:
                raise UserError(f"--patch {self.patch}: is not a multiple of {what}, {size}")
        if min(self.batch, self.steps, self.warmup_steps) < 1 or not 0 <= self.dropout < 1:
            raise UserError("--batch, --steps and --warmup-steps are 1 or more, and --dropout from 0 to below 1")

    def shape(self) -> SR3Config:
        """The network's shape."""
        return SHAPES[self.network]

    def trained(self) -> Trained:
        """What is written beside the weights."""
        return Trained(self.shape(), self.factor, tuple(self.filters.split(",")))


def levels(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise levels of so many images: a step of the schedule of each, and a level between it and the one before.

    The steps are stratified, one in each of `count` equal parts of the schedule: a batch then has all kinds.
    """
    bounds = levels_of(betas_of("linear", STEPS, FIRST, LAST))
    where = (np.arange(count) + rng.random(count)) / count * STEPS
    t = np.minimum(where.astype(int), STEPS - 1)
    return (bounds[t] + (bounds[t + 1] - bounds[t]) * rng.random(count)).astype(np.float32)


def denoising_loss(net: SR3Net, condition: Tensor, hr: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Mean absolute error of the noise that a network finds (equation 6, p = 1).

    Parameters
    ----------
    net : SR3Net
    condition, hr, noise : Tensor
        (B, 3, H, W): enlarged LR images, HR images in [-1, 1], standard normal numbers.
    level : Tensor
        (B,), sqrt(alpha-bar) of each.
    """
    share = level[:, None, None, None]
    noisy = share * hr + (1 - share.square()).sqrt() * noise
    return (net(condition, noisy, level) - noise).abs().mean()


def _enlarged(lr: Pixels, factor: int) -> Pixels:
    """LR images (B, 3, h, w), uint8, as the network is given them: by Pillow's bicubic filter, rounded."""
    size = (lr.shape[3] * factor, lr.shape[2] * factor)
    large = [
        np.asarray(Image.fromarray(np.ascontiguousarray(one.transpose(1, 2, 0))).resize(size, Image.Resampling.BICUBIC))
        for one in lr
    ]
    return np.ascontiguousarray(np.stack(large).transpose(0, 3, 1, 2))


def _tensor(pixels: Pixels, device: torch.device) -> Tensor:
    scaled = torch.from_numpy(pixels).to(device).float() / 255 * 2 - 1
    return scaled.contiguous(memory_format=torch.channels_last)


def _normal(rng: np.random.Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32)).to(like.device)


@torch.no_grad()
def validation_loss(net: SR3Net, folder: Path, factor: int) -> float:
    """Mean loss over the levels, of centre crops of the first images; the same noise each time."""
    device = next(net.parameters()).device
    step = int(np.lcm(factor, net.config.multiple))
    found = []
    for path, image in validation_images(folder, IMAGES):
        height, width = (min(CROP, side) // step * step for side in image.shape[:2])
        if not height or not width:
            raise UserError(f"validation images: {path}: has a side below {step} pixels: remove it")
        patch = centre_crop(image, height, width)
        small = pillow("bicubic").make(patch, (height // factor, width // factor), rng=generator("validation"))
        hr = _tensor(np.ascontiguousarray(patch.transpose(2, 0, 1)[None]), device)
        given = _tensor(_enlarged(small.transpose(2, 0, 1)[None], factor), device)
        rng = generator("validation", path.name)
        for level in levels(LEVELS, rng):
            chosen = torch.from_numpy(level[None]).to(device)
            found.append(float(denoising_loss(net, given, hr, _normal(rng, hr), chosen)))
    return float(np.mean(found))


class _Training(Training):
    """The one stage."""

    def __init__(self, config: TrainConfig, source: Pairs, validation: Path, out: Path, device: torch.device) -> None:
        self.config, self.source, self.validation, self.device = config, source, validation, device
        torch.manual_seed(config.seed)
        net = SR3Net(config.shape(), config.dropout)
        net.initialise()
        self.net = net.to(device).to(memory_format=torch.channels_last)
        self.loop = Loop(
            out,
            {"net": self.net},
            {"net": torch.optim.Adam(self.net.parameters(), betas=(0.9, 0.999))},
            Product("net", "sr3", config.trained().as_dict()),
            asdict(config),
            averaged=["net"],
            decay=config.ema,
            clip_norm=config.clip_norm,
        )

    def stages(self) -> list[Stage]:
        return [Stage("sr3", self.config.steps, self.step, evaluate=self.evaluate)]

    def begin_from(self, weights: Path) -> None:
        """Start with the weights of a network of this shape."""
        found = check_header(weights, None)
        if found.config != self.net.config:
            raise UserError(f"{weights} is not a network {self.config.network}: set --network, or leave --initial out")
        self.net.load_state_dict(load_network(read_tensors(weights), found.config).state_dict())
        self.loop.restart_averages()

    def step(self, step: int) -> Mapping[str, float]:
        config = self.config
        hr, lr = self.source.batch("sr3", step, config.batch)
        clean, given = _tensor(hr, self.device), _tensor(_enlarged(lr, config.factor), self.device)
        rng = generator("sr3", config.seed, step)
        level = torch.from_numpy(levels(config.batch, rng)).to(self.device)
        torch.manual_seed(int(generator("dropout", config.seed, step).integers(2**31)))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = denoising_loss(self.net, given, clean, _normal(rng, clean), level)
        warm = min(1.0, (step + 1) / config.warmup_steps)
        rate = warm * cosine(step, config.steps, config.rate, config.final_rate)
        return {"loss": loss.item(), "norm": self.loop.descend("net", loss, rate), "rate": rate}

    def evaluate(self) -> Mapping[str, float]:
        average = self.loop.averages["net"]
        assert isinstance(average, SR3Net)
        return {"validation_loss": validation_loss(average, self.validation, self.config.factor)}


def train(config: TrainConfig, images: Path, validation: Path, out: Path, **options: Unpack[Options]) -> Path:
    """Train as `ida_rd.training.start.run` says; initial weights are of a network of the same shape."""
    config.check()

    def begin(files: list[Path], device: torch.device) -> _Training:
        downscalings = [pillow(name) for name in names("filters", config.filters, FILTERS)]
        source = source_of(asdict(config), files, config.factor, config.patch, downscalings)
        return _Training(config, source, validation, out, device)

    return run(begin, images, validation, out, **options)


def main() -> None:
    config, where = parse(TrainConfig, prog="python -m ida_rd.training.sr3", description=__doc__.split("\n")[0])
    train(config, **where)


if __name__ == "__main__":
    exit_with_line(main)
