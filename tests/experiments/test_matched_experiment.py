"""Which claims stand by S and by S*, and where the budget is flat."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL
from made import script
from training_photos import write_photos

from ida_rd.aggregate.matched import matched_table
from ida_rd.core.adapted import adapted_to
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.recipes import SCHEMA
from ida_rd.core.tables import write_table
from ida_rd.upscale import flow

COUNT = 30
BLIND = {"bicubic": 0.20, "lanczos": 0.22, "dpid": 0.35, "nearest": 0.45}
BUDGET = {"steps": 400, "batch": 4, "patch": 80, "energy": 1.5}


@pytest.fixture(scope="module")
def lost() -> ModuleType:
    return script("matched/lost.py")


@pytest.fixture(scope="module")
def curve() -> ModuleType:
    return script("matched/budget/curve.py")


def _project(folder: Path, stars: dict[str, dict[str, float]], families: list[dict[str, Any]]) -> None:
    """A finished run: BLIND by `flow`, and by each adapted decoder what `stars` says."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.05, COUNT)
    frames = []
    for upscaler, levels in {"flow": BLIND, **stars}.items():
        for name, level in levels.items():
            value = level + hard + rng.normal(0, 0.01, COUNT)
            rows = pd.DataFrame({"image_id": [f"i{k:02}" for k in range(COUNT)], "lpips-alex": value})
            frames.append(rows.assign(upscaler=upscaler, factor=4, downscaler=name))
    images = pd.concat(frames, ignore_index=True)
    recipe: dict[str, Any] = {
        "schema": SCHEMA,
        "matched": families,
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": {"better": "lower", "label": "LPIPS (AlexNet)"}},
        "upscalers": {"x4/flow": {"settings": {"heat": 1.0}}},
        "confidence": 0.95,
        "resamples": 1000,
        "seed": 0,
    }
    write_json(folder / "data/plan/aggregate.json", recipe)
    ids = sorted(set(images.image_id))
    write_table(folder / "data/subset.csv", pd.DataFrame({"image_id": ids, "photograph": ids}))
    scores = pd.DataFrame(columns=["upscaler", "factor", "distortion", "downscaler"])
    matched = matched_table(images, scores, {i: i for i in ids}, recipe)
    surprise = [{"upscaler": "flow", "factor": 4, "downscaler": n, "excess": v} for n, v in BLIND.items()]
    for name, table in (("images", images), ("matched", matched), ("surprise", pd.DataFrame(surprise))):
        write_table(folder / f"metrics/tables/{name}.csv", table)


