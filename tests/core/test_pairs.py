"""What is said of pairs: one rule, and where the distortions disagree by it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ida_rd.aggregate.comparisons import differences, losses
from ida_rd.core.pairs import baseline_of, disagreements, least_p, ties, to_baseline
from ida_rd.report import words

ORDER = ["first", "second", "third"]


def _pair(less: str, more: str, p: float, distortion: str = "first", **columns: Any) -> dict[str, Any]:
    pair = {"upscaler": "u", "factor": 4, "distortion": distortion, "loses_less": less, "loses_more": more}
    pair |= {"difference": 0.2, "low": 0.1, "high": 0.4, "effect": 1.5, "share": 0.9, "p_holm": p, "photographs": 9}
    return pair | columns


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_a_disagreement_is_two_significant_differences_of_opposite_sign(level: float) -> None:
    pairs = pd.DataFrame(
        [
            _pair("a", "b", 0.4 * level),
            _pair("b", "a", 0.6 * level, "second"),
            _pair("b", "a", 0.2 * level, "third"),
            _pair("a", "c", 0.1 * level),
            _pair("c", "a", level, "second"),  # not below it
            _pair("a", "c", 0.1 * level, "third"),
        ]
    )
    (found,) = disagreements(pairs, ORDER, level)
    assert (found.upscaler, found.factor, found.less, found.more) == ("u", 4, "a", "b")
    assert found.by == (("first", 0.4 * level),)
    assert found.against == (("second", 0.6 * level), ("third", 0.2 * level))


def test_disagreements_stay_within_an_upscaler_and_those_of_the_leading_distortion_come_first() -> None:
    pairs = pd.DataFrame(
        [
            _pair("a", "b", 0.01),
            _pair("b", "a", 0.01, "second", upscaler="v"),
            _pair("b", "a", 0.01, "third", factor=8),
        ]
    )
    assert disagreements(pairs, ORDER, 0.05) == []
    pairs = pd.DataFrame(
        [
            _pair("d", "e", 0.01),  # of the upscaler's, by the leading distortion, but no disagreement
            _pair("c", "b", 0.01, "third"),
            _pair("b", "c", 0.01, "second"),
            _pair("a", "b", 0.01, "second", upscaler="v"),
            _pair("b", "a", 0.01, "first", upscaler="v"),
        ]
    )
    found = disagreements(pairs, ORDER, 0.05)
    assert [(one.upscaler, one.less, one.more, one.by[0][0]) for one in found] == [
        ("v", "b", "a", "first"),
        ("u", "b", "c", "second"),
    ]


def test_two_distances_of_real_comparisons_disagree_where_they_were_made_to() -> None:
    """A table of the stage before: by one distance b is farther, by the other, a similarity, nearer."""
    rng = np.random.default_rng(0)
    images = [f"i{i}" for i in range(20)]
    hard = rng.normal(size=20)
    tables = []
    for name, better, shift in (("first", "lower", 1.0), ("second", "higher", 1.0)):
        wide = pd.DataFrame({d: hard + shift * i + 0.1 * rng.normal(size=20) for i, d in enumerate("ab")}, index=images)
        found = differences(losses(wide, better), confidence=0.95, resamples=999, seed=0)
        tables.append(found.assign(upscaler="u", factor=4, distortion=name))
    (one,) = disagreements(pd.concat(tables), ORDER, 0.05)
    assert (one.less, one.more) == ("a", "b")
    assert [name for name, _ in one.against] == ["second"]


def test_bars_join_the_longest_runs_without_a_significant_pair() -> None:
    names = list("abcdef")
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = {frozenset(pair): rng.choice([0.01, 0.5]) for pair in combinations(names, 2)}
        pairs = pd.DataFrame([_pair(min(pair), max(pair), float(value)) for pair, value in p.items()])
        runs = [
            (i, j)
            for i, j in combinations(range(6), 2)
            if all(p[frozenset(pair)] > 0.05 for pair in combinations(names[i : j + 1], 2))
        ]
        longest = [(i, j) for i, j in runs if not any(a <= i and j <= b and (a, b) != (i, j) for a, b in runs)]
        assert ties(names, pairs, 0.05) == longest


def test_a_verdict_on_a_pair_does_not_depend_on_the_others_ranks() -> None:
    """What Nemenyi's critical difference does not keep: two at the ends of a long ranking may be joined."""
    pairs = pd.DataFrame([_pair(a, b, 0.9) for a, b in combinations("abcdefgh", 2)])
    assert ties(list("abcdefgh"), pairs, 0.05) == [(0, 7)]
    assert ties(["a", "h"], pairs, 0.05) == [(0, 1)]


def test_differences_are_turned_to_the_baseline() -> None:
    pairs = pd.DataFrame([_pair("bicubic", "box", 0.01), _pair("best", "bicubic", 0.02), _pair("best", "box", 0.03)])
    found = to_baseline(pairs, "bicubic").set_index("downscaler")
    assert sorted(found.index) == ["best", "box"]
    assert found.loc["box", ["difference", "low", "high", "effect", "p_holm"]].tolist() == [0.2, 0.1, 0.4, 1.5, 0.01]
    assert found.loc["best", ["difference", "low", "high", "effect", "p_holm"]].tolist() == [
        *(-0.2, -0.4, -0.1, -1.5, 0.02),
    ]
    assert found.share.tolist() == [0.9, 0.9]
    assert to_baseline(pairs, "best").downscaler.tolist() == ["bicubic", "box"], "it loses less than all"
    assert to_baseline(pairs, "box").downscaler.tolist() == ["bicubic", "best"], "it loses more than all"


def test_the_baseline_is_bicubic_or_the_first() -> None:
    ranks = pd.DataFrame(
        [
            {"downscaler": d, "distortion": n, "mean_rank": r}
            for n, rs in (("first", (3, 1, 2)), ("second", (1, 2, 3)))
            for d, r in zip(("mine", "box", "bicubic"), rs, strict=True)
        ]
    )
    assert baseline_of(ranks, "first") == "bicubic"
    others = ranks[ranks.downscaler != "bicubic"]
    assert (baseline_of(others, "first"), baseline_of(others, "second")) == ("box", "mine")


def test_what_a_test_of_few_photographs_cannot_say_is_known() -> None:
    """The clearest differences there can be give the p that is said to be the least."""
    wide = pd.DataFrame(
        {d: i + np.arange(8) / 1e6 for i, d in enumerate("abcdefgh")}, index=[f"i{i}" for i in range(8)]
    )
    found = differences(wide, confidence=0.95, resamples=999, seed=0)
    assert least_p(found) == pytest.approx(28 * 2**-7)
    assert found.p_holm.min() == pytest.approx(least_p(found))


@pytest.mark.parametrize(("photographs", "said"), [(4, "nothing can be said of others"), (5, "too short"), (12, "")])
def test_readers_are_warned_of_few_photographs(photographs: int, said: str) -> None:
    scores = pd.DataFrame({"photographs": [photographs, 30], "images": [24, 30], "samples": [3, 1]})
    warned = words.warning(scores, 0.9)
    assert (said in warned) if said else warned == ""
    bars = words.about(scores, 0.9)
    assert bars.startswith(
        f"N = 24 tiles of {photographs} photographs, K = 3 samples; N = 30 photographs, K = 1 sample;"
    )
    assert ("no intervals" in bars) == (photographs == 4)
    assert ("90 % intervals over photographs" in bars) == (photographs > 4)
    for text in words.captions(scores, 0.9, "bicubic").values():
        assert f"24 tiles of {photographs} photographs, K = 3" in text
