"""What the score adds to numbers that need no stochastic model."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import edit
from made import script
from PIL import Image

from ida_rd.core.project import Project

NAMES = ["bicubic", "box", "l0", "nearest"]


@pytest.fixture(scope="module")
def explained() -> ModuleType:
    return script("discriminant/explained.py")


@pytest.fixture(scope="module")
def discriminant(explained: ModuleType) -> ModuleType:
    return script("discriminant/discriminant.py")


def made(seed: int, constants: dict[str, float], *, photographs: int = 30, noise: float = 0.01) -> pd.DataFrame:
    """Scores that are 2 x bits + a constant per downscaler, and another predictor that says nothing."""
    random = np.random.default_rng(seed)
    rows = []
    hard = random.normal(0, 1, photographs)
    for place, (name, constant) in enumerate(constants.items()):
        bits = 0.1 * place + random.normal(0, 0.2, photographs) + 0.1 * hard
        score = 2 * bits + constant + hard + random.normal(0, noise, photographs)
        empty = random.normal(0, 1, photographs)
        columns = {"downscaler": name, "image_id": [f"i{i:02d}" for i in range(photographs)]}
        rows.append(pd.DataFrame(columns | {"score": score, "bits": bits, "plain psnr": empty}))
    return pd.concat(rows, ignore_index=True)


def each(table: pd.DataFrame) -> dict[str, str]:
    return {name: name for name in table.image_id}


def test_correlations_over_downscalers_by_hand(explained: ModuleType) -> None:
    """Bits rank the four as the score does but for l0; `plain psnr` the other way round."""
    score = {"bicubic": 1.0, "box": 2.0, "l0": 3.0, "nearest": 4.0}
    bits = {"bicubic": 1.0, "box": 2.0, "l0": 0.0, "nearest": 3.0}
    rows = [
        {"downscaler": d, "image_id": i, "score": score[d] + s, "bits": bits[d] - s, "plain psnr": -score[d]}
        for d in NAMES
        for i, s in (("a", 0.0), ("b", 0.1), ("c", 0.2))
    ]
    table = pd.DataFrame(rows)
    found = explained.correlations(table, NAMES, "l0", each(table))
    # Ranks 1 2 3 4 against 2 3 1 4: 1 - 6 (1 + 1 + 4 + 0) / 60.
    assert found.loc["bits", "all"] == pytest.approx(0.4)
    assert found.loc["bits", "without"] == pytest.approx(1)
    assert found.loc["bits", "median"] == pytest.approx(0.4)
    assert found.loc["plain psnr", ["all", "without", "low", "high"]].to_list() == pytest.approx([-1, -1, -1, -1])
    assert found.loc["plain psnr", "between"] == pytest.approx(1)
    assert found.loc["bits", "between"] == pytest.approx(np.corrcoef([1, 2, 3, 4], [1, 2, 0, 3])[0, 1] ** 2)


def test_what_remains_is_the_constant_that_was_put_in(explained: ModuleType) -> None:
    constants = {"bicubic": 0.0, "box": 0.0, "l0": 0.3, "nearest": -0.2}
    table = made(0, constants)
    found = explained.beyond(table, NAMES, "bicubic", each(table), 0.95)
    assert found.photographs == 30
    assert found.within["all"] > 0.99
    assert found.within["bits"] > 0.95
    assert found.within["plain psnr"] < 0.2
    remains = found.table.remains
    assert remains.to_list() == pytest.approx([0, 0.3, -0.2], abs=0.02)
    # The score itself differs by the bits' part too.
    assert found.table.difference["nearest"] == pytest.approx(-0.2 + 2 * 0.3, abs=0.2)
    away = (found.table.low > 0) | (found.table.high < 0)
    assert away.to_list() == [False, True, True]


def test_intervals_of_what_remains_hold_together_as_often_as_they_say(explained: ModuleType) -> None:
    """Where nothing remains, 95 % of designs have all their intervals around zero."""
    hold = 0
    for seed in range(200):
        table = made(seed, dict.fromkeys(NAMES, 0.0), photographs=20, noise=0.5)
        found = explained.beyond(table, NAMES, "bicubic", each(table), 0.95).table
        hold += bool(((found.low < 0) & (found.high > 0)).all())
    assert 0.92 <= hold / 200 <= 0.995


def test_tiles_of_a_photograph_count_once(explained: ModuleType) -> None:
    table = made(1, dict.fromkeys(NAMES, 0.0), photographs=8)
    again = pd.concat([table, table.assign(image_id=table.image_id + "x")], ignore_index=True)
    photographs = {name: name.removesuffix("x") for name in again.image_id}
    once = explained.beyond(table, NAMES, "bicubic", each(table), 0.95).table
    twice = explained.beyond(again, NAMES, "bicubic", photographs, 0.95).table
    pd.testing.assert_frame_equal(once, twice)
    settings = {"confidence": 0.95, "resamples": 200, "seed": 0}
    a = explained.parting(table, ["nearest"], "bicubic", each(table), settings)
    b = explained.parting(again, ["nearest"], "bicubic", photographs, settings)
    pd.testing.assert_frame_equal(a, b)
    with pytest.raises(Exception, match="4 photographs have all values"):
        explained.beyond(table[table.image_id < "i04"], NAMES, "bicubic", each(table), 0.95)


def test_the_text_says_which_way_the_bits_go(discriminant: ModuleType, explained: ModuleType) -> None:
    compared = discriminant.Comparison(
        data="made", baseline="bicubic", ranked=NAMES, without="l0", degraded=["nearest"]
    )
    labels = {"score": "score", "bits": "bits", "plain psnr": "PSNR"}
    settings = {"confidence": 0.95, "resamples": 2000, "seed": 0}
    for turn, start in ((1, "More bits go with more loss, the opposite"), (-1, "More bits go with less loss")):
        table = made(2, {"bicubic": 0, "box": 0.5, "l0": 1, "nearest": 2}).assign(
            bits=lambda t, turn=turn: turn * t.bits
        )
        rho = explained.correlations(table, NAMES, "l0", each(table))
        found = explained.beyond(table, NAMES, "bicubic", each(table), 0.95)
        parts = explained.parting(table, ["nearest"], "bicubic", each(table), settings)
        lines = discriminant.paragraph(rho, found, parts, compared, labels, 0.05)
        assert lines[0].startswith(start)
        assert "3 of 3 downscalers (box, l0, nearest)" in lines[2]
        assert ("raises score, bits" in lines[3]) == (turn > 0)
        assert ("lowers bits" in lines[3]) == (turn < 0)
        assert "is not shown to move PSNR" in lines[3]


def test_the_experiment_measures_plain_enlargement(discriminant: ModuleType, walked: Path) -> None:
    """On the small run, recomputed by hand for one image."""
    from ida_rd import pipeline

    edit(
        walked / "params.yaml",
        "  mine: {method: python, function: mine.halve_twice}\n",
        "".join(f"  {f}: {{method: resample, filter: {f}}}\n" for f in ("box", "nearest", "lanczos"))
        + "  noisy: {method: resample, filter: bicubic, degrade: [{gaussian_noise: {sigma: 0.1}}]}\n",
    )
    edit(walked / "params.yaml", "size: 4", "size: 5")
    edit(walked / "params.yaml", "samples: 2", "samples: 1")
    Image.open("photos/photo-0.png").transpose(Image.Transpose.ROTATE_90).save("photos/photo-4.png")
    pipeline.run(Project(), with_report=False)
    ranked = ["bicubic", "box", "nearest", "lanczos"]
    settings = {"data": "small", "baseline": "bicubic", "ranked": ranked, "without": "box", "degraded": ["noisy"]}
    (walked / "discriminant.yaml").write_text(yaml.safe_dump(settings))
    discriminant.main()
    table = pd.read_csv("results/small/images.csv").set_index(["downscaler", "image_id"])
    hr = np.asarray(Image.open("data/hr/photo-1.png"), float)
    lr = Image.open("data/lr/x4/noisy/photo-1.png")
    error = np.asarray(lr.resize((64, 64), Image.Resampling.BICUBIC), float) - hr
    psnr = 20 * np.log10(255) - 10 * np.log10(np.square(error).mean())
    assert table.loc[("noisy", "photo-1"), "plain psnr"] == pytest.approx(-psnr, abs=1e-3)
    images = pd.read_csv("metrics/tables/images.csv").set_index(["downscaler", "image_id"])
    assert table.loc[("box", "photo-2"), "bits"] == images.loc[("box", "photo-2"), "rate_bpp"]
    found = json.loads(Path("results/small/discriminant.json").read_text())["flow-compact-x4"]
    assert {row["predictor"] for row in found["correlations"]} == {"bits", "plain dss", "plain psnr"}
    assert [row["mean"] > 0 for row in found["parting"] if row["measure"] == "bits"] == [True]
    (walked / "discriminant.yaml").write_text(yaml.safe_dump(settings | {"without": "gone"}))
    with pytest.raises(Exception, match=r"discriminant\.yaml: params\.yaml has no downscaler gone"):
        discriminant.main()
