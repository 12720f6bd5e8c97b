"""IDA-RD from Python: score a downscaler in a notebook, with the functions of the pipeline's stages.

>>> from ida_rd import score
>>> result = score({"mine": my_downscaler, "bicubic": {"method": "resample", "filter": "bicubic"}}, "photos")
>>> result                                  # a table, in a notebook as HTML
>>> result.differences                      # paired, with intervals and corrected p

An SR model of your own is an object with ``sample(lr, draws)``, which returns `Samples`: ``score(..., upscaler=mine)``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ida_rd.scored import Result
    from ida_rd.scoring import score
    from ida_rd.upscale.contract import Descriptor, Samples

__all__ = ["Descriptor", "Result", "Samples", "score"]

PLACES = {"Descriptor": "ida_rd.upscale.contract", "Result": "ida_rd.scored", "Samples": "ida_rd.upscale.contract"}


def __getattr__(name: str) -> Any:
    # On first use: the command line answers before the libraries of the measure are loaded.
    if name in __all__:
        return getattr(importlib.import_module(PLACES.get(name, "ida_rd.scoring")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
