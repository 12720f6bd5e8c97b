"""What of a stranger's parameters may be run here, and what may be opened: an allow-list, at any depth.

Running somebody's parameters is running their code, unless every method in them is one of this program's, and every
parameter is one of which the method says that it is harmless (``HARMLESS``: it opens no file, starts no program and
runs no code, whatever its value). A method that says nothing is not run. What names a file is left to whoever verifies:
they may name a file of their own in its place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.methods import Parameters as Empty
from ida_rd.core.methods import find_method, known_methods
from ida_rd.downscale.degrade import STEPS

__all__ = ["IMAGES", "is_own", "objections", "opens_nothing", "with_own_files"]

IMAGES = "images.path"  # key of the folder of HR images, which has an option of its own, --images
NOT_PARAMETERS = ("method", "factor")  # of a step of a chain: its factor is no parameter of the method


def is_own(entry: Any) -> bool:
    """Whether a method is a module of the publisher's own, or one within it is, at any depth."""
    if isinstance(entry, list):
        return any(is_own(part) for part in entry)
    if not isinstance(entry, Mapping):
        return False
    method = entry.get("method")
    return (isinstance(method, str) and "." in method) or any(is_own(part) for part in entry.values())


def _harmless(owner: Any) -> tuple[str, ...] | None:
    found = getattr(owner, "HARMLESS", None)
    return tuple(found) if found is not None else None


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Values that keys have where they are left out, by their name in ``params.yaml``."""
    return {
        field.alias or name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def _nested(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Methods within a value: the steps of a chain."""
    if isinstance(value, Mapping):
        if "method" in value:
            yield where, value
            return
        for key, part in value.items():
            yield from _nested(part, f"{where}.{key}")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _nested(part, f"{where}.{i}")


def _objects(owner: Any, values: Mapping[str, Any], where: str, vouched: Mapping[str, Path]) -> Iterator[str]:
    """Parameters of a method or a degradation that are not harmless."""
    harmless = _harmless(owner)
    if harmless is None:
        yield f"{where}: may not run with a stranger's parameters"
        return
    defaults = _defaults(getattr(owner, "Parameters", Empty) if not isinstance(owner, type) else owner)
    for key, value in values.items():
        if key in harmless or (key in defaults and value == defaults[key]):
            continue
        for place, leaf in _leaves(value, f"{where}.{key}"):
            if place not in vouched:
                yield f"{place}: is the publisher's choice of a file or program" + (
                    f" (yours can be given by --file {place}=PATH)" if isinstance(leaf, str) else ""
                )


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Values within a value, by their keys; a list is one value: a command."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{where}.{key}")
    else:
        yield where, value


def objections(stage: str, where: str, entry: Any, vouched: Mapping[str, Path]) -> list[str]:
    """Why a method may not be run with a stranger's parameters; nothing if it may.

    Parameters
    ----------
    stage : str
        Its room.
    where : str
        Its key in ``params.yaml``.
    entry : Any
        Its entry there.
    vouched : mapping
        Keys whose value whoever verifies has given.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("method"), str):
        return [f"{where}: names no method"]
    if is_own(entry):
        return [f"{where}: is a module of the publisher's own"]
    method = entry["method"]
    found: list[str] = []
    if method not in known_methods(stage):
        return [f"{where}: no {stage} method is called {method!r}"]
    values = {key: value for key, value in entry.items() if key not in (*NOT_PARAMETERS, "degrade")}
    found += _objects(find_method(stage, method, where=where), values, where, vouched)
    for key, value in values.items():
        for place, inner in _nested(value, f"{where}.{key}"):
            found += objections(stage, place, inner, vouched)
    degrade = entry.get("degrade")
    for i, step in enumerate(degrade if isinstance(degrade, list) else []):
        for kind, given in step.items() if isinstance(step, Mapping) else ():
            place = f"{where}.degrade.{i}.{kind}"
            if kind not in STEPS or not isinstance(given, Mapping):
                found.append(f"{place}: is no degradation")
            else:
                found += _objects(STEPS[kind], given, place, vouched)
    return found


def opens_nothing(stage: str, entry: Mapping[str, Any], *, instead: str | None = None) -> dict[str, Any]:
    """An entry without the parameters that may name files, as far as they can be left out.

    What a method says of itself with these parameters opens no file of the publisher's choice.

    Parameters
    ----------
    stage : str
    entry : mapping
    instead : str, optional
        A path, in the place of each of these that is a text: it is not left out then.
    """
    module = find_method(stage, entry["method"], where=stage)
    harmless = _harmless(module) or ()
    defaults = _defaults(getattr(module, "Parameters", Empty))

    def inner(value: Any) -> Any:
        if isinstance(value, Mapping):
            return (
                opens_nothing(stage, value, instead=instead)
                if "method" in value
                else {k: inner(v) for k, v in value.items()}
            )
        return [inner(part) for part in value] if isinstance(value, list) else value

    kept = {
        key: inner(value) if key in harmless else value
        for key, value in entry.items()
        if key in harmless or key in NOT_PARAMETERS or key not in defaults
    }
    named = [key for key, value in entry.items() if key not in kept and isinstance(value, str)]
    return kept | (dict.fromkeys(named, instead) if instead is not None else {})


def with_own_files(parameters: Mapping[str, Any], files: Mapping[str, Path]) -> tuple[dict[str, Any], dict[str, Path]]:
    """Put files of whoever verifies in the place of the publisher's.

    Parameters
    ----------
    parameters : mapping
        The checked content of ``params.yaml``.
    files : mapping
        Key in it, such as ``attributes.table.path``, to a file or folder here.

    Returns
    -------
    parameters : dict
        A copy with their absolute paths.
    vouched : dict
        Key to that path.

    Raises
    ------
    UserError
        The bundle has no such key, its value is no path, or there is no such file.
    """
    source = parameters.get("images", {}).get("source", "folder")
    if IMAGES in files and source != "folder":
        raise UserError(f"--images: those of this bundle are {source}, which the program has: leave it out")
    changed, vouched = copy.deepcopy(dict(parameters)), {}
    for key, path in files.items():
        option = "--images" if key == IMAGES else f"--file {key}"
        *folders, last = key.split(".")
        place: Any = changed
        for i, part in enumerate(folders):
            place = _inside(place, part, ".".join(folders[: i + 1]))
        value = _inside(place, last, key)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{option}: is no path in this bundle, but {value!r}")
        target = path.expanduser().resolve()
        if not target.exists():
            raise UserError(f"{option}: {path} does not exist")
        if isinstance(place, list):
            place[int(last)] = str(target)
        else:
            place[last] = str(target)
        vouched[key] = target
    return changed, vouched


def _inside(place: Any, part: str, key: str) -> Any:
    if isinstance(place, Mapping) and part in place:
        return place[part]
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    keys = [str(name) for name in place] if isinstance(place, Mapping) else []
    raise UserError(f"--file {key}: the bundle's params.yaml has no such key; {did_you_mean(part, keys)}")
