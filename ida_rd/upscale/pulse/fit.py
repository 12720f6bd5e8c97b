"""How styles are distributed before the last activation of the mapping network: a Gaussian per coordinate.

PULSE searches where ``w = leaky_relu(v * std + mean)`` with v on a sphere, since images lie where the mapping network
puts them (section 3.3 of the publication). The published ``gaussian_fit.pt`` holds `mean` and `std`; here they are
computed from the network, once for each file of one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path
from ida_rd.core.seeds import generator
from ida_rd.core.tensors import TensorFile, read_tensors
from ida_rd.core.weights import torch_cache
from ida_rd.engine.lock import making
from ida_rd.models.stylegan.network import Mapping
from ida_rd.upscale.pulse import FIT_LATENTS, FIT_SEED

__all__ = ["Fit", "compute_fit", "fit_of", "read_fit"]

SLOPE = 0.2  # of the activation that it undoes
BATCH = 10_000
VERSION = 1  # of what is kept: raise it if the numbers of `compute_fit` change


class Fit(NamedTuple):
    """Mean and standard deviation of each coordinate, (latent,)."""

    mean: Tensor
    std: Tensor

    def styles(self, v: Tensor) -> Tensor:
        """The styles of latents v, of any shape (..., latent)."""
        return F.leaky_relu(v * self.std + self.mean, SLOPE)

    def to(self, like: Tensor) -> Fit:
        """The same where, and of the type that, another tensor is."""
        return Fit(self.mean.to(like), self.std.to(like))


def read_fit(file: TensorFile, latent: int) -> Fit:
    """The fit that a file holds, as ``mean`` and ``std``, float32.

    Raises
    ------
    UserError
        It holds something else, or is of styles of another length.
    """
    state = file.tensors()
    for key in ("mean", "std"):
        if key not in state:
            raise UserError(f"{file.path}: has no tensor {key}: give a file with mean and std, or none (gaussian_fit)")
        if tuple(state[key].shape) != (latent,) or not state[key].is_floating_point():
            shape = tuple(state[key].shape)
            raise UserError(f"{file.path}: {key} is of shape {shape}, not ({latent},): give the fit of this generator")
    mean, std = (state[key].detach().float() for key in ("mean", "std"))
    if not (all(map(_finite, mean.tolist())) and all(_finite(x) and x > 0 for x in std.tolist())):
        raise UserError(f"{file.path}: mean and std are not finite numbers, std above 0: give the right file")
    return Fit(mean, std)


def _finite(number: float) -> bool:
    return abs(number) < float("inf")


@torch.no_grad()
def compute_fit(net: Mapping, latents: int = FIT_LATENTS, seed: int = FIT_SEED) -> Fit:
    """Map random latents, undo the last activation, and take mean and (unbiased) standard deviation.

    The latents are those of `generator` by batch; the sums are in float64.
    """
    total = torch.zeros(net.width, dtype=torch.float64)
    squares = torch.zeros_like(total)
    for i, start in enumerate(range(0, latents, BATCH)):
        size = (min(BATCH, latents - start), net.width)
        z = torch.from_numpy(generator("gaussian fit", seed, i).standard_normal(size, dtype="float32"))
        before = F.leaky_relu(net(z), 1 / SLOPE).double()
        total += before.sum(dim=0)
        squares += before.square().sum(dim=0)
    mean = total / latents
    variance = (squares - latents * mean.square()) / (latents - 1)
    return Fit(mean.float(), variance.clamp(min=0).sqrt().float())


def fit_of(net: Mapping, sha256: str) -> Fit:
    """The fit of a mapping network, computed if it was not kept.

    It is kept in torch's cache, where such networks lie, by the hash of the network's file: of all processes that want
    it, one computes it and the others wait. Where nothing can be written it is computed each time.

    Parameters
    ----------
    net : Mapping
    sha256 : str
        Of its file.
    """
    path = torch_cache() / f"stylegan_fit_{VERSION}_{FIT_LATENTS}_{FIT_SEED}_{sha256}.safetensors"
    with suppress(UserError):  # not there, or damaged: then it is written anew
        return read_fit(read_tensors(path), net.width)
    with making(path, "the distribution of the generator's styles"):
        with suppress(UserError):  # another process has computed it meanwhile
            return read_fit(read_tensors(path), net.width)
        fit = compute_fit(net)
        with suppress(OSError, UserError), atomic_path(path) as temporary:
            _save(fit, temporary)
        return fit


def _save(fit: Fit, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"mean": fit.mean, "std": fit.std}, path)
