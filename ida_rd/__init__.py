"""IDA-RD from Python: score a downscaler in a notebook, with the functions of the pipeline's stages.

>>> from ida_rd import score
>>> result = score({"mine": my_downscaler, "bicubic": {"method": "resample", "filter": "bicubic"}}, "photos")
>>> result                                  # a table, in a notebook as HTML
>>> result.differences                      # paired, with intervals and corrected p
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ida_rd.scoring import Result, score

__all__ = ["Result", "score"]


def __getattr__(name: str) -> Any:
    # On first use: the command line answers before the libraries of the measure are loaded.
    if name in __all__:
        from ida_rd import scoring

        return getattr(scoring, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
