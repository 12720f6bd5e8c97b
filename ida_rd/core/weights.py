"""Weight files: found or downloaded, verified, and loaded as plain tensors only.

Each method lists the weights that it can ask for in a ``.toml`` file beside it (``distort/lpips.toml``,
``upscale/flow/weights.toml``); `catalogue` collects them. A file is looked for at the path that ``params.yaml``
gives, in the package, in torch's cache (``TORCH_HOME``), and then downloaded into that cache. ``IDA_RD_OFFLINE=1``
forbids the download.
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
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.files import atomic_path
from ida_rd.core.hashes import file_hashes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MissingWeights", "Weight", "WeightFile", "catalogue", "load_tensors", "locate", "torch_cache"]

PACKAGE = Path(__file__).resolve().parent.parent
CONNECT_TIMEOUT_S = 5


class MissingWeights(UserError):
    """A weight file is neither here nor available for download."""


@dataclass(frozen=True)
class Weight:
    """An entry of the catalogue: ``["id"]`` and these keys in a ``.toml`` file beside the method.

    Attributes
    ----------
    id : str
    licence : str
        Terms of the file, and what it was trained on.
    citation : str
    sha256 : tuple of str
        Accepted hashes of the whole file. Upstream publishes the first 8 hex digits of some (in the file's name);
        such a prefix is accepted, as torch.hub does. Empty: none could be recorded yet; the file is taken as it is, and
        its hash is written into recipe and result.
    file : Path, optional
        For weights that ship with the package; in the ``.toml``, relative to its own folder.
    url : str, optional
        Where the file is downloaded from otherwise; its last part is its name in the torch cache.
    archive, name : str, optional
        Where an archive that holds the file is downloaded from, and the file's name in it and in the torch cache.
    size : int, optional
        Bytes.
    """

    id: str
    licence: str
    citation: str
    sha256: tuple[str, ...] = ()
    file: Path | None = None
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
    """All known weights by id: what the ``.toml`` files beside the methods list.

    Raises
    ------
    UserError
        A file that cannot be read, an unknown key, or an id that two files have.
    """
    return dict(_collect(PACKAGE))


@cache
def _collect(package: Path) -> dict[str, Weight]:
    found: dict[str, Weight] = {}
    origin: dict[str, Path] = {}
    for path in sorted(package.rglob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: not valid TOML: {error}") from None
        for key, entry in entries.items():
            if key in found:
                raise UserError(f"{path}: the weights {key} are also in {origin[key]}: give one of them another id")
            try:
                weight = Weight(id=key, **entry | {"sha256": tuple(entry["sha256"])})
            except (TypeError, KeyError) as error:
                reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).partition("() ")[2]
                raise UserError(f"{path}: weights {key}: {reason}") from None
            found[key] = weight if weight.file is None else replace(weight, file=path.parent / weight.file)
            origin[key] = path
    return found


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
        Neither found nor available: says where it was looked for and what to do.
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
        if not weight.file.is_file():
            raise MissingWeights(f"{weight.file} (weights {weight_id}) is missing: restore it with git checkout")
        return _verified(weight, weight.file)
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
                raise UserError(f"{archive}: holds {len(members)} files called {target.name}, expected one; remove it")
            with files.open(members[0]) as source, atomic_path(target) as partial, partial.open("wb") as file:
                shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive} (weights {weight.id}) is not a complete archive ({error}): remove it") from None


def _verified(weight: Weight, path: Path) -> WeightFile:
    digest = file_hashes([path])[0]
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


def load_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Load named tensors from a ``.safetensors`` or ``.pth`` file.

    Parameters
    ----------
    path : Path
    key : str, optional
        For a checkpoint that holds more (several networks, the state of an optimiser): the dictionary of tensors to
        take, such as ``params_ema``.

    Raises
    ------
    UserError
        The file is damaged, or what is asked of it is not a dictionary of tensors. Nothing but tensors and plain
        values is read from it, and nothing in it is ever executed.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{path}: not a file of plain tensors ({_first_line(error)}); it was not run") from None
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise UserError(f"{path}: not a safetensors file ({error})") from None
        raise

    def named(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(tensor, torch.Tensor) for tensor in value.values())

    inside = [str(name) for name, value in state.items() if named(value) and value] if isinstance(state, dict) else []
    if key is not None:
        if key in inside:
            return state[key]
        raise UserError(f"{path}: holds no dictionary of tensors called {key!r}; {did_you_mean(key, inside)}")
    if named(state):
        return state
    if inside:
        raise UserError(f"{path}: its tensors are in {', '.join(inside)}: choose one of these by its key")
    raise UserError(f"{path}: expected a dictionary of tensors")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["it is empty"])[0]
