"""Files of ResShift's networks: which network one is, by its header alone, and its tensors, every one accounted for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.headers import read_header
from ida_rd.models.resshift import layout
from ida_rd.models.resshift.config import AutoencoderConfig, UNetConfig

if TYPE_CHECKING:
    from torch import nn

    from ida_rd.core.tensors import TensorFile
    from ida_rd.models.resshift.autoencoder import Autoencoder
    from ida_rd.models.resshift.network import UNet

__all__ = ["check_autoencoder", "check_unet", "load_autoencoder", "load_unet"]

Role = Literal["unet", "autoencoder"]
INSIDE = "state_dict"  # where a checkpoint of training keeps its tensors
RIGHT = "give the right file"
SHOWN = 4


@dataclass(frozen=True)
class _Network:
    """One of the two: what it is called, how names of its tensors begin, one of them, its shape and its layout."""

    label: str
    prefixes: tuple[str, ...]
    first: str
    config: Any
    shapes: Any


NETWORKS: dict[Role, _Network] = {
    "unet": _Network("the U-Net", layout.UNET, "time_embed.0.weight", UNetConfig, layout.unet_shapes),
    "autoencoder": _Network(
        "the autoencoder", layout.AUTOENCODER, "encoder.conv_in.weight", AutoencoderConfig, layout.autoencoder_shapes
    ),
}


def check_unet(path: Path) -> UNetConfig:
    """The shape of a U-Net, and that its file has the tensors of its layout; without torch.

    It is that of the published ones, unless a ``.safetensors`` file says another in its metadata, as ``config``.

    Raises
    ------
    UserError
        It is no such network.
    """
    return _checked(path, "unet")


def check_autoencoder(path: Path) -> AutoencoderConfig:
    """As `check_unet`, for the autoencoder."""
    return _checked(path, "autoencoder")


def _checked(path: Path, role: Role) -> Any:
    header = read_header(path)
    config = _stored(path, header.metadata, role)
    expected = NETWORKS[role].shapes(config)
    names = {plain: name for name in header.names if (plain := layout.plain_name(name)) is not None}
    # The header of a .pth file says no shapes.
    shapes = {plain: header.shapes[name] for plain, name in names.items()} if header.shapes is not None else expected
    _compare(path, role, expected, {name: shapes.get(name, ()) for name in names})
    return config


def _stored(path: Path, metadata: Mapping[str, str], role: Role) -> Any:
    if "config" not in metadata:
        return NETWORKS[role].config()
    with decoding(f"{path}: its metadata are not those of {NETWORKS[role].label} of ResShift", RIGHT):
        return NETWORKS[role].config.from_dict(json.loads(metadata["config"]))


def load_unet(file: TensorFile) -> UNet:
    """The U-Net of a file, in float32, frozen.

    Parameters
    ----------
    file : TensorFile
        Its tensors, or those below ``state_dict``. Buffers are left out, as is what other names begin with.

    Raises
    ------
    UserError
        A missing or unknown tensor, one of another shape, or numbers that are not finite.
    """
    from ida_rd.models.resshift.network import UNet

    return _loaded(file, "unet", UNet)


def load_autoencoder(file: TensorFile) -> Autoencoder:
    """As `load_unet`, for the autoencoder."""
    from ida_rd.models.resshift.autoencoder import Autoencoder

    return _loaded(file, "autoencoder", Autoencoder)


def _loaded(file: TensorFile, role: Role, made: type[nn.Module]) -> Any:
    import torch

    config = _stored(file.path, file.metadata, role)
    expected = NETWORKS[role].shapes(config)
    inside = INSIDE if isinstance(file.state, dict) and INSIDE in file.state else None
    state = {plain: value for name, value in file.tensors(inside).items() if (plain := layout.plain_name(name))}
    _compare(file.path, role, expected, {name: tuple(value.shape) for name, value in state.items()})
    # Copies: two tensors of a file may share their memory.
    copied = {name: state[name].to(torch.float32, copy=True).contiguous() for name in expected}
    if odd := [name for name in expected if not state[name].is_floating_point()]:
        raise UserError(
            f"{file.path} is not {NETWORKS[role].label} of ResShift: {_listed('not of floats', odd)}: {RIGHT}"
        )
    if odd := [name for name, value in copied.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{file.path}: {odd[0]} holds numbers that are not finite: {RIGHT}")
    with torch.device("meta"):
        net = made(config)
    net.load_state_dict(copied, assign=True)
    return net.requires_grad_(False).eval()


def _compare(
    path: Path, role: Role, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Compare names and shapes. What is called otherwise is passed over, as by the published program."""
    network = NETWORKS[role]
    mine = {name for name in found if name.startswith(network.prefixes)}
    if network.first not in mine:
        others = [one.label for one in NETWORKS.values() if one.first in found]
        what = f"it is {others[0]}" if others else f"it has no tensor {network.first}"
        raise UserError(f"{path} is not {network.label} of ResShift: {what}: {RIGHT}")
    shapes = [
        f"{name} {found[name]} for {shape}" for name, shape in expected.items() if found.get(name, shape) != shape
    ]
    problems = [
        _listed("is missing", [name for name in expected if name not in found]),
        _listed("is unknown", sorted(mine - expected.keys())),
        _listed("has another shape", shapes),
    ]
    if any(problems):
        raise UserError(f"{path} is not {network.label} of ResShift: {'; '.join(filter(None, problems))}: {RIGHT}")


def _listed(what: str, names: Collection[str]) -> str:
    """The first of some names, for an error; empty if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(list(names)[:SHOWN])}{more}"
