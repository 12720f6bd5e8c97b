"""The judgements in words and tables: what can be posted for each question, and the tables of all functions.

Of S alone the text never says "loses": it says how well the blind decoder reads a function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from questions import Question  # type: ignore[import-not-found]
from verdicts import Answer, Study, farthest, shown  # type: ignore[import-not-found]

from ida_rd.core.pairs import FEWEST
from ida_rd.core.typeset import interval, markdown_table, p_value

__all__ = ["begun", "kernels_table", "kernels_text", "pairs_table", "paragraph", "tables", "what_is_shown"]

BLIND = (
    "By the blind decoder alone: S* is not measured, so that nothing here says what is lost. *Read better*: what that"
    " decoder makes of the function's images (S, {0}) is nearer to the originals."
)
PARTED = (
    "*Loses less*: what a decoder makes of the function's images that was adapted to it (S*, {0}) is nearer to the"
    " originals. *Better read*: what one decoder for all functions makes of them (S) is. Gap: S - S*."
)
OWN = "`own-`: kernels as computed here."
CONTROL = (
    "Functions that are one kernel, and those that are alike on every image: what they differ by is no loss, but"
    " arithmetic and the chance of a training."
)
# By whether S* is there, and what is shown: how pairs begin, and what stands between the two of a pair.
WORDS = {
    (True, 1): ("loses less", "than"),
    (True, -1): ("loses more", "than"),
    (True, 0): ("no difference in loss shown", "and"),
    (False, 1): ("read better", "than"),
    (False, -1): ("read worse", "than"),
    (False, 0): ("no difference shown", "and"),
}
TRAININGS = {
    0: "",
    1: " S* is by one training for each function: what another one would change is in no interval and in no p.",
}


def begun(study: Study) -> str:
    """What holds for all answers."""
    trainings = study.trainings()
    return (
        f"By {study.settings.preset}, {study.descriptor['label']}. Intervals are of each difference by itself; p are"
        " corrected by Holm's method over all pairs, groups and factors of a question, for S, for S* and for each"
        " distortion, and say nothing of other functions. In tables of pairs, bold is what is shown"
        f" ({what_is_shown(study)})."
        + TRAININGS.get(
            trainings, f" S* is by {trainings} trainings for each function, and their differences are in it."
        )
    )


def what_is_shown(study: Study) -> str:
    """When a difference is shown."""
    beyond = ", and its whole interval beyond those of the controls"
    return f"p, corrected, below {study.level:g}{beyond if study.controls else ''}"


def paragraph(
    study: Study, question: Question, answers: Sequence[Answer], others: Mapping[str, Sequence[Answer]]
) -> str:
    """What can be posted under the thread, with `pairs_table` below it.

    Parameters
    ----------
    study : Study
    question : Question
    answers : sequence of Answer
        By the main distortion.
    others : mapping
        The same by the other distortions of the run: where they come to something else, it is said.
    """
    label = study.descriptor["label"]
    begins = [f"Asked in {', '.join(question.threads)}."] if question.threads else []
    if question.factor is not None and question.factor not in study.factors:
        have = " and ".join(f"x{factor}" for factor in study.factors)
        begins.append(f"At x{question.factor} this is not measured: no decoder of this run is for it. At {have}:")
    partly = any(one.star is not None for one in answers)
    if answers:
        begins.append(PARTED.format(label) if partly else BLIND.format(label))
    if any(name.startswith("own-") for one in answers for name in (one.less, one.more)):
        begins.append(OWN)
    if question.control:
        begins = [CONTROL]
    lines = [" ".join(begins), ""] if begins else []
    for factor in study.factors_of(question):
        for group in study.groups:
            mine = [one for one in answers if (one.factor, one.group) == (factor, group)]
            where = f"* On {study.settings.groups[group]}, x{factor}"
            count = max((one.count for one in mine), default=0)
            if not mine:
                lines.append(f"{where}: not shown, too few images or functions.")
            elif count < FEWEST:
                lines.append(f"{where} (N = {count}): not shown, too few for an interval.")
            elif question.control:
                reached = [_reached(study, distortion, factor, group) for distortion in (study.lead, *others)]
                lines.append(f"{where} (N = {count}): others are shown to differ beyond {'; '.join(reached)}.")
            else:
                rest = [_otherwise(study, name, mine, found, partly) for name, found in others.items()]
                lines.append(" ".join([f"{where} (N = {count}): {_sorted(mine, partly=partly)}.", *rest]))
        lines += _not_measured(study, question, factor)
    return "\n".join(lines)


def _reached(study: Study, distortion: str, factor: int, group: str) -> str:
    controls = study.by(distortion).controls.get((factor, group), [])
    parts = {"star": "S*", "s": "S"} if any(one.star is not None for one in controls) else {"s": "S"}
    far = " and ".join(f"{farthest(controls, part):.2g} by {name}" for part, name in parts.items())
    return f"{far}, {study.recipe['distortions'][distortion]['label']}"


def _not_measured(study: Study, question: Question, factor: int) -> list[str]:
    missing = sorted({*question.kernels, *(name for pair in question.pairs for name in pair)} - study.names[factor])
    if not missing:
        return []
    alike = pd.Series(missing).groupby([study.missing(name) for name in missing], sort=False)
    where = f" at x{factor}" if len(study.factors_of(question)) > 1 else ""
    return [f"* Not measured{where}: {'; '.join(', '.join(names) + f': {why}' for why, names in alike)}."]


def _sorted(answers: Sequence[Answer], *, partly: bool, counted: bool = True) -> str:
    """Pairs by what is shown of them. Only S* says that something is lost; `partly`: some pairs have it.

    `counted`: those of which nothing is shown are counted, and how much the others differ by is said.
    """
    parts: list[str] = []
    for (by_star, verdict), (begins, between) in WORDS.items():
        mine = [one for one in answers if (one.star is not None, _verdict(one)) == (by_star, verdict)]
        said = [(one, _notes(one, numbers=counted)) for one in mine]
        silent = sum(not note for _, note in said) if counted and not verdict else 0
        if silent <= 2:
            silent = 0  # as soon named as counted
        named = [
            f"{one.less} {between} {one.more}" + (f" ({note})" if note else "")
            for one, note in said
            if note or not silent
        ]
        if silent:
            named.append(f"the other {silent} pairs" if named or parts else f"all {silent} pairs")
        if mine:
            parts.append(f"{'S* not measured, ' if partly and not by_star else ''}*{begins}*: {', '.join(named)}")
    return "; ".join(parts)


def _notes(one: Answer, *, numbers: bool) -> str:
    """How much two functions differ by where that is shown, and what S says of them where it says otherwise."""
    verdict, by_s = _verdict(one), one.s_shown
    notes = []
    if verdict and numbers:
        value, low, high = (
            (one.s, one.s_low, one.s_high) if one.star is None else (one.star, one.star_low, one.star_high)
        )
        ends = (low, high) if verdict > 0 or low is None or high is None else (-high, -low)
        notes.append(f"by {interval(abs(value), *ends)}")
    if one.star is not None and verdict != by_s:
        notes.append(f"though {one.less if by_s > 0 else one.more} is better read" if by_s else "which S does not show")
    return ", ".join(notes)


def _verdict(one: Answer) -> int:
    """By S*, where there is one."""
    return int(one.s_shown if one.star_shown is None else one.star_shown)


def _otherwise(study: Study, distortion: str, mine: Sequence[Answer], found: Sequence[Answer], partly: bool) -> str:
    """Pairs on which another distortion comes to something else."""
    known = {(one.factor, one.group, one.less, one.more): one for one in found}
    theirs = [known.get((one.factor, one.group, one.less, one.more)) for one in mine]
    different = [other for one, other in zip(mine, theirs, strict=True) if other and _verdict(other) != _verdict(one)]
    label = study.recipe["distortions"][distortion]["label"]
    if None in theirs:
        return f"By {label} not all of it is measured."
    if not different:
        return f"By {label} the same."
    return f"By {label} otherwise, {_sorted(different, partly=partly, counted=False)}."


def pairs_table(study: Study, answers: Sequence[Answer], others: Mapping[str, Sequence[Answer]]) -> list[str]:
    """All numbers of a question: rows are groups and pairs, with S*, S and gap, and the same by other distortions."""
    columns = {study.lead: answers, **others}
    cells: dict[tuple[int, str, str, str], list[str]] = {}
    head: list[str | None] = [None, "first, second (numbers: second minus first; above 0 the first is the better)"]
    for distortion, found in columns.items():
        label = study.recipe["distortions"][distortion]["label"]
        parted = any(one.star is not None for one in found)
        before = len(head)
        head += [f"{part}, {label}" for part in (("S*", "S", "gap") if parted else ("S",))]
        for one in found:
            if one.count < FEWEST:
                continue
            place = (one.factor, one.group, one.less, one.more)
            start = [f"{study.settings.groups[one.group]}, x{one.factor} ({one.count})", f"{one.less}, {one.more}"]
            row = cells.setdefault(place, start)
            row += [""] * (before - len(row))  # of a distortion by which this pair was not measured
            s = _tested(one.s, one.s_low, one.s_high, one.s_p, bool(one.s_shown))
            if parted:
                star = _tested(one.star, one.star_low, one.star_high, one.star_p, bool(one.star_shown))
                gap = "" if one.gap is None else interval(one.gap, one.gap_low, one.gap_high, signed=True)
                row += [star, s, gap]
            else:
                row.append(s)
    rows = [row + [""] * (len(head) - len(row)) for row in cells.values()]
    return ["", *markdown_table(head, rows)] if rows else []


def _tested(value: float | None, low: float | None, high: float | None, p: float | None, bold: bool) -> str:
    if value is None or p is None:
        return ""
    return f"{interval(value, low, high, signed=True, bold=bold)}, p {p_value(p)}"


def kernels_text(study: Study, found: Sequence[dict[str, Any]], others: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Does less aliasing mean less loss? By S*, where all kernels have adapted decoders; see `kernels_table`."""
    begins = ["Does less aliasing mean less loss?"]
    if not any(one["by"] == "S*" for one in found):
        begins.append(BLIND.split(" *Read")[0])
    lines = [" ".join(begins), ""]
    for one in _decided(found):
        lines.append(f"* {_aliasing(study, one)}")
        for name, theirs in others.items():
            other = next((row for row in theirs if _place(row) == _place(one)), None)
            if other and _kernels(other, study) != _kernels(one, study):
                lines[-1] += (
                    f" By {study.recipe['distortions'][name]['label']} otherwise: {_said_of_kernels(study, other)}."
                )
    return "\n".join(lines)


