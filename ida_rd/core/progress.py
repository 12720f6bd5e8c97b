"""How far a unit of work is, told from within it: for models that take minutes for one image.

    for step in range(steps):
        ...
        advance((step + 1) / steps)

Who listens is the engine's affair; where nobody does, nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["advance", "listening", "share"]

_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


def advance(done: float) -> None:
    """Say which part of the unit, from 0 to 1, is done."""
    listener = _listener.get()
    if listener is not None:
        listener(min(max(done, 0.0), 1.0))


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Give `listener` what is told within."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def share(number: int, count: int) -> Iterator[None]:
    """What is told within is of part `number`, from 0, of `count` equal ones: a step of a chain, one of K samples."""
    outer = _listener.get()
    if outer is None:
        yield
        return
    with listening(lambda done: outer((number + done) / count)):
        yield
    outer((number + 1) / count)
