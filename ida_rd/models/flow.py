"""The network of ``flow``: a compact conditional normalizing flow over the super-resolution residual.

The flow models ``x = (HR - bicubic_up(LR)) / RESIDUAL_SCALE`` given LR. Levels, from image to latent:

1. squeeze 2; subtract the predicted mean, divide by the predicted scale (a conditional Gaussian);
2. flow steps at twice the LR size; squeeze 2 again; (once more for factor 8, not at all for 2); flow steps at LR size;
3. latent: one tensor of ``3 * factor^2`` channels at LR size, standard normal.

A flow step is actnorm + invertible 1x1 convolution, a feature-conditional affine map of all
channels, and a feature-conditional affine coupling (SRFlow, section 3.3 [1]_). All log-scales,
shifts and conditioning features are bounded, so that LR images far from the training data cannot
make the decoder run away.

Under `torch.autocast` the convolutions that predict scales and shifts run in its type; what they predict
and the maps themselves stay in float32.

References
----------
.. [1] Lugmayr et al., "SRFlow: learning the super-resolution space with normalizing flow", ECCV 2020.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import TensorFile, read_tensors
from ida_rd.models.bijections import ChannelMix, affine_decode, affine_encode, bound, squeeze, unsqueeze

__all__ = ["Conditioning", "FlowConfig", "FlowNet", "bits_per_dimension", "load_network"]

RESIDUAL_SCALE = 0.05  # the residual's typical size: brings x near unit variance
FEATURE_BOUND = 6.0
AFFINE_LOG_SCALE_BOUND = 1.0
COUPLING_LOG_SCALE_BOUND = 0.7
SHIFT_BOUND = 6.0
GAUSSIAN_LOG_SCALE_BOUND = 3.5
COUPLING_INPUT_CLAMP = 8.0


@dataclass(frozen=True)
class FlowConfig:
    """Size of the network; stored in the weight file's metadata.

    Attributes
    ----------
    factor : int
        Scale factor: 2, 4 or 8 (a power of two).
    encoder_width, encoder_blocks : int
        Channels and residual blocks of the LR encoder.
    fine_width : int
        Channels of the features above LR size; of factor 2, whose features are of LR size alone, it is not used.
    steps, hidden : tuple of int
        Flow steps and coupling width per level, from the finest level to LR size.
    bounded : bool
        Whether features and shifts are bounded (log-scales always are).
    """

    factor: int = 4
    encoder_width: int = 64
    encoder_blocks: int = 8
    fine_width: int = 32
    steps: tuple[int, ...] = (6, 8)
    hidden: tuple[int, ...] = (32, 64)
    bounded: bool = True

    def __post_init__(self) -> None:
        levels = int(math.log2(self.factor))
        if 2**levels != self.factor or levels < 1:
            raise ValueError(f"factor must be a power of two, from 2, not {self.factor}")
        if not len(self.steps) == len(self.hidden) == levels:
            raise ValueError(f"factor {self.factor} has {levels} levels: give as many steps and hidden widths")

    @property
    def feature_widths(self) -> tuple[int, ...]:
        """Channels of the encoder's features, from half the HR size down to LR size."""
        return (*((self.fine_width,) * (len(self.steps) - 1)), self.encoder_width)

    def as_dict(self) -> dict:
        return asdict(self)


class StepConditioning(NamedTuple):
    """What one flow step needs from the features: nothing here depends on the latent."""

    log_scale: Tensor
    shift: Tensor
    hidden: Tensor


class Conditioning(NamedTuple):
    """All that depends on the LR image alone; computed once and shared by its K samples.

    Attributes
    ----------
    base : Tensor
        Bicubic enlargement of LR, (B, 3, H, W), range about [0, 1].
    mean, log_scale : Tensor
        Conditional Gaussian of the squeezed residual, (B, 12, H/2, W/2).
    steps : list of list of StepConditioning
        Per level and step.
    """

    base: Tensor
    mean: Tensor
    log_scale: Tensor
    steps: list[list[StepConditioning]]


def _conv(inputs: int, outputs: int, size: int, *, zero: bool = False) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    if zero:
        nn.init.zeros_(conv.weight)
    if zero and conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _predicted(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution, and give its values in the type of its weights, whatever it ran in."""
    return conv(x).to(conv.weight.dtype)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width, 3)
        self.second = _conv(width, width, 3)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Encoder(nn.Module):
    """LR image to features: one tensor per level, coarsest (LR size) last."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.limit = FEATURE_BOUND if config.bounded else math.inf
        width, fine = config.encoder_width, config.fine_width
        self.head = _conv(3, width, 3)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(config.encoder_blocks)])
        self.tail = _conv(width, width, 3)
        levels = len(config.steps)
        self.up = nn.ModuleList(_conv(width if i == 0 else fine, 4 * fine, 3) for i in range(levels - 1))
        self.fine = nn.ModuleList(_conv(fine, fine, 3) for _ in range(levels - 1))

    def forward(self, lr: Tensor) -> list[Tensor]:
        head = self.head(lr - 0.5)
        f = head + self.tail(self.blocks(head))
        features = [bound(f, self.limit)]
        for up, fine in zip(self.up, self.fine, strict=True):
            f = F.relu(F.pixel_shuffle(up(F.relu(f)), 2))
            f = f + fine(f)
            features.append(bound(f, self.limit))
        return features[::-1]


