"""Photographs are the units: the test set is even over them first, and says which images are tiles of one."""

from __future__ import annotations

import os
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from ida_rd.attributes.recipe import attributes_recipe, source_recipes
from ida_rd.attributes.stage import attribute_table, join, write_attributes
from ida_rd.balance.selection import even_quotas, sequence
from ida_rd.balance.stage import select, write_test_set
from ida_rd.core.candidates import SAMPLE_PHOTOS, photograph_of, photographs
from ida_rd.core.errors import UserError
from ida_rd.core.images import write_png
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.engine.store import Store
from ida_rd.plan.stage import read_parameters, write_plan

EACH = {"edges": None, "labels": None, "groups": None, "others": "error"}
AGE = EACH | {"edges": [19, 37]}
# What version 0.1.0 chose of `_one_file_each`, in order.
CHOSEN = {
    "kmeans": "p17 p33 p35 p20 p29 p06 p37 p11 p28 p08 p04 p36",
    "stratified": "p14 p17 p29 p20 p35 p08 p21 p06 p37 p28 p11 p33",
}


def _recipe(method: str, **changes: Any) -> dict[str, Any]:
    """A recipe of the stage: 12 images of 5 clusters, or of the cells of age and gender."""
    rules = {"age": AGE, "gender": EACH} if method == "stratified" else {}
    base = {"method": method, "groups": 5, "size": 12, "seed": 0, "attributes": rules, "least_probability": 0.0}
    return base | changes


