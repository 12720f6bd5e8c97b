"""Sample IRN's decoder: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_file, read_weights
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.files import own_file, weight_of
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.eight_bit import to_samples
from ida_rd.upscale.irn import Parameters

__all__ = ["IRNUpscaler"]


class IRNUpscaler:
    """IRN's decoder on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, factor: int, device: str) -> None:
        torch.backends.cudnn.allow_tf32 = False  # results must not depend on the device's shortcuts
        known = weight_of(parameters, factor)
        read = [read_weights(key, path) for key, path in known.items()] or [read_file(own_file(parameters, factor))]
        net = load_network(read[0])
        if net.config.factor != factor:
            raise UserError(f"{read[0].path} is an IRN network for factor {net.config.factor}, not {factor}")
        self.device, self.sigma = torch.device(device), parameters.sigma
        self.net = net.to(self.device)

    @torch.inference_mode()
    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw, one after the other: so none depends on how many there are."""
        image = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)[None].float() / 255
        shape = (self.net.config.latent_channels, *lr.shape[1:])
        if self.sigma == 0:
            one, count = to_samples(self.net.decode(image, image.new_zeros(1, *shape))), len(draws)
            return Samples(one.sr.repeat(count, axis=0), one.finite.repeat(count), one.clipped.repeat(count))
        parts = []
        for draw in draws:
            latent = torch.from_numpy(self.sigma * draw.normal(shape)).to(self.device)
            parts.append(to_samples(self.net.decode(image, latent[None])))
        return Samples.joined(parts)
