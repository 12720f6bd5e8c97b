"""Weight files of latent diffusion: every tensor accounted for, by the header alone or when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ida_rd.core.errors import UserError
from ida_rd.core.headers import read_header
from ida_rd.models.latent.layout import Shapes, plain_name

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Names", "check_header", "state_of"]

SHOWN = 4
Names = Callable[[str], tuple[str, ...]]  # of a file to those of its layout; see `ida_rd.models.latent.names`
RIGHT = "give the right file"


def _today(name: str) -> tuple[str, ...]:
    return (plain_name(name),)


def check_header(path: Path, what: str, expected: Shapes) -> None:
    """Compare a file of a diffusers folder with what it should hold, without torch.

    Parameters
    ----------
    path : Path
    what : str
        The network, for errors.
    expected : dict
        Shapes by name.

    Raises
    ------
    UserError
        It is another file, or none.
    """
    header = read_header(path)
    names = {plain_name(name): name for name in header.names}
    if header.shapes is None:  # other texts of the header are no tensors
        first = {name.partition(".")[0] for name in expected}
        names = {plain: name for plain, name in names.items() if "." in plain and plain.partition(".")[0] in first}
        shapes: Mapping[str, tuple[int, ...]] = expected
    else:
        shapes = {plain: header.shapes[name] for plain, name in names.items()}
    _compare(path, what, expected, {name: shapes.get(name, ()) for name in names})


def state_of(
    path: Path, tensors: Mapping[str, Tensor], what: str, expected: Shapes, names: Names = _today
) -> dict[str, Tensor]:
    """The tensors of a file under the names of its layout, float32.

    Parameters
    ----------
    path : Path
        For errors, as `what` and `expected` of `check_header`.
    tensors : dict
    what, expected
    names : callable
        Of a tensor in the file to those of the layout. Kernels of 1 x 1 become matrices, where the layout has these.

    Raises
    ------
    UserError
        A missing or unknown tensor, one of another shape, or numbers that are not finite.
    """
    import torch

    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        targets = names(name)
        parts = _parts(value, targets, expected)
        for target, part in zip(targets, parts, strict=False):
            matrix = expected.get(target) == tuple(part.shape[:2]) and part.shape[2:].numel() == 1
            state[target] = part.flatten(1) if matrix and part.ndim > 2 else part
    _compare(path, what, expected, {name: tuple(value.shape) for name, value in state.items()})
    if odd := [name for name, value in state.items() if not value.is_floating_point()]:
        raise UserError(f"{path} is not {what}: {_listed('not of floating point', odd)}: {RIGHT}")
    # Copies: two tensors of a file may share their memory.
    copied = {name: value.to(torch.float32, copy=True).contiguous() for name, value in state.items()}
    if odd := [name for name, value in copied.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{path}: {odd[0]} holds numbers that are not finite: {RIGHT}")
    return copied


def _parts(value: Tensor, targets: tuple[str, ...], expected: Shapes) -> Sequence[Tensor]:
    """One tensor as several, along the side that is longer than the first of them should have."""
    if len(targets) == 1:
        return [value]
    sides = zip(value.shape, expected.get(targets[0], ()), strict=False) if targets else ()
    along = next((i for i, (side, wanted) in enumerate(sides) if side != wanted), 0)
    return value.chunk(max(len(targets), 1), along) if value.ndim else [value]


def _compare(path: Path, what: str, expected: Shapes, found: Shapes) -> None:
    shapes = [
        f"{name} {found[name]} for {shape}" for name, shape in expected.items() if found.get(name, shape) != shape
    ]
    problems = [
        _listed("is missing", [name for name in expected if name not in found]),
        _listed("is unknown", sorted(found.keys() - expected)),
        _listed("has another shape", shapes),
    ]
    if any(problems):
        raise UserError(f"{path} is not {what}: {'; '.join(filter(None, problems))}: {RIGHT}")


def _listed(what: str, names: Collection[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(list(names)[:SHOWN])}{more}"
