"""Types of the values in ``params.yaml``: what is allowed in each, with bounds."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ida_rd.core.methods import NAME
from ida_rd.core.names import label_problem

__all__ = [
    "LONGEST_NAME",
    "MOST_BRANCHES",
    "MOST_METHODS",
    "ONCE",
    "WHOLE",
    "Attribute",
    "Before",
    "Edge",
    "Factors",
    "Label",
    "Member",
    "MethodEntry",
    "Name",
    "Named",
    "Pattern",
    "Text",
]

# Upper bounds are far above what anyone wants: a file of others, or a slip of the keyboard, must not cost a day or all
# memory before it is refused.
LONGEST_NAME = 100
LONGEST_TEXT = 4096
MOST_METHODS = 1000
MOST_BRANCHES = 20_000
PATTERN_PARTS = 16
LARGEST_EDGE = 1e12
# Columns of the tables that attributes become columns of.
RESERVED = {"image_id", "photograph", "file", "x", "y", "width", "height", "sha256", "group", "order", "pool",
            "chosen", "short", "pixels_sha256"}  # fmt: skip


def _name(name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"the name {str(name)[:60]!r} must consist of a-z, 0-9, - and _ and begin with a letter or digit"
        )
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name {name[:20]}... has more than {LONGEST_NAME} characters")
    return name


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("it has a NUL in it")
    return text


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)  # as names and labels are everywhere: a file may have either form


def _label(label: str) -> str:
    if problem := label_problem(label):
        raise ValueError(f"the label {problem}")
    return _composed(label)


def _once(values: Any) -> Any:
    """Two names that look alike, of which a mapping would keep one."""
    if isinstance(values, dict):
        names = [_composed(name) for name in values if isinstance(name, str)]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is there in two forms of Unicode (NFC and NFD): keep one")
    return values


def _attribute(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name!r} is the name of another column")
    return _label(name)


def _pattern(pattern: str) -> str:
    parts = pattern.split("/")
    if PurePosixPath(pattern).is_absolute() or "\\" in pattern or ".." in parts:
        raise ValueError("give a pattern below images.path: without a leading /, .. or a backslash")
    if len(parts) > PATTERN_PARTS or sum("**" in part for part in parts) > 1:
        raise ValueError(f"give a pattern of at most {PATTERN_PARTS} parts, at most one of them **")
    return _text(pattern)


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("give a whole number")
    return value


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) != len(values):
        raise ValueError("names a factor twice")
    return values


MethodEntry = dict[str, Any]
WHOLE = BeforeValidator(_whole)  # after the bounds, or the JSON schema has none
Named = dict[Annotated[Any, BeforeValidator(_name)], MethodEntry]
Factor = Annotated[int, Field(ge=2, le=64), WHOLE]
Text = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_text)]
Member = Annotated[Text, AfterValidator(_composed)]
ONCE = BeforeValidator(_once)
Label = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_label)]
Attribute = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_attribute)]
Edge = Annotated[float, Field(ge=-LARGEST_EDGE, le=LARGEST_EDGE)]
Name = Annotated[str, BeforeValidator(_name)]
Pattern = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_pattern)]
Before = Annotated[str, Field(min_length=1, max_length=16), AfterValidator(_text), AfterValidator(_composed)]
Factors = Annotated[list[Factor], Field(min_length=1, max_length=32), AfterValidator(_distinct)]