class FlowStep(nn.Module):
    """Channel mix, feature-conditional affine map, feature-conditional affine coupling."""

    def __init__(self, channels: int, features: int, hidden: int, *, bounded: bool = True) -> None:
        super().__init__()
        self.limit = SHIFT_BOUND if bounded else math.inf
        self.kept = channels // 2
        self.mix = ChannelMix(channels)
        self.affine = _conv(features, 2 * channels, 1, zero=True)
        self.from_latent = _conv(self.kept, hidden, 3)
        self.from_features = nn.Conv2d(features, hidden, 1, bias=False)
        self.middle = _conv(hidden, hidden, 1)
        self.last = _conv(hidden, 2 * (channels - self.kept), 3, zero=True)

    def condition(self, features: Tensor) -> StepConditioning:
        log_scale, shift = _predicted(self.affine, features).chunk(2, dim=1)
        return StepConditioning(
            bound(log_scale, AFFINE_LOG_SCALE_BOUND), bound(shift, self.limit), self.from_features(features)
        )

    def _coupling(self, kept: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.from_latent(kept.clamp(-COUPLING_INPUT_CLAMP, COUPLING_INPUT_CLAMP)) + hidden)
        log_scale, shift = _predicted(self.last, F.relu(self.middle(h))).chunk(2, dim=1)
        return bound(log_scale, COUPLING_LOG_SCALE_BOUND), bound(shift, self.limit)

    def encode(self, x: Tensor, given: StepConditioning) -> tuple[Tensor, Tensor]:
        y, logdet = self.mix.encode(x)
        y = affine_encode(y, given.shift, given.log_scale.exp())
        kept, moved = y[:, : self.kept], y[:, self.kept :]
        log_scale, shift = self._coupling(kept, given.hidden)
        moved = affine_encode(moved, shift, log_scale.exp())
        logdet = logdet + given.log_scale.sum(dim=(1, 2, 3)) + log_scale.sum(dim=(1, 2, 3))
        return torch.cat([kept, moved], dim=1), logdet

    def decode(self, y: Tensor, given: StepConditioning) -> Tensor:
        kept, moved = y[:, : self.kept], y[:, self.kept :]
        log_scale, shift = self._coupling(kept, given.hidden)
        moved = affine_decode(moved, shift, (-log_scale).exp())
        x = torch.cat([kept, moved], dim=1)
        return self.mix.decode(affine_decode(x, given.shift, (-given.log_scale).exp()))


