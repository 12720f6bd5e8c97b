"""What scores of a run can be held against: the rungs that ``ladder`` names, and nearest, if it is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.downscale.recipe import stated

__all__ = ["NEAREST", "amounts_of", "rung"]

NEAREST = {"method": "resample", "filter": "nearest"}


def rung(sigma: float) -> dict[str, Any]:
    """Bicubic, followed by a blur of so many LR pixels, as in ``params.yaml``.

    The blur is Pillow's, of the LR image: its variance is sigma squared however small that is. A sampled Gaussian of
    0.3 pixels, for comparison, hardly blurs at all.
    """
    bicubic: dict[str, Any] = {"method": "resample", "filter": "bicubic"}
    return bicubic | ({"degrade": [{"gaussian_blur": {"sigma": sigma}}]} if sigma else {})


def amounts_of(
    downscalers: Mapping[str, Mapping[str, Any]], ladder: Sequence[str], skipped: Collection[str]
) -> dict[str, Any]:
    """What the recipe of the aggregation says of it; nothing in a run that has neither.

    Parameters
    ----------
    downscalers : mapping
        Of ``params.yaml``.
    ladder : sequence of str
        Names of the rungs.
    skipped : collection of str
        Downscalers that cannot run.

    Returns
    -------
    dict
        ``amounts``: ``ladder``, a list of names and blurs, and ``nearest``, a name or None.

    Raises
    ------
    UserError
        A rung is not bicubic and a blur, or they do not rise from bicubic itself.
    """
    found: list[tuple[str, float]] = []
    for name in ladder:
        sigma = _blur(downscalers[name])
        if sigma is None or not _same(downscalers[name], rung(sigma)):
            raise UserError(
                f"ladder: {name} is no rung: the first is {{method: resample, filter: bicubic}}, and the others the"
                " same with degrade: [{gaussian_blur: {sigma: 0.2}}], whatever the sigma"
            )
        if found and sigma <= found[-1][1]:
            raise UserError(f"ladder: {name} has no more blur than {found[-1][0]}: name them in rising order")
        if not found and sigma:
            raise UserError(f"ladder: {name} comes first and has a blur: begin with bicubic itself")
        found.append((name, sigma))
    nearest = next((name for name, one in downscalers.items() if name not in skipped and _same(one, NEAREST)), None)
    if not found and nearest is None:
        return {}
    return {"amounts": {"ladder": [list(one) for one in found], "nearest": nearest}}


def _blur(entry: Mapping[str, Any]) -> float | None:
    """The sigma of an entry's only degradation, 0 without one; None if that is something else."""
    steps = entry.get("degrade") or []
    if not steps:
        return 0.0
    step = steps[0] if isinstance(steps, list) and len(steps) == 1 else None
    blur = step.get("gaussian_blur") if isinstance(step, Mapping) else None
    sigma = blur.get("sigma") if isinstance(blur, Mapping) else None
    number = isinstance(sigma, int | float) and not isinstance(sigma, bool)
    return float(sigma) if number and sigma >= 0 else None  # type: ignore[operator, arg-type]


def _same(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an entry is what `wanted` says, defaults included."""
    if entry.get("method") != wanted["method"]:
        return False
    recipes = [stated("one", one, 2, 0)[0] for one in (entry, wanted)]
    keys = ("parameters", "degrade")
    return [recipes[0].get(key) for key in keys] == [recipes[1].get(key) for key in keys]
