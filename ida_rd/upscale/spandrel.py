"""``spandrel``: any checkpoint that the spandrel library recognises (ESRGAN, Real-ESRGAN, BSRGAN, SwinIR, HAT, ...).

    {method: spandrel, path: realesr-animevideov3.pth}

These networks are deterministic: they give one reconstruction, K = 1, and are here for comparison.
IDA-RD asks for a stochastic upscaler; `experiments/unsuitable-upscalers` shows why.

The file is read as plain tensors, by the project's own reader: spandrel's takes TorchScript too, which runs code while
it is loaded. spandrel is given the tensors alone, to recognise and build the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_file
from ida_rd.upscale.contract import Descriptor, Problem, Samples

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Parameters", "SpandrelUpscaler", "describe", "files", "load", "packages"]

HARMLESS = ("blind", "licence")


class Parameters(Base):
    """The checkpoint, and what it is."""

    path: str = Field(description="file of the checkpoint")
    blind: bool = Field(default=True, description="whether it is unaware of how the LR image was made")
    licence: str = Field(default="the checkpoint's", description="its terms, as the results will state them")


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them."""
    return {"spandrel": "pip install 'ida-rd[spandrel]'"}


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The checkpoint: its content is part of the recipe."""
    path = Path(parameters.path).expanduser()
    if not path.is_file():
        raise UserError(f"path: {path} does not exist: give the file of a checkpoint")
    return [path]


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the checkpoint, which is not opened: `load` refuses one of another factor."""
    return Descriptor(
        factor=factor,
        stochastic=False,
        blind=parameters.blind,
        licence=parameters.licence,
        weights={},
        kind="regression",
    )


def load(parameters: Parameters, problem: Problem, device: str) -> SpandrelUpscaler:
    """Load the network onto a torch device."""
    return SpandrelUpscaler(parameters, problem.factor, device)


def _network(path: Path) -> Any:
    """The network that the tensors of a file are, as spandrel recognises it."""
    import spandrel

    from ida_rd.core.budget import check_names, within_budget

    state = read_file(path).state
    with decoding(f"{path}: cannot be loaded", "give a file of a network's tensors"):
        # The tensors may lie deeper, under one of several names that the library knows.
        tensors = spandrel.canonicalize_state_dict(state)
        if not tensors or not all(type(k) is str and type(v).__name__ == "Tensor" for k, v in tensors.items()):
            raise ValueError("it holds something else than named tensors")
        check_names(tensors)
        try:
            with within_budget(tensors):
                return spandrel.ModelLoader(device="cpu").load_from_state_dict(tensors)
        except spandrel.UnsupportedModelError:
            raise UserError(f"{path}: spandrel recognises no architecture in it") from None


class SpandrelUpscaler:
    """A network on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, factor: int, device: str) -> None:
        import spandrel
        import torch

        torch.backends.cudnn.allow_tf32 = False  # results must not depend on the device's shortcuts
        path = files(parameters, factor)[0]
        network = _network(path)
        if not isinstance(network, spandrel.ImageModelDescriptor) or network.purpose not in ("SR", "FaceSR"):
            raise UserError(f"{path}: {network.architecture.name} is not a super-resolution network")
        if network.scale != factor:
            raise UserError(f"{path}: {network.architecture.name} is for factor {network.scale}, not {factor}")
        if network.input_channels != 3 or network.output_channels != 3:
            raise UserError(f"{path}: {network.architecture.name} does not take and give three channels")
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()

    def _reconstruct(self, lr: NDArray[np.uint8]) -> Tensor:
        import torch

        image = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)[None].float() / 255
        with torch.inference_mode():
            return self.network(image)

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8; every draw gives the same.

        spandrel clips to [0, 1], so the share of clipped sub-pixels is not known, and given as 0.
        """
        from ida_rd.upscale.eight_bit import to_samples

        one, count = to_samples(self._reconstruct(lr)), len(draws)
        return Samples(one.sr.repeat(count, axis=0), one.finite.repeat(count), one.clipped.repeat(count))
