"""``irn``: invertible image rescaling [1]_, a downscaler that was learned together with its own decoder.

Its LR images look like bicubic ones and hide in their faint texture what its decoder, the upscaler `irn`, makes of
them. It is scored by a blind upscaler like any other downscaler.

References
----------
.. [1] Xiao et al., "Invertible image rescaling", ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.hashes import file_hashes
from ida_rd.core.weights import MissingWeights, locate
from ida_rd.downscale.contract import Descriptor
from ida_rd.models.irn.files import Network, check_file, weight_of

if TYPE_CHECKING:
    from ida_rd.models.irn.network import IRNNet

__all__ = ["REACH", "Parameters", "describe", "downscale", "files", "packages"]

HARMLESS = ("weights", "licence")
REACH = None  # of 16 blocks of several convolutions each: more than any crop's margin
IN_MEMORY = 4  # networks: one per factor


class Parameters(Network):
    """Which network."""


def describe(parameters: Parameters) -> Descriptor:
    """Describe the network; which file it is depends on the factor, and so it is among `files`."""
    return Descriptor(licence=parameters.terms())


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The network's file, published or the user's own: its content is part of the recipe.

    Raises
    ------
    UserError
        There is no network for the factor, or the file is for another.
    """
    found = check_file(parameters, factor)
    if found is None:
        for key, path in weight_of(parameters, factor).items():
            locate(key, path, download=False)  # says where to put it
        raise MissingWeights("weights of irn are missing: give their path")
    return [found]


def packages(parameters: Parameters) -> dict[str, str]:
    """The library whose convolutions decide the last bit of a grey level."""
    return {"torch": "pip install torch"}


@lru_cache(maxsize=IN_MEMORY)
def _network(path: Path, sha256: str) -> IRNNet:
    """The network of a file, whose content must be the one that the recipe names."""
    from ida_rd.core.tensors import read_tensors
    from ida_rd.models.irn.checkpoint import load_network

    def check(digest: str) -> None:
        if digest != sha256:
            raise UserError(f"{path} changed since plan ran: run `dvc repro`")

    return load_network(read_tensors(path, check))


def downscale(
    hr: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    rng: np.random.Generator,
    files: Mapping[str, str],
    weights: str | None = None,
    path: str | None = None,
    licence: str = "",
) -> NDArray[np.uint8]:
    """Downscale (H, W, 3) to (h, w, 3), uint8: the network's first three channels, clamped and rounded to 8 bits.

    Rounded half to even, as published. `files` says what the network's file is, by its name.
    """
    import torch

    factor = hr.shape[0] // size[0]
    parameters = Parameters.model_validate({"weights": weights, "path": path, "licence": licence})
    file = _file(parameters, factor)
    net = _network(file, files.get(file.name) or file_hashes([file])[0])
    if net.config.factor != factor:
        raise UserError(f"{file} is an IRN network for factor {net.config.factor}, not {factor}")
    with torch.inference_mode():
        image = torch.from_numpy(np.ascontiguousarray(hr.transpose(2, 0, 1)))[None].float() / 255
        lr = net.encode(image)[0]
        if not bool(torch.isfinite(lr).all()):
            raise UserError(f"{file} gives an LR image that is not finite: its weights are damaged")
        levels = (lr.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels[0].numpy().transpose(1, 2, 0))


@lru_cache(maxsize=IN_MEMORY)
def _file(parameters: Parameters, factor: int) -> Path:
    return files(parameters, factor)[0]
