"""Checkpoints into networks: the tensors say which network it is, and every key is accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import TensorFile, read_tensors
from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.layout import HAAR, blocks_of
from ida_rd.models.irn.network import IRNNet, haar_signs

__all__ = ["config_of", "load_network"]

SHOWN = 4


def config_of(state: Mapping[str, Tensor]) -> IRNConfig:
    """The network whose tensors these are.

    Raises
    ------
    ValueError
        Those of no IRN.
    """
    blocks = blocks_of(state)
    if any(".reduce_conv." in key for key in state):
        return IRNConfig(blocks, subnet="distilled")
    first = state.get("operations.1.F.conv1.weight")
    if first is None or first.ndim != 4:
        raise ValueError("it has no tensor operations.1.F.conv1.weight of a convolution")
    return IRNConfig(blocks, growth=len(first))


def load_network(file: Path | TensorFile) -> IRNNet:
    """Load a checkpoint, of the published layout, into a network of its own shape, in float32.

    Parameters
    ----------
    file : Path or TensorFile
        A ``.pth`` (plain tensors only) or ``.safetensors`` file. A leading ``module.`` is stripped from its keys.

    Raises
    ------
    UserError
        A missing or unknown key, one of another shape, or other Haar signs; the error names them.
    """
    found = read_tensors(file) if isinstance(file, Path) else file
    state = {key.removeprefix("module."): value for key, value in found.tensors().items()}
    try:
        config = config_of(state)
    except ValueError as error:
        raise UserError(f"{found.path} is not an IRN network ({error}): give the file of one") from None
    with torch.device("meta"):  # nothing is allocated before the keys are known to fit
        net = IRNNet(config)
    _check(found.path, net.state_dict(), state)
    for key in (key for key in state if key.endswith(HAAR)):
        if not torch.equal(state[key].float(), haar_signs(len(state[key]) // 4)):
            raise UserError(f"{found.path} is not this IRN network: {key} are not the signs of the Haar transform")
    net = net.to_empty(device="cpu")
    with decoding(f"{found.path} is not this IRN network"):
        net.load_state_dict(state)
    # In this order of its numbers the convolutions of a processor need no other: 1.3 times as fast and more.
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def _check(path: Path, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = [
        _listed("is missing", [key for key in expected if key not in state]),
        _listed("is unknown", [key for key in state if key not in expected]),
        _listed("has another shape", shapes),
    ]
    if any(problems):
        raise UserError(f"{path} is not this IRN network: {'; '.join(filter(None, problems))}")


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{what}: {', '.join(keys[:SHOWN])}{more}"
