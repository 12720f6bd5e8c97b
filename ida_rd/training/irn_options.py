"""Settings of the training of IRN, IRN+ and IRN_sigma; what their papers leave open is a setting too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ida_rd.core.errors import UserError
from ida_rd.models.irn.config import FACTORS, IRNConfig
from ida_rd.training.discriminator import LEAST_PATCH
from ida_rd.training.irn_features import FEATURES
from ida_rd.training.irn_losses import GANS, Weights
from ida_rd.training.options import check_choices, option

__all__ = ["KINDS", "TrainConfig"]

AS_PUBLISHED = -1.0


@dataclass(frozen=True)
class _Published:
    """What is published of a training; of IRN_sigma: "same as IRN+"."""

    steps: int
    rate: float
    halve_at: str
    reconstruction: float
    latent: float


_PLUS = _Published(400_000, 1e-4, "0.125,0.25,0.5,0.75", 0.01, 0.0)
KINDS = {
    "irn": _Published(500_000, 2e-4, "0.2,0.4,0.6,0.8", 1.0, 1.0),
    "irn-plus": _PLUS,
    "irn-sigma": _PLUS,
}
SUBNETS = ("dense", "distilled")
CRITIC_LEARNS = ("all", "stochastic")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """What decides the trained weights (besides the images and the library versions); `--help` explains each."""

    kind: str = option("irn", f"what is trained: {', '.join(KINDS)}")
    factor: int = option(4, "scale factor: 2, 4 or 8")
    blocks: str = option("8", "coupling blocks after each Haar step: one number, or one per step, such as 8,8")
    growth: int = option(32, "channels that each layer of a dense subnet adds")
    subnet: str = option("dense", f"what the blocks compute by: {', '.join(SUBNETS)}")
    seed: int = option(0, "seed of the initial weights, the patches, the latents and the sigmas")
    precision: str = option("float32", "float32, or bfloat16 for the convolutions of all networks")
    patch: int = option(144, "side of the HR patches, pixels")
    batch: int = option(16, "patches per step")
    steps: int = option(0, "steps; 0: as published, 500000 of irn and 400000 of the others")
    rate: float = option(AS_PUBLISHED, "Adam's learning rate; -1: as published, 2e-4 of irn and 1e-4 of the others")
    halve_at: str = option("", "shares of the steps after which the rates are halved; empty: as published")
    weight_decay: float = option(1e-5, "Adam's decay of the weights of the network (L2)")
    clip_norm: float = option(10.0, "largest norm of the network's gradient")
    ema: float = option(
        0.0, "decay of the averaged weights, which are the ones exported; 0: the last ones, as published"
    )
    reconstruction: float = option(AS_PUBLISHED, "weight of L_r, HR images; -1: as published, 1 of irn, 0.01 else")
    guide: float = option(AS_PUBLISHED, "weight of L_g, the LR image against bicubic; -1: as published, factor squared")
    latent: float = option(AS_PUBLISHED, "weight of the latent's squares; -1: as published, 1 of irn, 0 else")
    adversarial: float = option(1.0, "weight of L_d, the critic; not of irn")
    perceptual: float = option(0.01, "weight of L_p, the features; not of irn")
    sigmas: str = option("0,0.5,1", "irn-sigma: sigmas of which each batch gets one, all as often (0,1: the ablation)")
    gan: str = option("gan", f"loss of the critic: {', '.join(GANS)}")
    critic_width: int = option(64, "channels of the critic's first level")
    critic_rate: float = option(1e-4, "its learning rate, halved as the network's")
    critic_ahead: int = option(5000, "steps at first in which the critic alone learns")
    critic_learns: str = option(
        "stochastic", "irn-sigma: batches that it learns from: all, or stochastic (sigma above 0)"
    )
    features: str = option("vgg19", f"features of L_p: {', '.join(FEATURES)}")
    features_path: str = option("", "file of the weights of these features; empty: torch's cache is looked into")
    jpeg: float = option(0.0, "share of patches that are compressed as JPEG")
    candidates: int = option(1, "crops drawn per patch, of which the most detailed is taken")
    scales: str = option("1", "photographs are also used reduced by these factors, such as 1,2")
    sharpen: float = option(0.0, "share of patches that are sharpened")

    def check(self) -> None:
        """Raise UserError if an option names something that does not exist."""
        check_choices(self, kind=KINDS, subnet=SUBNETS, gan=GANS, critic_learns=CRITIC_LEARNS, features=FEATURES)
        check_choices(self, precision=PRECISIONS)
        if self.factor not in FACTORS:
            raise UserError(f"--factor {self.factor}: IRN halves the sides: give one of {', '.join(map(str, FACTORS))}")
        if self.patch % self.factor:
            raise UserError(f"--patch {self.patch}: is not a multiple of the factor {self.factor}")
        if self.kind != "irn" and self.patch < LEAST_PATCH:
            raise UserError(f"--patch {self.patch}: the critic needs patches of {LEAST_PATCH} pixels or more")
        if self.steps < 0 or min(self.batch, self.growth, self.critic_width) < 1:
            raise UserError("--steps is 0 or more, and --batch, --growth and --critic-width 1 or more")
        self.network()
        _numbers("halve-at", self.halve_at or "0.5", 0, 1)
        if len(set(self.points())) != len(self.points()):
            raise UserError(f"--sigmas {self.sigmas}: names one twice")

    def network(self) -> IRNConfig:
        """The network's shape."""
        levels = self.factor.bit_length() - 1
        counts = _numbers("blocks", self.blocks, 1, 99)
        if len(counts) not in (1, levels) or any(count != int(count) for count in counts):
            raise UserError(f"--blocks {self.blocks}: give one whole number, or {levels}, one per Haar step")
        counts = counts * (levels // len(counts))
        return IRNConfig(
            tuple(int(count) for count in counts), self.growth, "dense" if self.subnet == "dense" else "distilled"
        )

    def points(self) -> list[float]:
        """The sigmas of irn-sigma."""
        return _numbers("sigmas", self.sigmas, 0, 1)

    def settled(self) -> TrainConfig:
        """The same with what is published in place of what was left open: the record of a run says it."""
        published = KINDS[self.kind]

        def chosen(given: float, otherwise: float) -> float:
            return otherwise if given == AS_PUBLISHED else given

        return replace(
            self,
            steps=self.steps or published.steps,
            rate=chosen(self.rate, published.rate),
            halve_at=self.halve_at or published.halve_at,
            reconstruction=chosen(self.reconstruction, published.reconstruction),
            guide=chosen(self.guide, float(self.factor**2)),
            latent=chosen(self.latent, published.latent),
        )

    def weights(self) -> Weights:
        """Weights of the terms, once `settled`."""
        return Weights(self.reconstruction, self.guide, self.latent, self.adversarial, self.perceptual)

    def halved(self, rate: float, step: int) -> float:
        """`rate` after so many steps, once `settled`."""
        times = sum(step >= share * self.steps for share in _numbers("halve-at", self.halve_at, 0, 1))
        return rate * 0.5**times


def _numbers(name: str, text: str, low: float, high: float) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(low <= value <= high for value in found):
        raise UserError(f"--{name} {text}: give numbers from {low:g} to {high:g} with commas between them")
    return found
