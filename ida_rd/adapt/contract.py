"""What can be adapted: an adapter is a module of this room, named like the upscaler's method, with

* ``base(parameters, factor) -> Base``: the weights that training begins from, given the upscaler's own parameters;
  without importing torch; raises UserError for a factor that it cannot adapt;
* ``preset(factor) -> dict``: the keys of a budget that are its own, and what they are where they are left out;
* ``MULTIPLE``: what the side of a patch must be a multiple of, besides the factor, in pixels;
* ``LOSSES``: what its log has by step: key, and words for it;
* ``adapt(settings, budget, initial, source, out) -> Path``: trains, resuming from what lies in `out`, and returns the
  checkpoint, which `ida_rd.training.export` takes.

An adapted decoder has seen how the LR images were made: it is not blind, and matched to that downscaler alone.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters
from ida_rd.core.weights import catalogue

__all__ = [
    "LEAST_ENERGY_PATCH",
    "NOT_BUDGET",
    "SAVE_EVERY",
    "Adaptation",
    "Base",
    "adapters",
    "find_adapter",
    "parts_of",
    "shipped_base",
]

FOLD = re.compile(r"([1-9][0-9]?)/([2-9]|[1-9][0-9])")
NOT_BUDGET = ("images", "lr", "exclude_licence", "fold")  # which photographs: the files themselves are in the recipe
OF_METHOD = "null: that of the method, below"
SAVE_EVERY = 25  # steps of an adaptation: what a kill loses
LEAST_ENERGY_PATCH = 28  # pixels: what the energy score needs; a test compares it with `ida_rd.training.losses`


@dataclass(frozen=True)
class Base:
    """Weights to begin from.

    Attributes
    ----------
    weight : str
        Id in the catalogue.
    path : str or None
        The user's own file of it.
    """

    weight: str
    path: str | None


def shipped_base(parameters: Any, factor: int) -> Base:
    """The weights of a factor of an upscaler that has one network for each, or the user's own file of them.

    Parameters
    ----------
    parameters : Parameters
        The upscaler's: ``weights``, the name of those that ship, and ``path``, a file or None.
    factor : int

    Raises
    ------
    UserError
        None ship for this factor.
    """
    prefix = f"{parameters.weights}.x"
    if f"{prefix}{factor}" not in catalogue():
        known = sorted(int(key.removeprefix(prefix)) for key in catalogue() if key.startswith(prefix))
        raise UserError(f"factor {factor}: one network is adapted, and there are those of {', '.join(map(str, known))}")
    return Base(f"{prefix}{factor}", parameters.path)


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("give a whole number")
    return value


def _folder(path: str) -> str:
    if not path.strip() or "\0" in path:
        raise ValueError("give a folder")
    return path


def parts_of(fold: str) -> tuple[int, int]:
    """Which part is left out, and of how many."""
    found = FOLD.fullmatch(fold)
    if not found or int(found[1]) > int(found[2]):
        raise ValueError("write which part is left out of how many, such as 1/2")
    return int(found[1]), int(found[2])


def _fold(fold: str) -> str:
    parts_of(fold)
    return fold


WHOLE = BeforeValidator(_whole)
Folder = Annotated[str, Field(max_length=4096), AfterValidator(_folder)]


class Adaptation(Parameters):
    """Which photographs a decoder is adapted on, and the budget: the defaults are the preset."""

    images: Folder = Field(description="folder of training photographs, none of which may be a test image")
    lr: Folder | None = Field(
        default=None,
        description="for downscalers of method folder: folder of the LR images of these photographs, paired by name;"
        " {downscaler} and {factor} in it become the name and the factor",
    )
    exclude_licence: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="leave out photographs whose licence in LICENSES.csv begins with this; null: none"
    )
    fold: Annotated[str, AfterValidator(_fold)] | None = Field(
        default=None, description="leave out a part of the photographs, such as 1/2 or 3/5; null: take all"
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1), WHOLE] = Field(default=0, description="seed of patches and noise")
    steps: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = Field(default=400, description="steps of training")
    batch: Annotated[int, Field(ge=1, le=1024), WHOLE] | None = Field(
        default=None, description=f"patches per step; {OF_METHOD}"
    )
    patch: Annotated[int, Field(ge=8, le=1024), WHOLE] | None = Field(
        default=None, description=f"side of the HR patches in pixels, a multiple of the factor; {OF_METHOD}"
    )
    rate: float | None = Field(
        default=None, gt=0, le=1, description=f"Adam's learning rate after the warm-up; {OF_METHOD}"
    )
    final_rate: float | None = Field(
        default=None, ge=0, le=1, description=f"its last one, reached by half a cosine; {OF_METHOD}"
    )
    warmup: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = Field(
        default=50, description="steps over which the learning rate rises"
    )
    energy: float | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="weight of the energy score of two samples beside the likelihood, of method flow alone; null: that"
        " of the last training of the weights that ship",
    )
    clip_norm: float | None = Field(
        default=None, gt=0, le=1e6, description=f"largest norm of the gradient; {OF_METHOD}"
    )
    ema: float | None = Field(
        default=None, ge=0, lt=1, description=f"decay of the averaged weights, which are the result; {OF_METHOD}"
    )
    jpeg: float = Field(default=0.75, ge=0, le=1, description="share of patches that are compressed as JPEG first")
    candidates: Annotated[int, Field(ge=1, le=64), WHOLE] = Field(
        default=2, description="crops drawn per patch, of which the one with the most detailed LR image is taken"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="type of the convolutions in training; sampling is in float32. Where the processor lacks bfloat16,"
        " it takes several times as long as float32, and a note says so. The two make different weights",
    )

    def budget(self, preset: Mapping[str, Any], *, where: str) -> dict[str, Any]:
        """What of it decides the weights, besides the photographs; the method's `preset` in place of null.

        Raises
        ------
        UserError
            It has a key that this method's training has no use for.
        """
        found = self.model_dump(exclude=set(NOT_BUDGET))
        for key in [key for key, field in type(self).model_fields.items() if key in found and field.default is None]:
            if key in preset:
                found[key] = preset[key] if found[key] is None else found[key]
            elif found.pop(key) is not None:
                raise UserError(f"{where}.{key}: the training of this method has no such thing: leave it out")
        return found


def adapters() -> list[str]:
    """Methods of upscalers that can be adapted."""
    files = Path(__file__).parent.glob("*.py")
    entry = re.compile(r"^def base\(", re.MULTILINE)
    return sorted(file.stem.replace("_", "-") for file in files if entry.search(file.read_text(encoding="utf-8")))


def find_adapter(entry: Mapping[str, Any], *, where: str) -> ModuleType:
    """The adapter of an upscaler's entry; `where` is the key of its ``adapt`` in ``params.yaml``."""
    method = entry.get("method")
    if method not in adapters():
        raise UserError(
            f"{where}: an upscaler of method {method} has no training here and cannot be adapted; these can:"
            f" {', '.join(adapters())}"
        )
    return importlib.import_module(f"ida_rd.adapt.{str(method).replace('-', '_')}")
