"""What several commands are told as in ``params.yaml``: ``--set KEY=VALUE``, and methods."""

from __future__ import annotations

from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding

__all__ = ["entry_of", "settings"]


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
