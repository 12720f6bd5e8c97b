"""Sample PULSE: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.progress import share
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_file, read_weights
from ida_rd.models.stylegan.checkpoint import load_mapping, load_synthesis
from ida_rd.models.stylegan.layers import fold
from ida_rd.upscale.contract import Problem, Samples
from ida_rd.upscale.eight_bit import to_samples
from ida_rd.upscale.pulse import MAPPING, SYNTHESIS, Parameters, memory
from ida_rd.upscale.pulse.fit import Fit, fit_of, read_fit
from ida_rd.upscale.pulse.operators import operator_of
from ida_rd.upscale.pulse.search import Start, search, start_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PulseUpscaler"]

SHARE = 0.8  # of a GPU's free memory
LOST = 1.0  # residual of a sample that is not finite


class PulseUpscaler:
    """PULSE on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, problem: Problem, device: str) -> None:
        # Results must not depend on the device's shortcuts, nor on the order of its sums: a search amplifies both.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        self.parameters, self.factor = parameters, problem.factor
        self.device = torch.device(device)
        side, paths = parameters.resolution, parameters.paths
        self.operator = operator_of(parameters.operator, problem.factor, side, problem.downscaler)
        net = load_synthesis(read_weights(SYNTHESIS, paths.get("synthesis")), side)
        fold(net)
        self.fit = self._fit(net.config.latent).to(torch.empty(0, device=self.device))
        self.net = net.to(self.device)

    def _fit(self, latent: int) -> Fit:
        paths = self.parameters.paths
        if "gaussian_fit" in paths:
            return read_fit(read_file(Path(paths["gaussian_fit"]).expanduser()), latent)
        file = read_weights(MAPPING, paths.get("mapping"))
        mapping = load_mapping(file, latent)
        fold(mapping)
        return fit_of(mapping, file.sha256)

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw; the samples of a batch share nothing but their computation."""
        side = self.parameters.resolution // self.factor
        if lr.shape[1:] != (side, side):
            raise UserError(
                f"LR images of {lr.shape[2]} x {lr.shape[1]} pixels, not {side} x {side}; see images.resize"
            )
        image = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)[None].float() / 255
        size = self._batch(len(draws))
        batches = [draws[i : i + size] for i in range(0, len(draws), size)]
        found = []
        for i, batch in enumerate(batches):
            with share(i, len(batches)):
                found.append(self._search(image, batch))
        return Samples.joined(found)

    @torch.enable_grad()
    def _search(self, image: Tensor, draws: Sequence[Draw]) -> Samples:
        start = start_of(draws, self.net, self.parameters)
        latent = start.latent.to(self.device)
        noise = [None if one is None else one.to(self.device) for one in start.noise]
        result = search(self.net, self.fit, self.operator, image, Start(latent, noise), self.parameters)
        samples = to_samples(result.images)
        residual = result.residual.double().cpu().numpy()
        columns = {
            "converged": result.converged.cpu().numpy() & samples.finite,
            "residual": np.where(samples.finite & np.isfinite(residual), residual, LOST),
        }
        return Samples(samples.sr, samples.finite, samples.clipped, columns)

    def _batch(self, samples: int) -> int:
        """How many samples are searched for together."""
        if self.parameters.batch is not None:
            return self.parameters.batch
        if self.device.type == "cpu":
            return 1
        free = torch.cuda.mem_get_info(self.device)[0]
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        one = memory(self.parameters, self.factor, 1) * self.parameters.resolution**2
        return max(1, min(samples, int(SHARE * free / one)))
