"""``--set KEY=VALUE`` of several commands."""

from __future__ import annotations

from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding

__all__ = ["settings"]


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
