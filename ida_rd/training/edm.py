"""Train the compact diffusion model: ``python -m ida_rd.training.edm --images DIR --validation DIR --out DIR``.

Two stages, on the frozen encoder of a trained flow: the head that whitens the residual, by Gaussian likelihood; then
the denoiser, by the loss of [1]_ in that space. Every step's crops, windows and noise are a function of (seed, step),
and the state is checkpointed: the same command resumes a run that was killed.

References
----------
.. [1] Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.seeds import generator
from ida_rd.core.weights import locate, read_weights
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.config import EDMConfig
from ida_rd.models.edm.network import EDMNet
from ida_rd.models.flow import FlowNet
from ida_rd.models.flow import load_network as load_flow
from ida_rd.training.edm_losses import ADAM, PRECISIONS, denoising_loss, likelihood_loss, log_levels
from ida_rd.training.edm_ring import Ring, as_images, normal
from ida_rd.training.edm_watch import Watch
from ida_rd.training.loop import Loop, Product, Stage, cosine
from ida_rd.training.muon import Muon
from ida_rd.training.options import check_choices, names, option, parse
from ida_rd.training.patches import FILTERS, Pairs, pillow
from ida_rd.training.start import Options, Training, run, source_of

__all__ = ["TrainConfig", "train"]

WATCHED_STEPS = 12  # of the solver, which is what samples are drawn with
# What changes no weight: where files lie, how it is computed, and what is watched.
BESIDES = ("encoder_path", "compile", "lpips_path", "evaluate_every", "watch_images", "watch_crop", "watch_filters")


@dataclass(frozen=True)
class TrainConfig:
    """What decides the trained weights (besides the images and the library versions); `--help` explains each."""

    factor: int = option(4, "scale factor: 4 or 8")
    width: int = option(48, "channels of the denoiser at half the HR size")
    deep_width: int = option(128, "channels below")
    encoder: str = option("flow-compact", "weights of the flow whose encoder is taken")
    encoder_path: str = option("", "your own file of them; empty: what ships")
    seed: int = option(0, "seed of the initial weights, the crops and the noise")
    precision: str = option("bfloat16", "float32, or bfloat16 for the denoiser's convolutions")
    compile: int = option(0, "1: torch.compile the denoiser; minutes first, then faster")
    filters: str = option("bicubic", f"what makes the LR images, one drawn per crop: {', '.join(FILTERS)}")
    jpeg: float = option(0.75, "share of crops that are compressed as JPEG")
    candidates: int = option(2, "crops drawn per crop, of which the most detailed is taken")
    scales: str = option("1", "photographs are also used reduced by these factors, such as 1,2")
    sharpen: float = option(0.0, "share of crops that are sharpened")
    crop: int = option(128, "side of the crops, HR pixels")
    patch: int = option(96, "side of the windows cut from them, HR pixels")
    ring: int = option(2500, "encoded crops that are held; 0.6 MB each")
    ring_every: int = option(2, "steps after which one of them is replaced")
    head_steps: int = option(450, "steps of the first stage: the head, by Gaussian likelihood")
    head_batch: int = option(4, "crops per step there")
    head_rate: float = option(1e-3, "Adam's learning rate there at first, falling to a hundredth by half a cosine")
    steps: int = option(12000, "steps of the second stage: the denoiser")
    batch: int = option(24, "windows per step there")
    micro: int = option(8, "windows that go through the network together; their gradients are added up")
    rate: float = option(0.02, "Muon's learning rate there, of the hidden convolutions")
    adam_rate: float = option(1e-3, "Adam's there, of all other weights")
    warmup_steps: int = option(100, "steps over which the rates rise")
    flat: float = option(0.3, "share of the steps after which the rates fall, linearly to 0")
    decay: float = option(0.02, "weight decay of the hidden convolutions")
    sigma_mean: float = option(0.2, "mean of the logarithm of the noise level")
    sigma_spread: float = option(1.35, "its standard deviation")
    clamp: float = option(40.0, "largest whitened residual")
    clip_norm: float = option(3.0, "largest norm of the gradient")
    skip_norm: float = option(30.0, "norm of a gradient that is left out")
    ema: float = option(0.99, "decay of the averaged weights; with 0.999 they are a denoiser of too small a gain")
    evaluate_every: int = option(1000, "steps after which what is drawn is measured")
    watch_images: int = option(12, "validation images that are measured, every fourth of the folder; 0: none")
    watch_crop: int = option(256, "side of their centre crops")
    watch_filters: str = option("bicubic,bilinear,lanczos", "what makes their LR images")
    lpips_path: str = option("", "torchvision's AlexNet weights; empty: torch's cache")

    def check(self) -> None:
        """Raise UserError if options do not fit each other."""
        check_choices(self, precision=PRECISIONS)
        try:
            multiple = self.network().multiple * self.factor
        except ValueError as error:
            raise UserError(f"--factor, --width, --deep-width: {error}") from None
        for name in ("crop", "patch"):
            if getattr(self, name) < multiple or getattr(self, name) % multiple:
                raise UserError(f"--{name} {getattr(self, name)}: is not a multiple of {multiple}")
        if self.patch > self.crop:
            raise UserError(f"--patch {self.patch}: larger than the crop, {self.crop}")
        for name in ("ring", "ring_every", "head_steps", "head_batch", "steps", "batch", "micro", "evaluate_every"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: give 1 or more")
        if not 0 <= self.flat <= 1:
            raise UserError(f"--flat {self.flat}: give a share, from 0 to 1")

    def network(self, flow: FlowNet | None = None) -> EDMConfig:
        """The shape of the network, with the encoder of a flow."""
        shape = {"factor": self.factor, "width": self.width, "deep_width": self.deep_width}
        if flow is not None:
            of = flow.config
            shape |= {
                "encoder_width": of.encoder_width,
                "encoder_blocks": of.encoder_blocks,
                "fine_width": of.fine_width,
            }
        return EDMConfig(**shape, filters=tuple(self.filters.split(",")))

    def rates(self, step: int) -> float:
        """Share of the learning rates at a step of the second stage."""
        begin = self.flat * self.steps
        fall = 1.0 if step < begin else (self.steps - step) / (self.steps - begin)
        return min(1.0, (step + 1) / max(self.warmup_steps, 1)) * fall


class _Training(Training):
    """The two stages."""

    def __init__(
        self, config: TrainConfig, flow: FlowNet, settings: Mapping[str, Any], source: Pairs, watch: Watch | None,
        out: Path, device: torch.device,
    ) -> None:  # fmt: skip
        self.config, self.source, self.watch, self.device = config, source, watch, device
        torch.manual_seed(config.seed)
        self.net = EDMNet(config.network(flow))
        self.net.encoder.load_state_dict(flow.encoder.state_dict())
        self.net.prior.load_state_dict(flow.mean.state_dict())
        self.net.to(device).to(memory_format=torch.channels_last)
        self.net.requires_grad_(False)
        self.net.head.requires_grad_(True)
        self.net.denoiser.requires_grad_(True)
        hidden = self.net.denoiser.hidden()
        others = {id(weight) for weight in hidden}
        rest = [weight for weight in self.net.denoiser.parameters() if id(weight) not in others]
        self.trained = [*hidden, *rest]
        self.ring: Ring | None = None
        self.denoiser: Callable[..., Tensor] = torch.compile(self.net.denoiser) if config.compile else self.net.denoiser
        self.loop = Loop(
            out,
            {"net": self.net},
            {
                "head": torch.optim.Adam(self.net.head.parameters(), betas=ADAM),
                "hidden": Muon(hidden, decay=config.decay),
                "rest": torch.optim.Adam(rest, betas=ADAM),
            },
            Product("net", "denoiser", self.net.config.as_dict()),
            settings,
            averaged=["net"],
            decay=config.ema,
            clip_norm=config.clip_norm,
        )

    def stages(self) -> list[Stage]:
        evaluate = self.evaluate if self.watch else None
        return [
            Stage("head", self.config.head_steps, self.step_head),
            Stage(
                *("denoiser", self.config.steps, self.step_denoiser),
                begin=self.begin_denoiser,
                evaluate=evaluate,
                evaluate_every=self.config.evaluate_every,
            ),
        ]

    def begin_from(self, weights: Path) -> None:
        """Continue from weights of this shape and encoder: the head stays as it is."""
        found = load_network(weights)
        if found.config.as_dict() | {"filters": []} != self.net.config.as_dict() | {"filters": []}:
            raise UserError(
                f"{weights} is another network than the options say: set --factor, --width and --deep-width, or leave"
                " --initial out"
            )
        self.net.load_state_dict(found.state_dict())
        self.loop.restart_averages()
        self.loop.start_at("denoiser")

    def step_head(self, step: int) -> dict[str, float]:
        config = self.config
        hr, lr = (as_images(one, self.device) for one in self.source.batch("head", step, config.head_batch))
        with torch.no_grad():
            features = self.net.features(lr)
        loss = likelihood_loss(hr, self.net.whitening(lr, features))
        rate = cosine(step, config.head_steps, config.head_rate, 0.01 * config.head_rate)
        norm = self.loop.descend("head", loss, rate)
        return {"likelihood": loss.item(), "norm": norm, "rate": rate}

    def begin_denoiser(self) -> None:
        self.net.load_state_dict(self.loop.averages["net"].state_dict())
        self.loop.restart_averages()

    def step_denoiser(self, step: int) -> dict[str, float]:
        config = self.config
        windows = self._ring().windows(step, config.batch)
        log_sigma = log_levels(
            config.batch, config.sigma_mean, config.sigma_spread, generator("levels", config.seed, step)
        ).to(self.device)
        noise = normal(windows.y.shape, "noise", config.seed, step).to(self.device)
        total, terms = float(windows.scale.sum()), []
        for weight in self.trained:
            weight.grad = None
        for begin in range(0, config.batch, config.micro):
            end = min(begin + config.micro, config.batch)
            part = (windows.part(begin, end), log_sigma[begin:end], noise[begin:end])
            loss = denoising_loss(self.net, self.denoiser, *part, PRECISIONS[config.precision]).sum() / total
            loss.backward()
            terms.append(loss.detach())
        norm, share = self._descend(step)
        return {"loss": float(torch.stack(terms).sum()), "norm": norm, "rate": share * config.rate}

    def _descend(self, step: int) -> tuple[float, float]:
        """Update all weights by what was added up; an outlying gradient is left out, and counted."""
        config, share = self.config, self.config.rates(step)
        norm = float(nn.utils.clip_grad_norm_(self.trained, config.clip_norm))
        if not math.isfinite(norm) or norm > config.skip_norm:
            self.loop.skipped += 1
            return norm, share
        for name, rate in (("hidden", config.rate), ("rest", config.adam_rate)):
            for group in self.loop.optimisers[name].param_groups:
                group["lr"] = share * rate
            self.loop.optimisers[name].step()
        return norm, share

    def _ring(self) -> Ring:
        if self.ring is None:
            config = self.config
            self.ring = Ring(
                *(self.net, self.source, config.ring, config.ring_every),
                *(config.crop, config.patch, config.seed, config.clamp),
            )
        return self.ring

    def evaluate(self) -> dict[str, float]:
        average = self.loop.averages["net"]
        assert isinstance(average, EDMNet)
        assert self.watch is not None
        # A gain that the weights have and their average has not says that the average reaches back too far.
        net = self.loop.modules["net"]
        assert isinstance(net, EDMNet)
        return self.watch(average) | {f"last_{key}": gain for key, gain in self.watch.gains(net).items()}


def train(config: TrainConfig, images: Path, validation: Path, out: Path, **options: Unpack[Options]) -> Path:
    """Train as `ida_rd.training.start.run` says; with initial weights, of the same shape, the head is kept."""
    config.check()
    downscalings = [pillow(name) for name in names("filters", config.filters, FILTERS)]
    watched = names("watch-filters", config.watch_filters, FILTERS)
    encoder = f"{config.encoder}.x{config.factor}"
    flow = load_flow(read_weights(encoder, config.encoder_path or None))
    if flow.config.factor != config.factor:
        raise UserError(f"--encoder-path: is for factor {flow.config.factor}, not {config.factor}")
    settings = {key: value for key, value in asdict(config).items() if key not in BESIDES}
    settings["encoder"] = locate(encoder, config.encoder_path or None).sha256

    def begin(files: list[Path], device: torch.device) -> _Training:
        source = source_of(asdict(config), files, config.factor, config.crop, downscalings)
        watch = None
        if config.watch_images:
            watch = Watch(
                validation,
                count=config.watch_images,
                crop=config.watch_crop,
                filters=watched,
                steps=WATCHED_STEPS,
                samples=2,
                lpips=config.lpips_path or None,
                precision=PRECISIONS[config.precision],
            )
        return _Training(config, flow, settings, source, watch, out, device)

    return run(begin, images, validation, out, **options)


def main() -> None:
    config, where = parse(TrainConfig, prog="python -m ida_rd.training.edm", description=__doc__.split("\n")[0])
    train(config, **where)


if __name__ == "__main__":
    exit_with_line(main)
