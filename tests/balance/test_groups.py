"""Groups of attributes, exact cells, and where attributes come from."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import copy_code, stage_here
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ida_rd.attributes.ffhq_features import Parameters as Features
from ida_rd.attributes.ffhq_features import lookup
from ida_rd.balance.groups import cells, edge_labels, entropy, grouped, maximum_entropy
from ida_rd.balance.selection import even_quotas, sequence
from ida_rd.balance.stage import select
from ida_rd.core.errors import UserError

AGE = {"edges": [19, 37, 55], "labels": ["0-18", "19-36", "37-54", "55+"], "groups": None, "others": "error"}
ETHNICITY = {
    "edges": None,
    "labels": None,
    "groups": {"asian": ["asian"], "white": ["white", "latino"]},
    "others": "error",
}
EACH = {"edges": None, "labels": None, "groups": None, "others": "error"}


def _people(count: int, seed: int = 0) -> pd.DataFrame:
    """A pool far from even."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image_id": [f"{i:05d}" for i in range(count)],
            "file": [f"{i:05d}.png" for i in range(count)],
            "age": rng.gamma(4, 8, count).round(),
            "gender": rng.choice(["female", "male"], count, p=[0.7, 0.3]),
            "race": rng.choice(["white", "black", "asian"], count, p=[0.7, 0.1, 0.2]),
        }
    )


def _recipe(**changes: Any) -> dict[str, Any]:
    rules = {"age": AGE, "gender": EACH, "race": EACH}
    base = {
        "method": "stratified",
        "groups": None,
        "size": 300,
        "seed": 0,
        "attributes": rules,
        "least_probability": 0.0,
    }
    return base | changes


def test_an_edge_belongs_to_the_group_above_it() -> None:
    ages = pd.Series([0, 18.9, 19, 36.99, 37, 54, 55, 100, np.nan])
    found = grouped("age", ages, AGE)
    assert found.tolist()[:-1] == ["0-18", "0-18", "19-36", "19-36", "37-54", "37-54", "55+", "55+"]
    assert pd.isna(found.iloc[-1])
    assert edge_labels([0.5, 2]) == ["below 0.5", "0.5 to 2", "2 up"]


def test_labels_count_as_their_group_and_others_as_is_said() -> None:
    labels = pd.Series(["asian", "latino", "black", None])
    with pytest.raises(UserError, match="no group has the label 'black'"):
        grouped("e", labels, ETHNICITY)
    left = grouped("e", labels, ETHNICITY | {"others": "leave-out"})
    assert left.tolist()[:2] == ["asian", "white"]
    assert left.isna().tolist() == [False, False, True, True]
    kept = grouped("e", labels, ETHNICITY | {"others": "keep"})
    assert kept.tolist()[:3] == ["asian", "white", "others"]
    assert pd.isna(kept.iloc[3])
    with pytest.raises(UserError, match="e is not a number"):
        grouped("e", labels, AGE)


def test_cells_are_the_product_of_the_groups() -> None:
    table = _people(500)
    found = cells(table, {"age": AGE, "gender": EACH})
    assert len(found.table) == 8
    for i in (0, 7, 123):
        cell = found.table.iloc[found.of[i]]
        assert cell.gender == table.gender[i]
        assert cell.age == grouped("age", table.age, AGE)[i]
    assert found.counts().sum() == 500
    with pytest.raises(UserError, match="no source gives 'sex'"):
        cells(table, {"sex": EACH})


@given(
    available=st.lists(st.integers(0, 30), min_size=1, max_size=10).filter(lambda a: sum(a) > 0), seed=st.integers(0, 5)
)
def test_every_beginning_of_the_sequence_is_as_even_as_the_groups_allow(available: list[int], seed: int) -> None:
    group = np.repeat(np.arange(len(available)), available)
    ids = pd.Series([f"i{i}" for i in range(len(group))])
    for largest_first in (True, False):
        order = sequence(ids, group, seed, largest_first=largest_first)
        assert sorted(order) == list(range(len(group)))
        for size in range(1, len(group) + 1):
            counts = np.bincount(group[order[:size]], minlength=len(available))
            best = even_quotas(np.array(available), size)
            assert sorted(counts) == sorted(best)
            assert entropy(counts) == pytest.approx(maximum_entropy(size, np.array(available)))
            if largest_first:
                assert counts.tolist() == best.tolist()


