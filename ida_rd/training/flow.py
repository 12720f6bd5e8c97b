"""Train the flow: ``python -m ida_rd.training.flow --images DIR --validation DIR --out DIR``.

Two stages: the encoder and the mean head by L1 loss; then all weights by negative log-likelihood,
after a data-dependent initialisation of the actnorms, and, if asked, by the energy score of two samples
of each patch as well. Every step's patches and noise are a function
of (seed, step), and the state is checkpointed: the same command resumes a run that was killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.seeds import generator
from ida_rd.core.tensors import TensorFile
from ida_rd.models.flow import FlowConfig, FlowNet, bits_per_dimension, load_network
from ida_rd.training.loop import Loop, Product, Stage, cosine
from ida_rd.training.losses import LEAST_SIDE, OrientedFeatures, energy_score
from ida_rd.training.options import check_choices, names, option, parse
from ida_rd.training.patches import FILTERS, Downscaling, Pairs, Pixels, pillow
from ida_rd.training.start import Options, Training, run, source_of
from ida_rd.training.validation import centre_crop, validation_images

__all__ = ["TrainConfig", "go_on", "train", "validation_bits"]

# What `--network` can name. `x2`, `x4-larger`, grown from `x4` by `x4-large`, and `x8` ship; others are for ablations.
NETWORKS = {
    "x2": FlowConfig(2, steps=(14,), hidden=(64,)),
    "x4": FlowConfig(4, steps=(6, 8), hidden=(32, 64)),
    "x8": FlowConfig(8, steps=(4, 6, 8), hidden=(24, 48, 64)),
    "x4-unbounded": FlowConfig(4, steps=(6, 8), hidden=(32, 64), bounded=False),
    "x4-deep-encoder": FlowConfig(4, encoder_blocks=16, steps=(6, 8), hidden=(32, 64)),
    "x4-more-steps": FlowConfig(4, steps=(10, 12), hidden=(32, 64)),
    "x4-large": FlowConfig(4, encoder_blocks=16, steps=(8, 12), hidden=(32, 64)),
    "x4-larger": FlowConfig(4, encoder_blocks=24, steps=(8, 12), hidden=(32, 64)),
}
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """What decides the trained weights (besides the images and the library versions); `--help` explains each."""

    network: str = option("x4", f"size of the network: {', '.join(NETWORKS)}")
    seed: int = option(0, "seed of the initial weights, the patches and the noise")
    precision: str = option(
        "float32", "float32, or bfloat16 for the convolutions: 1.5 times as fast where it is native"
    )
    patch: int = option(80, "side of the HR patches, pixels")
    l1_steps: int = option(2000, "steps of the first stage: encoder and mean, by L1 loss")
    l1_batch: int = option(8, "patches per step there")
    l1_rate: float = option(8e-4, "Adam's learning rate there at first, falling to a tenth of it")
    nll_steps: int = option(9000, "steps of the second stage: all weights, by negative log-likelihood")
    nll_batch: int = option(8, "patches per step there")
    nll_rate: float = option(7e-4, "learning rate there after the warm-up")
    nll_final_rate: float = option(1.4e-5, "final learning rate there, reached by half a cosine")
    warmup_steps: int = option(300, "steps there over which the learning rate rises")
    energy: float = option(
        0.0, "weight of the energy score of two samples per patch, beside bits per dimension; 0: none"
    )
    clip_norm: float = option(1.0, "largest norm of the gradient")
    ema: float = option(0.999, "decay of the averaged weights, which are the ones exported")
    jpeg: float = option(0.75, "share of patches that are compressed as JPEG")
    candidates: int = option(2, "crops drawn per patch, of which the most detailed is taken")
    filters: str = option("bicubic", f"what makes the LR images, one drawn per patch: {', '.join(FILTERS)}")
    scales: str = option("1", "photographs are also used reduced by these factors, such as 1,2")
    sharpen: float = option(0.0, "share of patches that are sharpened")

    def check(self) -> None:
        """Raise UserError if an option names something that does not exist."""
        check_choices(self, network=NETWORKS, precision=PRECISIONS)
        if self.energy < 0:
            raise UserError(f"--energy {self.energy}: a weight is 0 or more")
        if self.energy and self.patch < LEAST_SIDE:
            raise UserError(f"--patch {self.patch}: the energy score needs patches of {LEAST_SIDE} pixels or more")


def _images(hr: Pixels, lr: Pixels, device: torch.device) -> tuple[Tensor, Tensor]:
    def to(x: Pixels) -> Tensor:
        return (torch.from_numpy(x).to(device).float() / 255).contiguous(memory_format=torch.channels_last)

    return to(hr), to(lr)


@torch.no_grad()
def validation_bits(net: FlowNet, folder: Path, crop: int | None = 160, count: int = 50) -> float:
    """Mean bits per dimension over the first `count` images of `folder`, whole or as centre crops of a given side.

    Bits fall with the size of the crop, since what lies beyond its border is not known to the network:
    figures of different crops say nothing about each other.
    """
    factor = net.config.factor
    device = next(net.parameters()).device
    bits = []
    for path, image in validation_images(folder, count):
        height, width = (crop or side // factor * factor for side in image.shape[:2])
        patch = centre_crop(image, height, width)
        size = (width // factor, height // factor)
        small = np.array(Image.fromarray(patch).resize(size, Image.Resampling.BICUBIC))
        hr, lr = _images(patch.transpose(2, 0, 1)[None].copy(), small.transpose(2, 0, 1)[None].copy(), device)
        noise = generator("validation", path.name).random(hr.shape, dtype=np.float32) - 0.5
        z, logdet = net.encode(hr + torch.from_numpy(noise).to(device) / 255, net.condition(lr))
        bits.append(float(bits_per_dimension(z, logdet)))
    return sum(bits) / len(bits)


class _Training(Training):
    """The flow's two stages; without validation images, training is not evaluated on the way."""

    def __init__(
        self,
        config: TrainConfig,
        network: FlowConfig,
        settings: Mapping[str, Any],
        source: Pairs,
        validation: Path | None,
        out: Path,
        device: torch.device,
    ) -> None:
        self.config, self.source, self.validation, self.device = config, source, validation, device
        torch.manual_seed(config.seed)
        self.net = FlowNet(network).to(device).to(memory_format=torch.channels_last)
        self.features = OrientedFeatures().to(device)
        self.loop = Loop(
            out,
            {"net": self.net},
            {"net": self._optimiser()},
            Product("net", "nll", self.net.config.as_dict()),
            settings,
            averaged=["net"],
            decay=config.ema,
            clip_norm=config.clip_norm,
        )

    def stages(self) -> list[Stage]:
        return [
            Stage("l1", self.config.l1_steps, self.step_l1),
            Stage(
                "nll",
                self.config.nll_steps,
                self.step_nll,
                begin=self.begin_nll,
                evaluate=self.evaluate if self.validation else None,
            ),
        ]

    def begin_from(self, weights: Path) -> None:
        """Continue from weights, of this or a smaller network: without L1 loss and initialisation."""
        try:
            self.begin_as(load_network(weights))
        except ValueError as error:
            raise UserError(
                f"{weights} cannot start a network {self.config.network}: {error}; leave --initial out"
            ) from None

    def begin_as(self, net: FlowNet) -> None:
        """Continue from a network, of this or a smaller size."""
        self.net.grow_from(net)
        self.loop.restart_averages()
        self.loop.start_at("nll")

    def step_l1(self, step: int) -> dict[str, float]:
        config = self.config
        hr, lr = self._batch("l1", step, config.l1_batch)
        with self._autocast():
            loss = (self.net.predict_mean(lr) - hr).abs().mean()
        rate = cosine(step, config.l1_steps, config.l1_rate, 0.1 * config.l1_rate)
        norm = self.loop.descend("net", loss, rate)
        return {"l1": loss.item(), "norm": norm, "rate": rate}

    def begin_nll(self) -> None:
        # Start from the averaged L1 weights, and set the actnorms from a larger batch of real data.
        self.net.load_state_dict(self.loop.averages["net"].state_dict())
        hr, lr = self._batch("initialise", 0, 4 * self.config.nll_batch)
        with torch.no_grad():
            self.net.encode(hr, self.net.condition(lr), initialise=True)
        self.loop.restart_averages()
        self.loop.optimisers["net"] = self._optimiser()

    def step_nll(self, step: int) -> dict[str, float]:
        config = self.config
        hr, lr = self._batch("nll", step, config.nll_batch)
        noise = generator("dequantise", config.seed, step).random(tuple(hr.shape), dtype=np.float32) - 0.5
        hr = hr + torch.from_numpy(noise).to(self.device) / 255
        with self._autocast():
            given = self.net.condition(lr)
            z, logdet = self.net.encode(hr, given)
            samples = [self.net.decode(self._latent(step, k, z), given) for k in range(2)] if config.energy else []
        loss = bits = bits_per_dimension(z, logdet).mean()
        entry = {"bits": bits.item()}
        if samples:
            score = energy_score(self.features, hr, *samples).mean()
            loss, entry["energy"] = bits + config.energy * score, score.item()
        warm = min(1.0, (step + 1) / config.warmup_steps)
        rate = warm * cosine(step, config.nll_steps, config.nll_rate, config.nll_final_rate)
        norm = self.loop.descend("net", loss, rate)
        return entry | {"norm": norm, "rate": rate}

    def evaluate(self) -> dict[str, float]:
        average = self.loop.averages["net"]
        assert isinstance(average, FlowNet)
        assert self.validation is not None
        return {"validation_bits": validation_bits(average, self.validation)}

    def _batch(self, stage: str, step: int, size: int) -> tuple[Tensor, Tensor]:
        return _images(*self.source.batch(stage, step, size), self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), betas=(0.9, 0.99))

    def _latent(self, step: int, sample: int, like: Tensor) -> Tensor:
        rng = generator("samples", self.config.seed, step, sample)
        return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32)).to(like.device)


