"""What several commands are told as in ``params.yaml``: ``--set KEY=VALUE``, methods, and downscalers."""

from __future__ import annotations

from typing import Any

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.foreign import decoding

__all__ = ["DOWNSCALER", "downscaler_of", "entry_of", "settings"]

DOWNSCALER = (
    "a method or one of Pillow's filters, an entry as in params.yaml, [NAME=]{method: ...}, or a Python function f(hr,"
    " size, *, rng) by its dotted name, such as my_package.resize"
)


def settings(texts: list[str]) -> dict[str, Any]:
    """Values by key, each read as in ``params.yaml``."""
    from ida_rd.core.readers import parse_yaml

    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write KEY=VALUE")
        with decoding(f"--set {text}: {value!r} is not a value as in params.yaml"):
            found[key] = parse_yaml(value.encode(), f"--set {text}: {value!r}")
    return found


def entry_of(text: str, option: str) -> dict[str, Any] | str:
    """A method: its name as it is, or an entry ``{method: ..., ...}``."""
    from ida_rd.core.readers import parse_yaml

    if not text.lstrip().startswith("{"):
        return text
    hint = "write {method: ..., ...}"
    found = parse_yaml(text.encode(), f"{option} {text}", hint)
    if not isinstance(found, dict) or not isinstance(found.get("method"), str):
        raise UserError(f"{option} {text}: names no method: {hint}")
    return found


def downscaler_of(text: str, option: str) -> tuple[str, dict[str, Any] | str]:
    """A downscaler, and how tables call it: one of this project's, an entry, or a function by its dotted name.

    An entry is called like its method, or by the NAME of ``NAME={method: ...}``. Whether the entry's keys are right,
    and whether the function can be imported, is asked by whoever makes a recipe of it.

    Raises
    ------
    UserError
        It is none of these, or its name is none for a table.
    """
    from ida_rd.core.methods import NAME
    from ida_rd.scoring import known_downscalers

    name, equals, entry = text.partition("=")
    named = bool(equals and entry.lstrip().startswith("{") and "{" not in name)
    if named and not NAME.fullmatch(name):
        raise UserError(f"{option} {text}: the name {name!r} must consist of a-z, 0-9, - and _")
    found = entry_of(entry if named else text, option)
    if isinstance(found, dict):
        return name if named else found["method"], found
    known = known_downscalers()
    if text in known:
        return text, text
    parts = text.split(".")
    if len(parts) > 1 and all(part.isidentifier() for part in parts):
        last = parts[-1].lower()
        given = last if last.isascii() and not last.startswith("_") else "mine"
        return given, {"method": "python", "function": text}
    raise UserError(f"{option}: none is called {text!r}; {did_you_mean(text.lower(), known)}")
