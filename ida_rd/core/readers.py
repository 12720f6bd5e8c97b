"""JSON and YAML from elsewhere: within a budget that is checked before memory is spent, and decoded under one guard.

Nothing is taken that could be read in two ways, or that fails later: no key twice, no number that is not finite, no
text that cannot be encoded.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import MEBIBYTE, decoding, read_bytes

if TYPE_CHECKING:
    from yaml.nodes import Node

__all__ = ["YAML_LIMIT", "parse_json", "parse_yaml", "read_content", "read_json", "read_yaml"]

JSON_LIMIT = 32 * MEBIBYTE
JSON_VALUES = 2_000_000  # an empty list takes 20 times as much memory as its text
YAML_LIMIT = MEBIBYTE // 4
YAML_VALUES = 30_000
YAML_EXPANDED = 100_000  # with every alias replaced by what it stands for
LONG_TEXT = 64  # characters that count as one more value
DEPTH = 64  # recipes and bundles have fewer than ten levels
DIGITS = 40  # of a number in YAML
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_content(path: Path | str, *, hint: str, limit: int) -> bytes:
    """Content of an ordinary file of at most `limit` bytes; `hint` says what to do if it cannot be read.

    Raises
    ------
    UserError
        It is missing, cannot be read, is no ordinary file, or is larger.
    """
    try:
        return read_bytes(path, limit)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {hint}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, expected a file: {hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        what = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({what}): {hint}") from None


def read_json(path: Path | str, *, hint: str, limit: int = JSON_LIMIT) -> Any:
    """Read a JSON file of at most `limit` bytes; `hint` says what to do if it is missing or broken."""
    return parse_json(read_content(path, hint=hint, limit=limit), str(path), hint)


def parse_json(data: bytes, what: str, hint: str = "") -> Any:
    """Decode JSON, UTF-8.

    Parameters
    ----------
    data : bytes
    what : str
        What it is, for messages: the path.
    hint : str
        What to do.

    Raises
    ------
    UserError
        It is not JSON, has a key twice, a number that is not finite, text that cannot be encoded, more than
        `JSON_VALUES` values or more than `DEPTH` levels.
    """
    with decoding(f"{what} is not valid JSON", hint):
        if sum(data.count(c) for c in (b",", b"[", b"{")) > JSON_VALUES:
            raise ValueError(f"it has more than {JSON_VALUES:,} values")
        value = json.loads(
            data.decode(), object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_refuse
        )
        if data.count(b"[") + data.count(b"{") > DEPTH:
            _check_depth(value)
        if SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
        return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20:  # more than 64 bits: no float, no array and no seed takes it
        raise ValueError(f"the number {text[:20]}... is too large")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that JSON knows")


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH):
        inner = (part for one in level for part in (one.values() if isinstance(one, dict) else one))
        level = [part for part in inner if isinstance(part, dict | list)]
        if not level:
            return
    raise RecursionError


def read_yaml(path: Path | str, *, hint: str) -> Any:
    """Read a YAML file; `hint` says what to do if it is missing or broken."""
    return parse_yaml(read_content(path, hint=hint, limit=YAML_LIMIT), str(path), hint)


def parse_yaml(data: bytes, what: str, hint: str = "") -> Any:
    """Decode a YAML document, UTF-8: plain values only.

    Parameters
    ----------
    data : bytes
    what : str
        What it is, for messages: the path.
    hint : str
        What to do.

    Raises
    ------
    UserError
        It is not YAML, has a key twice, a value that contains itself, more than `YAML_VALUES` values, more than
        `YAML_EXPANDED` where an alias counts as all that it stands for, or more than `DEPTH` levels.
    """
    with decoding(f"{what} is not valid YAML", hint):
        if len(data) > YAML_LIMIT:
            raise ValueError(f"it has more than {YAML_LIMIT:,} bytes")
        loader = _loader()(data.decode())
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _Size(loader).of(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()


def _loader() -> type[Any]:
    """PyYAML's safe loader, with budgets: the one in Python, since that in C has a stack that can overflow."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = count = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth, self.count = self.depth + 1, self.count + 1
            if self.depth > DEPTH:
                raise RecursionError
            if self.count > YAML_VALUES:
                raise ValueError(f"it has more than {YAML_VALUES:,} values")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def number(self, node: Any) -> Any:
            if len(node.value) > DIGITS:
                raise ValueError(f"the number {node.value[:DIGITS]}... is too long")
            whole = node.tag.endswith(":int")
            return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)

    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.number)
    return Loader


class _Size:
    """Values and levels of a document with every alias replaced; refuses one that has no end, or a key twice."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.known: dict[int, tuple[int, int]] = {}
        self.open: set[int] = set()

    def of(self, node: Node) -> tuple[int, int]:
        """Return how many values a node has, itself included, and how many levels."""
        from yaml.nodes import MappingNode, ScalarNode

        if id(node) in self.known:
            return self.known[id(node)]
        if id(node) in self.open:
            raise ValueError("a value contains itself")
        self.open.add(id(node))
        if isinstance(node, ScalarNode):
            node.value.encode()
            inner = []
        elif isinstance(node, MappingNode):
            self._check_keys(node)
            inner = [self.of(part) for pair in node.value for part in pair]
        else:
            inner = [self.of(part) for part in node.value]
        # A long text that many aliases stand for is small in memory, and large wherever it is written.
        size = 1 + (len(node.value) // LONG_TEXT if isinstance(node, ScalarNode) else 0)
        size += sum(values for values, _ in inner)
        levels = 1 + max((levels for _, levels in inner), default=0)
        if size > YAML_EXPANDED:
            raise ValueError(f"it stands for more than {YAML_EXPANDED:,} values")
        if levels > DEPTH:
            raise RecursionError
        self.open.remove(id(node))
        self.known[id(node)] = size, levels
        return size, levels

    def _check_keys(self, node: Any) -> None:
        from yaml.nodes import ScalarNode

        seen = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            value = self.loader.construct_object(key)
            if value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {value!r} is there twice; keep one")
            seen.add(value)
