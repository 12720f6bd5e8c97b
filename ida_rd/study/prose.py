"""What the numbers of a study show, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from ida_rd.study.judge import Result, ladder_correlations
from ida_rd.study.settings import Study
from ida_rd.study.tables import markdown

__all__ = ["agreement", "page", "paragraph"]


def page(
    study: Study, results: list[Result], skipped: dict[str, str], descriptor: dict[str, Any], confidence: float
) -> str:
    """The whole text of ``study.md``."""
    label = descriptor["label"]
    lines = [f"# {study.title}", ""]
    if study.claim:
        lines += [f"The paper's claim: {study.claim}.", ""]
    lines += [paragraph(study, result, label) + "\n" for result in results]
    lines += [f"{line}\n" for line in agreement(results)]
    lines += ["![scores](scores.png)"]
    lines += [
        "",
        f"Score: mean {label} over images of the mean over samples ({descriptor['better']} is better); in",
        f"brackets {confidence:.0%} bootstrap intervals over images. Differences are paired by image; positive ones",
        "mean that more is lost.",
    ]
    if study.paper:
        lines += ["", f"Paper: {study.paper.source}. {study.paper.note}".rstrip()]
    lines += [f"\n{note}" for note in study.notes]
    lines += [f"\n**Skipped: {name}**, because {reason}." for name, reason in skipped.items()]
    return "\n".join(lines) + "\n" + markdown(study, results, label)


def paragraph(study: Study, result: Result, label: str) -> str:
    """Say what the numbers of one upscaler and factor show."""
    images = len(next(iter(result.means.values())))
    text = [
        f"**{result.title}** ({images} images of {study.data}, {result.samples} reconstructions, "
        f"{result.lost} of them not finite), by {label}."
    ]
    text += {"ladders": _say_ladders, "threshold": _say_threshold, "order": _say_order, "ranking": _say_ranking}[
        study.kind
    ](study, result)
    paper = study.paper.scores if study.paper else {}
    common = [name for name in paper if name in result.scores]
    if len(common) > 2:
        ours = [result.loss(name) for name in common]
        rho = stats.spearmanr(ours, [paper[name] for name in common]).statistic
        text.append(f"Spearman's rho with the paper's {len(common)} available values: {rho:.2f}.")
    return " ".join(text)


def _claim(study: Study, holds: bool) -> str:
    return f"The paper's claim ({study.claim}) **{'holds' if holds else 'does not hold in full'}** here."


def _say_ladders(study: Study, result: Result) -> list[str]:
    failed = [c for c in result.comparisons if not c.shown]
    held = len(result.comparisons) - len(failed)
    text = [
        f"{held} of {len(result.comparisons)} rungs lose more than the one before, with intervals that exclude zero."
    ]
    text += [
        f"{c.condition} is not shown to lose more than {c.against} ({c.interval}{', reversed' if c.reversed else ''})."
        for c in failed
    ]
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
    holds = not failed and not broken and lowest == first
    text.append(_claim(study, holds))
    return text


def _say_threshold(study: Study, result: Result) -> list[str]:
    text = []
    for name, panel in study.panels.items():
        mine = [c for c in result.comparisons if c.panel == name]
        # The first rung from which on all are seen.
        seen = len(mine)
        while seen and mine[seen - 1].shown:
            seen -= 1
        levels = [panel.conditions[c.condition] for c in mine]
        if seen == len(mine):
            text.append(f"{name}: not seen even at {levels[-1]}.")
            continue
        before = f", not at {levels[seen - 1]}" if seen else ""
        text.append(f"{name}: seen from {levels[seen]} on{before} ({mine[seen].interval}).")
    better = [c.condition for c in result.comparisons if c.reversed]
    if better:
        text.append(f"**Lower than with no degradation**, with an interval that excludes zero: {_listed(better)}.")
    if study.claim:
        text.append(_claim(study, not better and not any("not seen even" in line for line in text)))
    return text


def _say_order(study: Study, result: Result) -> list[str]:
    failed = [c for c in result.comparisons if not c.shown]
    order = result.ranked()
    text = [f"From least to most lost: {' < '.join(order)}."]
    text.append(f"{len(result.comparisons) - len(failed)} of {len(result.comparisons)} comparisons of the claim hold.")
    text += [f"{c.condition} is not shown to lose more than {c.against} ({c.interval})." for c in failed]
    text.append(_claim(study, not failed))
    return text


def _say_ranking(study: Study, result: Result) -> list[str]:
    order = result.ranked([name for panel in study.panels.values() for name in panel.conditions])
    best, worst = order[0], order[-1]
    text = [f"{best} loses least ({result.scores[best].mean:.4f}), {worst} most ({result.scores[worst].mean:.4f})."]
    if study.baseline in result.scores:
        groups = {
            ("loses less than", "lose less than"): [c.condition for c in result.comparisons if c.reversed],
            ("loses more than", "lose more than"): [c.condition for c in result.comparisons if c.shown],
            ("does not differ significantly from", "do not differ significantly from"): [
                c.condition for c in result.comparisons if not c.shown and not c.reversed
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
            names = [name for name in one.scores if name in other.scores]
            if one.factor != other.factor or len(names) < 3:
                continue
            tau = stats.kendalltau([one.loss(n) for n in names], [other.loss(n) for n in names]).statistic
            spreads = [np.ptp([result.loss(n) for n in names]) for result in (one, other)]
            lines.append(
                f"{one.title} and {other.title}: Kendall's tau between their rankings is {tau:.2f}; from lowest to"
                f" highest, their scores span {spreads[0]:.4f} and {spreads[1]:.4f}."
            )
    return lines


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
