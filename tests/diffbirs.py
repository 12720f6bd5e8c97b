"""The tiny networks that the golden values of DiffBIR were computed with."""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import zlib
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ida_rd.models.latent.checkpoint import Names, state_of
from ida_rd.models.latent.config import AutoencoderConfig, TextConfig, UNetConfig
from ida_rd.models.latent.layout import OLD, autoencoder_shapes, control_shapes, text_shapes, unet_shapes
from ida_rd.models.latent.names import autoencoder_names, text_names, unet_names
from ida_rd.models.latent.networks import autoencoder_of, control_of, text_of, unet_of

WIDTHS = (32, 64, 128, 128)
UNET = UNetConfig(4, 4, WIDTHS, (0, 1, 2), head=8, context=32)
AUTOENCODER = AutoencoderConfig(WIDTHS, 4, None)
TEXT = TextConfig(32, 128, 2, 4)
PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text": "cond_stage_model.model."}
NAMES: dict[str, Names] = {
    "unet": unet_names,
    "control": partial(unet_names, control=True),
    "vae": partial(autoencoder_names, levels=4),
}


@cache
def keys(shared: Path) -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the official files, and of the tiny ones."""
    return json.loads(gzip.decompress((shared / "golden" / "diffbir" / "keys.json.gz").read_bytes()))


def part(shared: Path, name: str, size: str = "") -> dict[str, list[int]]:
    """Keys of a part without what comes before them; `size` is empty or ``_tiny``."""
    found = keys(shared)["control" if name == "control" else "sd"] if not size else keys(shared)[f"{_file(name)}{size}"]
    prefix = PREFIXES.get(name, "")
    return {key.removeprefix(prefix): shape for key, shape in found.items() if key.startswith(prefix)}


def _file(name: str) -> str:
    return "control" if name == "control" else "sd"


def weights(keys: dict[str, list[int]], prefix: str = "") -> dict[str, Tensor]:
    """A part's tensors as the recipe of the golden values fills them, float32."""
    found = {}
    for key, shape in keys.items():
        n = np.random.RandomState(zlib.crc32(f"{prefix}{key}".encode())).standard_normal(shape)
        if len(shape) == 1:
            n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
        elif "embedding" in key:
            n = 0.1 * n
        else:
            n = n / np.sqrt(np.prod(shape[1:]))
        found[key] = torch.from_numpy(np.asarray(n, np.float32))
    return found


@cache
def _filled(shared: Path, name: str) -> dict[str, Tensor]:
    return weights(part(shared, name, "_tiny"), PREFIXES.get(name, ""))


@cache
def tiny(shared: Path, name: str) -> nn.Module:
    """A tiny network."""
    builds: dict[str, Any] = {
        "unet": (unet_of, UNET, unet_shapes),
        "control": (control_of, UNET, control_shapes),
        "vae": (autoencoder_of, AUTOENCODER, autoencoder_shapes),
        "text": (text_of, TEXT, text_shapes),
    }
    build, config, shapes = builds[name]
    state = _filled(shared, name)
    names = NAMES.get(name, partial(text_names, layers=2))
    return build(config, state_of(Path(f"{name}.pth"), state, name, shapes(config), names))


def swinir(
    *, depths: list[int] | None = None, width: int = 12, heads: int = 2, scale: int = 8, unshuffle: int = 8
) -> dict[str, Tensor]:
    """Tensors of a network of stage 1: a small one, or of another size."""
    from spandrel.architectures.SwinIR import SwinIR

    depths = depths or [2]
    torch.manual_seed(0)
    found = SwinIR(
        upscale=scale, img_size=64, window_size=8, depths=depths, embed_dim=width, num_heads=len(depths) * [heads],
        mlp_ratio=2, upsampler="nearest+conv", resi_connection="1conv", start_unshuffle=unshuffle,
    ).state_dict()  # fmt: skip
    if unshuffle == 1:
        return found
    # In files the layer comes after one that has no tensors.
    return {name.replace("conv_first.", "conv_first.1."): value for name, value in found.items()}


