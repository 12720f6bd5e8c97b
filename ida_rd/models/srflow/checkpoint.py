"""Official checkpoints into networks: every key is accounted for."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import TensorFile, read_tensors
from ida_rd.models.srflow.network import SRFlowNet

__all__ = ["load_encoder", "load_network"]

UNUSED = "flowUpsamplerNet.f.0."  # in the official files, and in no computation
SHOWN = 4


def load_network(file: Path | TensorFile, net: SRFlowNet) -> None:
    """Load an SRFlow checkpoint into `net`.

    Parameters
    ----------
    file : Path or TensorFile
        A ``.pth`` (plain tensors only) or ``.safetensors`` file. A leading ``module.`` is stripped
        from its keys, and the unused ``flowUpsamplerNet.f.0.*`` left out.

    Raises
    ------
    UserError
        A missing or unknown key, or one of another shape; the error names them.
    """
    found = _read(file)
    state = {key: value for key, value in _tensors(found).items() if not key.startswith(UNUSED)}
    _load(found.path, net, state, "SRFlow")


def load_encoder(file: Path | TensorFile, net: SRFlowNet) -> None:
    """Load an encoder-only checkpoint (``RRDB_*.pth``) into the encoder of `net`."""
    found = _read(file)
    _load(found.path, net.RRDB, {key.removeprefix("RRDB."): value for key, value in _tensors(found).items()}, "RRDB")


def _read(file: Path | TensorFile) -> TensorFile:
    return read_tensors(file) if isinstance(file, Path) else file


def _tensors(file: TensorFile) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in file.tensors().items()}


def _load(path: Path, module: nn.Module, state: dict[str, Tensor], kind: str) -> None:
    expected = module.state_dict()
    problems = [
        _listed("is missing", [key for key in expected if key not in state]),
        _listed("is unknown", [key for key in state if key not in expected]),
        _listed(
            "has another shape",
            [
                f"{key} {tuple(state[key].shape)} for {tuple(value.shape)}"
                for key, value in expected.items()
                if key in state and state[key].shape != value.shape
            ],
        ),
    ]
    if any(problems):
        raise UserError(f"{path} is not this {kind} network: {'; '.join(filter(None, problems))}")
    with decoding(f"{path} is not this {kind} network"):
        module.load_state_dict(state)


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{what}: {', '.join(keys[:SHOWN])}{more}"
