"""What a weight file says of itself, read without torch: ``plan`` asks.

A weight file is a header and numbers; only the header is looked at, and nothing in it is run.
"""

from __future__ import annotations

import io
import json
import pickletools
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import MEBIBYTE, decoding, opened

__all__ = ["Header", "read_header"]

LARGEST_HEADER = 8 * MEBIBYTE
LEGACY_PICKLES = 4  # magic, version, system, and the tensors' names, before torch 1.6


@dataclass(frozen=True)
class Header:
    """What comes before the numbers of a weight file.

    Attributes
    ----------
    names : set of str
        Of the tensors; of a ``.pth`` file, other texts in its header too.
    shapes : dict or None
        By name; None: of a ``.pth`` file, which does not say it without being interpreted.
    metadata : dict
        Texts beside the tensors of a ``.safetensors`` file.
    """

    names: set[str]
    shapes: dict[str, tuple[int, ...]] | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Header of a ``.safetensors`` or ``.pth`` file.

    Raises
    ------
    UserError
        It is not there, or no such file.
    """
    try:
        with opened(path) as file, decoding(f"{path}: not a file of tensors", "give the file of a network"):
            if path.suffix.lower() == ".safetensors":
                return _safetensors(file)
            return Header(_texts(_pickled_header(file)))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): correct the path") from None


def _safetensors(file: BinaryIO) -> Header:
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    if not 0 < size <= min(LARGEST_HEADER, length - 8):
        raise ValueError("it has no header")
    header: dict[str, Any] = json.loads(file.read(size))
    metadata = header.pop("__metadata__", None) or {}
    ends = [entry["data_offsets"][1] for entry in header.values()]
    if max(ends, default=0) != length - 8 - size:
        raise ValueError("it ends too early")
    return Header(set(header), {name: tuple(entry["shape"]) for name, entry in header.items()}, dict(metadata))


def _pickled_header(file: BinaryIO) -> io.BytesIO:
    if not zipfile.is_zipfile(file):
        file.seek(0)
        return io.BytesIO(file.read(LARGEST_HEADER))
    with zipfile.ZipFile(file) as archive:
        (found,) = [info for info in archive.infolist() if info.filename.rsplit("/", 1)[-1] == "data.pkl"]
        if found.file_size > LARGEST_HEADER:
            raise ValueError("its header is too large")
        return io.BytesIO(archive.read(found))


def _texts(header: io.BytesIO) -> set[str]:
    texts: set[str] = set()
    for _ in range(LEGACY_PICKLES):
        if not header.read(1):
            break
        header.seek(-1, io.SEEK_CUR)
        texts |= {found for _, found, _ in pickletools.genops(header) if isinstance(found, str)}
    return texts