def test_the_sequence_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    ids, group = pd.Series([f"i{i}" for i in range(60)]), rng.integers(-1, 5, 60)
    order = sequence(ids, group, 0, largest_first=False)
    assert (group[order] >= 0).all()
    shuffled = rng.permutation(60)
    again = sequence(ids[shuffled].reset_index(drop=True), group[shuffled], 0, largest_first=False)
    assert ids[order].tolist() == ids[shuffled].reset_index(drop=True)[again].tolist()
    assert order.tolist() != sequence(ids, group, 1, largest_first=False).tolist()


@pytest.mark.parametrize("size", [30, 300, 600])
def test_exact_cells_reach_the_most_that_entropy_can_be(size: int) -> None:
    found = select(_people(20000), _recipe(size=size))
    assert found.metrics["joint_entropy_bits"] == pytest.approx(found.metrics["maximum_entropy_bits"], rel=1e-14)
    assert found.metrics["joint_entropy_bits"] > 4.5
    assert found.groups.chosen.max() - found.groups.chosen.min() <= 1
    assert set(found.subset.columns) == {"image_id", "file", "photograph", "group", "order", "age", "gender", "race"}
    assert set(found.subset.age) == {"0-18", "19-36", "37-54", "55+"}


def test_smaller_sets_are_nested_in_larger_ones() -> None:
    table = _people(5000)
    large, small = select(table, _recipe(size=300)).subset, select(table, _recipe(size=30)).subset
    assert set(large[large.order <= 30].image_id) == set(small.image_id)
    assert sorted(large.order) == list(range(1, 301))


def test_k_means_of_the_groups_finds_the_cells() -> None:
    found = select(_people(20000), _recipe(method="kmeans", groups=24))
    assert found.metrics["joint_entropy_bits"] == pytest.approx(found.metrics["maximum_entropy_bits"])


def test_what_the_pool_cannot_fill_is_reported() -> None:
    table = _people(2000)
    rare = (table.race == "black") & (table.gender == "male")
    table = table[~rare | (np.cumsum(rare) <= 3)].reset_index(drop=True)
    found = select(table, _recipe(size=240))
    short = found.groups[found.groups.short > 0]
    assert set(zip(short.race, short.gender, strict=True)) >= {("black", "male")}
    assert (short.chosen == short.pool).all()
    assert found.metrics["pool_allows_bits"] == pytest.approx(found.metrics["joint_entropy_bits"])
    assert found.metrics["joint_entropy_bits"] < found.metrics["maximum_entropy_bits"]
    pool, chosen = (found.groups[c] / found.groups[c].sum() for c in ("pool", "chosen"))
    assert found.metrics["total_variation_from_pool"] == pytest.approx((pool - chosen).abs().sum() / 2)


def test_who_is_left_out_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    table = _people(1000)
    table.loc[:4, "age"] = np.nan
    table["race:probability"] = 0.9
    table.loc[3:9, "race:probability"] = 0.3
    rules = _recipe()["attributes"] | {
        "race": EACH | {"groups": {"w": ["white"], "a": ["asian"]}, "others": "leave-out"}
    }
    found = select(table, _recipe(size=32, attributes=rules, least_probability=0.5))
    black = int((table.race[10:] == "black").sum())
    assert found.metrics["left_out_without_attribute"] == 5
    assert found.metrics["left_out_uncertain"] == 5
    assert found.metrics["left_out_in_no_group"] == black
    assert found.metrics["left_out"] == 10 + black
    assert not set(found.subset.image_id) & {f"{i:05d}" for i in range(10)}
    said = capsys.readouterr().err
    assert f"{10 + black} of 1000 images are left out: 5 without attribute, 5 uncertain, {black} in no group" in said


