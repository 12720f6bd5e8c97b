"""The executable contract of a downscaler: run it on your own method before you score it.

>>> from ida_rd.downscale import resample
>>> from ida_rd.downscale.check import check_downscaler
>>> check_downscaler(resample, {"filter": "bicubic"})
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator
from ida_rd.downscale.work import apply

__all__ = ["check_downscaler"]


def check_downscaler(
    method: ModuleType, parameters: dict[str, Any], *, factors: tuple[int, ...] = (2, 3, 4, 8)
) -> None:
    """Check shape, type, purity and determinism of a downscaler on images of several sizes.

    Parameters
    ----------
    method : module
        With ``downscale(hr, size, *, rng, **parameters)``.
    parameters : dict
        As in ``params.yaml``, without ``method``.
    factors : tuple of int
        Scale factors to try.

    Raises
    ------
    UserError
        The first promise that the method breaks.
    """
    for factor in factors:
        for height, width in ((6, 9), (16, 16), (1, 5)):
            rng = generator("check", factor, height, width)
            hr = rng.integers(0, 256, (height * factor, width * factor, 3), dtype=np.uint8)
            before = hr.copy()
            first = apply(method, hr, factor, parameters, image_id="check", seed=0)
            if not np.array_equal(hr, before):
                raise UserError(f"factor {factor}: the method changes its input")
            if not np.array_equal(first, apply(method, hr, factor, parameters, image_id="check", seed=0)):
                raise UserError(f"factor {factor}: two calls with one seed differ; draw random numbers from rng alone")
            if not getattr(method, "RANDOM", False):
                other = apply(method, hr, factor, parameters, image_id="check", seed=1)
                if not np.array_equal(first, other):
                    raise UserError(f"factor {factor}: the result depends on the seed; set RANDOM = True in the module")