def _one_file_each(count: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    names = [f"p{i:02d}" for i in range(count)]
    age, gender = rng.gamma(4, 8, count).round(), rng.choice(["female", "male"], count, p=[0.7, 0.3])
    return pd.DataFrame({"image_id": names, "file": [f"{n}.png" for n in names], "age": age, "gender": gender})


NAMES = [
    ("0001_s001.png", "_s", "0001"),
    ("0001.png", "_s", "0001"),  # the whole, of which somebody also cut tiles
    ("a/b_s1/0001_s001.png", "_s", "0001"),  # folders have no say
    ("at_sea_s2.png", "_s", "at_sea"),  # the last one counts
    ("_s001.png", "_s", "_s001"),  # nothing would be left
    ("0001_S001.png", "_s", "0001_S001"),
    ("0001_s001.png", None, "0001_s001"),
    ("a.s.png", ".s", "a"),  # plain text, no pattern
    ("axs.png", ".s", "axs"),
    ("cafe\u0301_s1.png", "\u00e9_", "caf"),
    ("skimage:data/astronaut.png", None, "astronaut"),
    ("x:1.png", None, "x:1"),
]


@pytest.mark.parametrize(("file", "before", "name"), NAMES)
def test_the_name_of_a_file_says_of_which_photograph_it_is(file: str, before: str | None, name: str) -> None:
    assert photograph_of(file, before) == name


def test_files_of_a_photograph_belong_together_and_a_text_that_finds_none_is_refused() -> None:
    files = ["1_s1.png", "1_s2.png", "2_s1.png", "3.png"]
    assert photographs(files, "_s") == {"1": files[:2], "2": files[2:3], "3": files[3:]}
    assert len(photographs(files, None)) == 4
    with pytest.raises(UserError, match=r"^images\.photograph_before: no file's name has '-s' after its first"):
        photographs(files, "-s")
    with pytest.raises(UserError, match=r"^images\.photograph_before: the name ' ' is empty"):
        photographs([" _s1.png"], "_s")


@pytest.mark.parametrize("method", CHOSEN)
def test_where_every_image_is_a_photograph_nothing_changes(method: str) -> None:
    found = select(_one_file_each(), _recipe(method))
    assert found.subset.sort_values("order").image_id.tolist() == CHOSEN[method].split()
    assert found.subset.photograph.tolist() == found.subset.image_id.tolist()
    assert (found.metrics["photographs"], found.metrics["most_tiles_of_a_photograph"]) == (12, 1)


@pytest.mark.parametrize("largest_first", [True, False])
def test_tiles_of_one_photograph_alone_are_chosen_by_groups_alone(largest_first: bool) -> None:
    group = np.random.default_rng(0).integers(0, 4, 30)
    ids = pd.Series([f"i{i}" for i in range(30)])
    alone = sequence(ids, group, 0, largest_first=largest_first)
    of_one = sequence(ids, group, 0, largest_first=largest_first, photographs=pd.Series(["a"] * 30))
    assert of_one.tolist() == alone.tolist()


@st.composite
def pools(draw: st.DrawFn, most: int = 12, tiles: int = 8, groups: int = 5) -> tuple[pd.Series, np.ndarray]:
    """Photograph and group of each tile, in any order."""
    counts = draw(st.lists(st.integers(1, tiles), min_size=1, max_size=most))
    of = draw(st.permutations([f"p{i}" for i, count in enumerate(counts) for _ in range(count)]))
    return pd.Series(of), np.array(draw(st.lists(st.integers(0, groups - 1), min_size=len(of), max_size=len(of))))


def _ids(count: int) -> pd.Series:
    return pd.Series([f"i{i:03d}" for i in range(count)])


@given(pool=pools(), seed=st.integers(0, 3), largest_first=st.booleans())
def test_every_beginning_is_spread_over_photographs(
    pool: tuple[pd.Series, np.ndarray], seed: int, largest_first: bool
) -> None:
    of, group = pool
    ids = _ids(len(of))
    order = sequence(ids, group, seed, largest_first=largest_first, photographs=of)
    assert sorted(order) == list(range(len(of)))
    available = of.value_counts().sort_index()
    for size in range(1, len(of) + 1):
        counts = of[order[:size]].value_counts().reindex(available.index, fill_value=0)
        cap = next(m for m in range(1, 9) if np.minimum(available, m).sum() >= size)
        assert counts.max() == cap
        assert (counts[available > counts] >= cap - 1).all()  # a second tile only after all have given one
        assert sorted(counts) == sorted(even_quotas(available.to_numpy(), size))
    shuffled = np.random.default_rng(seed).permutation(len(of))
    again = sequence(
        ids[shuffled].reset_index(drop=True),
        group[shuffled],
        seed,
        largest_first=largest_first,
        photographs=of[shuffled].reset_index(drop=True),
    )
    assert shuffled[again].tolist() == order.tolist()


@given(pool=pools(most=5, tiles=3, groups=3), seed=st.integers(0, 3), largest_first=st.booleans())
def test_within_a_round_the_groups_are_as_even_as_photographs_allow(
    pool: tuple[pd.Series, np.ndarray], seed: int, largest_first: bool
) -> None:
    """Against all ways to take at most one tile of each photograph."""
    of, group = pool
    order = sequence(_ids(len(of)), group, seed, largest_first=largest_first, photographs=of)
    by_photograph = [sorted(set(group[of == name])) for name in sorted(set(of))]
    for size in range(1, len(by_photograph) + 1):
        ways = [way for some in combinations(by_photograph, size) for way in product(*some)]
        best = min(np.square(np.bincount(way)).sum() for way in ways)
        assert np.square(np.bincount(group[order[:size]])).sum() == best


@pytest.mark.parametrize("seed", range(60))
def test_a_whole_round_is_the_best_assignment_of_photographs_to_groups(seed: int) -> None:
    """As scipy assigns them, at the cost 1, 3, 5, ... of a group's first, second, third image: its count squared."""
    rng = np.random.default_rng(seed)
    of = pd.Series([f"p{i}" for i in range(30) for _ in range(rng.integers(1, 4))])
    group = (rng.exponential(2, len(of)).astype(int)).clip(max=7)
    order = sequence(_ids(len(of)), group, seed, largest_first=bool(seed % 2), photographs=of)
    can = np.array([[g in set(group[of == f"p{i}"]) for g in range(8)] for i in range(30)])
    cost = np.where(can[:, :, None], 2 * np.arange(30) + 1, 10_000).reshape(30, -1)
    best = cost[linear_sum_assignment(cost)].sum()
    assert np.square(np.bincount(group[order[:30]])).sum() == best


@pytest.mark.parametrize("largest_first", [True, False])
def test_of_alike_photographs_the_draw_decides(largest_first: bool) -> None:
    """Two tiles of each photograph, of one group: as if each had only the one that is drawn first."""
    group = np.repeat(np.random.default_rng(1).integers(0, 4, 25), 2)
    ids, of = _ids(50), pd.Series(np.repeat([f"p{i}" for i in range(25)], 2))
    first = sequence(ids, group, 0, largest_first=largest_first, photographs=of)[:25]
    kept = np.sort(first)
    alone = sequence(ids[kept].reset_index(drop=True), group[kept], 0, largest_first=largest_first)
    assert first.tolist() == kept[alone].tolist()


def test_a_photograph_gives_way_to_another_that_has_no_choice() -> None:
    """Only if `both` stands for group 1 are the groups even: it is in group 0 too."""
    of, group = pd.Series(["both", "both", "one"]), np.array([0, 1, 0])
    for seed in range(8):
        order = sequence(_ids(3), group, seed, largest_first=True, photographs=of)
        assert sorted(group[order[:2]]) == [0, 1]


@pytest.mark.parametrize("method", CHOSEN)
def test_tiles_are_capped_counted_and_nested(method: str) -> None:
    table = _one_file_each(60)
    table["file"] = [f"{i // (1 + i // 20)}_s{i}.png" for i in range(60)]  # photographs of 1, 2 and 3 tiles
    recipe = _recipe(method, images={"path": None, "multiple": 4, "photograph_before": "_s"})
    tiles = table["file"].str.split("_s").str[0].value_counts()
    for size in (12, len(tiles), len(tiles) + 5, 60):
        found = select(table, recipe | {"size": size})
        cap = next(m for m in range(1, 9) if tiles.clip(upper=m).sum() >= size)
        assert found.metrics["most_tiles_of_a_photograph"] == found.subset.photograph.value_counts().max() == cap
        assert found.metrics["photographs"] == found.subset.photograph.nunique() == min(size, len(tiles))
    whole = found.subset
    small = select(table, recipe).subset
    assert set(whole[whole.order <= 12].image_id) == set(small.image_id)


def test_who_is_left_out_counts_for_no_photograph() -> None:
    table = _one_file_each(12).assign(file=[f"{i // 6}_s{i}.png" for i in range(12)])
    table.loc[1:5, "age"] = np.nan  # one tile of photograph 0 is left
    recipe = _recipe("kmeans", groups=2, size=5, images={"photograph_before": "_s"})
    assert select(table, recipe).subset.photograph.value_counts().to_dict() == {"0": 1, "1": 4}


def test_the_default_run_is_a_tile_of_each_sample_photograph(tmp_path: Path) -> None:
    parameters = read_parameters(ROOT / "params.yaml")
    sources, _ = source_recipes(parameters.attributes.sources(), {}, download=False)
    table = attribute_table(attributes_recipe(parameters.images.model_dump(), sources, 4), Store(tmp_path / "store"))
    balance = parameters.balance.model_dump()
    found = select(table, balance | {"seed": parameters.seed, "images": {"photograph_before": None}})
    names = sorted(Path(path).stem for _, path in SAMPLE_PHOTOS)
    assert sorted(found.subset.photograph) == names
    assert found.metrics["images"] == found.metrics["photographs"] == 13
    assert found.groups.chosen.min() >= 1


PARAMETERS = """
seed: 0
images: {source: folder, path: tiles, photograph_before: _s}
attributes: {source: image-statistics}
balance: {groups: 2, size: 4}
factors: [4]
downscalers:
  box: {method: resample, filter: box}
upscalers:
  flow-compact: {method: flow}
samples: 1
distortions:
  psnr: {method: pixel}
"""


def test_the_test_set_says_of_which_photograph_each_image_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("tiles")
    for i, name in enumerate(("0001_s001", "0001_s002", "0001_s003", "0002_s001", "0003_s001", "0003_s002")):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        write_png(Path(f"tiles/{name}.png"), pixels // (1 + i % 2))
    Path("params.yaml").write_text(PARAMETERS, encoding="utf-8")
    project = Project()
    write_plan(project)
    assert "note: images: 6 files are of 3 photographs, by their names" in capsys.readouterr().err
    write_attributes(project, Store(Path("store")))
    write_test_set(project)
    subset = read_table(project.subset, hint="")
    assert list(subset.columns)[:4] == ["image_id", "photograph", "group", "order"]
    assert subset.photograph.tolist() == [name.split("_")[0] for name in subset.image_id]  # "0001" stays text
    assert set(subset.photograph) == {"0001", "0002", "0003"}
    metrics = read_json(project.metrics / "balance.json", hint="")
    assert (metrics["photographs"], metrics["most_tiles_of_a_photograph"]) == (3, 2)


def test_no_attribute_is_called_photograph() -> None:
    candidates = _one_file_each(2)[["image_id", "file"]]
    known = pd.DataFrame({"photograph": ["x", "y"]}, index=["p00", "p01"])
    with pytest.raises(UserError, match="'photograph' is the name of another column"):
        join(candidates, "table", known, None)