def _face(age: float, gender: str, side: int) -> dict[str, Any]:
    """An entry as Microsoft's Face API wrote it."""
    return {
        "faceId": "0",
        "faceRectangle": {"top": 1, "left": 2, "width": side, "height": side},
        "faceAttributes": {
            "age": age,
            "gender": gender,
            "smile": 0.5,
            "glasses": "NoGlasses",
            "headPose": {"pitch": 1.0, "roll": 2.0, "yaw": -3.0},
        },
    }


def test_the_largest_face_counts_and_no_face_is_no_attribute(tmp_path: Path) -> None:
    contents = {
        "00000": [_face(8, "male", 40), _face(31, "female", 90)],
        "00001": [],
        "00002": [_face(70, "male", 60)],
    }
    folder, archive = tmp_path / "json", tmp_path / "json.zip"
    (folder / "00000").mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for name, faces in contents.items():
            (folder / "00000" / f"{name}.json").write_text(json.dumps(faces))
            file.writestr(f"json/{name}.json", json.dumps(faces))
    table = lookup(Features(path=str(folder)))
    pd.testing.assert_frame_equal(table, lookup(Features(path=str(archive))))
    assert table.age.tolist()[0] == 31
    assert table.gender.tolist()[0] == "female"
    assert table.faces.tolist() == [2, 0, 1]
    assert math.isnan(table.age["00001"])
    (folder / "00002.json").write_text("[]")
    with pytest.raises(UserError, match="00002 has two files"):
        lookup(Features(path=str(folder)))
    for text, message in (
        ("{", "is not a file of ffhq-features"),
        ("{}", "not a list of faces"),
        ('[{"a": 1}]', "has no 'faceRectangle'"),
    ):
        (folder / "00002.json").write_text(text)
        (folder / "00000/00002.json").unlink(missing_ok=True)
        with pytest.raises(UserError, match=message):
            lookup(Features(path=str(folder)))
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(UserError, match="not a complete zip archive"):
        lookup(Features(path=str(archive)))


FACES = """
seed: 0
images: {source: folder, path: faces, pattern: "*/*.png"}
attributes:
  source: {age: ffhq-features, gender: ffhq-features, race: table}
  ffhq-features: {path: json}
  table: {path: race.csv}
balance:
  method: stratified
  size: 6
  attributes: {age: {edges: [30]}, gender: {}, race: {groups: {a: [asian], b: [black]}, others: leave-out}}
factors: [4]
downscalers: {box: {method: resample, filter: box}}
upscalers: {flow-compact: {method: flow}}
samples: 2
distortions: {psnr: {method: pixel}}
"""


@pytest.fixture
def faces(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """Twelve pictures in FFHQ's folders; all but three are not images at all, since nobody may open them."""
    copy_code(tmp_path)
    (tmp_path / "params.yaml").write_text(FACES)
    (tmp_path / "json").mkdir()
    rows = []
    for i in range(12):
        name, folder = f"{i:05d}", tmp_path / "faces" / f"{1000 * (i // 6):05d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(astronaut[10 * i : 10 * i + 67, :66]).save(folder / f"{name}.png")
        face = [_face(20 + 20 * (i % 2), "female" if i % 4 < 2 else "male", 50)]
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps(face if i != 11 else []))
        rows.append({"image_id": name, "race": ["asian", "black", "asian", "white"][i % 4 if i % 3 else 0]})
    pd.DataFrame(rows).to_csv(tmp_path / "race.csv", index=False)
    return tmp_path


