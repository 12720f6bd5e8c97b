"""What a number format costs on this processor. Nothing here may change a result."""

from __future__ import annotations

import sys
import time
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["bfloat16_cost", "note_slow"]

SLOW = 2.0  # times as long: beyond what a measurement of a millisecond may be wrong by
BATCH, CHANNELS, SIDE, ROUNDS = 2, 32, 20, 5  # of the convolution that is timed: as of the networks that ship


@cache
def bfloat16_cost() -> float:
    """Measure how many times as long as in float32 a convolution takes in bfloat16, with its gradient.

    In one thread of the CPU, by the least of some rounds; about a tenth of a second. Where the processor computes
    bfloat16 (AVX512-BF16, AMX), it is about one or less; where libraries do it in software, ten.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _least(torch.bfloat16) / _least(torch.float32)
    finally:
        torch.set_num_threads(threads)


def _least(kind: torch.dtype) -> float:
    """Least seconds of a round."""
    import torch

    found = []
    with torch.inference_mode(False), torch.enable_grad():
        # Values do not matter, and no generator of random numbers may be moved on.
        kernel = torch.full((CHANNELS, CHANNELS, 3, 3), 0.1, dtype=kind, requires_grad=True)
        image = torch.full((BATCH, CHANNELS, SIDE, SIDE), 0.1, dtype=kind, requires_grad=True)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            torch.nn.functional.conv2d(image, kernel, padding=1).sum().backward()
            found.append(time.perf_counter() - start)
    return min(found)


def note_slow(precision: str, where: str) -> None:
    """Say on standard error that this processor is slow in `precision`, where it is.

    Parameters
    ----------
    precision : {'float32', 'bfloat16'}
    where : str
        The key or option that says it.
    """
    if precision == "bfloat16" and (cost := bfloat16_cost()) > SLOW:
        print(
            f"note: {where}: convolutions in bfloat16 take {cost:.0f} times as long as in float32 here, since this"
            " processor has none; float32 makes different weights: use one precision for all that you compare",
            file=sys.stderr,
            flush=True,
        )
