"""Train all of a compact diffusion network on, at once, to the LR images of one downscaler.

Encoder, the mean that comes with it, and head go down the Gaussian likelihood of the residual; the denoiser goes down
the loss of `ida_rd.training.edm` in the space that these whiten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ida_rd.core.seeds import generator
from ida_rd.core.tensors import TensorFile
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.space import CHANNELS
from ida_rd.training.edm import TrainConfig
from ida_rd.training.edm_losses import ADAM, PRECISIONS, joint_losses, log_levels
from ida_rd.training.edm_ring import as_images, normal
from ida_rd.training.loop import Loop, Product, Stage, cosine
from ida_rd.training.muon import Muon
from ida_rd.training.patches import Pairs

__all__ = ["AdaptConfig", "go_on"]

HIDDEN = 20.0  # Muon's learning rate of the hidden convolutions, in units of Adam's: as the weights were trained
STAGE = "adaptation"
AS_TRAINED = TrainConfig()


@dataclass(frozen=True)
class AdaptConfig:
    """The budget, as `ida_rd.adapt.contract.Adaptation` explains it."""

    seed: int
    steps: int
    batch: int
    rate: float
    final_rate: float
    warmup: int
    clip_norm: float
    ema: float
    precision: str


class _Adapting:
    """The one stage."""

    def __init__(
        self, config: AdaptConfig, initial: TensorFile, settings: Mapping[str, Any], source: Pairs, out: Path
    ) -> None:
        self.config, self.source = config, source
        self.net = load_network(initial).requires_grad_(True)
        hidden = self.net.denoiser.hidden()
        others = {id(weight) for weight in hidden}
        rest = [weight for weight in self.net.parameters() if id(weight) not in others]
        self.trained = [*hidden, *rest]
        self.loop = Loop(
            out,
            {"net": self.net},
            {"hidden": Muon(hidden, decay=AS_TRAINED.decay), "rest": torch.optim.Adam(rest, betas=ADAM)},
            Product("net", STAGE, self.net.config.as_dict()),
            settings,
            averaged=["net"],
            decay=config.ema,
            clip_norm=config.clip_norm,
        )

    def step(self, step: int) -> dict[str, float]:
        config, net = self.config, self.net
        hr, lr = (as_images(one, torch.device("cpu")) for one in self.source.batch(STAGE, step, config.batch))
        log_sigma = log_levels(
            *(config.batch, AS_TRAINED.sigma_mean, AS_TRAINED.sigma_spread), generator("levels", config.seed, step)
        )
        noise = normal((config.batch, CHANNELS, hr.shape[2] // 2, hr.shape[3] // 2), "noise", config.seed, step)
        likelihood, denoising = joint_losses(
            *(net, net.denoiser, (hr, lr), log_sigma, noise, AS_TRAINED.clamp, PRECISIONS[config.precision])
        )
        for weight in self.trained:
            weight.grad = None
        (likelihood + denoising).backward()
        return {"likelihood": likelihood.item(), "denoising": denoising.item()} | self._descend(step)

    def _descend(self, step: int) -> dict[str, float]:
        """Update all weights; a step whose gradient is not finite is left out, and counted.

        Gradients are long at first, where the LR images are others than in training: none is too long here.
        """
        config = self.config
        rate = cosine(step, config.steps, config.rate, config.final_rate) * min(1.0, (step + 1) / config.warmup)
        norm = float(nn.utils.clip_grad_norm_(self.trained, config.clip_norm))
        if math.isfinite(norm):
            for name, by in (("hidden", HIDDEN), ("rest", 1.0)):
                for group in self.loop.optimisers[name].param_groups:
                    group["lr"] = by * rate
                self.loop.optimisers[name].step()
        else:
            self.loop.skipped += 1
        return {"norm": norm, "rate": rate}


def go_on(
    config: AdaptConfig,
    settings: Mapping[str, Any],
    initial: TensorFile,
    source: Pairs,
    out: Path,
    *,
    log_every: int,
    save_every: int,
) -> Path:
    """Train weights on, on the CPU, resuming from `out`; returns the checkpoint.

    Parameters
    ----------
    config : AdaptConfig
    settings : mapping
        What decides the weights: a checkpoint of others is refused.
    initial : TensorFile
        The weights to begin from.
    source : Pairs
        Of patches whose side is a multiple of the factor and `EDMConfig.multiple`.
    out : Path
    log_every, save_every : int
        Steps per line of the log, per checkpoint.
    """
    training = _Adapting(config, initial, settings, source, out)
    out.mkdir(parents=True, exist_ok=True)
    training.loop.resume()
    return training.loop.run([Stage(STAGE, config.steps, training.step)], log_every=log_every, save_every=save_every)
