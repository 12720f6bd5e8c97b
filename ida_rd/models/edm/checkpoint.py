"""Files of compact diffusion networks: what one is, by its header alone, and its tensors, every one accounted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ida_rd.core.foreign import decoding
from ida_rd.core.headers import read_header
from ida_rd.core.tensors import TensorFile, read_tensors
from ida_rd.models.edm.config import EDMConfig

if TYPE_CHECKING:
    from ida_rd.models.edm.network import EDMNet

__all__ = ["check_header", "load_network"]

RIGHT = "give a file that `python -m ida_rd.training.export` wrote of a training of this model"


def check_header(path: Path) -> EDMConfig:
    """What a file says its network is; without torch.

    Raises
    ------
    UserError
        It says nothing of the kind.
    """
    return _config(path, read_header(path).metadata)


def _config(path: Path, metadata: Mapping[str, str]) -> EDMConfig:
    with decoding(f"{path}: its metadata are not those of a compact diffusion network", RIGHT):
        return EDMConfig.from_dict(json.loads(metadata["config"]))


def load_network(file: Path | TensorFile) -> EDMNet:
    """Load a network from a ``.safetensors`` file; its metadata holds the `EDMConfig`.

    Weights are stored as float16 and computed with in float32.

    Raises
    ------
    UserError
        Other metadata, or tensors that are not those of the network that they describe. The network that is built is
        never larger than the file.
    """
    import torch

    from ida_rd.models.edm.network import EDMNet

    found = read_tensors(file) if isinstance(file, Path) else file
    config, tensors = _config(found.path, found.metadata), found.tensors()
    with decoding(f"{found.path}: its tensors are not this network's", RIGHT):
        if config.encoder_blocks > len(tensors):
            raise ValueError("more blocks than tensors")
        with torch.device("meta"):  # without memory: what it says may be large
            shapes = {name: tensor.shape for name, tensor in EDMNet(config).state_dict().items()}
        odd = shapes.keys() ^ tensors.keys() or {name for name in shapes if shapes[name] != tensors[name].shape}
        if odd:
            raise ValueError(f"{len(odd)} are missing, unknown or of another shape, such as {min(odd)}")
        values = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
        if odd := {name for name, value in values.items() if not torch.isfinite(value).all()}:
            raise ValueError(f"{min(odd)} holds numbers that are not finite")
        net = EDMNet(config)
        net.load_state_dict(values)
    # In this order of its numbers the convolutions of a processor need no other.
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()
