"""What the numbers of a study show, in words."""

from __future__ import annotations

import numpy as np
from scipy import stats

from ida_rd.core.pairs import FEW, FEWEST
from ida_rd.core.typeset import p_value
from ida_rd.study.judge import Comparison, Result, Setting, kept, ladder_correlations
from ida_rd.study.numbers import short
from ida_rd.study.settings import Study
from ida_rd.study.tables import markdown

__all__ = ["agreement", "page", "paper_columns", "paragraph"]


def page(study: Study, setting: Setting, results: list[Result], skipped: dict[str, str]) -> str:
    """The whole text of ``study.md``."""
    lines = [f"# {study.title}", ""]
    if study.claim:
        lines += [f"The paper's claim: {study.claim}.", ""]
    lines += [paragraph(study, setting, result) + "\n" for result in results]
    lines += [f"{line}\n" for line in agreement(results)]
    lines += ["![scores](scores.png)", "", _how_it_is_scored(setting), "", _how_it_is_tested(study, setting)]
    if study.equivalence:
        lines += ["", _how_alike_is_tested(study, setting)]
    lines += ["", "`images.csv` beside this file has the score of every image, for any other test."]
    if study.paper:
        lines += ["", f"Paper: {study.paper.source}. {study.paper.note}".rstrip()]
        lines += [f"\n{line}" for line in paper_columns(study)]
    lines += [f"\n{note}" for note in study.notes]
    lines += [f"\n**Skipped: {name}**, because {reason}." for name, reason in skipped.items()]
    return "\n".join(lines) + "\n" + markdown(study, setting, results)


def _how_it_is_scored(setting: Setting) -> str:
    text = (
        f"Score: mean {setting.label} over photographs of the mean over their images and samples ({setting.better} is"
        f" better), with three significant digits; in brackets Student's {setting.confidence:.0%} intervals over"
        " photographs, each by itself. *Failed*: samples whose first draw was not finite. *Clipped*: share of"
        " sub-pixels outside the range of an image, before they were cut off."
    )
    if setting.primary and setting.primary != setting.lead:
        text += f" **The primary distortion, {setting.primary}, could not be computed**: {setting.label} leads instead."
    return text


CORRECTION = {
    "ladders": "The claim holds only if every comparison does (intersection-union: all must hold, so none is"
    " corrected).",
    "order": "The claim holds only if every comparison does (intersection-union: all must hold, so none is corrected).",
    "ranking": "All comparisons with the baseline, of one upscaler and factor, are corrected together by Holm's"
    " method.",
    "threshold": "Each panel is a fixed sequence of tests, from its strongest rung down to the first that is not seen:"
    " rungs below that one are *not tested*, and none is corrected.",
}


def _how_it_is_tested(study: Study, setting: Setting) -> str:
    return (
        "Differences are paired by image; positive ones mean that more is lost. p: sign-flip permutation test of the"
        " photographs' differences, two-sided, of their mean. *Shown*: the mean is positive and p below"
        f" {setting.level:.2g}; *reversed*: it is negative and p below that; *not shown*: neither, which does not say"
        " that there is no difference. Effect: the mean in standard deviations of the photographs' differences; share:"
        f" of the photographs, those whose difference has the mean's sign. {CORRECTION[study.kind]}"
    )


def _how_alike_is_tested(study: Study, setting: Setting) -> str:
    assert study.equivalence
    if study.margin(setting.lead) is None:
        return (
            f"What is alike is not tested: the margin is one of {study.equivalence.distortion}, and {setting.label}"
            " leads."
        )
    which = "every difference, Holm's method again" if study.kind == "ranking" else "differences that are not shown"
    return (
        f"*Alike*: the mean difference lies within ±{study.equivalence.margin:g} (two one-sided t-tests over"
        f" photographs, p below {setting.level:.2g}; asked of {which}). What is significant can be as small as that."
        f" {study.equivalence.reason}"
    )


def paragraph(study: Study, setting: Setting, result: Result) -> str:
    """Say what the numbers of one upscaler and factor show."""
    samples = sum(c.samples for c in result.conditions.values())
    lost = sum(c.lost for c in result.conditions.values())
    text = [
        f"**{result.title}** ({study.data}: {result.counts}; {samples} reconstructions, {lost} of them not finite), by"
        f" {setting.label}."
    ]
    text += {"ladders": _say_ladders, "threshold": _say_threshold, "order": _say_order, "ranking": _say_ranking}[
        study.kind
    ](study, result)
    text += _too_few(study, setting, result)
    rho = []
    for title, column in (study.paper.means() if study.paper else {}).items():
        common = [name for name in column if name in result.conditions]
        ours, theirs = [result.loss(name) for name in common], [column[name] for name in common]
        if len(common) > 2 and np.ptp(ours) > 0 and np.ptp(theirs) > 0:
            found = stats.spearmanr(ours, theirs)
            rho.append(f"{found.statistic:.2f} ({title}, {len(common)} values)")
    if rho:
        text.append(f"Spearman's rho with the paper's means: {_listed(rho)}.")
    return " ".join(text)


def _too_few(study: Study, setting: Setting, result: Result) -> list[str]:
    """What so few photographs cannot say."""
    count = result.photographs
    family = len(result.comparisons) if study.kind == "ranking" else 1
    least = min(1.0, family * 2.0 ** (1 - count))
    text = []
    if count < FEWEST:
        text.append(f"**{count} photographs are too few for an interval.**")
    elif count < FEW:
        text.append(f"**{count} photographs are few**: intervals of skewed scores are too short.")
    if least >= setting.level:
        text.append(f"They are too few for the test, too: it cannot give a p below {p_value(least)}.")
    return text


