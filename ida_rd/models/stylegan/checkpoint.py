"""The two files of a StyleGAN generator into networks: every key and shape is accounted for.

The layout is that of the published files: ``dense0.weight`` ... of the mapping network, ``blocks.4x4.const`` ... and
``torgb.weight`` of the synthesis network, which holds the kernels of its blurs too. Networks of the same architecture
with other widths, depths and resolutions are taken as well: their sizes are read from the shapes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import TensorFile
from ida_rd.models.stylegan.layers import blur_kernel
from ida_rd.models.stylegan.network import RESOLUTIONS, Mapping, Synthesis, SynthesisConfig

__all__ = ["load_mapping", "load_synthesis"]

Net = TypeVar("Net", bound=nn.Module)
SHOWN = 3
DEEPEST = 64  # layers of a mapping network
BLUR = ".conv0_up.intermediate.kernel"
WIDTH_KEY = "blocks.{0}x{0}.epi1.noise.weight"


def load_mapping(file: TensorFile) -> Mapping:
    """The mapping network of a file, in float32, frozen.

    Raises
    ------
    UserError
        It holds something else; the error names the keys.
    """
    what, state = "mapping network", _tensors(file)
    depth = sum(re.fullmatch(r"dense\d+\.weight", key) is not None for key in state)
    first = state.get("dense0.weight")
    if first is None or first.ndim != 2 or depth > DEEPEST:
        raise _other(file.path, what, "it has no dense0.weight" if first is None else "of another shape", state)
    with torch.device("meta"):
        net = Mapping(first.shape[0], depth)
    return _filled(file.path, what, net, state)


def load_synthesis(file: TensorFile, resolution: int) -> Synthesis:
    """The synthesis network of a file, in float32, frozen.

    Parameters
    ----------
    file : TensorFile
    resolution : int
        Side of its images.

    Raises
    ------
    UserError
        It holds something else, or makes images of another size; the error names the keys.
    """
    what, state = "synthesis network", _tensors(file)
    style = state.get("blocks.4x4.epi1.style_mod.lin.weight")
    sides = [4]
    while WIDTH_KEY.format(2 * sides[-1]) in state and sides[-1] < RESOLUTIONS[-1]:
        sides.append(2 * sides[-1])
    widths = [state.get(WIDTH_KEY.format(side)) for side in sides]
    if style is None or style.ndim != 2 or any(width is None or width.ndim != 1 for width in widths):
        raise _other(file.path, what, "it has no blocks.4x4", state)
    config = SynthesisConfig(tuple(len(width) for width in widths if width is not None), style.shape[1])
    if config.resolution != resolution:
        raise UserError(
            f"{file.path} makes images of {config.resolution} x {config.resolution}, not of {resolution} x"
            f" {resolution}: give another file, or set resolution: {config.resolution}"
        )
    with torch.device("meta"):
        net = Synthesis(config)
    net = _filled(file.path, what, net, state)
    for key, value in net.state_dict().items():
        if key.endswith(BLUR) and not torch.allclose(value, blur_kernel(), rtol=0, atol=1e-6):
            raise UserError(f"{file.path} is not a StyleGAN synthesis network: {key} is another filter than [1, 2, 1]")
    return net


def _tensors(file: TensorFile) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in file.tensors().items()}


def _other(path: Path, what: str, why: str, state: dict[str, Tensor]) -> UserError:
    hint = ""
    if any(key.startswith("blocks.") for key in state):
        hint = "; it looks like the synthesis network"
    elif "dense0.weight" in state:
        hint = "; it looks like the mapping network"
    return UserError(f"{path} is not a StyleGAN {what}: {why}{hint}: give the right file")


def _filled(path: Path, what: str, net: Net, state: dict[str, Tensor]) -> Net:
    """Put the tensors of a file into a network that has no memory yet."""
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    shapes = [
        f"{key} {tuple(state[key].shape)} for {shape}"
        for key, shape in expected.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    problems = [
        _listed("is missing", [key for key in expected if key not in state]),
        _listed("is unknown", [key for key in state if key not in expected]),
        _listed("has another shape", shapes),
        _listed("is not of floating point", [k for k in expected if k in state and not state[k].is_floating_point()]),
    ]
    if any(problems):
        raise UserError(f"{path} is not a StyleGAN {what}: {'; '.join(filter(None, problems))}: give the right file")
    with decoding(f"{path} is not a StyleGAN {what}"):
        # Copies: two tensors of a file may share their memory, and a network is folded in place.
        copied = {key: state[key].to(torch.float32, copy=True).contiguous() for key in expected}
        net.load_state_dict(copied, assign=True)
    if odd := [key for key, value in copied.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{path}: {odd[0]} holds numbers that are not finite: give the right file")
    return net.requires_grad_(False).eval()


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{what}: {', '.join(keys[:SHOWN])}{more}"
