"""What is watched while a diffusion network trains, on crops that it never sees.

LPIPS alone misleads: it is at its best early, while samples are too alike. So LPIPS, a squared distance of features,
is split: half of it between two samples is their variance, the rest of it to the original is the squared error of their
mean (bias^2); for samples of the true posterior the two are equal. The energy score is least, in expectation, for
these. And the denoiser's gain at each noise level, the slope of y on its estimate D, must be 1: above, D is too small,
which an update that follows the median of a heavy-tailed gradient makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.seeds import generator
from ida_rd.models.edm.network import EDMNet, Given
from ida_rd.models.edm.solver import Solver, noise_levels
from ida_rd.training.edm_ring import as_images, normal
from ida_rd.training.measure import Tools, centre_crops, curves, distances_of, split
from ida_rd.training.patches import Pixels, pillow

__all__ = ["GAINS", "Sampled", "Watch"]

GAINS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)  # noise levels
STRIDE = 4  # every so manieth image of the folder
OWN_HEAT = 1.0


@dataclass(frozen=True)
class _Rounded:
    sr: Pixels
    finite: NDArray[np.bool_]
    clipped: NDArray[np.float64]


def _rounded(images: Tensor) -> _Rounded:
    finite = torch.isfinite(images).flatten(1).all(dim=1)
    levels = torch.nan_to_num(images) * 255
    outside = ((levels < -0.5) | (levels > 255.5)).flatten(1).double().mean(dim=1)
    eight = levels.round().clamp(0, 255).to(torch.uint8)
    return _Rounded(*(one.cpu().numpy() for one in (eight, finite, outside)))


class Sampled:
    """A network as `ida_rd.training.measure.Network`; its latent is the noise that a sample begins from.

    Parameters
    ----------
    net : EDMNet
    solver : Solver
    precision : torch.dtype
        Of the convolutions.
    """

    def __init__(self, net: EDMNet, solver: Solver, precision: torch.dtype) -> None:
        self.net, self.solver, self.precision = net, solver, precision
        self.device = next(net.parameters()).device

    def autocast(self) -> torch.autocast:
        """In which the denoiser runs."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def condition(self, lr: Tensor) -> Given:
        """What depends on the LR image alone; mean and scale of the residual in float32."""
        return self.net.condition(lr.to(self.device))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of y, of an image with its padding."""
        of, factor = self.net.config.multiple, self.net.config.factor
        return 12, *(-(-side // of) * of * factor // 2 for side in (height, width))

    def decode(self, z: Tensor, given: Given) -> Tensor:
        """Samples from noise."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            with self.autocast():
                clean = self.net.denoise(x, torch.tensor([sigma], device=self.device), given.features)
            return given.space.in_range(clean)

        return self.net.image(self.solver.solve(z.to(self.device), denoise), given)


class Watch:
    """Images and distance of validation.

    Parameters
    ----------
    folder : Path
        Of images.
    count, crop : int
        Centre crops, and their sides.
    filters : sequence of str
        What makes LR images; the gain is that of the first.
    steps, samples : int
        Of the solver; of each LR image.
    lpips : str or None
        File of torchvision's AlexNet; None: it is in torch's cache.
    precision : torch.dtype
    """

    def __init__(
        self,
        folder: Path,
        *,
        count: int,
        crop: int,
        filters: Sequence[str],
        steps: int,
        samples: int,
        lpips: str | None,
        precision: torch.dtype,
    ) -> None:
        found = centre_crops(folder, crop, count * STRIDE, what="--validation")
        stride = max(1, len(found) // count)
        self.images = dict(list(found.items())[::stride][:count])
        self.filters = [pillow(name) for name in filters]
        self.solver, self.samples, self.precision = Solver(noise_levels(steps)), samples, precision
        self.tools = Tools(distances_of(["lpips"], lpips), _rounded)

    @torch.inference_mode()
    def __call__(self, net: EDMNet) -> dict[str, float]:
        """What is logged of a network."""
        sampled = Sampled(net, self.solver, self.precision)
        names = [one.name for one in self.filters]
        found = curves(
            sampled,
            self.images,
            [(one, [OWN_HEAT]) for one in self.filters],
            self.tools,
            factor=net.config.factor,
            samples=self.samples,
            between=dict.fromkeys(names, "lpips"),
        )
        entry: dict[str, float] = {}
        for i, name in enumerate(names):
            means, ending = split(found.means(name, OWN_HEAT)), f"_{name}" if i else ""
            entry |= {f"validation_{key}{ending}": means[key] for key in ("lpips", "bias2", "ratio", "energy")}
        lost = {"validation_clipped": found.clipped / found.samples, "validation_not_finite": float(found.not_finite)}
        return entry | lost | self.gains(net)

    @torch.inference_mode()
    def gains(self, net: EDMNet) -> dict[str, float]:
        """The denoiser's gain by noise level: the slope of y on D, weighted as in training."""
        sampled, first = Sampled(net, self.solver, self.precision), self.filters[0]
        sums = np.zeros((len(GAINS), 2))
        for name, image in self.images.items():
            size = tuple(side // net.config.factor for side in image.shape[:2])
            small = first.make(image, (size[0], size[1]), rng=generator("measure", first.name, name))
            hr, lr = (
                as_images(np.ascontiguousarray(one.transpose(2, 0, 1))[None], sampled.device) for one in (image, small)
            )
            given = sampled.condition(lr)
            y = given.space.whitened(hr)
            weight = given.space.scale / given.space.scale.mean()
            for i, sigma in enumerate(GAINS):
                noise = normal(y.shape, "gain", name, i).to(sampled.device)
                with sampled.autocast():
                    clean = net.denoise(y + sigma * noise, torch.tensor([sigma], device=y.device), given.features)
                sums[i] += float((weight * y * clean).sum()), float((weight * clean.square()).sum())
        return {f"gain_{sigma:g}": float(a / max(b, 1e-12)) for sigma, (a, b) in zip(GAINS, sums, strict=True)}
