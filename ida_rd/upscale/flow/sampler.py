"""Sample the flow: weights from a file, 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_weights
from ida_rd.models.flow import load_network
from ida_rd.models.flow_decoder import decode_in_steps
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.eight_bit import to_samples

if TYPE_CHECKING:
    from ida_rd.upscale.flow import Parameters

__all__ = ["FlowUpscaler"]

# Of a GPU's free memory; and bytes per HR pixel: of features and conditioning, and of each sample that is in a step.
SHARE, FIXED, EACH_TOGETHER = 0.8, 300, 250


class FlowUpscaler:
    """The flow on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, factor: int, device: str) -> None:
        torch.backends.cudnn.allow_tf32 = False  # results must not depend on the device's shortcuts
        self.heat = parameters.heat_of(factor)
        self.device = torch.device(device)
        found = read_weights(f"{parameters.weights}.x{factor}", parameters.path)
        self.net = load_network(found).to(self.device)
        if self.net.config.factor != factor:
            raise UserError(f"{found.path}: is for factor {self.net.config.factor}, not {factor}")

    @torch.inference_mode()
    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw; what depends on LR alone is computed once.

        On a CPU a step takes the samples one by one: a batch is no faster there, and so a sample is the
        same to the last bit whichever others are drawn with it. `memory` beside ``describe`` says what it needs.
        """
        image = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)[None].float() / 255
        shape = self.net.latent_shape(*lr.shape[1:])
        group = self._group(len(draws), lr.shape[1] * lr.shape[2])
        latents = [
            torch.from_numpy(np.stack([draw.normal(shape) for draw in draws[i : i + group]]))
            .to(self.device)
            .mul_(self.heat)
            for i in range(0, len(draws), group)
        ]
        return Samples.joined([to_samples(sr) for sr in decode_in_steps(self.net, image, latents)])

    def _group(self, samples: int, lr_pixels: int) -> int:
        """How many samples go through a step together: on a GPU, all for which it has memory."""
        if self.device.type == "cpu":
            return 1
        free = torch.cuda.mem_get_info(self.device)[0]
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        pixels = lr_pixels * self.net.config.factor**2
        return max(1, min(samples, int(SHARE * free / pixels - FIXED) // EACH_TOGETHER))
