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
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.eight_bit import to_samples

if TYPE_CHECKING:
    from ida_rd.upscale.flow import Parameters

__all__ = ["FlowUpscaler"]


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

        On a CPU the samples are decoded one by one: a batch is no faster there, and so a sample is the
        same to the last bit whichever others are drawn with it.
        """
        image = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)[None].float() / 255
        given = self.net.condition(image)
        shape = self.net.latent_shape(*lr.shape[1:])
        z = torch.from_numpy(np.stack([draw.normal(shape) for draw in draws])).to(self.device)
        group = 1 if self.device.type == "cpu" else len(draws)
        return to_samples(torch.cat([self.net.decode(self.heat * part, given) for part in z.split(group)]))
