"""The executable contract of an upscaler."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.seeds import Draw, generator
from ida_rd.upscale.contract import Problem, Samples

__all__ = ["check_upscaler"]


def check_upscaler(method: ModuleType, parameters: dict[str, Any], factor: int, *, device: str = "cpu") -> None:
    """Check shapes, determinism, `stochastic`, and that a sample does not depend on the batch.

    The images are of sizes that its size rule allows. One that asks for more than a factor (`Descriptor.asks`) cannot
    be checked by itself.

    Parameters
    ----------
    method : module
        With ``Parameters``, ``describe`` and ``load``.
    parameters : dict
        As in ``params.yaml``, without ``method``.
    factor : int
    device : str
        Torch device.

    Raises
    ------
    UserError
        The first promise that the method breaks.
    """
    values = validate(getattr(method, "Parameters", Parameters), parameters, where="parameters")
    descriptor = method.describe(values, factor)
    if descriptor.factor != factor:
        raise UserError(f"describe() says factor {descriptor.factor}, not {factor}")
    if descriptor.asks:
        raise UserError(f"it asks for {' and '.join(descriptor.asks)}: only a pipeline can provide that")
    upscaler = method.load(values, Problem(factor), device)
    rule = descriptor.size
    for h, w in dict.fromkeys((rule.example(factor, 16), rule.example(factor, 17, 23 / 17))):
        lr = generator("check", h, w).integers(0, 256, (3, h, w), dtype=np.uint8)
        draws = [Draw(0, "check", k) for k in range(3)]
        samples = upscaler.sample(lr, draws)
        if not isinstance(samples, Samples):
            raise UserError(f"sample() gave {type(samples).__name__}, expected Samples of ida_rd.upscale.contract")
        sr, finite, clipped = samples.sr, samples.finite, samples.clipped
        if sr.dtype != np.uint8 or sr.shape != (3, 3, h * factor, w * factor):
            raise UserError(f"sample() gave {sr.dtype} {sr.shape}, expected uint8 (3, 3, {h * factor}, {w * factor})")
        if finite.shape != (3,) or finite.dtype != bool or clipped.shape != (3,):
            raise UserError("sample() must give one flag `finite` and one share `clipped` per sample")
        if odd := [name for name, values in samples.columns.items() if np.shape(values) != (3,)]:
            raise UserError(f"sample(): column {odd[0]} must have one value per sample")
        for name, column in (method.columns(values) if hasattr(method, "columns") else {}).items():
            if name not in samples.columns:
                raise UserError(f"columns() declares {name}, and sample() does not give it")
            kind = np.asarray(samples.columns[name]).dtype.kind
            if kind != "b" and (column.kind == "share" or kind not in "if"):
                raise UserError(
                    f"sample(): column {name}, a {column.kind}, holds {kind!r}: give numbers, or True and False"
                )
        if not np.array_equal(sr, upscaler.sample(lr, draws).sr):
            raise UserError("two calls with the same draws differ: take all random numbers from the draws")
        same = np.array_equal(sr[0], sr[1]) and np.array_equal(sr[1], sr[2])
        if same and descriptor.stochastic:
            raise UserError("says stochastic, but its samples are all alike")
        if not same and not descriptor.stochastic:
            raise UserError("says not stochastic, but its samples differ")
        alone = upscaler.sample(lr, draws[2:]).sr[0].astype(int)
        if np.abs(alone - sr[2]).max() > 1:  # one level: a batch may sum in another order
            raise UserError("a sample depends on which others are drawn with it")
