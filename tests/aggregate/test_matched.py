"""The decomposition into lost and unreadable: its arithmetic, its intervals, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ida_rd.aggregate.matched import matched_table, ratio_interval
from ida_rd.aggregate.matched_text import matched_markdown

LPIPS = {"better": "lower", "label": "LPIPS"}
BUDGET = {"steps": 400, "batch": 4, "patch": 80, "energy": 1.5}
FAMILY: dict[str, Any] = {"blind": "flow", "adapted": ["tuned"], "factor": 4, "budget": BUDGET}


def _recipe(*families: dict[str, Any], better: str = "lower") -> dict[str, Any]:
    return {
        "matched": list(families),
        "distortion_order": ["d"],
        "distortions": {"d": LPIPS | {"better": better}},
        "confidence": 0.95,
        "resamples": 500,
        "seed": 0,
    }


def _images(scores: dict[tuple[str, str], Any]) -> pd.DataFrame:
    """Rows of images.csv; each value is (P,), one per photograph."""
    parts = [
        pd.DataFrame({"image_id": [f"i{k:03}" for k in range(len(v))], "d": v}).assign(
            upscaler=u, factor=4, downscaler=name
        )
        for (u, name), v in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _world(
    count: int = 40, seeds: int = 1, training: float = 0.0, seed: int = 0, alike: float = 0.0, others: int = 0
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """bicubic .20, nearest .40 blind; adapted, .21 and .27: the control gains -.01, nearest loses .06 beyond it.

    `training` is the spread of S* over trainings, `alike` the part that all trainings of an entry share.
    """
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.05, count)
    levels = {("flow", "bicubic"): 0.20, ("flow", "nearest"): 0.40} | {("flow", f"o{j}"): 0.30 for j in range(others)}
    stars = {"bicubic": 0.21, "nearest": 0.27} | {f"o{j}": 0.24 for j in range(others)}
    names = [f"tuned{k}" for k in range(seeds)]
    found = {key: level + hard + rng.normal(0, 0.01, count) for key, level in levels.items()}
    for name in names:
        shared = rng.normal(0, alike)
        for downscaler, level in stars.items():
            found[name, downscaler] = level + shared + rng.normal(0, training) + hard + rng.normal(0, 0.01, count)
    return _images(found), FAMILY | {"adapted": names}


def _table(images: pd.DataFrame, *families: dict[str, Any], better: str = "lower", **extra: Any) -> pd.DataFrame:
    photographs = extra.pop("photographs", {i: i for i in images.image_id})
    scores = extra.pop("scores", pd.DataFrame(columns=["upscaler", "factor", "distortion", "downscaler"]))
    return matched_table(images, scores, photographs, _recipe(*families, better=better))


def test_the_parts_add_up_to_the_scores() -> None:
    table = _table(*_world()).set_index("downscaler")
    assert np.allclose(table.s, table.s_star + table.gap)
    assert np.allclose(table.excess, table.lost + table.unreadable)
    near, control = table.loc["nearest"], table.loc["bicubic"]
    assert np.isclose(near.unreadable, near.gap - control.gap)
    assert control.excess == control.lost == control.unreadable == 0
    assert np.isclose(near.lost, 0.06, atol=0.01)
    assert np.isclose(near.share, near.lost / near.excess)
    assert near.share_low < near.share < near.share_high
    assert near.lost_p_holm < 0.05
    assert pd.isna(control.share)
    assert pd.isna(control.lost_p_holm)


def test_a_similarity_is_turned_so_that_more_is_worse() -> None:
    images, family = _world()
    plain, turned = _table(images, family), _table(images.assign(d=1 - images.d), family, better="higher")
    assert np.allclose(turned.s, 1 - plain.s)
    for part in ("gap", "excess", "lost", "unreadable"):
        for end in ("", "_low", "_high"):
            assert np.allclose(turned[part + end], plain[part + end]), part + end
    assert np.allclose(turned.s_low, 1 - plain.s_high) or np.allclose(turned.s_low, 1 - plain.s_low)


def test_tiles_of_a_photograph_count_once() -> None:
    images, family = _world(12)
    photographs = {i: f"p{int(i[1:]) // 2}" for i in images.image_id}
    assert set(_table(images, family, photographs=photographs).photographs) == {6}


@pytest.mark.parametrize(
    ("seeds", "training", "alike"), [(1, 0.0, 0.0), pytest.param(2, 0.01, 0.0, marks=pytest.mark.slow), (3, 0.01, 0.02)]
)
def test_intervals_hold_what_is_lost(seeds: int, training: float, alike: float) -> None:
    """Over photographs, and over trainings where there are several; what trainings share is in no difference."""
    inside, width = [], []
    for k in range(120):
        images, family = _world(20, seeds, training, seed=k, alike=alike, others=3 if seeds > 1 else 0)
        near = _table(images, family).set_index("downscaler").loc["nearest"]
        inside.append(near.lost_low < 0.06 < near.lost_high)
        width.append(near.lost_high - near.lost_low)
    assert 0.9 <= np.mean(inside) < 1
    if alike:  # of three trainings each: sqrt(2 / 3) 0.01, by t with eight degrees of freedom
        assert np.mean(width) < 0.045


def test_what_is_lost_is_tested_with_the_spread_of_trainings() -> None:
    """Nothing is lost, and trainings differ: photographs alone would say that something is, nearly always."""
    found = []
    for k in range(80):
        images, family = _world(20, 2, 0.01, seed=k, others=3)
        worse = images.downscaler.eq("nearest") & images.upscaler.str.startswith("tuned")
        table = _table(images.assign(d=images.d - 0.06 * worse), family).set_index("downscaler")
        found.append(table.loc["nearest"].lost_p_holm < 0.05)
    assert np.mean(found) < 0.1


def test_one_training_tells_nothing_of_the_spread_of_trainings() -> None:
    """Where trainings differ, the interval of one of them, which cannot know it, is too short, and the text says so."""
    inside = []
    for k in range(150):
        images, family = _world(20, 1, 0.01, seed=k)
        near = _table(images, family).set_index("downscaler").loc["nearest"]
        inside.append(near.lost_low < 0.06 < near.lost_high)
    assert np.mean(inside) < 0.7
    images, family = _world(20)
    text = matched_markdown(_table(images, family), [family], "d", LPIPS, 0.95)
    assert "one training, whose spread is not in them" in text


def test_fieller_covers_the_ratio_and_refuses_a_whole_that_may_be_zero() -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(300):
        whole = rng.normal(0.1, 0.05, 25)
        part = 0.3 * whole + rng.normal(0, 0.02, 25)
        low, high = ratio_interval(part, whole, 0.95)
        assert low is not None
        assert high is not None
        inside.append(low < 0.3 < high)
    assert 0.92 <= np.mean(inside) <= 0.98
    assert ratio_interval(part, whole - whole.mean(), 0.95) == (None, None)
    assert ratio_interval(part[:4], whole[:4], 0.95) == (None, None)


def test_without_bicubic_there_is_no_control() -> None:
    images, family = _world()
    images = images[images.downscaler == "nearest"]
    table = _table(images, family)
    assert table.excess.isna().all()
    assert table.gap.notna().all()
    assert "no control" in matched_markdown(table, [family], "d", LPIPS, 0.95)


def test_the_gap_is_split_where_the_scores_are() -> None:
    images, family = _world(seeds=2)
    cells = [("flow", 0.1, 0.3), ("tuned0", 0.12, 0.1), ("tuned1", 0.14, 0.2)]
    scores = pd.DataFrame(
        [
            {"upscaler": u, "factor": 4, "distortion": "d", "downscaler": name, "variance": v, "bias": b}
            for u, v, b in cells
            for name in ("bicubic", "nearest")
        ]
    )
    table = _table(images, family, scores=scores)
    assert np.allclose(table.gap_variance, 0.1 - 0.13)
    assert np.allclose(table.gap_error, 0.3 - 0.15)
    assert "nearest -0.030 and +0.150" in matched_markdown(table, [family], "d", LPIPS, 0.95)


def test_the_text_ranks_by_what_the_adapted_decoder_leaves() -> None:
    images, family = _world()
    worse = images[(images.downscaler == "nearest") & (images.upscaler == "tuned0")]
    images.loc[worse.index, "d"] -= 0.2  # adapted, nearest comes first
    text = matched_markdown(_table(images, family), [family], "d", LPIPS, 0.95)
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith(("| bicubic", "| nearest"))]
    assert rows == [[" nearest ", " 1 (2) "], [" bicubic ", " 2 (1) "]]
    assert "400 steps of 4 patches of 80 x 80, likelihood and 1.5 times the energy score" in text
