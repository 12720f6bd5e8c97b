"""The golden SRFlow networks: a tiny one, whose values are here, and the official ones, whose values may be missing."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from golden.srflow.fill_weights import fill
from ida_rd.models.srflow.config import CELEBA_X8, DF2K_X4, DF2K_X8, SRFlowConfig
from ida_rd.models.srflow.network import SRFlowNet

HERE = Path(__file__).resolve().parent
TINY = SRFlowConfig(factor=4, blocks=2, stacked=(0, 1), features=8, growth=4, steps=2, hidden=16)
OFFICIAL = {"SRFlow_DF2K_4X": DF2K_X4, "SRFlow_CelebA_8X": CELEBA_X8, "SRFlow_DF2K_8X": DF2K_X8}
CONFIGS = {"tiny": TINY} | OFFICIAL
UNUSED = ".f.0."


def golden_folder(name: str, shared: Path) -> Path:
    return HERE if name == "tiny" else shared / "golden" / "srflow"


def shapes_of(name: str, folder: Path) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the checkpoint, the unused ones too."""
    keys = json.loads((folder / f"keys_{name}.json").read_text())["keys"]
    return {key: tuple(shape) for key, shape, _ in keys}


def filled(config: SRFlowConfig, dtype: torch.dtype = torch.float32) -> SRFlowNet:
    """A network with the golden weights."""
    net = SRFlowNet(config)
    values = fill({key: tuple(value.shape) for key, value in net.state_dict().items()})
    net.load_state_dict({key: torch.from_numpy(value) for key, value in values.items()})
    return net.to(dtype).eval().requires_grad_(False)
