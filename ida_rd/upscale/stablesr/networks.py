"""The networks of StableSR's files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ida_rd.core.checkpoints import map_checkpoint
from ida_rd.core.errors import UserError
from ida_rd.core.weights import catalogue, locate, read_file
from ida_rd.models.latent.checkpoint import state_of
from ida_rd.models.latent.networks import autoencoder_of, text_of
from ida_rd.models.latent.parts import Part, taken
from ida_rd.models.stablesr.fusion import FusedAutoencoder, fused_of
from ida_rd.models.stablesr.modulation import ModulatedUNet, modulated_of
from ida_rd.models.stablesr.structure import StructureEncoder, structure_of
from ida_rd.upscale.stablesr import Parameters, own, published
from ida_rd.upscale.stablesr.layout import CFW, Sizes, parts_of

__all__ = ["Networks", "Tensors", "networks_of", "read", "words_of"]

BEGIN, END = 49406, 49407
Tensors = tuple[Any, dict[str, Tensor]]  # the file's path, and what is in it


class Networks(NamedTuple):
    """What a step, and the ends of a chain, need."""

    unet: ModulatedUNet
    structure: StructureEncoder
    autoencoder: nn.Module  # of which the encoder alone is there
    fused: FusedAutoencoder


def _of_state(path: Any, state: Any) -> dict[str, Tensor]:
    found = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a dictionary of tensors: give the right file")
    return {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}


def read(parameters: Parameters) -> dict[str, Tensors]:
    """The tensors of the files, by id: those that are published stay in their files until they are used."""
    found: dict[str, Tensors] = {}
    for key, given in published(parameters).items():
        path = locate(key, given, download=False).path
        found[key] = path, _of_state(path, map_checkpoint(path))
    for key, path in own(parameters).items():
        found[key] = path, _of_state(path, read_file(path).state)
    return found


def words_of(words: Sequence[int], positions: int) -> Tensor:
    """A prompt between its ends, (1, positions): zeros follow, where other programs repeat the end."""
    ids = torch.zeros(1, positions, dtype=torch.long)
    ids[0, : len(words) + 2] = torch.tensor([BEGIN, *words, END])
    return ids


def _built(part: Part, name: str, path: Any, tensors: dict[str, Tensor]) -> nn.Module:
    """A network, of tensors that are taken out of those of a file."""
    where = f" ({part.prefixes[0]}...)" if len(part.prefixes) == 1 else ""
    state = state_of(path, taken(part, tensors), f"{part.what} of StableSR{where}", part.shapes, part.names)
    if name == "unet":
        maps = next(shape[1] for key, shape in part.shapes.items() if key.endswith(".mlp_shared.0.weight"))
        return modulated_of(part.config, maps, state)
    builds: dict[str, Any] = {
        "structure": structure_of, "autoencoder": autoencoder_of, "text": text_of, "fused": fused_of,
    }  # fmt: skip
    return builds[name](part.config, state)


def networks_of(
    files: dict[str, Tensors], sizes: Sizes, prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Networks, list[Tensor]]:
    """The networks of two files, and prompts as the text encoder, which is not kept, gives them: (1, T, D) each.

    The files' tensors are taken out of their dictionaries.

    Raises
    ------
    UserError
        A missing or unknown tensor of a network, one of another shape, or numbers that are not finite.
    """
    assert CFW in files
    assert files.keys() <= catalogue().keys()
    built: dict[str, Any] = {}
    for key, (path, tensors) in files.items():
        for name, part in parts_of(sizes, key).items():
            built[name] = _built(part, name, path, tensors).to(device)
    text = built.pop("text")
    with torch.inference_mode():
        found = [
            text(input_ids=words_of(words, sizes.text.positions).to(device)).last_hidden_state for words in prompts
        ]
    # That of the other file decodes.
    built["autoencoder"].decoder = built["autoencoder"].post_quant_conv = None
    return Networks(**built), found
