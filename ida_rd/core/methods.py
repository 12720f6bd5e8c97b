"""Methods are found by name: ``method: dpid`` of a downscaler is the module ``ida_rd/downscale/dpid.py``.

A module is a method of its room if it defines the room's entry function (`ENTRY`). There is no
list to edit, and importing a method must not import torch: ``plan`` imports them all. A dotted name is a module of
the user's own: ``method: my_package.my_sr``, found like any import, and from the working directory.

``HARMLESS`` of a method lists the parameters that a stranger may choose (`ida_rd.bundle.confine`): those that open no
file, start no program and run no code, whatever their value. A method without it never runs from a stranger's
parameters.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ida_rd.core.errors import UserError, did_you_mean

__all__ = [
    "ENTRY",
    "NAME",
    "SECTION",
    "OpenedMethod",
    "Parameters",
    "find_method",
    "known_methods",
    "method_recipe",
    "open_method",
    "validate",
]

ENTRY = {
    "attributes": "names",
    "downscale": "downscale",
    "upscale": "describe",
    "distort": "describe",
    "quality": "describe",
}
# Keys of params.yaml under which the methods of a room are named; those of `quality` are not: no stage runs them.
SECTION = {"attributes": "attributes", "downscale": "downscalers", "upscale": "upscalers", "distort": "distortions"}
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
PACKAGE = Path(__file__).resolve().parent.parent


class Parameters(BaseModel):
    """Base of every typed set of parameters: unknown keys and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class OpenedMethod:
    """A method that was found, and its checked parameters.

    Attributes
    ----------
    where : str
        Its key in ``params.yaml``, for messages.
    module : module
    parameters : Parameters
    """

    where: str
    module: ModuleType
    parameters: Any

    @property
    def file(self) -> Path:
        """Source file of the module."""
        assert self.module.__file__ is not None
        return Path(self.module.__file__)

    def dump(self) -> dict[str, Any]:
        """The parameters under their names in ``params.yaml``, defaults filled in, as JSON."""
        return self.parameters.model_dump(mode="json", by_alias=True)


def known_methods(stage: str) -> list[str]:
    """Names of a room's methods, sorted."""
    folder = PACKAGE / stage
    return list(_methods_in(folder, ENTRY[stage], folder.stat().st_mtime_ns))


@cache
def _methods_in(folder: Path, function: str, modified: int) -> tuple[str, ...]:
    """Names of the modules in which a function is defined; kept while none is added to the folder or taken away."""
    entry = re.compile(rf"^def {function}\(", re.MULTILINE)
    names = []
    for path in folder.iterdir():
        source = path / "__init__.py" if path.is_dir() else path
        name = path.stem
        if source.suffix != ".py" or not source.is_file() or name.startswith("_"):
            continue
        if entry.search(source.read_text(encoding="utf-8")):
            names.append(name.replace("_", "-"))
    return tuple(sorted(names))


def find_method(stage: str, name: str, *, where: str) -> ModuleType:
    """Import the module of a method; `where` is its key in ``params.yaml``."""
    if "." in name:
        return _users_module(stage, name, where)
    known = known_methods(stage)
    if name not in known:
        raise UserError(f"{where}.method: no {stage} method is called {name!r}; {did_you_mean(name, known)}")
    return importlib.import_module(f"ida_rd.{stage}.{name.replace('-', '_')}")


def _users_module(stage: str, name: str, where: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"{where}.method: {name!r} is not the dotted name of a module, such as my_package.my_method")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{where}.method: the module {name} cannot be imported ({error})") from None
    except Exception as error:  # whatever a user's module does when it is imported
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{where}.method: the module {name} fails when it is imported ({reason})") from None
    if not callable(getattr(module, ENTRY[stage], None)):
        raise UserError(
            f"{where}.method: the module {name} has no function {ENTRY[stage]}(): it is not a {stage} method"
        )
    if getattr(module, "__file__", None) is None:
        raise UserError(f"{where}.method: the module {name} has no source file, so no recipe can name its code")
    return module


def method_recipe(stage: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The beginning of a method's recipe, from its entry in ``params.yaml``; nothing is checked yet."""
    where = f"{SECTION[stage]}.{name}"
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: give a mapping of keys to values, not {entry!r}")
    if not isinstance(entry.get("method"), str):
        raise UserError(f"{where}.method: is missing: name the method of {name}")
    parameters = {key: value for key, value in entry.items() if key != "method"}
    return {"stage": stage, "name": name, "method": entry["method"], "parameters": parameters}


def open_method(recipe: Mapping[str, Any], *, where: str | None = None) -> OpenedMethod:
    """Find the method of a recipe and check its parameters: the one way in, for ``plan`` and every stage.

    Parameters
    ----------
    recipe : mapping
        With ``stage`` (the room), ``name``, ``method`` and ``parameters``, these under their names in ``params.yaml``.
    where : str, optional
        Key in ``params.yaml``, for messages; default: the section of the room and the name.

    Raises
    ------
    UserError
        No such method, or parameters that it refuses.
    """
    stage = recipe["stage"]
    where = where or f"{SECTION[stage]}.{recipe['name']}"
    module = find_method(stage, recipe["method"], where=where)
    model: type[BaseModel] = getattr(module, "Parameters", Parameters)
    opened = OpenedMethod(where, module, validate(model, dict(recipe["parameters"]), where=where))
    _check_plain(recipe["parameters"], where)
    return opened


def _check_plain(value: Any, where: str) -> None:
    """Refuse what a recipe, which is JSON, cannot hold: dates, bytes, numbers that are not finite, keys of no text."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                raise UserError(f"{where}: the key {key!r} is not text: put it in quotes")
            _check_plain(part, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _check_plain(part, f"{where}.{i}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{where}: {value} is not a finite number")
    elif not (value is None or isinstance(value, str | int)):
        raise UserError(f"{where}: {str(value)[:60]!r} is a {type(value).__name__}: put it in quotes, to make it text")


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
