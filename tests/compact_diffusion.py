"""What tests of the compact diffusion model share: a tiny network with random weights, and its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ida_rd.models.edm.config import EDMConfig
from ida_rd.models.edm.network import EDMNet

SHAPE: dict[str, Any] = {"encoder_width": 6, "encoder_blocks": 1, "fine_width": 4, "width": 8, "deep_width": 8}
TINY = EDMConfig(**SHAPE, embedding=8, frequencies=3, head_width=4)
TINY_X8 = EDMConfig(8, **SHAPE, embedding=8, frequencies=3, head_width=4)


def network(config: EDMConfig = TINY) -> EDMNet:
    """A network none of whose layers is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = EDMNet(config)
        for name, weight in net.named_parameters():
            if not weight.any():
                weight.data = 0.3 * torch.randn_like(weight) if "film" in name else 0.1 * torch.randn_like(weight)
    return net.requires_grad_(False).eval()


def saved(path: Path, config: EDMConfig = TINY) -> Path:
    """Its file, as the export writes one."""
    tensors = {name: value.half().contiguous() for name, value in network(config).state_dict().items()}
    save_file(tensors, path, {"format": "pt", "config": json.dumps(config.as_dict())})
    return path
