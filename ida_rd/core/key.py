"""What this user wrote, and nobody changed: a secret key, and JSON that carries a code made with it (HMAC-SHA256).

Finished units and remembered hashes lie in the folder of a run, which people send to each other. Without the code, one
that was written by somebody else would be taken for what this user has computed.

The key is 32 random bytes in ``$XDG_STATE_HOME/ida-rd/key`` (``~/.local/state/ida-rd/key``), readable by its owner
alone and made on first use; hosts with a common home have a common key. ``IDA_RD_KEY_FILE`` names another file, by its
absolute path: a group whose members trust each other's units can share one. Where none can be kept, one for this
process alone is used: its units count as absent in the next. Two users with keys of their own do not trust each
other's units.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError, printable
from ida_rd.core.temporary import temporary_file

__all__ = ["private_name", "seal", "unseal", "user_folder", "user_key"]

BYTES = 32
VARIABLE = "IDA_RD_KEY_FILE"
HEAD, TAIL = b'{"mac": "', b'", '


def seal(key: bytes, what: str, value: dict[str, Any]) -> bytes:
    """JSON of `value`, which is not empty, with a code that only who has the key can make.

    `what` says what it is, so that nothing can stand for anything else.
    """
    body = json.dumps(value, allow_nan=False).encode()[1:]
    return HEAD + _code(key, what, body) + TAIL + body


def unseal(key: bytes, what: str, data: bytes) -> dict[str, Any] | None:
    """What `seal` was given, without the code; None if its code is not right. Only then the JSON is decoded."""
    start = len(HEAD) + 2 * BYTES
    body = data[start + len(TAIL) :]
    if not data.startswith(HEAD) or data[start : start + len(TAIL)] != TAIL:
        return None
    if not hmac.compare_digest(data[len(HEAD) : start], _code(key, what, body)):
        return None
    return json.loads(b"{" + body)


def _code(key: bytes, what: str, body: bytes) -> bytes:
    return hmac.digest(key, what.encode() + b"\0" + body, "sha256").hex().encode()


def private_name(key: bytes, what: str) -> str:
    """A name for `what` that nobody else can know: what lies under it was put there by who has the key."""
    return hmac.digest(key, b"name\0" + what.encode(), "sha256").hex()[:40]


def user_key() -> bytes:
    """Return the key; see the module."""
    return _key(_place())


def user_folder() -> Path | None:
    """The folder of the key, for what is to be trusted as it is; None for a user who has none."""
    place = _place()
    return None if place is None else place.parent


def _place() -> Path | None:
    if given := os.environ.get(VARIABLE, ""):
        if not os.path.isabs(given):
            raise UserError(f"{VARIABLE} is {given!r}: give an absolute path")
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME", "")
    with suppress(RuntimeError):  # a user without a home
        return (Path(state) if os.path.isabs(state) else Path.home() / ".local/state") / "ida-rd" / "key"
    return None


@cache
def _key(path: Path | None) -> bytes:
    problem = "this user has no home"
    if path is not None:
        try:
            return _read(path) or _make(path)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
    print(
        f"warning: no key for finished units in {printable(path or '~')} ({problem}): what is computed now will not be"
        f" found by the next run. Name another file by {VARIABLE}",
        file=sys.stderr,
        flush=True,
    )
    return secrets.token_bytes(BYTES)


def _read(path: Path) -> bytes | None:
    """The key; None if there is none. One that another process is writing is waited for."""
    for _ in range(50):
        try:
            with path.open("rb") as file:
                found = file.read(BYTES + 1)
        except FileNotFoundError:
            return None
        if len(found) == BYTES:
            return found
        if len(found) > BYTES:
            break
        time.sleep(0.02)
    raise ValueError(f"it does not hold {BYTES} bytes")


def _make(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = secrets.token_bytes(BYTES)
    with temporary_file(path.parent) as temporary:
        temporary.write_bytes(made)
        try:
            os.link(temporary, path)  # of several processes, the first one's: it is never replaced
        except FileExistsError:
            return _read(path) or made
        except OSError:  # a file system without links
            with (
                suppress(FileExistsError),
                os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file,
            ):
                file.write(made)
            return _read(path) or made
    return made
