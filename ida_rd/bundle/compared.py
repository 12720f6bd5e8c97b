"""Are rows that were computed again the published ones? By the verifier's tolerance, relative to the images' spread.

On one processor and with one software, distances are the same to the last digits. Another sums in another order: an SR
image can differ by a grey level here and there. What may differ is a share of the spread of the images' means, for each
sample, and ten times less on the average: noise goes either way, and a score that was shifted does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.bundle.numbers import of_this_program
from ida_rd.bundle.source import code_differences
from ida_rd.bundle.verify import Verified
from ida_rd.bundle.versions import version_of
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table, spread_column

__all__ = ["Branched", "Tolerance", "compare"]


@dataclass(frozen=True)
class Tolerance:
    """What may differ, as shares of the standard deviation of the images' means.

    Attributes
    ----------
    sample : float
        Of one sample.
    mean : float
        Of the mean over all samples, which is signed.
    rows : float
        Share of samples that may be finite here and not there, or drawn more often.
    rate : float
        Of a rate, relative to it.
    """

    sample: float
    mean: float
    rows: float
    rate: float


SAME = Tolerance(sample=1e-4, mean=1e-5, rows=0.0, rate=0.0)
OTHER = Tolerance(sample=0.02, mean=0.002, rows=0.02, rate=0.01)


@dataclass(frozen=True)
class Branched:
    """A branch that was computed again.

    Attributes
    ----------
    branch : str
    largest : float
        Largest difference of a sample, as a share of the spread over images; `column` and `where` say of what.
    column, where : str
    shift : float
        Largest difference of a mean, signed, as such a share; `shifted` says of what.
    shifted : str
    same_software : bool
        Whether software, processor and device are the publisher's.
    tolerance : Tolerance
    notes : list of str
        Where the code differs; which ranks are closer than the tolerance.
    """

    branch: str
    largest: float
    column: str
    where: str
    shift: float
    shifted: str
    same_software: bool
    tolerance: Tolerance
    notes: list[str]


def compare(
    checked: Verified, project: Project, chosen: Sequence[Branch], names: Sequence[str]
) -> tuple[list[Branched], list[str]]:
    """Compare what was computed again in `project` with the bundle; return what was found, and what is refused."""
    found, problems = [], []
    for file in ("balance.json", "balance.csv"):
        fresh = project.metrics / file
        same = (
            checked.bundle.json(file) == read_json(fresh, hint="")
            if file.endswith(".json")
            else checked.bundle.table(file).equals(read_table(fresh, hint=""))
        )
        if not same:
            problems.append(f"{file}: the test set was chosen otherwise")
    rates = {(d, int(f), i): rate for d, f, i, rate in read_json(project.root / "rates.json", hint="")}
    for branch in chosen:
        one, odd = _branch(checked, project, branch, names, rates)
        found.append(one)
        problems += [f"{branch.title}: {problem}" for problem in odd]
    return found, problems


def _branch(
    checked: Verified,
    project: Project,
    branch: Branch,
    names: Sequence[str],
    rates: dict[tuple[str, int, str], float],
) -> tuple[Branched, list[str]]:
    path = project.rows_of(branch)
    before = checked.bundle.json(f"rows/{branch.path}.json")
    same = before == read_json(path.with_suffix(".json"), hint="") and "cuda" not in str(before)
    tolerance = SAME if same else OTHER
    both = checked.rows[branch].merge(
        read_table(path, hint=""), on=["image_id", "sample"], suffixes=("", ":again"), how="outer", indicator=True
    )
    problems = []
    if (both["_merge"] != "both").any():
        problems.append("its samples are not those that are computed here")
    for column in ("finite", "attempts"):
        if (share := float((both[column] != both[f"{column}:again"]).mean())) > tolerance.rows:
            problems.append(f"{column} differs for {share:.1%} of the samples")
    largest, where, worst = 0.0, "", "clipped"
    shift, shifted = 0.0, "clipped"
    columns = [c for name in names for c in (name, spread_column(name)) if c in checked.rows[branch]]
    for column in [*columns, "clipped"]:
        difference, mean, at = _difference(both, column)
        if difference > largest:
            largest, worst = difference, column
            where = f"{both.image_id[at]}, sample {both['sample'][at]}"
        if abs(mean) > abs(shift):
            shift, shifted = mean, column
        if difference > tolerance.sample:
            sample = f"{both.image_id[at]}, sample {both['sample'][at]}"
            problems.append(
                f"{column} of {sample} differs by {difference:.3g} of the spread over images,"
                f" more than {tolerance.sample:g}"
            )
        elif abs(mean) > tolerance.mean:
            problems.append(
                f"{column} is {'higher' if mean > 0 else 'lower'} here by {abs(mean):.3g} of the spread over images"
                f" on the average, more than {tolerance.mean:g}"
            )
    problems += _rates(checked, branch, rates, tolerance)
    others = _others(checked, project, branch)
    if problems and others:  # then rows differ in good faith
        problems.append(f"{', '.join(others)} is another file here: put the publisher's there, or name it by --file")
    notes = [f"{name} is another file here" for name in others] + _code(checked, project, branch)
    notes += _ranks(checked, branch, both, names, tolerance)
    return Branched(branch.title, largest, worst, where, shift, shifted, same, tolerance, notes), problems


def _difference(both: pd.DataFrame, column: str) -> tuple[float, float, int]:
    """Largest difference of a sample, and that of the mean, relative to the spread over images; where the former is."""
    a, b = both[column].to_numpy(float), both[f"{column}:again"].to_numpy(float)
    there = ~(np.isnan(a) | np.isnan(b))
    one_sided = np.isnan(a) != np.isnan(b)
    spread = _spread(both, column)
    difference = np.where(there, np.abs(a - b), 0.0) / spread
    if not there.any():
        return (float("inf") if one_sided.any() else 0.0), 0.0, 0
    mean = float((b[there] - a[there]).mean() / spread)
    return float(difference.max()), mean, int(difference.argmax())


def _spread(both: pd.DataFrame, column: str) -> float:
    """Standard deviation of the images' means; where all are alike, a millionth of their size."""
    means = both.groupby("image_id")[column].mean().dropna().to_numpy(float)
    least = 1e-6 * max(1.0, float(np.abs(means).max(initial=0)))
    return max(float(np.std(means, ddof=1)) if len(means) > 1 else 0.0, least)