def _claim(study: Study, holds: bool) -> str:
    return f"The paper's claim ({study.claim}) **{'holds' if holds else 'does not hold in full'}** here."


def _not_shown(comparison: Comparison, *, reason: str = "") -> str:
    """One comparison that is not shown, with its numbers."""
    p = "" if comparison.p is None else f", p {p_value(comparison.p)}"
    extra = ", reversed" if comparison.reversed else ", alike" if comparison.alike else ""
    return (
        f"{comparison.condition} is not shown to lose more than {comparison.against} ({comparison.interval}{p}{extra})."
    )


def _say_ladders(study: Study, result: Result) -> list[str]:
    failed = [c for c in result.comparisons if not c.shown]
    held = len(result.comparisons) - len(failed)
    text = [f"{held} of {len(result.comparisons)} rungs are shown to lose more than the one before."]
    text += [_not_shown(c) for c in failed]
    rho = ladder_correlations(study, result)
    broken = [name for name, (of_means, _) in rho.items() if of_means < 1]
    if broken:
        text.append(f"The means do not rise all the way in {_listed(broken)}.")
    else:
        text.append(f"The means rise all the way in each of the {len(rho)} ladders (Spearman's rho 1).")
    least = min(rho, key=lambda name: rho[name][1])
    text.append(f"Image by image, the mean rho is lowest for {least}: {rho[least][1]:.3f}.")
    lowest = result.ranked()[0]
    first = next(iter(next(iter(study.panels.values())).conditions))
    text.append("Least is lost without degradation." if lowest == first else f"**{lowest}**, not {first}, loses least.")
    text.append(_claim(study, not failed and not broken and lowest == first))
    return text


def _say_threshold(study: Study, result: Result) -> list[str]:
    text, unseen = [], []
    for name, panel in study.panels.items():
        mine = [c for c in result.comparisons if c.panel == name]
        if not mine:
            continue
        # Tests ended at the first that is not seen: those after it are.
        seen = len(mine)
        while seen and mine[seen - 1].shown:
            seen -= 1
        levels = [panel.conditions[c.condition] for c in mine]
        beside = " (beside the claim)" if panel.aside else ""
        if seen == len(mine):
            text.append(f"{name}{beside}: not seen even at {levels[-1]} ({mine[-1].interval}).")
            unseen += [] if panel.aside else [name]
            continue
        before = f", not at {levels[seen - 1]}" if seen else ""
        text.append(f"{name}{beside}: seen from {levels[seen]} on{before} ({mine[seen].interval}).")
    better = [c for c in result.comparisons if c.reversed]
    if better:
        text.append(f"**Significantly lower than with no degradation**: {_listed([c.condition for c in better])}.")
    if study.claim:
        text.append(_claim(study, not unseen and not any(not study.panels[c.panel].aside for c in better)))
    return text


def _say_order(study: Study, result: Result) -> list[str]:
    failed = [c for c in result.comparisons if not c.shown]
    text = [f"From least to most lost: {' < '.join(result.ranked())}."]
    text.append(f"{len(result.comparisons) - len(failed)} of {len(result.comparisons)} comparisons of the claim hold.")
    text += [_not_shown(c) for c in failed]
    text.append(_claim(study, not failed))
    return text


def _say_ranking(study: Study, result: Result) -> list[str]:
    order = result.ranked([name for panel in study.panels.values() for name in panel.conditions])
    best, worst = order[0], order[-1]
    first, last = (short(result.conditions[name].score.mean) for name in (best, worst))
    text = [f"{best} loses least ({first}), {worst} most ({last})."]
    if study.baseline in result.conditions:
        groups = {
            ("loses less than", "lose less than"): [c.condition for c in result.comparisons if c.reversed],
            ("loses more than", "lose more than"): [c.condition for c in result.comparisons if c.shown],
            ("does not differ significantly from", "do not differ significantly from"): [
                c.condition for c in result.comparisons if not c.shown and not c.reversed
            ],
            ("is alike within the margin to", "are alike within the margin to"): [
                c.condition for c in result.comparisons if c.alike
            ],
        }
        text += [
            f"{len(names)} {one if len(names) == 1 else several} {study.baseline}:"
            f" {_listed(sorted(names, key=order.index))}."
            for (one, several), names in groups.items()
            if names
        ]
    if study.claim:
        text.append(_claim(study, all(c.shown for c in result.comparisons)))
    return text


def agreement(results: list[Result]) -> list[str]:
    """How alike the upscalers of one factor rank the conditions, and how far apart they put them."""
    lines = []
    for i, one in enumerate(results):
        for other in results[i + 1 :]:
            names = [name for name in one.conditions if name in other.conditions]
            if one.factor != other.factor or len(names) < 3:
                continue
            tau = stats.kendalltau([one.loss(n) for n in names], [other.loss(n) for n in names]).statistic
            spreads = [short(float(np.ptp([result.loss(n) for n in names]))) for result in (one, other)]
            lines.append(
                f"{one.title} and {other.title}: Kendall's tau between their rankings is {tau:.2f}; from lowest to"
                f" highest, their scores span {spreads[0]} and {spreads[1]}."
            )
    return lines


def paper_columns(study: Study) -> list[str]:
    """What the paper's own means say of an order that is claimed: each column by itself, ties as it prints them."""
    lines = []
    for title, means in (study.paper.means() if study.paper else {}).items():
        held, of = kept(study, means)
        if study.kind != "order" or not of:
            continue
        levels = [[name for name in means if means[name] == level] for level in sorted(set(means.values()))]
        ranked = [" = ".join(names) for names in levels]
        lines.append(f"{title}: {' < '.join(ranked)}; {held} of {of} comparisons of the claim hold in its means.")
    return lines


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
