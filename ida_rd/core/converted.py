"""Which files this user made of which by ``ida-rd weights convert``.

The catalogue knows the hash of a file as it is published; what its tensors are converted to has another. A converted
file says itself what it was made of, but anybody can write that into any file. So whoever converts one notes it beside
their key and with a code made with that (`ida_rd.core.key`): the two hashes, one note per file. A file that was
converted by somebody else, or changed since, has no such note, and is not taken for the published one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path
from ida_rd.core.foreign import read_bytes
from ida_rd.core.key import seal, unseal, user_folder, user_key

__all__ = ["remember", "source_of"]

LARGEST = 4096


def remember(made: str, source: str) -> bool:
    """Note that the file of hash `made` was made here of that of hash `source`; whether there is a place for that."""
    place = _place(made)
    if place is None:
        return False
    content = seal(user_key(), f"converted {made}", {"source": source})
    with suppress(OSError, UserError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_path(place, follow=False) as temporary:
            temporary.write_bytes(content)
        return True
    return False


def source_of(made: str) -> str | None:
    """Hash of the file that this user made the one of hash `made` of; None if they did not."""
    place = _place(made)
    if place is None:
        return None
    try:
        content = read_bytes(place, LARGEST)
    except (OSError, UserError):
        return None
    found = unseal(user_key(), f"converted {made}", content)
    return None if found is None else str(found["source"])


def _place(made: str) -> Path | None:
    folder = user_folder()
    return None if folder is None else folder / "converted" / f"{made}.json"
