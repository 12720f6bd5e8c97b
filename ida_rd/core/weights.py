"""Weight files: one catalogue, found or downloaded, verified, and loaded as plain tensors only.

A file is looked for at the path that ``params.yaml`` gives, in this repository, in torch's cache
(``TORCH_HOME``), and then downloaded into that cache. ``IDA_RD_OFFLINE=1`` forbids the download.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import tomllib
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.files import atomic_path, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MissingWeights", "Weight", "WeightFile", "catalogue", "load_tensors", "locate", "torch_cache"]

CATALOGUE = Path(__file__).with_name("weights.toml")
ROOT = Path(__file__).resolve().parent.parent.parent
CONNECT_TIMEOUT_S = 5


class MissingWeights(UserError):
    """A weight file is neither here nor to be had."""


@dataclass(frozen=True)
class Weight:
    """An entry of the catalogue; the fields are explained in ``weights.toml``."""

    id: str
    licence: str
    citation: str
    sha256: tuple[str, ...] = ()
    file: str | None = None
    url: str | None = None
    archive: str | None = None
    name: str | None = None
    size: int | None = None

    def accepts(self, digest: str) -> bool:
        return not self.sha256 or any(digest.startswith(known) for known in self.sha256)


@dataclass(frozen=True)
class WeightFile:
    """A weight file that was found and verified."""

    weight: Weight
    path: Path
    sha256: str = field(compare=False)


def catalogue() -> dict[str, Weight]:
    """All known weights by id."""
    entries = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    return {key: Weight(id=key, **entry | {"sha256": tuple(entry["sha256"])}) for key, entry in entries.items()}


def torch_cache() -> Path:
    """The folder in which torch.hub keeps checkpoints (computed without importing torch)."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def locate(weight_id: str, path: str | None = None, *, download: bool = True) -> WeightFile:
    """Find, or download, the file of a weight id, and verify it.

    Parameters
    ----------
    weight_id : str
        Id in the catalogue.
    path : str, optional
        The user's own path of it.
    download : bool
        Whether it may be downloaded.

    Raises
    ------
    MissingWeights
        Not found and not to be had: says where it was looked for and what to do.
    UserError
        A file whose hash is not the catalogue's, or an unknown id.
    """
    known = catalogue()
    if weight_id not in known:
        raise UserError(f"no weights are called {weight_id!r}; {did_you_mean(weight_id, known)}")
    weight = known[weight_id]
    if path is not None:
        given = Path(path).expanduser()
        if not given.is_file():
            raise UserError(f"{given} (weights {weight_id}): no such file; correct the path or remove the key")
        return _verified(weight, given)
    if weight.file is not None:
        shipped = ROOT / weight.file
        if not shipped.is_file():
            raise MissingWeights(f"{shipped} (weights {weight_id}) is missing: restore it with git checkout")
        return _verified(weight, shipped)
    source = weight.url or weight.archive
    assert source is not None
    downloaded = torch_cache() / source.rsplit("/", 1)[1]
    cached = torch_cache() / (weight.name or downloaded.name)
    if cached.is_file():
        return _verified(weight, cached)
    if not downloaded.is_file():
        if not download or os.environ.get("IDA_RD_OFFLINE"):
            hint = "download" if weight.url else f"put a copy there (it was part of {source}), or download"
            raise MissingWeights(f"weights {weight_id} are not at {cached}: {hint} {source} to {downloaded.parent}")
        _download(weight, source, downloaded)
    if weight.archive is not None:
        _extract(weight, downloaded, cached)
    return _verified(weight, cached)


def _extract(weight: Weight, archive: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as files:
            members = [name for name in files.namelist() if name.rsplit("/", 1)[-1] == target.name]
            if len(members) != 1:
                raise UserError(f"{archive}: holds {len(members)} files {target.name}, expected one; remove it")
            with files.open(members[0]) as source, atomic_path(target) as partial, partial.open("wb") as file:
                shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive} (weights {weight.id}) is not a whole archive ({error}): remove it") from None


def _verified(weight: Weight, path: Path) -> WeightFile:
    digest = sha256_file(path)
    if not weight.accepts(digest):
        expected = " or ".join(weight.sha256)
        raise UserError(
            f"{path} (weights {weight.id}) has sha256 {digest}, expected {expected}: a broken or different file;"
            " remove it or give the right one"
        )
    return WeightFile(weight, path, digest)


def _download(weight: Weight, source: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(source, timeout=CONNECT_TIMEOUT_S) as response, atomic_path(target) as partial:
            total = int(response.headers.get("Content-Length") or weight.size or 0) or None
            digest = hashlib.sha256()
            with (
                partial.open("wb") as file,
                tqdm(total=total, desc=f"download {weight.id}", unit="B", unit_scale=True, disable=None) as bar,
            ):
                while block := response.read(1 << 20):
                    file.write(block)
                    digest.update(block)
                    bar.update(len(block))
            if weight.archive is None and not weight.accepts(digest.hexdigest()):
                raise UserError(f"{source}: the download's sha256 {digest.hexdigest()} is not the expected one")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise MissingWeights(
            f"weights {weight.id} cannot be downloaded ({reason}): put {weight.name or source} into {target.parent}"
        ) from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Load named tensors from a ``.safetensors`` or ``.pth`` file; nothing else can be in it.

    Raises
    ------
    UserError
        The file holds something other than tensors (which is never executed), or is damaged.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{path}: not a file of plain tensors ({_first_line(error)}); it was not run") from None
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise UserError(f"{path}: not a safetensors file ({error})") from None
        raise
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: expected a dictionary of tensors")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["it is empty"])[0]
