"""The names and factors of ``params.yaml`` as DVC reads them, which makes the branches of them.

We read YAML 1.1, DVC reads YAML 1.2: ``1e-3`` is text to one and a number to the other, ``010`` is eight or ten. DVC
leaves out a branch whose name is no text, without a word. So what is not the same to both is refused.
"""

from __future__ import annotations

import re
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.methods import NAME
from ida_rd.core.software import needs

__all__ = ["check_names"]

SECTIONS = ("downscalers", "upscalers", "adapted", "distortions")
DIGITS = re.compile(r"[1-9][0-9]*")
PLAIN = (str, int, float, bool, type(None))  # what DVC's templates take


def check_names(data: bytes, ours: Any, what: str) -> None:
    """Refuse names and factors that DVC does not read as we do.

    Parameters
    ----------
    data : bytes
        ``params.yaml``; `ida_rd.core.readers.parse_yaml` has accepted it.
    ours : object
        What it made of it.
    what : str
        The file, for messages.

    Raises
    ------
    UserError
        All such names and factors, in one line, each with what to do.
    """
    if not isinstance(ours, dict):
        return  # the schema says so
    theirs = _as_dvc(data, what)
    problems = [line for section in SECTIONS for line in _names(data, section, ours.get(section), theirs.get(section))]
    problems += _factors(ours.get("factors"), theirs.get("factors"))
    if problems:
        raise UserError("; ".join(problems))
    for section in (*SECTIONS, "factors"):
        _check_plain(theirs.get(section), section)


def _as_dvc(data: bytes, what: str) -> dict[Any, Any]:
    """What DVC makes of the file: by the same library, called as in ``dvc.utils.serialize``, which loads slower."""
    needs("ruamel.yaml")
    from ruamel.yaml import YAML

    with decoding(f"{what} is not valid YAML 1.2, as which DVC reads it", "correct it"):
        found = YAML(typ="safe").load(data.decode())
        if not isinstance(found, dict):
            raise ValueError("it is no mapping")
        return found


def _names(data: bytes, section: str, ours: Any, theirs: Any) -> list[str]:
    """What is wrong with the names of a section, one text each."""
    if not isinstance(ours, dict):
        return []
    others = list(theirs) if isinstance(theirs, dict) else []
    odd = [i for i, name in enumerate(ours) if not isinstance(name, str) or name not in others]
    if not odd and len(ours) == len(others):
        return []
    written = _written(data, section)
    if len(written) != len(ours):  # some are merged from elsewhere
        written = [(str(name), 0) for name in ours]
    problems = []
    for i in odd:
        (name, line), own = written[i], list(ours)[i]
        if not isinstance(own, str):
            read = f"is no text, but {_shown(own)}"
        else:
            read = f"is text here, but {_shown(others[i]) if len(others) == len(ours) else 'something else'} to DVC"
        remedy = f'put it in quotes, "{name}"' if NAME.fullmatch(name) else "rename it, by a-z, 0-9, - and _"
        where = f"line {line}: " if line else ""
        problems.append(f"{section}: {where}the name {name[:60]} {read}: {remedy}")
    return problems or [f"{section}: DVC reads other names than are here: write each once, in quotes"]


def _written(data: bytes, section: str) -> list[tuple[str, int]]:
    """The names of a section as they stand in the file, with their lines."""
    import yaml

    root = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
    assert root is not None  # it is a mapping
    for key, node in root.value:
        if key.value == section and isinstance(node, yaml.MappingNode):
            keys = [name for name, _ in node.value if name.tag != "tag:yaml.org,2002:merge"]
            return [(str(name.value), name.start_mark.line + 1) for name in keys]
    return []


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kind = "number" if isinstance(value, int | float) else type(value).__name__
    return value if isinstance(value, str) else f"the {kind} {value}"


def _factors(ours: Any, theirs: Any) -> list[str]:
    """What is wrong with the factors: DVC makes names of them as they are, "x4.0" of 4.0."""
    if not isinstance(ours, list):
        return []
    others = theirs if isinstance(theirs, list) and len(theirs) == len(ours) else [None] * len(ours)
    problems = []
    for i, (own, other) in enumerate(zip(ours, others, strict=True)):
        same = type(own) is type(other) and own == other
        if same and (type(own) is int or (isinstance(own, str) and DIGITS.fullmatch(own))):
            continue
        differ = "" if same else f" here, and {_shown(other)} to DVC"
        problems.append(f"factors.{i}: is {_shown(own)}{differ}: write a whole number in digits, such as 4")
    return problems


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            _check_plain(part, f"{where}.{key}")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            _check_plain(part, f"{where}.{i}")
    elif not isinstance(value, PLAIN):
        raise UserError(f"{where}: {str(value)[:60]!r} is a {type(value).__name__} to DVC: put it in quotes")
