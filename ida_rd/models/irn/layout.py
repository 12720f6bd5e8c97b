"""What a checkpoint of an IRN is by the names of its tensors, read without torch: ``plan`` asks.

A weight file is a header and numbers; only the header is looked at, and nothing in it is run.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import MEBIBYTE, decoding, read_bytes

__all__ = ["HAAR", "blocks_of", "check_factor", "names_in"]

LARGEST_FILE = 1024 * MEBIBYTE
LARGEST_HEADER = 8 * MEBIBYTE
LEGACY_PICKLES = 4  # magic, version, system, and the tensors' names, before torch 1.6
OPERATION = re.compile(r"(?:module\.)?operations\.([0-9]{1,4})\.(.+)")
HAAR = "haar_weights"


def names_in(path: Path) -> set[str]:
    """Names of the tensors of a ``.safetensors`` or ``.pth`` file; of the latter, other texts in its header too.

    Raises
    ------
    UserError
        It is not there, or no such file.
    """
    try:
        content = read_bytes(path, LARGEST_FILE)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): correct the path") from None
    with decoding(f"{path}: not a file of tensors", "give the file of a network"):
        if path.suffix.lower() == ".safetensors":
            size = int.from_bytes(content[:8], "little")
            if not 0 < size <= min(LARGEST_HEADER, len(content) - 8):
                raise ValueError("it has no header")
            header = json.loads(content[8 : 8 + size])
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            if max(ends, default=0) != len(content) - 8 - size:
                raise ValueError("it ends too early")
            return set(header)
        return _texts(_pickled_header(content))


def _pickled_header(content: bytes) -> io.BytesIO:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return io.BytesIO(content[:LARGEST_HEADER])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
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


def blocks_of(names: Iterable[str]) -> tuple[int, ...]:
    """Coupling blocks after each Haar step, by the names of the tensors.

    Raises
    ------
    ValueError
        They are not those of an IRN.
    """
    found = [match for name in names if (match := OPERATION.fullmatch(name))]
    present = {int(match[1]) for match in found}
    steps = sorted(int(match[1]) for match in found if match[2] == HAAR)
    if not steps or steps[0] != 0 or present != set(range(len(present))):
        raise ValueError(
            f"it has no tensor operations.0.{HAAR}" if 0 not in steps else "some of its blocks are missing"
        )
    ends = [*steps[1:], len(present)]
    return tuple(end - start - 1 for start, end in zip(steps, ends, strict=True))


def check_factor(path: Path, factor: int) -> None:
    """Refuse a file that is not an IRN of the factor.

    Raises
    ------
    UserError
        Says what it is instead.
    """
    try:
        blocks = blocks_of(names_in(path))
    except ValueError as error:
        raise UserError(f"{path} is not an IRN network ({error}): give the file of one") from None
    if 2 ** len(blocks) != factor:
        raise UserError(f"{path} is an IRN network for factor {2 ** len(blocks)}, not {factor}: give one for {factor}")
