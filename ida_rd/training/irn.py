"""Train IRN, IRN+ or IRN_sigma: ``python -m ida_rd.training.irn --kind K --images DIR --validation DIR --out DIR``.

IRN learns reconstruction, guide and latent [1]_; IRN+ goes on from an IRN, with a critic and features in the latent's
place; IRN_sigma draws a sigma for every batch, and with it how much distortion and perception count [2]_. A step's
patches, latent and sigma are a function of (seed, step), and the state is checkpointed: the same command resumes a run
that was killed.

References
----------
.. [1] Xiao et al., "Invertible image rescaling", ECCV 2020.
.. [2] Pan, "Learning adjustable image rescaling with joint optimization of perception and distortion", ICASSP 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Unpack, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.seeds import generator
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.network import IRNNet, quantise
from ida_rd.training.discriminator import Discriminator
from ida_rd.training.irn_features import features_of
from ida_rd.training.irn_losses import (
    absolute,
    critic_loss,
    fooling_loss,
    joint_loss,
    latent_loss,
    perceptual_loss,
    rescaling_loss,
    squared,
)
from ida_rd.training.irn_options import TrainConfig
from ida_rd.training.loop import Loop, Product, Stage
from ida_rd.training.options import parse
from ida_rd.training.patches import PILLOW_REACH, Downscaling, Pairs, Pixels
from ida_rd.training.start import Options, Training, run, source_of
from ida_rd.training.validation import centre_crop, validation_images

__all__ = ["GUIDE", "TrainConfig", "train", "validation_psnr"]

IMAGES, CROP = 50, 160  # of validation
CRITIC_BETAS = (0.9, 0.99)


def _bicubic(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
    """What the LR image is guided by: bicubic with antialiasing (a = -0.5), in grey levels that are not rounded."""
    planes = [Image.fromarray(np.ascontiguousarray(hr[..., c], dtype=np.float32)) for c in range(3)]
    reduced = np.stack([np.asarray(plane.resize(size[::-1], Image.Resampling.BICUBIC)) for plane in planes], axis=-1)
    return cast(Pixels, reduced)  # float32: what cuts the patches passes on whatever it is given


GUIDE = Downscaling("bicubic, not rounded", PILLOW_REACH, _bicubic)


@torch.no_grad()
def validation_psnr(net: IRNNet, folder: Path, sigma: float) -> float:
    """Mean PSNR in dB, RGB, of the reconstruction from 8-bit LR images, of centre crops of the first images."""
    device = next(net.parameters()).device
    factor = net.config.factor
    found = []
    for path, image in validation_images(folder, IMAGES):
        height, width = (min(CROP, side) // factor * factor for side in image.shape[:2])
        hr = _tensor(centre_crop(image, height, width).transpose(2, 0, 1)[None], device)
        lr, latent, _ = net.encode(hr)
        noise = generator("validation", path.name).standard_normal(tuple(latent.shape), dtype=np.float32)
        sr = quantise(net.decode(quantise(lr), sigma * torch.from_numpy(noise).to(device)))
        found.append(-10 * math.log10(max(float((sr - hr).square().mean()), 1e-10)))
    return float(np.mean(found))


def _tensor(pixels: Pixels, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).float() / 255


class _Training(Training):
    """One stage, of the kind that is trained."""

    def __init__(
        self, config: TrainConfig, source: Pairs, validation: Path | None, out: Path, device: torch.device
    ) -> None:
        self.config, self.source, self.validation, self.device = config, source, validation, device
        torch.manual_seed(config.seed)
        # In this order of its numbers a step on a processor takes three quarters of the time.
        self.net = IRNNet(config.network()).to(device).to(memory_format=torch.channels_last)
        self.weights = config.weights()
        modules: dict[str, nn.Module] = {"net": self.net}
        optimisers: dict[str, torch.optim.Optimizer] = {
            "net": torch.optim.Adam(self.net.parameters(), betas=(0.9, 0.999), weight_decay=config.weight_decay)
        }
        if config.kind != "irn":
            self.critic = Discriminator(config.patch, config.critic_width).to(device)
            self.features = features_of(config.features, config.patch, config.features_path or None).to(device)
            modules["critic"] = self.critic
            optimisers["critic"] = torch.optim.Adam(self.critic.parameters(), betas=CRITIC_BETAS)
        # Where a file lies decides nothing: its content does, which the catalogue knows.
        settings = {key: value for key, value in asdict(config).items() if key != "features_path"}
        settings |= {"guide_image": GUIDE.name}
        self.loop = Loop(
            *(out, modules, optimisers),
            Product("net", config.kind, self.net.config.as_dict()),
            settings,
            averaged=["net"],
            decay=config.ema,
            clip_norm=config.clip_norm,
        )

    def stages(self) -> list[Stage]:
        step = self.step_irn if self.config.kind == "irn" else self.step_critic
        return [Stage(self.config.kind, self.config.steps, step, evaluate=self.evaluate if self.validation else None)]

    def begin_from(self, weights: Path) -> None:
        """Start with the weights of a network of this shape."""
        found = load_network(weights)
        if found.config != self.net.config:
            raise UserError(
                f"{weights} is a network of {found.config}, not of {self.net.config}: set --factor, --blocks,"
                " --growth and --subnet as it has them, or leave --initial out"
            )
        self.net.load_state_dict(found.state_dict())
        self.loop.restart_averages()

    def step_irn(self, step: int) -> Mapping[str, float]:
        """A step of IRN."""
        hr, guide = self._batch(step)
        lr, latent, sr = self._there_and_back(step, hr)
        terms = {"reconstruction": absolute(sr, hr), "guide": squared(lr, guide), "latent": latent_loss(latent)}
        rate = self.config.halved(self.config.rate, step)
        norm = self.loop.descend("net", rescaling_loss(terms, self.weights), rate)
        return _logged(terms) | {"norm": norm, "rate": rate}

    def step_critic(self, step: int) -> Mapping[str, float]:
        """A step of IRN+ or IRN_sigma: of the network, then of its critic."""
        config = self.config
        sigma = self._sigma(step)
        hr, guide = self._batch(step)
        with torch.set_grad_enabled(step >= config.critic_ahead):
            lr, _, sr = self._there_and_back(step, hr, sigma)
        entry = {"sigma": sigma}
        if step >= config.critic_ahead:
            entry |= self._learn(step, sigma, hr, sr, lr, guide)
        if config.kind == "irn-plus" or config.critic_learns == "all" or sigma > 0:
            real, fake = self._judged(hr), self._judged(sr.detach())
            loss = critic_loss(real, fake, config.gan)
            self._criticise(loss, config.halved(config.critic_rate, step))
            entry |= {"critic": loss.item(), "real": real.mean().item(), "fake": fake.mean().item()}
        return entry

    def _there_and_back(self, step: int, hr: Tensor, sigma: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """LR images, latents and reconstructions, in float32 also where the convolutions are not."""
        with self._autocast():
            lr, latent, _ = self.net.encode(hr)
            sr = self.net.decode(quantise(lr), sigma * self._noise(step, latent))
        return lr.float(), latent.float(), sr.float()

    def _judged(self, image: Tensor) -> Tensor:
        with self._autocast():
            return self.critic(image).float()

    def _features(self, image: Tensor) -> list[Tensor]:
        with self._autocast():
            return [one.float() for one in self.features(image)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _learn(self, step: int, sigma: float, hr: Tensor, sr: Tensor, lr: Tensor, guide: Tensor) -> dict[str, float]:
        joint = self.config.kind == "irn-sigma"
        terms = {"reconstruction": absolute(sr, hr), "guide": squared(lr, guide)}
        if sigma > 0 or not joint:  # at 0 the two do not count
            self.critic.requires_grad_(False)
            real = self._judged(hr) if self.config.gan == "ragan" else None
            terms["adversarial"] = fooling_loss(self._judged(sr), real, self.config.gan)
            terms["perceptual"] = perceptual_loss(self._features(sr), self._features(hr))
            self.critic.requires_grad_(True)
        loss = joint_loss(terms, self.weights, sigma) if joint else rescaling_loss(terms, self.weights)
        rate = self.config.halved(self.config.rate, step)
        return _logged(terms) | {"norm": self.loop.descend("net", loss, rate), "rate": rate}

    def _criticise(self, loss: Tensor, rate: float) -> None:
        """A step of the critic, whose gradient the loop would clip as the network's: as published it is not clipped."""
        chosen = self.loop.optimisers["critic"]
        for group in chosen.param_groups:
            group["lr"] = rate
        chosen.zero_grad(set_to_none=True)
        loss.backward()
        if bool(torch.isfinite(loss)):
            chosen.step()
        else:
            self.loop.skipped += 1

    def evaluate(self) -> Mapping[str, float]:
        average = self.loop.averages["net"]
        assert isinstance(average, IRNNet)
        assert self.validation is not None
        points = (0.0, 1.0) if self.config.kind == "irn-sigma" else (1.0,)
        return {
            f"validation_psnr_sigma_{sigma:g}": validation_psnr(average, self.validation, sigma) for sigma in points
        }

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        hr, guide = self.source.batch(self.config.kind, step, self.config.batch)
        return _tensor(hr, self.device), _tensor(guide, self.device)

    def _sigma(self, step: int) -> float:
        if self.config.kind != "irn-sigma":
            return 1.0
        points = self.config.points()
        return points[int(generator("sigma", self.config.seed, step).integers(len(points)))]

    def _noise(self, step: int, like: Tensor) -> Tensor:
        rng = generator("latent", self.config.seed, self.config.kind, step)
        return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32)).to(like.device)


def _logged(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


def train(config: TrainConfig, images: Path, validation: Path, out: Path, **options: Unpack[Options]) -> Path:
    """Train as `ida_rd.training.start.run` says; initial weights are of the same shape: those of IRN+, an IRN's."""
    config.check()
    config = config.settled()

    def begin(files: list[Path], device: torch.device) -> _Training:
        source = source_of(asdict(config), files, config.factor, config.patch, [GUIDE])
        return _Training(config, source, validation, out, device)

    return run(begin, images, validation, out, **options)


def main() -> None:
    config, where = parse(TrainConfig, prog="python -m ida_rd.training.irn", description=__doc__.split("\n")[0])
    train(config, **where)


if __name__ == "__main__":
    exit_with_line(main)
