"""Progress within a unit of work, for models that take minutes per image.

    for step in range(steps):
        ...
        advance((step + 1) / steps)

Who listens is up to the engine; if nobody does, nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["advance", "listening", "share"]

_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


def advance(done: float) -> None:
    """Report the share of the unit, from 0 to 1, that is done."""
    listener = _listener.get()
    if listener is not None:
        listener(min(max(done, 0.0), 1.0))


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Give `listener` what is reported inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def share(number: int, count: int) -> Iterator[None]:
    """Reports inside the block are of part `number`, from 0, of `count` equal ones: a chain's step, one sample."""
    outer = _listener.get()
    if outer is None:
        yield
        return
    with listening(lambda done: outer((number + done) / count)):
        yield
    outer((number + 1) / count)
