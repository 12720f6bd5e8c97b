"""The networks of DiffBIR's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import TensorFile
from ida_rd.models.latent.checkpoint import state_of
from ida_rd.models.latent.networks import autoencoder_of, control_of, text_of, unet_of
from ida_rd.upscale.diffbir.layout import SWINIR, Sizes, parts_of

__all__ = ["EMPTY", "Networks", "complete", "stage1_of"]

BUILD: dict[str, Any] = {"unet": unet_of, "control": control_of, "autoencoder": autoencoder_of, "text": text_of}
BEGIN, END = 49406, 49407
EMPTY = [BEGIN, END]  # the empty prompt, which zeros follow: other programs repeat the end


class Networks(NamedTuple):
    """What a step, and the ends of a chain, need."""

    unet: nn.Module
    control: nn.Module
    autoencoder: nn.Module


def _tensors(file: TensorFile) -> dict[str, Tensor]:
    within = isinstance(file.state, dict) and "state_dict" in file.state
    found = file.tensors("state_dict" if within else None)
    whole = all(name.startswith("module.") for name in found)
    return {name.removeprefix("module.") if whole else name: value for name, value in found.items()}


def complete(file: TensorFile, device: torch.device, sizes: Sizes) -> tuple[Networks, dict[str, Tensor], Tensor]:
    """The networks of a file with all of them, tensors of that of stage 1, and the empty prompt (1, T, D).

    Raises
    ------
    UserError
        A missing or unknown tensor of a network, one of another shape, or numbers that are not finite.
    """
    tensors, built = _tensors(file), {}
    for name, part in parts_of(sizes).items():
        names = [one for one in tensors if one.startswith(part.prefix)]
        given = {one.removeprefix(part.prefix): tensors.pop(one) for one in names}
        state = state_of(file.path, given, f"{part.what} of DiffBIR v1 ({part.prefix}...)", part.shapes, part.names)
        built[name] = BUILD[name](part.config, state).to(device)
    ids = torch.zeros(1, sizes.text.positions, dtype=torch.long, device=device)
    ids[0, : len(EMPTY)] = torch.tensor(EMPTY)
    with torch.inference_mode():
        text = built.pop("text")(input_ids=ids).last_hidden_state
    inside = {one.removeprefix(SWINIR): value for one, value in tensors.items() if one.startswith(SWINIR)}
    return Networks(**built), inside, text


def stage1_of(file: TensorFile | None, inside: dict[str, Tensor], device: torch.device) -> nn.Module:
    """The network of stage 1: of its own file, or of the complete one's tensors where there is none.

    Raises
    ------
    UserError
        It is no such network.
    """
    import spandrel

    from ida_rd.core.budget import check_names, within_budget

    tensors = inside if file is None else _tensors(file)
    path: Path | str = "the file" if file is None else file.path
    with decoding(f"{path}: its network of stage 1 cannot be loaded", "give the right file"):
        check_names(tensors)
        with within_budget(tensors):
            found = spandrel.ModelLoader(device="cpu").load_from_state_dict(tensors)
    if (
        found.architecture.name != "SwinIR"
        or found.scale != 1
        or (found.input_channels, found.output_channels) != (3, 3)
    ):
        raise UserError(f"{path}: {found.architecture.name} of scale {found.scale} is not the network of stage 1")
    # The loader leaves it in the mode of training, in which parts of it are left out at random.
    return found.model.to(device).requires_grad_(False).eval()
