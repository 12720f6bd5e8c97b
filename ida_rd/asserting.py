"""``ida-rd assert``: is a downscaler not worse than another, by more than a margin?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.aggregate.comparisons import losses, wide_by_photograph
from ida_rd.aggregate.ladder import beyond_ladder
from ida_rd.aggregate.noninferiority import noninferiority_p, upper_bound
from ida_rd.amounts import BLURS, rungs
from ida_rd.core.errors import UserError
from ida_rd.core.images import image_files
from ida_rd.core.pairs import FEWEST
from ida_rd.core.typeset import counted, number, p_value
from ida_rd.photos import sample_photographs
from ida_rd.scoring import Downscaler, Image, score
from ida_rd.upscale.contract import Upscaler

__all__ = ["BY", "LEVEL", "MARGINS", "Verdict", "judge", "not_worse", "parse_margin"]

BY = "fsim"  # the first of `score`'s that needs no weights, so that CI needs no network
LEVEL = 0.05
# Two thirds of what Lanczos loses more than bicubic by 1 - FSIM on the sample photographs: see docs/ci.md.
MARGINS = {"fsim": 0.01}
RUNG = "assert-rung-"
MARGIN = re.compile(r"(blur:)?(\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class Verdict:
    """The outcome of an assertion.

    Attributes
    ----------
    passes : bool
        Whether `p` is below `level`.
    downscaler, reference, by : str
        Names; `by` is the distortion's.
    label : str
        The distortion, as tables call it.
    difference : float
        How much more the downscaler loses than the reference, mean over photographs, in the distortion's unit.
    at_most : float
        One-sided bound of it, at the test's level.
    margin : float
        In the distortion's unit.
    blur : float or None
        The margin in LR pixels of blur, if it was given so.
    p, level : float
    photographs, images, samples, factor : int
    upscaler : str
    """

    passes: bool
    downscaler: str
    reference: str
    by: str
    label: str
    difference: float
    at_most: float
    margin: float
    blur: float | None
    p: float
    level: float
    photographs: int
    images: int
    samples: int
    factor: int
    upscaler: str

    def __str__(self) -> str:
        places = 3 if abs(self.margin) >= 0.1 else 4
        more = "more" if self.difference >= 0 else "less"
        bound = number(self.at_most, places, signed=True)
        margin = number(self.margin, places)
        if self.blur is not None:
            margin += f" (blur:{self.blur:g})"
        where = f"{self.label}, x{self.factor}, {self.upscaler}, {counted(self.photographs, self.images)}"
        return (
            f"{'pass' if self.passes else 'FAIL'}: {self.downscaler} loses {number(abs(self.difference), places)}"
            f" {more} than {self.reference}, at most {bound} with {1 - self.level:.4g} confidence; margin {margin},"
            f" p = {p_value(self.p)} ({where})"
        )


def parse_margin(text: str | float | None, by: str) -> tuple[float, bool]:
    """A margin, and whether it is in LR pixels of blur.

    Parameters
    ----------
    text : str, float or None
        ``0.01``, in the distortion's unit, or ``blur:0.1``; None: that of `MARGINS`.
    by : str
        The distortion.
    """
    if text is None:
        if by not in MARGINS:
            raise UserError(f"--margin: by {by} there is no usual one; give it, such as 0.01 in its unit, or blur:0.1")
        return MARGINS[by], False
    found = MARGIN.fullmatch(str(text))
    if not found or not 0 < float(found[2]) < float("inf"):
        raise UserError(f"--margin {text}: give a number above 0 in the distortion's unit, or blur:0.1 in LR pixels")
    return float(found[2]), bool(found[1])


def not_worse(
    downscale: Mapping[str, Downscaler],
    reference: Mapping[str, Downscaler],
    images: Path | str | Mapping[str, Image] | Sequence[Image] | None = None,
    *,
    margin: str | float | None = None,
    by: str = BY,
    level: float = LEVEL,
    factor: int = 4,
    upscaler: Mapping[str, Any] | str | Upscaler = "flow",
    samples: int = 3,
    seed: int = 0,
    photograph_before: str | None = None,
) -> Verdict:
    """Test that a downscaler loses at most `margin` more than a reference.

    Parameters
    ----------
    downscale, reference : mapping
        One name each, and what `ida_rd.score` takes.
    images : optional
        As for `ida_rd.score`; None: the sample photographs.
    margin : str or float, optional
        See `parse_margin`. In LR pixels of blur: the downscaler's blur-equivalent is at most so much above the
        reference's.
    by : str
        Distortion.
    level : float
        At most so often a downscaler that is worse by the margin or more passes.
    factor, upscaler, samples, seed, photograph_before
        As for `ida_rd.score`.

    Raises
    ------
    UserError
        Whatever is wrong with the input, in one line; fewer than five photographs, which say nothing of others.
    """
    (name,), (against,) = downscale, reference
    if taken := [given for given in (name, against) if given.startswith(RUNG)]:
        raise UserError(f"{taken[0]}: is called like a rung of the ladder of blurs: give it another name")
    if name == against:
        raise UserError(
            f"--not-worse-than {against}: is called like what it is compared with; name that: --lr mine=DIR"
        )
    if not 0 < level < 0.5:
        raise UserError(f"--level {level}: give a number between 0 and 0.5")
    size, in_blur = parse_margin(margin, by)
    if isinstance(images, Path | str):
        _enough(len(image_files(Path(images).expanduser(), what="--hr")))  # before hours are spent on them
    given: dict[str, Downscaler] = {**downscale, **reference}
    if in_blur:
        given |= {f"{RUNG}{i}": entry for i, entry in enumerate(rungs())}
    result = score(
        given,
        sample_photographs() if images is None else images,
        factor=factor,
        upscaler=upscaler,
        samples=samples,
        distortions=[by],
        seed=seed,
        missing_weights="error",
        resamples=100,  # of tests that are not read: the fewest
        photograph_before=photograph_before,
    )
    table = result.images
    described = result.recipe["distortions"][by]
    wide = losses(table.pivot_table(by, "image_id", "downscaler"), described["better"])[list(given)].dropna()
    tiles = dict(zip(table.image_id, table.photograph, strict=True))
    values = wide_by_photograph(wide, tiles).to_numpy(np.float64)
    _enough(len(values))
    return judge(
        values,
        size,
        level,
        in_blur=in_blur,
        downscaler=name,
        reference=against,
        by=by,
        label=described["label"],
        images=len(wide),
        samples=int(table["samples"].max()),
        factor=int(factor),
        upscaler=str(table.upscaler.iloc[0]),
    )


def judge(values: NDArray[np.float64], size: float, level: float, *, in_blur: bool = False, **known: Any) -> Verdict:
    """Judge what photographs lose.

    Parameters
    ----------
    values : ndarray
        (P, 2), of the downscaler and the reference; more is worse. With `in_blur` (P, 2 + R), of the rungs, too.
    size, in_blur
        The margin: see `parse_margin`.
    level : float
    known
        The other fields of `Verdict`.
    """
    difference = float((values[:, 0] - values[:, 1]).mean())
    if in_blur:
        beyond, margin = beyond_ladder(values[:, 0], values[:, 1], values[:, 2:], np.array(BLURS), size)
    else:
        beyond, margin = values[:, 0] - values[:, 1] - size, size
    p = float(noninferiority_p(beyond))
    return Verdict(
        passes=p < level,
        difference=difference,
        at_most=upper_bound(beyond, level) + margin,
        margin=margin,
        blur=size if in_blur else None,
        p=p,
        level=level,
        photographs=len(values),
        **known,
    )


def _enough(photographs: int) -> None:
    if photographs < FEWEST:
        raise UserError(f"--hr: {photographs} photographs say nothing of others; give at least {FEWEST}")
