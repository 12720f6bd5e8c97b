"""Train a small StyleGAN of PULSE's architecture on crops of photographs: something to search, of which nothing ships.

    python train.py --images photos --validation validation --out state
    python export.py --run state --out weights

The generator is the upscaler's own network, the critic one of StyleGAN's kind [1]_: equalised learning rates, the
spread of the batch before the last layers. Both learn by the non-saturating logistic loss; the critic's gradient on
photographs is held small (R1 [2]_, every so many steps), styles are mixed, and the generator's moving average is what
is exported. What a step draws is a function of (seed, step), and the state is checkpointed: the same command resumes a
run that was killed, and ends with the same bytes. One core is used.

References
----------
.. [1] Karras, Laine, Aila, "A style-based generator architecture for generative adversarial networks", CVPR 2019.
.. [2] Mescheder, Geiger, Nowozin, "Which training methods for GANs do actually converge?", ICML 2018, equation (9).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.seeds import generator
from ida_rd.models.stylegan.config import RESOLUTIONS, SynthesisConfig
from ida_rd.models.stylegan.layers import Conv, Linear
from ida_rd.models.stylegan.network import Mapping as MappingNet
from ida_rd.models.stylegan.network import Synthesis
from ida_rd.training.loop import Loop, Product, Stage
from ida_rd.training.options import option, parse
from ida_rd.training.start import Options, Training, run
from ida_rd.training.validation import validation_files

BETAS = (0.0, 0.99)
SLOPE = 0.2
GROUP = 4  # of images whose spread the critic sees
STAGE = "gan"
EVALUATED = 16  # images, of each kind


@dataclass(frozen=True)
class TrainConfig:
    """What decides the weights. The defaults are for a core and an hour."""

    resolution: int = option(64, "side of the images, in pixels")
    channels: str = option("64,64,48,32,16", "channels of the generator's blocks 4x4, 8x8, ..., with commas")
    critic: str = option("64,64,48,32,16", "the same of the critic")
    latent: int = option(128, "length of a style")
    depth: int = option(8, "layers of the mapping network")
    steps: int = option(5000, "steps, each of the critic and of the generator")
    batch: int = option(16, f"images of a step, a multiple of {GROUP}")
    rate: float = option(0.002, "learning rate of both")
    r1: float = option(1.0, "weight of the critic's gradient on photographs (gamma)")
    r1_every: int = option(16, "steps from one such gradient to the next, which weighs as much more")
    mixing: float = option(0.9, "share of the images whose styles are of two latents")
    ema: float = option(0.995, "decay of the generator's moving average")
    scales: str = option("3,4,6,8", "by how much the photographs are reduced before they are cut, with commas")
    seed: int = option(0, "of weights, crops, latents and noise")

    def check(self) -> None:
        """Refuse what cannot be trained."""
        if self.resolution not in RESOLUTIONS:
            raise UserError(f"--resolution {self.resolution}: one of {', '.join(map(str, RESOLUTIONS))}")
        for name in ("channels", "critic"):
            found, blocks = _numbers(name, getattr(self, name)), int(math.log2(self.resolution)) - 1
            if len(found) != blocks or any(n != int(n) for n in found):
                raise UserError(f"--{name} {getattr(self, name)}: give {blocks} whole numbers for {self.resolution}")
        if any(scale < 1 for scale in _numbers("scales", self.scales)):
            raise UserError(f"--scales {self.scales}: from 1 up, since photographs are not enlarged")
        if self.batch < GROUP or self.batch % GROUP:
            raise UserError(f"--batch {self.batch}: a multiple of {GROUP}")
        if min(self.steps, self.latent, self.depth, self.r1_every) < 1:
            raise UserError("--steps, --latent, --depth and --r1-every: 1 or more")

    def config(self) -> SynthesisConfig:
        """Shape of the synthesis network."""
        return SynthesisConfig(tuple(int(n) for n in _numbers("channels", self.channels)), self.latent)


def _numbers(name: str, text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--{name} {text}: give numbers with commas between them") from None
    if not all(0 < number < math.inf for number in found):
        raise UserError(f"--{name} {text}: give numbers above 0")
    return found


class Generator(nn.Module):
    """Latents to images: the upscaler's two networks, as their files hold them."""

    def __init__(self, config: SynthesisConfig, depth: int) -> None:
        super().__init__()
        self.mapping, self.synthesis = MappingNet(config.latent, depth), Synthesis(config)

    def forward(self, first: Tensor, second: Tensor, cuts: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Images in about [-1, 1], (B, 3, side, side).

        Parameters
        ----------
        first, second : Tensor
            Latents, (B, latent): of the layers before, and from, `cuts`, (B,), on.
        noise : sequence of Tensor
            (B, 1, s, s) of each layer.
        """
        layers = torch.arange(self.synthesis.config.layers)
        early = (layers[None] < cuts[:, None])[..., None]
        return self.synthesis(torch.where(early, self.mapping(first)[:, None], self.mapping(second)[:, None]), noise)


class Critic(nn.Module):
    """Images to logits, high for photographs: the generator's sizes from the largest to 4 x 4.

    Parameters
    ----------
    channels : sequence of int
        At 4x4, 8x8, ...
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        gain = math.sqrt(2)
        down = list(channels)[::-1]
        self.from_rgb = Conv(down[0], 3, 1, 1, gain=gain)
        self.same = nn.ModuleList(Conv(n, n, 3, 3, gain=gain) for n in down[:-1])
        self.halve = nn.ModuleList(Conv(b, a, 3, 3, gain=gain) for a, b in pairwise(down))
        self.last = Conv(down[-1], down[-1] + 1, 3, 3, gain=gain)
        self.dense = Linear(down[-1], down[-1] * 16, gain=gain)
        self.logit = Linear(1, down[-1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, side, side) to (B,)."""
        x = F.leaky_relu(self.from_rgb(x), SLOPE)
        for same, halve in zip(self.same, self.halve, strict=True):
            x = F.leaky_relu(same(x), SLOPE)
            x = F.leaky_relu(F.avg_pool2d(halve(x), 2), SLOPE)
        x = F.leaky_relu(self.last(torch.cat([x, _spread(x)], dim=1)), SLOPE)
        return self.logit(F.leaky_relu(self.dense(x.flatten(1)), SLOPE))[:, 0]


def _spread(x: Tensor) -> Tensor:
    """Mean standard deviation over groups of a batch, as a map: a generator without variety gives itself away."""
    batch, _, height, width = x.shape
    groups = x.reshape(GROUP, batch // GROUP, *x.shape[1:])
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(GROUP)[:, None, None, None].expand(-1, 1, height, width)


class Crops:
    """Photographs in memory, reduced, and squares cut from them.

    Parameters
    ----------
    files : list of Path
    side : int
        Of the squares.
    scales : list of float
        Each photograph is there once for every one; those that are too small at one are not, at that one.
    """

    def __init__(self, files: Sequence[Path], side: int, scales: Sequence[float]) -> None:
        self.side = side
        self.images: list[list[NDArray[np.uint8]]] = [[] for _ in scales]
        for path in files:
            try:
                whole = Image.fromarray(read_image(path))
            except ImageError as error:
                raise UserError(f"{path}: {error}; or remove it") from None
            for scale, images in zip(scales, self.images, strict=True):
                size = (round(whole.width / scale), round(whole.height / scale))
                if min(size) >= side:
                    images.append(np.asarray(whole.resize(size, Image.Resampling.LANCZOS)))
        self.images = [images for images in self.images if images]
        if not self.images:
            raise UserError(
                f"{files[0].parent}: no photograph has {side} x {side} pixels when it is reduced: give smaller --scales"
            )

    def batch(self, count: int, *key: str | int) -> Tensor:
        """Squares in [-1, 1], (B, 3, side, side), half of them mirrored; they depend on nothing but the key."""
        rng, found = generator(*key), []
        for _ in range(count):
            images = self.images[rng.integers(len(self.images))]
            image = images[rng.integers(len(images))]
            y, x = (int(rng.integers(length - self.side + 1)) for length in image.shape[:2])
            square = image[y : y + self.side, x : x + self.side]
            found.append(square[:, ::-1] if rng.integers(2) else square)
        levels = torch.from_numpy(np.stack(found).transpose(0, 3, 1, 2).copy())
        return levels.float() / 127.5 - 1


class _Training(Training):
    """Generator, critic and their steps."""

    def __init__(
        self, config: TrainConfig, crops: Crops, held_out: Crops, out: Path, evaluate_every: int = 500
    ) -> None:
        self.config, self.crops, self.held_out, self.evaluate_every = config, crops, held_out, evaluate_every
        torch.manual_seed(config.seed)
        self.shape = config.config()
        self.generator = Generator(self.shape, config.depth)
        self.critic = Critic([int(n) for n in _numbers("critic", config.critic)])
        modules = {"generator": self.generator, "critic": self.critic}
        self.loop = Loop(
            *(out, modules),
            {name: torch.optim.Adam(module.parameters(), betas=BETAS) for name, module in modules.items()},
            Product("generator", STAGE, {"depth": config.depth, **asdict(self.shape)}),
            asdict(config),
            averaged=["generator"],
            decay=config.ema,
            clip_norm=math.inf,
        )

    def stages(self) -> list[Stage]:
        return [Stage(STAGE, self.config.steps, self.step, evaluate=self.evaluate, evaluate_every=self.evaluate_every)]

    def step(self, step: int) -> Mapping[str, float]:
        """A step of the critic, then of the generator."""
        config = self.config
        real = self.crops.batch(config.batch, "crops", config.seed, step)
        with torch.no_grad():
            fake = self._made(self.generator, "critic", step, config.batch)
        on_fake = self.critic(fake)
        slope = step % config.r1_every == 0
        on_real = self.critic(real.requires_grad_(slope))
        loss = F.softplus(on_fake).mean() + F.softplus(-on_real).mean()
        entry = {
            "critic": float(loss.detach()),
            "real": float(on_real.detach().mean()),
            "fake": float(on_fake.detach().mean()),
        }
        if slope:
            (gradient,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
            squared = gradient.square().sum(dim=(1, 2, 3)).mean()
            loss = loss + config.r1 / 2 * config.r1_every * squared
        self.loop.descend("critic", loss, config.rate)
        self.critic.requires_grad_(False)
        fooled = F.softplus(-self.critic(self._made(self.generator, "generator", step, config.batch))).mean()
        entry["norm"] = self.loop.descend("generator", fooled, config.rate)
        self.critic.requires_grad_(True)
        return entry | {"generator": float(fooled.detach())}

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """What the critic thinks of crops that it learns from, of others, and of what the average makes."""
        average = self.loop.averages["generator"]
        assert isinstance(average, Generator)
        kinds = {
            "training": self.crops.batch(EVALUATED, "evaluation", self.config.seed),
            "held_out": self.held_out.batch(EVALUATED, "evaluation", self.config.seed),
            "made": self._made(average, "evaluation", 0, EVALUATED),
        }
        return {f"critic_on_{kind}": float(self.critic(images).mean()) for kind, images in kinds.items()}

    def _made(self, net: Generator, what: str, step: int, count: int) -> Tensor:
        rng = generator("made", what, self.config.seed, step)
        layers = self.shape.layers
        drawn = torch.from_numpy(rng.standard_normal((2, count, self.shape.latent), dtype=np.float32))
        cuts = np.where(rng.random(count) < self.config.mixing, rng.integers(1, layers, count), layers)
        noise = []
        for layer in range(layers):
            side = self.shape.side(layer)
            noise.append(torch.from_numpy(rng.standard_normal((count, 1, side, side), dtype=np.float32)))
        return net(drawn[0], drawn[1], torch.from_numpy(cuts), noise)


def train(
    config: TrainConfig,
    images: Path,
    validation: Path,
    out: Path,
    *,
    evaluate_every: int = 500,
    **options: Unpack[Options],
) -> Path:
    """Train as `ida_rd.training.start.run` says, with a look at the held-out images every `evaluate_every` steps."""
    config.check()
    torch.set_num_threads(1)
    scales = _numbers("scales", config.scales)

    def begin(files: list[Path], device: torch.device) -> _Training:
        crops, held_out = (Crops(some, config.resolution, scales) for some in (files, validation_files(validation)))
        return _Training(config, crops, held_out, out, evaluate_every)

    return run(begin, images, validation, out, device="cpu", **options)


def main() -> None:
    config, where = parse(TrainConfig, prog="python train.py", description=__doc__.split("\n")[0])
    if where.pop("initial") is not None:
        raise UserError("--initial: a run begins from noise, or from its own checkpoint in --out: leave it out")
    train(config, **where)


if __name__ == "__main__":
    exit_with_line(main)
