"""The networks of DiffBIR's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import TensorFile
from ida_rd.models.latent.checkpoint import state_of
from ida_rd.models.latent.networks import autoencoder_of, control_of, text_of, unet_of
from ida_rd.upscale.diffbir.layout import INSIDE, Part, Sizes, parts_of
from ida_rd.upscale.diffbir.versions import BEGIN, END, VERSIONS, Name, Role

__all__ = ["Networks", "Texts", "ids_of", "networks_of", "stage1_of"]

BUILD: dict[str, Any] = {"unet": unet_of, "control": control_of, "autoencoder": autoencoder_of, "text": text_of}


class Networks(NamedTuple):
    """What a step, and the ends of a chain, need."""

    unet: nn.Module
    control: nn.Module
    autoencoder: nn.Module


class Texts(NamedTuple):
    """The prompts, (1, T, D) each: what is wanted, and what is not."""

    prompt: Tensor
    negative: Tensor


def ids_of(words: tuple[int, ...], positions: int) -> Tensor:
    """A prompt as the text encoder takes it, (1, T)."""
    given = [BEGIN, *words[: positions - 2], END]
    return torch.tensor([given + [0] * (positions - len(given))])


def _tensors(file: TensorFile) -> dict[str, Tensor]:
    within = isinstance(file.state, dict) and "state_dict" in file.state
    found = file.tensors("state_dict" if within else None)
    whole = all(name.startswith("module.") for name in found)
    return {name.removeprefix("module.") if whole else name: value for name, value in found.items()}


def networks_of(
    read: Callable[[Role, str], TensorFile],
    device: torch.device,
    sizes: Sizes,
    version: Name,
    *,
    folder: bool = False,
) -> tuple[Networks, dict[str, Tensor], Texts]:
    """The networks of a version, tensors of that of stage 1 within its file, and its prompts.

    Parameters
    ----------
    read : callable
        The file of a role, or of a part of its folder; called once for each.
    device : torch.device
    sizes : Sizes
    version : str
    folder : bool
        Whether Stable Diffusion is a folder.

    Raises
    ------
    UserError
        A missing or unknown tensor of a network, one of another shape, or numbers that are not finite.
    """
    known, built, inside = VERSIONS[version], {}, dict[str, Tensor]()
    parts = parts_of(sizes, version, folder=folder)
    for role in known.files:
        mine = {name: part for name, part in parts.items() if part.role == role}
        tensors = dict[str, Tensor]()  # none: it is stage 1
        for within in dict.fromkeys(part.within for part in mine.values()):
            file = read(role, within)
            tensors = _tensors(file)
            for name, part in mine.items():
                if part.within == within:
                    state = _state(file.path, tensors, part, version)
                    built[name] = BUILD[name](part.config, state).to(device)
        inside |= {one.removeprefix(INSIDE): value for one, value in tensors.items() if one.startswith(INSIDE)}
    encoder = built.pop("text")
    with torch.inference_mode():
        texts = Texts(
            *(
                encoder(input_ids=ids_of(words, sizes.text.positions).to(device)).last_hidden_state
                for words in (known.prompt, known.negative)
            )
        )
    return Networks(**built), inside, texts


def _state(path: Path, tensors: dict[str, Tensor], part: Part, version: Name) -> dict[str, Tensor]:
    """A network's tensors, which are taken out of those of its file."""
    mine = [one for one in tensors if one.startswith(part.prefix)]
    given = {one.removeprefix(part.prefix): tensors.pop(one) for one in mine}
    where = f" ({part.prefix}...)" if part.prefix else ""

    def known(name: str) -> tuple[str, ...]:
        return tuple(one for one in part.names(name) if one in part.shapes)

    # Programs that write Stable Diffusion's file leave counters and buffers in it.
    names = known if part.role == "base" and version != "v1" else part.names
    return state_of(path, given, f"{part.what} of DiffBIR {version}{where}", part.shapes, names)


def stage1_of(file: TensorFile | dict[str, Tensor], device: torch.device, version: Name) -> nn.Module:
    """The network of stage 1: of its own file, or of tensors within the complete one.

    Raises
    ------
    UserError
        It is no such network.
    """
    import spandrel

    from ida_rd.core.budget import check_names, within_budget

    tensors = file if isinstance(file, dict) else _tensors(file)
    path: Path | str = "the file" if isinstance(file, dict) else file.path
    with decoding(f"{path}: its network of stage 1 cannot be loaded", "give the right file"):
        check_names(tensors)
        with within_budget(tensors):
            found = spandrel.ModelLoader(device="cpu").load_from_state_dict(tensors)
    known = VERSIONS[version].restorer
    if (found.architecture.name, found.scale) != known or (found.input_channels, found.output_channels) != (3, 3):
        raise UserError(
            f"{path}: {found.architecture.name} of scale {found.scale} is not the network of stage 1 of DiffBIR"
            f" {version}, {known[0]} of scale {known[1]}: give the right file"
        )
    # The loader leaves it in the mode of training, in which parts of it are left out at random.
    return found.model.to(device).requires_grad_(False).eval()
