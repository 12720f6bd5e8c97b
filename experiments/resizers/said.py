"""The judgements in words: a paragraph per question, and the tables of all functions.

Of S alone the text never says "loses": it says how well the blind decoder reads a function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from questions import Question  # type: ignore[import-not-found]
from verdicts import Answer, Study, shown  # type: ignore[import-not-found]

from ida_rd.core.pairs import FEWEST
from ida_rd.core.typeset import interval, markdown_table, p_value

__all__ = ["begun", "kernels_text", "paragraph", "sentence", "tables"]

BLIND = "By the blind decoder alone: S* is not measured, so that nothing here says what is lost."
READS = {
    1: "{0} is read better by this decoder than {1}",
    0: "no difference shown between {0} and {1}",
    -1: "{0} is read worse by this decoder than {1}",
}
LOSES = {
    1: "{0} loses less than {1}",
    0: "no difference in loss shown between {0} and {1}",
    -1: "{0} loses more than {1}",
}
TRAININGS = {
    0: "",
    1: " S* is by one training for each function: what another one would change is in no interval and in no p.",
}


def begun(study: Study) -> str:
    """What holds for all answers."""
    trainings = study.trainings()
    return (
        f"By {study.settings.preset}, {study.descriptor['label']}. Differences: how much worse the second scores than"
        " the first. Intervals are of each difference by itself; p are corrected by Holm's method over all pairs,"
        " groups and factors of a question, for S and for S* each, and say nothing of other functions."
        + TRAININGS.get(
            trainings, f" S* is by {trainings} trainings for each function, and their differences are in it."
        )
    )


def paragraph(
    study: Study, question: Question, answers: Sequence[Answer], others: Mapping[str, Sequence[Answer]]
) -> str:
    """What can be posted under the thread.

    Parameters
    ----------
    study : Study
    question : Question
    answers : sequence of Answer
        By the main distortion.
    others : mapping
        The same by the other distortions of the run: where they come to something else, it is said.
    """
    lines = [" ".join([question.title, *([f"({', '.join(question.threads)})"] if question.threads else [])])]
    if question.factor is not None and question.factor not in study.factors:
        have = " and ".join(f"x{factor}" for factor in study.factors)
        lines.append(f"At x{question.factor} this is not measured: no decoder of this run is for it. At {have}:")
    partly = any(one.star is not None for one in answers)
    if answers and not partly:
        lines.append(BLIND)
    for factor in study.factors_of(question):
        for group in study.groups:
            mine = [one for one in answers if (one.factor, one.group) == (factor, group)]
            where = f"On {study.settings.groups[group]}, x{factor}"
            count = max((one.count for one in mine), default=0)
            if not mine:
                lines.append(f"{where}: not shown, too few images or functions.")
            elif count < FEWEST:
                lines.append(f"{where} (N = {count}): not shown, too few for an interval.")
            else:
                parts = [sentence(one, count, partly, study.level) for one in mine]
                lines.append(f"{where} (N = {count}): {'; '.join(parts)}.")
                lines += [_otherwise(study, name, mine, found) for name, found in others.items()]
        lines += _not_measured(study, question, factor)
    return " ".join(lines)


def _not_measured(study: Study, question: Question, factor: int) -> list[str]:
    missing = sorted({*question.kernels, *(name for pair in question.pairs for name in pair)} - study.names[factor])
    if not missing:
        return []
    alike = pd.Series(missing).groupby([study.missing(name) for name in missing], sort=False)
    where = f" at x{factor}" if len(study.factors_of(question)) > 1 else ""
    return [f"Not measured{where}: {'; '.join(', '.join(names) + f': {why}' for why, names in alike)}."]


def _verdict(one: Answer, level: float) -> int:
    """By S*, where there is one."""
    given = (one.s, one.s_p) if one.star is None or one.star_p is None else (one.star, one.star_p)
    return shown(*given, one.count, level)


def _otherwise(study: Study, distortion: str, mine: Sequence[Answer], found: Sequence[Answer]) -> str:
    """Pairs on which another distortion comes to something else."""
    known = {(one.factor, one.group, one.less, one.more): one for one in found}
    parts = []
    for one in mine:
        other = known.get((one.factor, one.group, one.less, one.more))
        if other is None or _verdict(other, study.level) == _verdict(one, study.level):
            continue
        words = READS if other.star is None else LOSES
        number = ("s", "S") if other.star is None else ("star", "S*")
        value, low, high, p = (getattr(other, number[0] + end) for end in ("", "_low", "_high", "_p"))
        said = words[_verdict(other, study.level)].format(one.less, one.more)
        parts.append(f"{said} ({number[1]}: {interval(value, low, high, signed=True)}, p {p_value(p)})")
    label = study.recipe["distortions"][distortion]["label"]
    return f"By {label} otherwise: {'; '.join(parts)}." if parts else f"By {label} the same."


def sentence(one: Answer, count: int, partly: bool, level: float) -> str:
    """What came of a pair. Only S* says that something is lost."""
    by_s = shown(one.s, one.s_p, one.count, level)
    few = f", N = {one.count}" if one.count < count else ""
    numbers = f"S: {interval(one.s, one.s_low, one.s_high, signed=True)}, p {p_value(one.s_p)}{few}"
    if one.star is None or one.star_p is None:
        said = READS[by_s].format(one.less, one.more)
        return f"{said} ({numbers}{'; S* not measured' if partly else ''})"
    by_star = shown(one.star, one.star_p, one.count, level)
    said = LOSES[by_star].format(one.less, one.more)
    if by_s != by_star:
        better = one.less if by_s > 0 else one.more
        said += f", though {better} is better read" if by_s else ", which S does not show"
    star = f"S*: {interval(one.star, one.star_low, one.star_high, signed=True)}, p {p_value(one.star_p)}"
    gap = interval(one.gap, one.gap_low, one.gap_high, signed=True) if one.gap is not None else ""
    return f"{said} ({star}; {numbers}; gap {gap})"


def kernels_text(study: Study, found: Sequence[dict[str, Any]], others: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Does less aliasing mean less loss?"""
    lines = ["Does less aliasing mean less loss?"]
    if not any(one["by"] == "S*" for one in found):
        lines.append(BLIND)
    lines += [_aliasing(study, one) for one in found]
    for name, theirs in others.items():
        label = study.recipe["distortions"][name]["label"]
        known = {_place(one): _kernels(one, study) for one in found}
        different = [one for one in theirs if known.get(_place(one)) != _kernels(one, study)]
        lines += [f"By {label} otherwise." if different else f"By {label} the same."]
        lines += [_aliasing(study, one) for one in different]
    return " ".join(lines)


