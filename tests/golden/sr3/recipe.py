"""What the golden values of SR3 were computed with: weights by key, noise and images by seed."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from golden.pulse.recipe import image
from ida_rd.models.sr3.config import NETWORKS, SR3Config, Trained
from ida_rd.models.sr3.layout import shapes_of
from ida_rd.models.sr3.network import SR3Net
from ida_rd.upscale.diffusion.ancestral import Ancestral

HERE = Path(__file__).resolve().parent
KEYS: dict[str, dict[str, list[int]]] = json.loads((HERE / "keys.json").read_text())
META: dict[str, Any] = json.loads((HERE / "meta.json").read_text())
SCHEDULES: dict[str, Any] = json.loads((HERE / "schedules.json").read_text())
TINY = Trained(SR3Config(16, (1, 2, 4), 2, 8, (1,)), 4)
CONFIGS = {
    "tiny": TINY.config,
    "16_128": NETWORKS["ffhq_16_128"].config,
    "64_512": NETWORKS["ffhq_64_512"].config,
    "x4_64_256_same_net": NETWORKS["x4_64_256"].config,
}
TINY_BETAS = np.linspace(1e-3, 0.25, 20)


def weights(config: SR3Config) -> dict[str, Tensor]:
    """Tensors of a network by their names in a file, float32."""
    found = {}
    for name, shape in shapes_of(config).items():
        key = f"denoise_fn.{name}"
        n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        if len(shape) == 1:
            n = 1 + 0.1 * n if name.endswith(".weight") else 0.05 * n
        else:
            small = name.endswith(("block2.block.3.weight", "attn.out.weight"))
            n *= (0.5 if small else 1.0) / np.sqrt(np.prod(shape[1:]))
        found[key] = torch.from_numpy(n.astype(np.float32))
    return found


def network(config: SR3Config, dtype: torch.dtype = torch.float64) -> SR3Net:
    """A network with the golden weights."""
    with torch.device("meta"):
        net = SR3Net(config)
    net.load_state_dict(
        {key.removeprefix("denoise_fn."): value.to(dtype) for key, value in weights(config).items()}, assign=True
    )
    return net.requires_grad_(False).eval()


def digest(state: dict[str, Tensor]) -> str:
    """Hash of all tensors, sorted by name."""
    found = hashlib.sha256()
    for key in sorted(state):
        found.update(key.encode() + state[key].numpy().tobytes())
    return found.hexdigest()


def buffers(betas: NDArray[np.float64]) -> dict[str, Tensor]:
    """Buffers of a schedule as files hold them, those that are compared with the golden ones."""
    by = Ancestral.of(betas)
    known = {
        "betas": betas,
        "sqrt_alphas_cumprod": by.level,
        "sqrt_recip_alphas_cumprod": by.inverse,
        "sqrt_recipm1_alphas_cumprod": by.noise,
        "posterior_mean_coef1": by.to_image,
        "posterior_mean_coef2": by.to_state,
        "posterior_log_variance_clipped": 2 * np.log(by.spread),
    }
    return {key: torch.from_numpy(np.asarray(value, dtype=np.float32)) for key, value in known.items()}


def condition(*seeds: int, side: int = 32, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images in [-1, 1], of a side."""
    levels = torch.from_numpy(np.stack([image(side, side, seed) for seed in seeds]))
    return ((levels.float() / 255 - 0.5) / 0.5).to(dtype)


SMALL = Trained(SR3Config(8, (1, 2, 2), 1, 4), 3)  # sides of HR images are padded to multiples of 4


def saved(path: Path, trained: Trained, *, prefix: str = "", dtype: torch.dtype = torch.float32) -> Path:
    """A file as training exports it, or, with another suffix, as the public ones are: with a schedule's buffers."""
    state = {key.removeprefix("denoise_fn."): value.to(dtype) for key, value in weights(trained.config).items()}
    if path.suffix == ".safetensors":
        save_file(state, path, metadata={"config": json.dumps(trained.as_dict())})
    else:
        state = {f"{prefix}denoise_fn.{key}": value for key, value in state.items()}
        torch.save({f"{prefix}{key}": value for key, value in buffers(TINY_BETAS).items()} | state, path)
    return path


def hollow(path: Path, name: str) -> Path:
    """A small file with all names of a public network and none of its numbers."""
    torch.save({key: torch.zeros(1).expand(shape) for key, shape in KEYS[name].items()}, path)
    return path
