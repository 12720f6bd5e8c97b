"""The two files of a StyleGAN generator into networks: every key and shape is accounted for.

The layout is that of the published files: ``dense0.weight`` ... of the mapping network, ``blocks.4x4.const`` ... and
``torgb.weight`` of the synthesis network, which holds the kernels of its blurs too. Networks of the same architecture
with other widths, depths and resolutions are taken as well: their sizes are read from the shapes.

``check_`` compares and computes nothing, so that a process may do it which starts others afterwards; ``load_`` does the
same before it loads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.core.tensors import TensorFile
from ida_rd.models.stylegan.config import RESOLUTIONS, SynthesisConfig
from ida_rd.models.stylegan.network import Mapping, Synthesis

__all__ = ["check_mapping", "check_synthesis", "load_mapping", "load_synthesis"]

Net = TypeVar("Net", bound=nn.Module)
SHOWN = 3
DEEPEST = 64  # layers of a mapping network
BINOMIAL = np.outer([1, 2, 1], [1, 2, 1]) / 16
BLUR = ".conv0_up.intermediate.kernel"
WIDTH_KEY = "blocks.{0}x{0}.epi1.noise.weight"


def check_mapping(file: TensorFile, latent: int | None = None) -> int:
    """Compare a file with the layout of a mapping network, by names and shapes alone; return its depth.

    Parameters
    ----------
    file : TensorFile
    latent : int, optional
        Length of a style of the synthesis network that it belongs to.

    Raises
    ------
    UserError
        It holds something else; the error names the keys.
    """
    state = _tensors(file)
    depth = sum(re.fullmatch(r"dense\d+\.weight", key) is not None for key in state)
    first = state.get("dense0.weight")
    if first is None or first.ndim != 2 or depth > DEEPEST:
        why = "it has no dense0.weight" if first is None else "its layers are of another shape"
        raise _other(file.path, "mapping network", why, state)
    _compare(file.path, "mapping network", _empty(Mapping, first.shape[0], depth), state)
    if latent is not None and first.shape[0] != latent:
        raise UserError(
            f"{file.path}: its latents have {first.shape[0]} numbers, and those of the synthesis network {latent}:"
            " give the two networks of one generator"
        )
    return depth


def load_mapping(file: TensorFile, latent: int | None = None) -> Mapping:
    """The mapping network of a file, in float32, frozen; parameters and errors as those of `check_mapping`."""
    depth, state = check_mapping(file, latent), _tensors(file)
    return _filled(file.path, _empty(Mapping, state["dense0.weight"].shape[0], depth), state)


def check_synthesis(file: TensorFile, resolution: int) -> SynthesisConfig:
    """Compare a file with the layout of a synthesis network, by names and shapes alone; return its sizes.

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
    _compare(file.path, what, _empty(Synthesis, config), state)
    for key, value in state.items():
        if key.endswith(BLUR) and not np.allclose(value.double().numpy(), BINOMIAL, rtol=0, atol=1e-6):
            raise UserError(f"{file.path} is not a StyleGAN {what}: {key} is another filter than [1, 2, 1]")
    return config


def load_synthesis(file: TensorFile, resolution: int) -> Synthesis:
    """The synthesis network of a file, in float32, frozen; parameters and errors as those of `check_synthesis`."""
    return _filled(file.path, _empty(Synthesis, check_synthesis(file, resolution)), _tensors(file))


def _tensors(file: TensorFile) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in file.tensors().items()}


def _other(path: Path, what: str, why: str, state: dict[str, Tensor]) -> UserError:
    hint = ""
    if any(key.startswith("blocks.") for key in state):
        hint = "; it looks like the synthesis network"
    elif "dense0.weight" in state:
        hint = "; it looks like the mapping network"
    return UserError(f"{path} is not a StyleGAN {what}: {why}{hint}: give the right file")


def _empty(kind: Callable[..., Net], *sizes: Any) -> Net:
    """A network without memory."""
    with torch.device("meta"):
        return kind(*sizes)


def _compare(path: Path, what: str, net: nn.Module, state: dict[str, Tensor]) -> None:
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


def _filled(path: Path, net: Net, state: dict[str, Tensor]) -> Net:
    """Put the tensors of a file, which were compared, into a network that has no memory yet."""
    # Copies: two tensors of a file may share their memory, and a network is folded in place.
    copied = {key: state[key].to(torch.float32, copy=True).contiguous() for key in net.state_dict()}
    if odd := [key for key, value in copied.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{path}: {odd[0]} holds numbers that are not finite: give the right file")
    net.load_state_dict(copied, assign=True)
    return net.requires_grad_(False).eval()


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{what}: {', '.join(keys[:SHOWN])}{more}"