def _rates(
    checked: Verified, branch: Branch, rates: dict[tuple[str, int, str], float], tolerance: Tolerance
) -> list[str]:
    keys = [key for key in checked.rates if key[:2] == (branch.downscaler, branch.factor)]
    odd = [key for key in keys if abs(rates[key] - checked.rates[key]) > tolerance.rate * checked.rates[key] + 1e-9]
    if not odd:
        return []
    return [f"rate_bpp of {odd[0][2]} is {checked.rates[odd[0]]:.6g}, here {rates[odd[0]]:.6g}"]


def _recipes(checked: Verified, project: Project, branch: Branch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipes of the branch's images by their paths: the published ones, and those made here."""
    files = version_of(checked.results).files(checked.recipe["recipes"])
    paths = [
        f"downscale/x{branch.factor}/{branch.downscaler}",
        f"upscale/x{branch.factor}/{branch.upscaler}/{branch.downscaler}",
    ]
    # Recipes of the first version are of an upscaler, whichever the downscaler.
    return {path: files.get(path) or files.get(str(Path(path).parent)) or {} for path in paths}, {
        path: read_json(project.plan / f"{path}.json", hint="") for path in paths
    }


def _others(checked: Verified, project: Project, branch: Branch) -> list[str]:
    """Weights, and files that methods read, that have another hash here."""
    published, fresh = _recipes(checked, project, branch)
    found = []
    for path, recipe in fresh.items():
        for kind, word in (("weights", "weights "), ("files", "")):
            before, now = published[path].get(kind) or {}, recipe.get(kind) or {}
            found += [f"{word}{name}" for name in sorted(before.keys() & now.keys()) if before[name] != now[name]]
    return found


def _code(checked: Verified, project: Project, branch: Branch) -> list[str]:
    """Where the code that computed the branch differs here."""
    if not of_this_program(checked.results):
        return [f"the code was that of {checked.results.program}"]
    published, fresh = _recipes(checked, project, branch)
    distort = read_json(project.plan / "distort.json", hint="")["distortions"]
    published |= {name: checked.recipe["recipes"]["distort"]["distortions"][name] for name in distort}
    odd = code_differences(published, fresh | distort)
    return [f"the code differs here: {', '.join(odd[:5])}{', ...' if len(odd) > 5 else ''}"] if odd else []


def _ranks(
    checked: Verified, branch: Branch, both: pd.DataFrame, names: Sequence[str], tolerance: Tolerance
) -> list[str]:
    """Neighbours in the published order that are closer than what can be told, by the leading distortion."""
    name = names[0]
    scores = checked.numbers.scores
    of = scores[(scores.upscaler == branch.upscaler) & (scores.factor == branch.factor) & (scores.distortion == name)]
    means = dict(zip(of.downscaler, of["mean"], strict=True))
    mine = means.pop(branch.downscaler)
    margin = tolerance.mean * _spread(both, name)
    here = _image_mean(both, f"{name}:again")
    close = [other for other, mean in means.items() if abs(mean - mine) <= margin]
    moved = [other for other, mean in means.items() if (mean - mine) * (mean - here) < 0]
    notes = [f"its rank next to {', '.join(close)} by {name} is closer than the tolerance"] if close else []
    return notes + ([f"by its mean here it changes places with {', '.join(moved)} by {name}"] if moved else [])


def _image_mean(both: pd.DataFrame, column: str) -> float:
    values: NDArray[Any] = both.groupby("image_id")[column].mean().to_numpy(float)
    return float(np.nanmean(values))
