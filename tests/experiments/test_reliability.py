"""The study of reliability: from a run's rows to tables, and the retest on real reconstructions."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made import script
from numpy.typing import NDArray

SETTINGS: dict[str, Any] = {
    "data": "made",
    "decoders": {"flow": ["cold", "warm"]},
    "preset": "warm",
    "baseline": "bicubic",
    "photographs": [5, 20],
    "splits": 200,
    "smallest": 0.025,
    "retest": {"photographs": 12, "downscalers": ["bicubic", "box", "nearest"], "variants": ["seed", "flip"]},
}


@pytest.fixture(scope="module")
def retest() -> ModuleType:
    return script("reliability/retest.py")


@pytest.fixture(scope="module")
def study(retest: ModuleType) -> ModuleType:
    script("reliability/crossed.py")
    return script("reliability/reliability.py")


def made_run(folder: Path, *, wild: bool) -> None:
    """Write a run of 12 photographs, two tiles each; `wild`: every photograph has an order of its own."""
    random = np.random.default_rng(0)
    levels = {"bicubic": 0.2, "box": 0.3, "nearest": 0.5}
    names = [f"i{i:02d}" for i in range(24)]
    hard = np.repeat(random.normal(0, 0.05, 12), 2)
    own = {name: np.repeat(random.normal(0, 0.3 if wild else 0.001, 12), 2) for name in levels}
    recipe = {
        "branches": [{"upscaler": u, "factor": 4, "downscaler": d} for u in ("cold", "warm") for d in levels],
        "distortion_order": ["lpips-alex", "psnr"],
        "distortions": {
            "lpips-alex": {"label": "LPIPS", "better": "lower"},
            "psnr": {"label": "PSNR", "better": "higher"},
        },
        "primary": "lpips-alex",
        "seed": 0,
    }
    (folder / "data/plan").mkdir(parents=True)
    (folder / "data/plan/aggregate.json").write_text(json.dumps(recipe))
    subset = pd.DataFrame({"image_id": names, "photograph": [f"p{i // 2:02d}" for i in range(24)]})
    subset.to_csv(folder / "data/subset.csv", index=False)
    for upscaler, heat in (("cold", 0.0), ("warm", 0.02)):
        for name, level in levels.items():
            loss = level + heat + hard + own[name]
            rows = pd.DataFrame({"image_id": names, "sample": 0, "finite": True, "lpips-alex": loss})
            rows["psnr"] = 30 - 10 * loss
            path = folder / f"data/distortion/{upscaler}/x4/{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.to_csv(path, index=False)
    again = []
    for variant, steps in (("seed", (0.0, 0.01, -0.01)), ("flip", (0.01, 0.01, 0.04))):
        for (name, level), step in zip(levels.items(), steps, strict=True):
            before = level + hard[:24:2]
            table = pd.DataFrame({"image_id": names[:24:2], "before": before, "after": before + step})
            again.append(table.assign(variant=variant, downscaler=name))
    pd.concat(again).to_csv(folder / "data/retest.csv", index=False)
    (folder / "reliability.yaml").write_text(yaml.safe_dump(SETTINGS))


def results(study: ModuleType) -> tuple[dict[str, Any], pd.DataFrame, str]:
    study.main()
    folder = Path("results/made")
    parts = pd.read_csv(folder / "components.csv").set_index(["universe", "effect"])
    return json.loads((folder / "reliability.json").read_text()), parts, (folder / "reliability.md").read_text()


def test_one_order_everywhere_is_reliable_and_its_pairs_do_not_flip(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(tmp_path, wild=False)
    monkeypatch.chdir(tmp_path)
    found, parts, text = results(study)
    assert found["photographs"] == 12, "tiles are not photographs"
    assert all(row["ranking"] > 0.99 for row in found["decisions"])
    assert all(row["level"] <= row["ranking"] for row in found["decisions"])
    assert all(row["flips"] < 1e-6 for row in found["flips"])
    share = parts.share["any distortion, any heat"]
    assert share["downscaler"] > 0.8
    assert share["photograph"] > share["heat"] > 0
    assert share["downscaler x photograph"] < 0.01
    assert share.sum() == pytest.approx(1)
    # PSNR is turned: as a loss, it agrees with LPIPS, and nothing is left for the distortion.
    assert share["downscaler x distortion"] < 0.01
    assert "There is one decoder" in text
    assert "24" not in text.split("\n")[2]


def test_where_every_photograph_has_its_own_order_more_of_them_help(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(tmp_path, wild=True)
    monkeypatch.chdir(tmp_path)
    found, parts, _ = results(study)
    few, many = (
        next(r["ranking"] for r in found["decisions"] if r["photographs"] == n and "warm" in r["universe"])
        for n in (5, 20)
    )
    assert few < many < 0.99
    assert parts.share["lpips-alex, warm", "downscaler x photograph"] > 0.2
    five, six, twenty = (next(r for r in found["flips"] if r["photographs"] == n) for n in (5, 6, 20))
    assert five["flips"] > twenty["flips"] > 0
    assert six["resampled"] > 0
    assert twenty["resampled"] is None, "there are not 40 photographs"


@pytest.mark.parametrize(
    ("decoders", "facets"),
    [
        ({"a": ["cold"], "b": ["warm"]}, {"decoder"}),
        ({"a": ["cold", "warm"]}, {"heat"}),
        ({"a": ["cold", "warm"], "b": ["cold", "warm"]}, {"decoder", "heat"}),
        ({"a": ["warm"]}, set()),
    ],
)
def test_decoders_and_heats_are_facets_where_there_are_several(
    study: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decoders: dict[str, list[str]],
    facets: set[str],
) -> None:
    made_run(tmp_path, wild=False)
    (tmp_path / "reliability.yaml").write_text(yaml.safe_dump(SETTINGS | {"decoders": decoders}))
    monkeypatch.chdir(tmp_path)
    _, parts, text = results(study)
    widest = parts.loc[[name for name in parts.index.levels[0] if name.startswith("any distortion")]]
    effects = set(widest.index.get_level_values("effect"))
    assert effects & {"decoder", "heat"} == facets
    assert len(effects) == 2 ** (3 + len(facets)) - 1
    assert ("There is one decoder" in text) == (len(decoders) == 1)
    if "decoder" in facets and "heat" in facets:
        assert widest.estimate.xs("decoder", level="effect").iloc[0] < 1e-9, "they are one and the same"


def test_a_retest_is_compared_with_the_smallest_claim(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores move by 0, .01 and -.01; by .01, .01 and .04: differences to bicubic by .01, .01; by 0 and .03."""
    made_run(tmp_path, wild=False)
    monkeypatch.chdir(tmp_path)
    found, _, text = results(study)
    seed, flip = found["retest"]
    assert [seed[k] for k in ("score", "difference", "largest")] == pytest.approx([0.02 / 3, 0.01, 0.01])
    assert [flip[k] for k in ("score", "difference", "largest")] == pytest.approx([0.02, 0.015, 0.03])
    assert seed["kendall"] == 1
    assert "above it for flip; at or below it for seed." in text
    for change, message in (
        ({"baseline": "lanczos"}, "no downscaler lanczos"),
        ({"preset": "hot"}, "no upscaler hot"),
        ({"decoders": {"a": ["cold", "warm"], "b": ["warm"]}}, "as many heats"),
        ({"retest": SETTINGS["retest"] | {"variants": ["mirror"]}}, "mirror is not known"),
    ):
        (tmp_path / "reliability.yaml").write_text(yaml.safe_dump(SETTINGS | change))
        with pytest.raises(Exception, match=message) as raised:
            study.main()
        assert "\n" not in str(raised.value)