def test_attributes_of_several_sources_choose_and_only_what_is_chosen_is_opened(faces: Path) -> None:
    for name in ("plan", "attributes"):
        done = stage_here(name, cwd=faces)
        assert done.returncode == 0, done.stderr
    table = pd.read_csv(faces / "data/attributes.csv", dtype={"image_id": str})
    assert list(table.columns) == ["image_id", "file", "x", "y", "width", "height", "sha256", "age", "gender", "race"]
    assert table.width.isna().all()
    done = stage_here("balance", cwd=faces)
    assert done.returncode == 0, done.stderr
    assert "left out: 1 without attribute" in done.stderr
    subset = pd.read_csv(faces / "data/subset.csv", dtype={"image_id": str})
    assert len(subset) == 6
    assert set(subset.columns) >= {"group", "order", "age", "gender", "race"}
    assert (subset[["width", "height"]] == [64, 64]).all(axis=None)
    assert set(subset.age) <= {"below 30", "30 up"}
    # The others could be anything.
    for path in (faces / "faces").rglob("*.png"):
        if path.stem not in set(subset.image_id) and path.stem != "00000":
            path.write_bytes(b"x" * path.stat().st_size)
    first = (faces / "data/subset.csv").read_bytes()
    for name in ("plan", "attributes", "balance"):
        done = stage_here(name, cwd=faces)
        assert done.returncode == 0, done.stderr
    assert (faces / "data/subset.csv").read_bytes() == first
    groups = pd.read_csv(faces / "metrics/balance.csv")
    assert list(groups.columns) == ["age", "gender", "race", "pool", "chosen", "short"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("age: ffhq-features", "age: ffhq-feature", "did you mean 'ffhq-features'"),
        ("age: ffhq-features", "agee: ffhq-features", "ffhq-features does not provide it; did you mean 'age'"),
        ("path: json", "path: nowhere", "attributes.ffhq-features: nowhere does not exist"),
        ("path: race.csv", "path: nowhere.csv", "attributes.table: nowhere.csv does not exist"),
        ("  table: {path: race.csv}", "  tabel: {path: race.csv}", "unknown key; did you mean 'table'"),
        ("edges: [30]", "edges: [30, 20]", "edges must ascend"),
        ("edges: [30]", "edges: [30], labels: [a]", "labels: give one more than there are edges"),
        ("b: [black]", "b: [asian]", "groups: 'asian' is in two of them"),
        ("method: stratified", "method: stratified\n  groups: 4", "groups: is for kmeans"),
        ("method: stratified", "method: kmeans", "groups: kmeans needs a number of clusters"),
        ('pattern: "*/*.png"', 'pattern: "*/*.jpg"', "holds no image named */*.jpg"),
    ],
)
def test_mistakes_are_found_in_plan(faces: Path, old: str, new: str, message: str) -> None:
    text = (faces / "params.yaml").read_text()
    assert old in text
    (faces / "params.yaml").write_text(text.replace(old, new, 1))
    done = stage_here("plan", cwd=faces)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "name", "message"),
    [
        ("size: 6", "size: 12", "balance", "balance.size is 12, but there are only"),
        (
            "age: {edges: [30]}",
            "years: {edges: [30]}",
            "balance",
            "'years'; known names: age, gender, race",
        ),
        ("others: leave-out", "others: error", "balance", "no group has the label 'white'"),
    ],
)
def test_mistakes_of_the_data_are_one_line(faces: Path, old: str, new: str, name: str, message: str) -> None:
    text = (faces / "params.yaml").read_text()
    (faces / "params.yaml").write_text(text.replace(old, new, 1))
    for step in ("plan", "attributes"):
        assert stage_here(step, cwd=faces).returncode == 0
    done = stage_here(name, cwd=faces)
    assert done.returncode == 2
    assert message in done.stderr.strip().splitlines()[-1]
    assert not (faces / "data/hr").exists()


def test_an_image_without_a_row_is_named(faces: Path) -> None:
    lines = (faces / "race.csv").read_text().splitlines()
    (faces / "race.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert stage_here("plan", cwd=faces).returncode == 0
    done = stage_here("attributes", cwd=faces)
    assert done.returncode == 2
    assert "attributes.table: 1 images have no row (00011)" in done.stderr
