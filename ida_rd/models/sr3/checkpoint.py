"""Files of SR3's networks: which network one is, by its header alone, and its tensors, every one accounted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.headers import read_header
from ida_rd.models.sr3.config import NETWORKS, SR3Config, Trained
from ida_rd.models.sr3.layout import listed, plain_name, shapes_of

if TYPE_CHECKING:
    from ida_rd.core.tensors import TensorFile
    from ida_rd.models.sr3.network import SR3Net

__all__ = ["check_header", "load_network"]

PREFIXES = ("noise_level_mlp.", "downs.", "mid.", "ups.", "final_conv.")
RIGHT = "give the right file"


def check_header(path: Path, named: str | None) -> Trained:
    """What a network was trained on, and that its file has the tensors of its layout; without torch.

    Parameters
    ----------
    path : Path
    named : str or None
        One of `NETWORKS`; None: the file says itself which network it is, as those of this project's training do.

    Raises
    ------
    UserError
        It is not that network, or does not say which it is.
    """
    header = read_header(path)
    stored = _stored(path, header.metadata)
    if named is None and stored is None:
        raise UserError(f"{path} does not say which network it is: set network: {', '.join(NETWORKS)}")
    known = stored if named is None else NETWORKS[named]
    assert known is not None
    if stored is not None and stored.config != known.config:
        raise UserError(f"{path} says that it is another network than {named}: leave network out, or {RIGHT}")
    expected = shapes_of(known.config)
    names = {plain: name for name in header.names if (plain := plain_name(name)) is not None}
    if header.shapes is None:  # other texts of the header are no tensors
        names = {plain: name for plain, name in names.items() if plain.startswith(PREFIXES)}
    if not any(name.startswith(PREFIXES) for name in names):
        raise UserError(f"{path} is not a network of SR3: it has no tensor downs.0.weight: {RIGHT}")
    shapes = {plain: header.shapes[name] for plain, name in names.items()} if header.shapes is not None else expected
    _compare(path, named, expected, {name: shapes.get(name, ()) for name in names})
    return known


def _stored(path: Path, metadata: Mapping[str, str]) -> Trained | None:
    if "config" not in metadata:
        return None
    with decoding(f"{path}: its metadata are not those of a network of SR3", RIGHT):
        return Trained.from_dict(json.loads(metadata["config"]))


def load_network(file: TensorFile, config: SR3Config) -> SR3Net:
    """The network of a file, in float32, frozen.

    Parameters
    ----------
    file : TensorFile
        Buffers of a schedule in it are left out, and ``module.`` and ``denoise_fn.`` before the names.
    config : SR3Config

    Raises
    ------
    UserError
        A missing or unknown tensor, one of another shape, or numbers that are not finite.
    """
    import torch

    from ida_rd.models.sr3.network import SR3Net

    state = {plain: value for name, value in file.tensors().items() if (plain := plain_name(name)) is not None}
    _compare(file.path, None, shapes_of(config), {name: tuple(value.shape) for name, value in state.items()})
    if odd := [name for name, value in state.items() if not value.is_floating_point()]:
        raise UserError(f"{file.path} is not this network of SR3: {listed('not of floating point', odd)}: {RIGHT}")
    # Copies: two tensors of a file may share their memory.
    copied = {name: value.to(torch.float32, copy=True).contiguous() for name, value in state.items()}
    if odd := [name for name, value in copied.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{file.path}: {odd[0]} holds numbers that are not finite: {RIGHT}")
    with torch.device("meta"):
        net = SR3Net(config)
    net.load_state_dict(copied, assign=True)
    # In this order of its numbers the convolutions of a processor need no other: a tenth faster, and less memory.
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def _compare(
    path: Path, named: str | None, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    shapes = [
        f"{name} {found[name]} for {shape}" for name, shape in expected.items() if found.get(name, shape) != shape
    ]
    problems = [
        listed("is missing", [name for name in expected if name not in found]),
        listed("is unknown", sorted(found.keys() - expected)),
        listed("has another shape", shapes),
    ]
    if any(problems):
        what = f"the network {named} of SR3" if named else "this network of SR3"
        raise UserError(f"{path} is not {what}: {'; '.join(filter(None, problems))}: {RIGHT}")