def test_variants_are_cut_where_they_should_be(retest: ModuleType, astronaut: NDArray[np.uint8]) -> None:
    place = (100, 40, 64, 64)
    tile = astronaut[40:104, 100:164]
    assert np.array_equal(retest.varied(astronaut, place, "seed", 4), tile)
    assert np.array_equal(retest.varied(astronaut, place, "flip", 4)[:, 0], tile[:, -1])
    assert np.array_equal(retest.varied(astronaut, place, "rot90", 4)[-1], tile[:, 0])
    assert np.array_equal(retest.varied(astronaut, place, "shift", 4), astronaut[40:104, 101:165])
    assert np.array_equal(retest.varied(astronaut, place, "crop-32", 4), tile[16:48, 16:48])
    assert retest.varied(astronaut[:511, :509], place, "whole", 4).shape == (508, 508, 3)
    edge = retest.varied(astronaut, (448, 0, 64, 64), "shift", 4)
    assert np.array_equal(edge, astronaut[:64, 447:511]), "at the right edge, to the left"
    with pytest.raises(Exception, match="as wide as its photograph"):
        retest.varied(astronaut, (0, 0, 512, 512), "shift", 4)
    for odd in ("crop-30", "crop-128"):
        with pytest.raises(Exception, match="give a multiple of 4 up to 64"):
            retest.varied(astronaut, place, odd, 4)


def test_the_retest_scores_the_same_photographs_again(retest: ModuleType, walked: Path) -> None:
    """On the small run: with its own seed a variant gives what was; other latents give something else."""
    (walked / "reliability.yaml").write_text(
        yaml.safe_dump(
            SETTINGS
            | {"decoders": {"flow": ["flow-compact"]}, "preset": "flow-compact"}
            | {"retest": {"photographs": 3, "downscalers": ["bicubic", "mine"], "variants": ["seed", "flip", "whole"]}}
        )
    )
    retest.main()
    table = pd.read_csv("data/retest.csv").set_index(["variant", "downscaler", "image_id"]).sort_index()
    assert len(table) == 3 * 2 * 3
    # These photographs are no larger than their tile: as a whole they are what was scored.
    assert np.array_equal(table.before["whole"], table.after["whole"])
    assert (table.before["seed"] != table.after["seed"]).all()
    assert (table.before["flip"] != table.after["flip"]).all()
    rows = pd.read_csv("data/distortion/flow-compact/x4/mine.csv")
    means = rows.groupby("image_id").dss.mean()
    assert table.before["seed", "mine"].to_numpy() == pytest.approx(means.iloc[:3].to_numpy())
