"""Methods are found by name: ``method: dpid`` in a stage is the module ``stages/<stage>/dpid.py``.

A module is a method of its stage if it defines the stage's entry function (`ENTRY`). There is no
list to edit, and importing a method must not import torch: ``plan`` imports them all.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ida_rd.core.errors import UserError, did_you_mean

__all__ = ["ENTRY", "NAME", "Parameters", "find_method", "known_methods", "validate"]

ENTRY = {"attributes": "names", "downscale": "downscale", "upscale": "describe", "distort": "describe"}
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
STAGES = Path(__file__).resolve().parent.parent


class Parameters(BaseModel):
    """Base of every typed set of parameters: unknown keys and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def known_methods(stage: str) -> list[str]:
    """Names of a stage's methods, sorted."""
    entry = re.compile(rf"^def {ENTRY[stage]}\(", re.MULTILINE)
    names = []
    for path in (STAGES / stage).iterdir():
        source = path / "__init__.py" if path.is_dir() else path
        name = path.stem
        if source.suffix != ".py" or not source.is_file() or name.startswith("_"):
            continue
        if entry.search(source.read_text(encoding="utf-8")):
            names.append(name.replace("_", "-"))
    return sorted(names)


def find_method(stage: str, name: str, *, where: str) -> ModuleType:
    """Import the module of a method; `where` is its key in ``params.yaml``."""
    known = known_methods(stage)
    if name not in known:
        raise UserError(f"{where}.method: no {stage} method is called {name!r}; {did_you_mean(name, known)}")
    return importlib.import_module(f"ida_rd.{stage}.{name.replace('-', '_')}")


def validate(model: type[BaseModel], values: Any, *, where: str) -> Any:
    """Validate `values` against a pydantic model; errors name the key and the nearest known one.

    Raises
    ------
    UserError
        Every problem found, in one line.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: give a mapping of keys to values, not {values!r}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError("; ".join(_problem(model, values, e, where) for e in error.errors())) from None


def _problem(model: type[BaseModel], values: Any, error: Any, where: str) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join([where, *location]) if where else ".".join(location)
    if error["type"] == "extra_forbidden":
        fields = _fields(model, location[:-1])
        return f"{key}: unknown key; {did_you_mean(location[-1], fields)}"
    if error["type"] == "missing":
        return f"{key}: is missing"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[0].lower() + message[1:]
    value = error.get("input")
    return f"{key}: {message}" + (f" (it is {value!r})" if not isinstance(value, dict | list) else "")


def _fields(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return [field.alias or name for name, field in model.model_fields.items()]