def test_a_claim_may_hold_by_the_blind_decoder_and_not_by_the_adapted_one(
    lost: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = {"bicubic": 0.21, "lanczos": 0.21, "dpid": 0.19, "nearest": 0.27}
    family = {"blind": "flow", "adapted": ["tuned", "again"], "factor": 4, "budget": BUDGET}
    again = {name: value + 0.001 for name, value in star.items()}
    _project(tmp_path, {"tuned": star, "again": again}, [family])
    order = "[[bicubic], [lanczos], [dpid], [nearest]]"
    (tmp_path / "matched.yaml").write_text(f"data: made\npreset: flow\norder: {order}\n")
    monkeypatch.chdir(tmp_path)
    lost.main()
    record = json.loads(Path("results/made/claims.json").read_text())["flow"]
    assert record["s"]["holds"] == record["claims"] == 3
    assert record["s_star"]["holds"] == 1
    assert record["s_star"]["pairs"] == {"reversed": ["lanczos < dpid"], "not shown": ["bicubic < lanczos"]}
    text = Path("results/made/matched.md").read_text()
    assert "By S, 3 of the 3 claims of the order of the paper hold." in text
    assert "By S*, 1 of the 3 claims of the order of the paper hold; reversed: lanczos < dpid" in text
    assert "| dpid | 1 (3) |" in text
    assert (Path("results/made/matched.png")).stat().st_size > 10_000
    assert "The blind decoder's own surprise" in text
    Path("metrics/tables/surprise.csv").unlink()  # of a decoder without a likelihood
    lost.main()
    assert "surprise" not in Path("results/made/matched.md").read_text()
    assert not Path("results/made/surprise.csv").exists()


@pytest.mark.parametrize(
    ("last", "flat", "said"),
    [(0.069, 400, "From 400 steps on"), (0.03, None, "**No budget here is flat**: after 400 steps")],
)
def test_a_budget_is_flat_where_doubling_finds_little_again(
    curve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: float, flat: int | None, said: str
) -> None:
    levels = {100: 0.15, 200: 0.10, 400: 0.07, 800: last}
    stars = {f"s{k}": {"bicubic": 0.2, "nearest": 0.2 + level} for k, level in levels.items()}
    families = [{"blind": "flow", "adapted": [f"s{k}"], "factor": 4, "budget": BUDGET | {"steps": k}} for k in levels]
    for name in ("dpid", "lanczos"):
        monkeypatch.delitem(BLIND, name)
    _project(tmp_path, stars, families)
    (tmp_path / "budget.yaml").write_text("data: made\nflat: 0.05\n")
    monkeypatch.chdir(tmp_path)
    curve.main()
    text = Path("results/made/curve.md").read_text()
    assert said in text
    table = pd.read_csv("results/made/curve.csv")
    assert list(table[table.downscaler == "nearest"].steps) == list(levels)
    assert Path("results/made/curve.png").stat().st_size > 10_000


def test_a_run_without_pairs_is_one_line(curve: ModuleType, lost: ModuleType, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        _project(tmp_path, {}, [])
        (tmp_path / "budget.yaml").write_text("data: made\nflat: 0.05\n")
        (tmp_path / "matched.yaml").write_text("data: made\npreset: flow\norder: [[bicubic], [nearest]]\n")
        for module in (curve, lost):
            with pytest.raises(UserError, match="no entry of `adapted` has a blind upscaler of its kind"):
                module.main()


@pytest.mark.parametrize(("joint", "said"), [(0.0, "It may stand in their place."), (0.04, "It may not stand")])
def test_one_decoder_for_all_must_be_as_good_on_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, joint: float, said: str
) -> None:
    star = {"bicubic": 0.21, "lanczos": 0.21, "dpid": 0.22, "nearest": 0.27}
    one = {name: value + (joint if name == "dpid" else 0.0) for name, value in star.items()}
    family = {"blind": "flow", "adapted": ["tuned"], "factor": 4, "budget": BUDGET}
    _project(tmp_path, {"tuned": star, "joint": one}, [family])
    (tmp_path / "joint.yaml").write_text("data: made\njoint: joint\nmargin: 0.01\n")
    monkeypatch.chdir(tmp_path)
    script("matched/joint/joint.py").main()
    text = Path("results/made/joint.md").read_text()
    assert said in text
    assert f"significantly above S* on {'dpid' if joint else 'none'}" in text
    table = pd.read_csv("results/made/joint.csv").set_index("downscaler")
    assert np.allclose(table.above, table.s_joint - table.s_star)


def test_a_joint_training_makes_weights_that_are_blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", side=160)
    parameters = yaml.safe_load(SMALL) | {
        "downscalers": {n: {"method": "resample", "filter": n} for n in ("bicubic", "box")}
    }
    Path("params.yaml").write_text(yaml.safe_dump(parameters))
    train = script("matched/joint/train.py")
    command = ["train.py", "--images", "photos", "--exclude-licence", "", "--steps", "2"]
    monkeypatch.setattr("sys.argv", command)
    train.main()
    weights = Path("flow-joint.safetensors")
    first = weights.read_bytes()
    assert adapted_to(weights) is None  # no word of one downscaler
    opened = flow.Parameters(path=str(weights))
    assert flow.describe(opened, 4).marks() == []
    assert flow.preset_heat(opened, 4) == flow.preset_heat(flow.Parameters(), 4)
    shutil.rmtree("flow-joint.training")
    train.main()
    assert weights.read_bytes() == first
    parameters["downscalers"]["box"]["degrade"] = [{"gaussian_blur": {"sigma": 1}}]
    Path("params.yaml").write_text(yaml.safe_dump(parameters))
    with pytest.raises(UserError, match=r"downscalers\.box: does not say how far it reaches"):
        train.main()
