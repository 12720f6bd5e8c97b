"""Groups of faces, and what a downscaler loses on each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_code, run, walk
from made import make_rows, script
from numpy.typing import NDArray


@pytest.fixture(scope="module")
def groups() -> ModuleType:
    return script("faces/groups.py")


def test_a_group_that_differs_is_distinguished_from_one_that_does_not(groups: ModuleType) -> None:
    random = np.random.default_rng(0)
    group = pd.Series(np.resize(["a", "b", "c"], 60))
    one = pd.Series("", index=group.index)
    noise = random.normal(size=60)
    assert groups.shuffle_test(noise + (group == "b"), group, one, 999, 0) < 0.01
    p = [groups.shuffle_test(random.normal(size=60), group, one, 99, 0) for _ in range(100)]
    assert 0.3 < np.mean(p) < 0.7, "where nothing differs, p is as often high as low"
    assert np.mean(np.array(p) <= 0.1) < 0.2
    # The old are wrinkled, and most of the men here are old: nothing is left for gender within an age.
    age = pd.Series(np.repeat(["old", "young"], 30))
    gender = pd.Series(["m"] * 24 + ["f"] * 12 + ["m"] * 6 + ["f"] * 18)
    values = (noise / 4 + (age == "old")).to_numpy()
    assert groups.shuffle_test(values, gender, one, 999, 0) < 0.05
    assert groups.shuffle_test(values, gender, age, 999, 0) > 0.05
    assert groups.shuffle_test(values, one, age, 99, 0) == 1


def test_what_a_group_loses_is_compared_with_the_reference(
    groups: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old faces score higher by every downscaler; `dull` alone loses more on men than bicubic does."""
    monkeypatch.chdir(tmp_path)
    place = np.arange(40)
    subset = pd.DataFrame({"image_id": [f"i{i}" for i in place], "age": np.where(place % 2, "old", "young")})
    subset["gender"] = np.where(place // 2 % 2, "m", "f")
    (tmp_path / "data/plan").mkdir(parents=True)
    subset.to_csv("data/subset.csv", index=False)
    images: NDArray[np.float64] = 1 + 0.3 * (place % 2) + np.random.default_rng(1).normal(0, 0.02, 40)
    levels: dict[str, NDArray[np.float64]] = {
        "bicubic": np.ones(40),
        "dull": 1.1 + 0.2 * (place // 2 % 2).astype(np.float64),
        "even": 1.05 + 0.1 / images,
    }
    for name, level in levels.items():
        make_rows(tmp_path / "data/distortion/flow-compact/x4", name, level, images)
    recipe = {
        "branches": [{"upscaler": "flow-compact", "factor": 4, "downscaler": name} for name in levels],
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": {"label": "LPIPS", "better": "lower"}},
        "balance": {"attributes": {"age": {}, "gender": {}}},
        "confidence": 0.95,
        "resamples": 500,
        "seed": 0,
    }
    (tmp_path / "data/plan/aggregate.json").write_text(json.dumps(recipe))
    (tmp_path / "groups.yaml").write_text("data: made\nreference: bicubic\nshuffles: 999\n")
    groups.main()
    tests = pd.read_csv("results/made/tests.csv").set_index(["question", "downscaler", "attribute"])
    seen = set(tests.index[tests.p_holm < 0.05])
    scores = {("score", name, "age") for name in levels} | {("score", "dull", "gender")}
    # The levels are factors: dull and even lose more where the score is high.
    assert seen == scores | {("beyond", "dull", "age"), ("beyond", "dull", "gender"), ("beyond", "even", "age")}
    assert tests.loc[("beyond", "dull", "gender"), "most"] == "m"
    assert tests.loc[("score", "dull", "age"), ["p", "p_holm"]].to_list() == [0.001, 0.006], "one of six"
    table = pd.read_csv("results/made/groups.csv").set_index(["downscaler", "attribute", "group"])
    old = images[place % 2 == 1]
    assert table.loc[("even", "age", "old"), "score_mean"] == pytest.approx(
        (levels["even"] * images)[1::2].mean() + 0.0005
    )
    assert table.loc[("bicubic", "age", "old"), "score_ci_low"] < old.mean() + 0.0005
    assert table.loc[("bicubic", "age", "old"), "photographs"] == 20
    assert tests.loc[("beyond", "dull", "gender"), "effect"] > 0.9, "nearly all of what differs"
    assert tests.loc[("score", "bicubic", "gender"), "effect"] < 0.1
    text = (tmp_path / "results/made/groups.md").read_text()
    assert "gender for dull (least f, most m" in text
    assert "3 of 4 groups rank the downscalers as all faces together do: bicubic < even < dull. Not: gender f." in text
    (tmp_path / "groups.yaml").write_text("data: made\nreference: lanczos\n")
    with pytest.raises(Exception, match=r"groups\.yaml: reference: params\.yaml has no downscaler lanczos"):
        groups.main()


def test_a_photograph_counts_once_whatever_its_tiles(groups: ModuleType) -> None:
    subset = pd.DataFrame(
        {"image_id": ["a0", "a1", "b"], "photograph": ["a", "a", "b"], "age": ["old", "old", "young"]}
    )
    means, once = groups.once({"bicubic": pd.Series({"a0": 1.0, "a1": 2.0, "b": 5.0})}, subset, ["age"])
    assert means["bicubic"].to_dict() == {"a": 1.5, "b": 5}
    assert once.age.to_dict() == {"a": "old", "b": "young"}
    with pytest.raises(Exception, match=r"tiles of photograph a are in different groups"):
        groups.once({}, subset.assign(age=["old", "young", "young"]), ["age"])


def test_faces_are_balanced_and_scored_by_group(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment itself, its own stage by DVC, on sixteen real faces with real labels."""
    copy_code(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)  # of the root's pipeline, which DVC reads too
    here = tmp_path / "experiments" / "faces"
    here.mkdir(parents=True)
    for name in ("dvc.yaml", "groups.py", "groups.yaml"):
        shutil.copy(ROOT / "experiments/faces" / name, here)
    params = yaml.safe_load((ROOT / "experiments/faces/params.yaml").read_text())
    sample = shared / "images" / "utkface_sample"
    labels = pd.read_csv(sample / "labels.csv").rename(columns={"file": "image_id", "race": "ethnicity"})
    labels["image_id"] = labels.image_id.str.removesuffix(".jpg")
    labels.to_csv(here / "labels.csv", index=False)
    params["images"] = {"source": "folder", "path": str(sample)}
    params["attributes"] = {"source": "table", "table": {"path": "labels.csv"}}
    rules = params["balance"]["attributes"]
    rules["ethnicity"]["groups"] = {"asian": ["Asian"], "black": ["Black"]}
    rules["age"] = {"edges": [37]}
    params["balance"]["size"] = 16
    params["downscalers"] = {"bicubic": params["downscalers"]["bicubic"]}
    params |= {"samples": 1, "distortions": {"psnr": {"method": "pixel"}}, "aggregate": {"resamples": 200}}
    (here / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run("git", "init", "--quiet", cwd=tmp_path)
    monkeypatch.chdir(here)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    walk(report=True)
    run("dvc", "repro", "--single-item", "groups", cwd=here, env={"PYTHONPATH": str(tmp_path)})
    balance = json.loads((here / "metrics/balance.json").read_text())
    assert balance["joint_entropy_bits"] == balance["maximum_entropy_bits"] == 3
    table = pd.read_csv(here / "results/ffhq/groups.csv")
    assert set(table.attribute) == {"age", "gender", "ethnicity"}
    assert (table.photographs == 8).all()
    assert (table.score_ci_low < table.score_mean).all()
    assert len(table) == 6
    record = json.loads((here / "results/ffhq/provenance.json").read_text())
    assert len(record["dataset_sha256"]) == 64
    assert "flow-compact.x8" in record["upscalers"]["x8/flow-compact"]["weights"]
    images = pd.read_csv(here / "results/ffhq/images.csv")
    assert len(images) == images.image_id.nunique() == balance["images"]
    gender = table[table.attribute == "gender"]
    assert np.isclose(-images.psnr.mean(), gender.score_mean.mean())  # more is worse there
    assert (here / "results/ffhq/flow-compact-x8.png").is_file()
    page = (here / "metrics/report/index.html").read_text()
    for attribute, group, candidates in (("gender", "female", 72), ("ethnicity", "asian", 72)):
        assert f"<td>{attribute}</td><td>{group}</td><td>{candidates}</td><td>8</td>" in page
    assert "<td></td><td>male</td>" in page
    assert "<td>chosen</td>" not in page