def train(
    config: TrainConfig,
    images: Path,
    validation: Path,
    out: Path,
    *,
    downscalings: Sequence[Downscaling] = (),
    **options: Unpack[Options],
) -> Path:
    """Train as `ida_rd.training.start.run` says; with initial weights, without the L1 stage and the initialisation.

    `downscalings` make the LR images, in place of the filters that `config` names.
    """
    config.check()
    network = NETWORKS[config.network]

    def begin(files: list[Path], device: torch.device) -> _Training:
        chosen = downscalings or [pillow(name) for name in names("filters", config.filters, FILTERS)]
        source = source_of(asdict(config), files, network.factor, config.patch, chosen)
        settings = asdict(config) | {"filters": ",".join(one.name for one in chosen)}
        return _Training(config, network, settings, source, validation, out, device)

    return run(begin, images, validation, out, **options)


def go_on(
    config: TrainConfig,
    settings: Mapping[str, Any],
    initial: TensorFile,
    source: Pairs,
    out: Path,
    *,
    log_every: int = 50,
    save_every: int = 200,
) -> Path:
    """Train weights on by the second stage alone, on the CPU, resuming from ``out``, without evaluation; see `run`.

    Parameters
    ----------
    config : TrainConfig
        Of which the network's name does not count: it is that of `initial`.
    settings : mapping
        What decides the weights: a checkpoint of others is refused.
    initial : TensorFile
        The weights to begin from.
    source : Pairs
    out : Path
    log_every, save_every : int
        Steps per line of the log, per checkpoint.
    """
    net = load_network(initial)
    training = _Training(config, net.config, settings, source, None, out, torch.device("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    if not training.loop.resume():
        training.begin_as(net)
    return training.loop.run(training.stages()[1:], log_every=log_every, save_every=save_every)


def main() -> None:
    config, where = parse(TrainConfig, prog="python -m ida_rd.training.flow", description=__doc__.split("\n")[0])
    train(config, **where)


if __name__ == "__main__":
    exit_with_line(main)