def bsrnet(*, blocks: int = 1, width: int = 8, grown: int = 32) -> dict[str, Tensor]:
    """Tensors of a small network of v2's stage 1."""
    shapes = {"conv_first": (width, 3)} | dict.fromkeys(("trunk_conv", "upconv1", "upconv2"), (width, width))
    shapes |= {"HRconv": (width, width), "conv_last": (3, width)}
    for block, dense, i in itertools.product(range(blocks), (1, 2, 3), (1, 2, 3, 4, 5)):
        name = f"RRDB_trunk.{block}.RDB{dense}.conv{i}"
        shapes[name] = (width if i == 5 else grown, width + (i - 1) * grown)
    return weights(
        {f"{name}.weight": [*sides, 3, 3] for name, sides in shapes.items()}
        | {f"{name}.bias": [sides[0]] for name, sides in shapes.items()}
    )


def separate(shared: Path, folder: Path, version: str) -> dict[str, str]:
    """Files of v2 or v2.1 with tiny networks, by the keys that say where they are."""
    base: dict[str, Tensor] = {"betas": torch.zeros(1000), "first_stage_model.counter": torch.zeros(1)}
    for name, prefix in PREFIXES.items():
        filled = _filled(shared, name)
        base |= {f"{prefix}{key}": value for key, value in filled.items() if not _unused(version, key)}
    control = _filled(shared, "control")
    stage1 = ("bsrnet", bsrnet()) if version == "v2" else ("swinir", swinir())
    found = {}
    for key, state in (("path", {"state_dict": base}), ("control", control), stage1):
        found[key] = str(folder / f"{key}.pth")
        torch.save(state, found[key])
    return found


def folder(shared: Path, path: Path, version: str = "v2", *, old: bool = False) -> Path:
    """The tiny Stable Diffusion as the packages save it; `old`: as they did in 2022."""
    import diffusers

    zero: dict[str, Any] = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    schedule: Any = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **(zero if version == "v2.1" else {})
    )
    schedule.save_pretrained(path / "scheduler")
    for name, part in (("unet", "unet"), ("vae", "vae"), ("text", "text_encoder")):
        net: Any = copy.deepcopy(tiny(shared, name)).to(memory_format=torch.contiguous_format)
        net.save_pretrained(path / part)
        (saved,) = (path / part).glob("*.safetensors")
        if old:
            aged = {_aged(key, name): value.half() for key, value in net.state_dict().items()}
            aged |= {"text_model.embeddings.position_ids": torch.arange(77)[None]} if name == "text" else {}
            torch.save(aged, path / part / ("pytorch_model.bin" if name == "text" else f"{saved.stem}.bin"))
            saved.unlink()
    return path


def _aged(key: str, name: str) -> str:
    """What the packages called a tensor before diffusers 0.18 and transformers 5."""
    if name == "text":
        return f"text_model.{key}"
    for before, today in OLD.items():
        if name == "vae" and "attentions" in key:
            key = key.replace(f".{today}.", f".{before}.")
    return key


def _unused(version: str, key: str) -> bool:
    """What the file of v2.1 lacks of the text encoder's."""
    return version == "v2.1" and (key in ("text_projection", "logit_scale") or "resblocks.2." in key)


def whole(shared: Path, path: Path) -> Path:
    """A file with all tiny networks, as the complete one is laid out, and with what is not used of it."""
    state = {"cond_encoder.encoder.conv_in.bias": torch.zeros(1), "betas": torch.zeros(1000)}
    for name, prefix in (PREFIXES | {"control": "control_model."}).items():
        filled = _filled(shared, name)
        state |= {f"{prefix}{key}": value for key, value in filled.items()}
    state |= {f"preprocess_model.{key}": value for key, value in swinir().items()}
    torch.save({"state_dict": state, "global_step": 3}, path)
    return path


def hollow(shared: Path, path: Path, *, without: str = "nothing") -> Path:
    """A small file with all names of the complete one, but for some, and none of its numbers."""
    found = dict(keys(shared)["sd"])
    found |= {f"control_model.{key}": shape for key, shape in keys(shared)["control"].items()}
    found |= {f"preprocess_model.{key}": shape for key, shape in keys(shared)["swinir"].items()}
    state = {key: torch.zeros(()).expand(shape) for key, shape in found.items() if not key.startswith(without)}
    torch.save({"state_dict": state}, path)
    return path