def _place(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["factor"], one["group"], one["by"]


def _kernels(one: dict[str, Any], study: Study) -> int:
    return 0 if one["p"] is None else shown(one["rho"], one["p"], one["photographs"], study.level)


def _aliasing(study: Study, one: dict[str, Any]) -> str:
    where = f"On {study.settings.groups[one['group']]}, x{one['factor']}, by {one['by']}"
    if one["p"] is None:
        return f"{where}: not shown, too few for an interval."
    words = ("lose more", "lose less") if one["by"] == "S*" else ("are read worse", "are read better")
    found_out = _kernels(one, study)
    said = (
        f"of these {one['kernels']} kernels, those that alias less {words[found_out > 0]}" if found_out else "not shown"
    )
    rho = interval(one["rho"], one["low"], one["high"], places=2, signed=True)
    rest = ""
    if one["least"] is not None:
        rest = f", {one['least']:+.2f} to {one['most']:+.2f} without one of the kernels"
    return (
        f"{where}: {said}; Spearman's rho with aliasing, over {one['kernels']} kernels, {rho}, p {p_value(one['p'])},"
        f" mean of {one['photographs']} images{rest}; {one['rho_of_means']:+.2f} of means."
    )


def tables(study: Study, table: pd.DataFrame) -> list[str]:
    """The table of each group: what loses least by S* first or, where there is none, what is read best."""
    lines: list[str] = []
    if alike := study.alike():
        same = "; ".join(" = ".join(names) for names in alike)
        lines += [
            "",
            f"Alike on every image, to the last digit, so that one is no second finding beside the other: {same}.",
        ]
    parted = "s_star" in table
    lower = study.descriptor["better"] == "lower"
    for (factor, group), rows in table.groupby(["factor", "group"], sort=False):
        count = int(rows.photographs.max())
        lines += ["", f"### {study.settings.groups[str(group)]}, x{factor} (N = {count})", ""]
        ordered = rows.sort_values(["s_star", "s"] if parted else ["s"], ascending=lower, kind="stable")
        cells = [
            [one.downscaler, interval(one.s, one.s_low, one.s_high)]
            + ([_cell(one, "s_star"), _cell(one, "gap")] if parted else [])
            for one in ordered.itertuples()
        ]
        head = ["", f"S, {study.descriptor['label']}", *(["S*", "gap"] if parted else [])]
        lines += markdown_table(head, cells)
    return lines


def _cell(row: Any, key: str) -> str:
    value = getattr(row, key)
    return "" if pd.isna(value) else interval(value, getattr(row, f"{key}_low"), getattr(row, f"{key}_high"))