class FlowNet(nn.Module):
    """Conditional flow p(HR | LR). LR and HR are float tensors in [0, 1], sRGB, (B, 3, h, w) and (B, 3, H, W).

    Parameters
    ----------
    config : FlowConfig
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        widths = config.feature_widths
        self.mean = _conv(widths[0], 12, 3, zero=True)
        self.log_scale = _conv(widths[0], 12, 3, zero=True)
        levels = []
        for level, (steps, hidden, width) in enumerate(zip(config.steps, config.hidden, widths, strict=True)):
            channels = 12 * 4**level
            levels.append(
                nn.ModuleList(FlowStep(channels, width, hidden, bounded=config.bounded) for _ in range(steps))
            )
        self.levels = nn.ModuleList(levels)

    @torch.no_grad()
    def grow_from(self, smaller: FlowNet) -> None:
        """Take over the function of a network with fewer encoder blocks or flow steps.

        The first blocks and steps become those of `smaller`; the others are set to do nothing, and learn
        to do something in further training.

        Raises
        ------
        ValueError
            The networks differ in more than the number of blocks and steps.
        """
        mine, theirs = self.state_dict(), smaller.state_dict()
        if smaller.config.factor != self.config.factor or any(
            key not in mine or mine[key].shape != value.shape for key, value in theirs.items()
        ):
            raise ValueError("they differ in more than the number of blocks and steps")
        for name, module in self.named_modules():
            if f"{name}.weight" in theirs or not name:
                continue
            if name.startswith("encoder.blocks.") and name.endswith(".second"):
                nn.init.zeros_(cast(nn.Conv2d, module).weight)
                nn.init.zeros_(cast(Tensor, cast(nn.Conv2d, module).bias))
            if isinstance(module, ChannelMix):
                nn.init.eye_(module.weight)
        self.load_state_dict(mine | theirs)

    def steps(self, level: int) -> list[FlowStep]:
        """Flow steps of a level, in encode order."""
        return cast(list[FlowStep], list(cast(nn.ModuleList, self.levels[level])))

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape (C, h, w) of the latent of an LR image of h x w pixels."""
        return 3 * self.config.factor**2, height, width

    def enlarge(self, lr: Tensor) -> Tensor:
        """Bicubic enlargement (Keys a = -0.5, borders renormalised): what the residual is taken from."""
        size = (lr.shape[2] * self.config.factor, lr.shape[3] * self.config.factor)
        return F.interpolate(lr, size=size, mode="bicubic", align_corners=False, antialias=True)

    def predict_mean(self, lr: Tensor) -> Tensor:
        """The conditional Gaussian's mean as an image: what the L1 stage trains. (B, 3, H, W)."""
        return self.enlarge(lr) + RESIDUAL_SCALE * unsqueeze(_predicted(self.mean, self.encoder(lr)[0]))

    def condition(self, lr: Tensor) -> Conditioning:
        """Compute everything that depends on LR alone."""
        features = self.encoder(lr)
        steps = [[step.condition(f) for step in self.steps(i)] for i, f in enumerate(features)]
        return Conditioning(
            self.enlarge(lr),
            _predicted(self.mean, features[0]),
            bound(_predicted(self.log_scale, features[0]), GAUSSIAN_LOG_SCALE_BOUND),
            steps,
        )

    def encode(self, hr: Tensor, given: Conditioning, *, initialise: bool = False) -> tuple[Tensor, Tensor]:
        """HR to latent.

        Parameters
        ----------
        hr : Tensor
            (B, 3, H, W), range [0, 1].
        given : Conditioning
            Of the same B LR images.
        initialise : bool
            Set the actnorms from this batch on the way (data-dependent initialisation).

        Returns
        -------
        z : Tensor
            (B, 3 factor^2, h, w).
        logdet : Tensor
            (B,), log |det dz / dx| with x the residual in units of `RESIDUAL_SCALE`.
        """
        x = squeeze((hr - given.base) / RESIDUAL_SCALE)
        x = (x - given.mean) * (-given.log_scale).exp()
        logdet = -given.log_scale.sum(dim=(1, 2, 3))
        for i, conditions in enumerate(given.steps):
            if i:
                x = squeeze(x)
            for step, condition in zip(self.steps(i), conditions, strict=True):
                if initialise:
                    step.mix.initialise(x)
                x, added = step.encode(x, condition)
                logdet = logdet + added
        return x, logdet

    def decode(self, z: Tensor, given: Conditioning) -> Tensor:
        """Latent to HR (not clipped): inverse of `encode`. A `given` of batch 1 serves any batch of z."""
        x = z
        for i in reversed(range(len(self.levels))):
            for step, condition in zip(self.steps(i)[::-1], given.steps[i][::-1], strict=True):
                x = step.decode(x, condition)
            if i:
                x = unsqueeze(x)
        x = x * given.log_scale.exp() + given.mean
        return given.base + RESIDUAL_SCALE * unsqueeze(x)


def bits_per_dimension(z: Tensor, logdet: Tensor) -> Tensor:
    """Negative log-likelihood of 8-bit HR images, in bits per sub-pixel, (B,).

    The latent's prior is standard normal; the two constants turn the density of the residual into
    the density of grey levels (uniform dequantisation, one level wide).
    """
    dims = z[0].numel()
    log_prior = -0.5 * (z.square().sum(dim=(1, 2, 3)) + dims * math.log(2 * math.pi))
    nats = -(log_prior + logdet) / dims + math.log(RESIDUAL_SCALE * 255)
    return nats / math.log(2)


def load_network(file: Path | TensorFile) -> FlowNet:
    """Load a network from a ``.safetensors`` file; its metadata holds the `FlowConfig`.

    Weights are stored as float16 and computed with in float32.

    Raises
    ------
    UserError
        Other metadata, or tensors that are not those of the network that they describe. The network that is built is
        never larger than the file.
    """
    found = read_tensors(file) if isinstance(file, Path) else file
    tensors = found.tensors()
    if "config" not in found.metadata:
        raise UserError(f"{found.path}: no flow configuration in its metadata: not weights of this project's flow")
    with decoding(f"{found.path}: its metadata are no flow configuration"):
        config = json.loads(found.metadata["config"])
        config = FlowConfig(**config | {key: tuple(config[key]) for key in ("steps", "hidden")})
    with decoding(f"{found.path}: its tensors are not this network's"):
        if config.encoder_blocks + sum(config.steps) > len(tensors):
            raise ValueError("more blocks than tensors")
        with torch.device("meta"):  # without memory: what it says may be large
            net = FlowNet(config)
        own = net.state_dict()
        odd = own.keys() ^ tensors.keys() or {name for name in own if own[name].shape != tensors[name].shape}
        if odd:
            raise ValueError(f"{len(odd)} are missing, unknown or of another shape, such as {min(odd)}")
        net.load_state_dict(
            {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}, assign=True
        )
    return net.eval().requires_grad_(False)
