"""Sample SRFlow: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_weights
from ida_rd.models.srflow.checkpoint import load_network
from ida_rd.models.srflow.config import SRFlowConfig
from ida_rd.models.srflow.decoder import Decoder
from ida_rd.models.srflow.network import SRFlowNet
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.eight_bit import to_samples, to_samples_official

__all__ = ["SRFlowUpscaler"]


class SRFlowUpscaler:
    """SRFlow on a device; see `ida_rd.upscale.contract.Upscaler`.

    Parameters
    ----------
    config : SRFlowConfig
        Shape of the network.
    weights, path
        Weight id of the catalogue, and the user's own path to it or None.
    heat : float
        Standard deviation of all latents.
    device : str
        Torch device.
    official : bool
        Whether to turn the result into 8 bits as the official scripts do (see `to_samples_official`).
    """

    def __init__(
        self, config: SRFlowConfig, weights: str, path: str | None, heat: float, device: str, *, official: bool = False
    ) -> None:
        torch.backends.cudnn.allow_tf32 = False  # results must not depend on the device's shortcuts
        self.config, self.heat = config, heat
        self.to_samples = to_samples_official if official else to_samples
        self.device = torch.device(device)
        with torch.device("meta"):
            net = SRFlowNet(config)
        net = net.to_empty(device="cpu").requires_grad_(False).eval()
        load_network(read_weights(weights, path), net)
        net = net.to(self.device)
        self.decoder = Decoder(net)
        self.encoder = net.RRDB.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw.

        The flow needs even sides: odd ones are padded by reflection at the bottom and right, and the
        result is cropped.
        """
        h, w = lr.shape[1:]
        even = np.pad(lr, ((0, 0), (0, h % 2), (0, w % 2)), mode="reflect")
        image = torch.from_numpy(even).to(self.device)[None].float() / 255
        features = self.encoder(image.contiguous(memory_format=torch.channels_last))
        latents = [
            torch.from_numpy(self.heat * np.stack([draw.normal(shape, f"latent {i}") for draw in draws])).to(
                self.device
            )
            for i, shape in enumerate(self.config.latent_shapes(*even.shape[1:]))
        ]
        sr = self.decoder.decode(latents, features)
        return self.to_samples(sr[:, :, : h * self.config.factor, : w * self.config.factor])