def kernels_table(
    study: Study, found: Sequence[dict[str, Any]], others: Mapping[str, Sequence[dict[str, Any]]]
) -> list[str]:
    """All rank correlations of aliasing: rows are groups, S and S*, and distortions."""
    rows = []
    for distortion, given in {study.lead: found, **others}.items():
        label = study.recipe["distortions"][distortion]["label"]
        for one in given:
            if one["p"] is None:
                continue
            bold = one["p"] < study.level
            rho = interval(one["rho"], one["low"], one["high"], places=2, signed=True, bold=bold)
            where = f"{study.settings.groups[one['group']]}, x{one['factor']} ({one['photographs']})"
            without = "" if one["least"] is None else f"{one['least']:+.2f} to {one['most']:+.2f}"
            rows.append(
                [
                    where,
                    f"{one['by']}, {label}",
                    f"{rho}, p {p_value(one['p'])}",
                    without,
                    f"{one['rho_of_means']:+.2f}",
                ]
            )
    head = [None, "by", "Spearman's rho of aliasing and score, mean of images", "without one kernel", "of means"]
    return ["", *markdown_table(head, rows)] if rows else []


def _decided(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_star = {(one["factor"], one["group"]) for one in found if one["by"] == "S*"}
    return [one for one in found if (one["by"] == "S*") == ((one["factor"], one["group"]) in by_star)]


def _place(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["factor"], one["group"], one["by"]


def _kernels(one: dict[str, Any], study: Study) -> int:
    return 0 if one["p"] is None else shown(one["rho"], one["p"], one["photographs"], study.level)


def _said_of_kernels(study: Study, one: dict[str, Any]) -> str:
    if one["p"] is None:
        return "not shown, too few for an interval"
    words = ("lose more", "lose less") if one["by"] == "S*" else ("are read worse", "are read better")
    verdict = _kernels(one, study)
    said = f"of these {one['kernels']} kernels, those that alias less {words[verdict > 0]}" if verdict else "not shown"
    rest = ""
    if one["least"] is not None:
        rest = f", {one['least']:+.2f} to {one['most']:+.2f} without one of the kernels"
        if verdict and one["least"] * one["most"] <= 0:
            rest += ", on which it hangs"
    rho = interval(one["rho"], one["low"], one["high"], places=2, signed=True)
    return f"{said} (Spearman's rho of aliasing and {one['by']}: {rho}{rest})"


def _aliasing(study: Study, one: dict[str, Any]) -> str:
    where = f"On {study.settings.groups[one['group']]}, x{one['factor']}, by {one['by']}"
    return f"{where}: {_said_of_kernels(study, one)}."


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
    for factor, group in [(factor, group) for factor in study.factors for group in study.groups]:
        rows = table[(table.factor == factor) & (table.group == group)]
        if rows.empty:
            continue
        count = int(rows.photographs.max())
        lines += ["", f"### {study.settings.groups[group]}, x{factor} (N = {count})", ""]
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
