"""The recipe of the attributes: which images there are, and the sources that describe them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ida_rd.core.candidates import fingerprint, listing
from ida_rd.core.code import code_hashes
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.hashes import digest, file_hashes
from ida_rd.core.methods import OpenedMethod, open_method
from ida_rd.core.recipes import SCHEMA
from ida_rd.core.software import package_version

__all__ = ["attributes_recipe", "source_recipes", "stated"]


def stated(name: str, wanted: list[str] | None, settings: Mapping[str, Any]) -> tuple[dict[str, Any], OpenedMethod]:
    """What ``params.yaml`` alone decides of a source's recipe, and its method; no file is opened."""
    begun = {"stage": "attributes", "name": name, "method": name, "parameters": settings.get(name) or {}}
    method = open_method(begun, where=f"attributes.{name}")
    return begun | {"parameters": method.dump(), "attributes": wanted}, method


def source_recipes(
    sources: Mapping[str, list[str] | None], settings: Mapping[str, Any], *, download: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Check the sources of attributes and hash what they depend on.

    Parameters
    ----------
    sources : mapping
        Name of each source to the attributes that are wanted from it; None: all.
    settings : mapping
        Parameters of each source by its name.
    download : bool
        Whether missing weights may be downloaded.

    Returns
    -------
    recipes, terms : dict
        By source: its recipe; the terms of its data.
    """
    recipes: dict[str, dict[str, Any]] = {}
    terms: dict[str, str] = {}
    for name, wanted in sources.items():
        where = f"attributes.{name}"
        recipe, method = stated(name, wanted, settings)
        told = method.module.names(method.parameters)
        for attribute in wanted or []:
            if told is not None and attribute not in told:
                raise UserError(
                    f"attributes.source.{attribute}: {name} does not provide it; {did_you_mean(attribute, told)}"
                )
        recipe["code"] = code_hashes(method.file)
        try:
            if hasattr(method.module, "packages"):
                packages = method.module.packages(method.parameters).items()
                recipe["packages"] = {key: package_version(key, install=install) for key, install in packages}
            if hasattr(method.module, "files"):
                recipe["files"] = digest(method.module.files(method.parameters))
            if hasattr(method.module, "weights"):
                weights = method.module.weights(method.parameters, wanted, download=download)
                recipe["weights"] = dict(zip(weights, file_hashes(list(weights.values())), strict=True))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        recipes[name], terms[name] = recipe, getattr(method.module, "TERMS", "")
    return recipes, terms


def attributes_recipe(images: dict[str, Any], sources: dict[str, dict[str, Any]], multiple: int) -> dict[str, Any]:
    """Make the recipe of the stage.

    Parameters
    ----------
    images : dict
        Section ``images`` of ``params.yaml``.
    sources : dict
        From `source_recipes`.
    multiple : int
        Least common multiple of the factors.
    """
    opens = images["crop"] is not None or any(hasattr(open_method(s).module, "measure") for s in sources.values())
    # A set from which images are chosen by labels alone may be large: only those that are chosen are opened.
    state = fingerprint if opens else listing
    return {
        "schema": SCHEMA,
        "code": code_hashes("ida_rd.attributes.stage"),
        "looking": code_hashes("ida_rd.attributes.work"),
        "images": images | {"files": state(images["source"], images["path"], images["pattern"])},
        "sources": sources,
        "opens_images": opens,
        "multiple": multiple,
    }
