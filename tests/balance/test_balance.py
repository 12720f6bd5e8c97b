"""Candidates, attributes, and the balanced selection."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ida_rd.attributes.image_statistics import image_statistics
from ida_rd.attributes.stage import attribute_table, join
from ida_rd.attributes.table import Parameters as Table
from ida_rd.attributes.table import lookup
from ida_rd.balance.groups import entropy
from ida_rd.balance.selection import even_quotas, k_means_groups
from ida_rd.balance.stage import select
from ida_rd.core.candidates import SAMPLE_PHOTOS, cut, fingerprint, read_candidate_file, rectangles
from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError
from ida_rd.engine.store import Store

STATISTICS: dict[str, Any] = {
    "image-statistics": {
        "stage": "attributes",
        "name": "image-statistics",
        "method": "image-statistics",
        "parameters": {},
        "attributes": None,
    }
}


def _recipe(**changes: Any) -> dict[str, Any]:
    """A recipe of the stage; K-means into 3 groups, 30 images, unless changed."""
    base = {"method": "kmeans", "groups": 3, "size": 30, "seed": 0, "attributes": {}, "least_probability": 0.0}
    return base | changes


@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    crop=st.one_of(st.none(), st.integers(2, 300)),
    multiple=st.integers(2, 12),
)
def test_candidates_lie_inside_and_never_overlap(width: int, height: int, crop: int | None, multiple: int) -> None:
    try:
        found = rectangles("a", width, height, crop, multiple)
    except ImageError:
        assert min(width, height) < (crop or multiple)
        return
    covered = np.zeros((height, width), np.uint8)
    for _, x, y, w, h in found:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        assert (w, h) == (crop, crop) if crop else (w % multiple, h % multiple) == (0, 0)
        covered[y : y + h, x : x + w] += 1
    assert covered.max() == 1
    assert len({name for name, *_ in found}) == len(found)
    if crop:
        assert len(found) == (width // crop) * (height // crop)


def test_the_sample_photographs_give_candidates_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = {
        "images": {"source": "sample-photos", "path": None, "crop": 256},
        "multiple": 4,
        "opens_images": True,
        "sources": STATISTICS,
        "looking": {},
    }
    table = attribute_table(recipe, Store(tmp_path / "store"))
    assert len(set(table.file)) == len(SAMPLE_PHOTOS) == 13
    assert len(table) == 36
    assert table.image_id.is_unique
    assert (table[["width", "height"]] == 256).all(axis=None)
    row = table.iloc[0]
    tile = cut(read_candidate_file(row.file, None), row.x, row.y, row.width, row.height)
    assert image_statistics(tile)["contrast"] == row.contrast
    assert fingerprint("sample-photos", None)[row.file] == row.sha256
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".png", ".jpg"}]


def test_statistics_of_pictures_whose_values_are_known() -> None:
    grey = np.full((32, 32, 3), 51, np.uint8)
    assert image_statistics(grey) == pytest.approx(
        {"luminance": 0.2, "contrast": 0, "colourfulness": 0, "edge_density": 0}, abs=1e-12
    )
    halves = grey.copy()
    halves[:, 16:] = 204
    values = image_statistics(halves)
    assert values["luminance"] == pytest.approx(0.5)
    assert values["contrast"] == pytest.approx(0.3)
    assert values["edge_density"] == pytest.approx(2 / 32)  # the step shows in the two columns beside it
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    # rg = 255, yb = 127.5 everywhere: M3 = 0.3 * sqrt(255^2 + 127.5^2)
    assert image_statistics(red)["colourfulness"] == pytest.approx(0.3 * math.hypot(255, 127.5))


@given(
    available=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(lambda a: sum(a) > 0),
    data=st.data(),
)
def test_quotas_are_as_even_as_the_groups_allow(available: list[int], data: st.DataObject) -> None:
    pool = np.array(available)
    size = data.draw(st.integers(1, int(pool.sum())))
    quotas = even_quotas(pool, size)
    assert quotas.sum() == size
    assert (quotas >= 0).all()
    assert (quotas <= pool).all()
    # Nobody who could give more has two fewer than another: the entropy cannot be raised.
    for i in range(len(pool)):
        if quotas[i] < pool[i]:
            assert quotas[i] >= quotas.max() - 1


def test_more_images_than_candidates_are_refused() -> None:
    with pytest.raises(UserError, match="only 5 candidate images"):
        even_quotas(np.array([2, 3]), 6)


def test_entropy_is_that_of_the_counts() -> None:
    assert entropy(np.array([3, 3, 3, 3])) == pytest.approx(2.0)
    assert entropy(np.array([5, 0])) == 0
    assert entropy(np.array([1, 3])) == pytest.approx(-(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)))


def _table(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    centres = np.array([[0, 0], [10, 0], [0, 10]])[rng.choice(3, count, p=[0.6, 0.3, 0.1])]
    values = centres + rng.normal(0, 0.5, (count, 2))
    place = {"file": "f", "x": 0, "y": 0, "width": 4, "height": 4, "sha256": "s"}
    names = [f"image-{i:03d}" for i in range(count)]
    return pd.DataFrame({"image_id": names, **place, "a": values[:, 0], "b": 1000 * values[:, 1]})


def test_selection_is_even_deterministic_and_independent_of_the_order_of_rows() -> None:
    table = _table(200)
    found = select(table, _recipe())
    subset = found.subset
    assert found.groups.chosen.tolist() == [10, 10, 10]
    assert found.groups.pool.sum() == 200
    assert found.metrics["joint_entropy_bits"] == pytest.approx(math.log2(3))
    assert found.metrics["pool_entropy_bits"] < 1.4
    # Each group is one of the centres: neither attribute's unit outweighs the other.
    joined = subset.merge(table[["image_id", "a", "b"]], on="image_id")
    centres = (joined.groupby("group")[["a", "b"]].mean() / [1, 1000]).round().to_numpy().tolist()
    assert centres == [[0, 0], [0, 10], [10, 0]]
    again = select(table.sample(frac=1, random_state=3), _recipe())
    pd.testing.assert_frame_equal(subset, again.subset)
    other = select(table, _recipe(seed=1))
    assert set(other.subset.image_id) != set(subset.image_id)


def test_selection_is_independent_of_the_order_of_rows_where_clusters_are_not_clear() -> None:
    rng = np.random.default_rng(2)
    table = _table(120).assign(a=rng.random(120), b=rng.random(120))
    first = select(table, _recipe(groups=9)).subset
    for state in range(3):
        again = select(table.sample(frac=1, random_state=state), _recipe(groups=9)).subset
        pd.testing.assert_frame_equal(first, again)


def test_rows_that_are_alike_weigh_as_many() -> None:
    """Clusters of repeated rows are those of the rows one by one, however they are ordered."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, (500, 2)).astype(float)
    fast = k_means_groups(values, 7, seed=0)
    from sklearn.cluster import KMeans

    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    best = KMeans(7, n_init=200, random_state=0).fit(standard).inertia_
    inertia = sum(np.square(standard[fast == g] - standard[fast == g].mean(axis=0)).sum() for g in range(7))
    assert inertia == pytest.approx(best, rel=0.02)


def test_leftovers_go_to_the_groups_with_most_left() -> None:
    assert even_quotas(np.array([3, 5, 9]), 7).tolist() == [2, 2, 3]
    assert even_quotas(np.array([1, 9, 5]), 8).tolist() == [1, 4, 3]


def test_groups_are_numbered_by_their_centres() -> None:
    values = np.array([[5.0], [5.1], [0.0], [0.1], [9.0]])
    assert k_means_groups(values, 3, seed=0).tolist() == k_means_groups(values, 3, seed=7).tolist() == [1, 1, 0, 0, 2]
    with pytest.raises(UserError, match="only 2 different sets"):
        k_means_groups(np.array([[1.0], [1.0], [2.0]]), 3, seed=0)


def test_a_constant_attribute_does_not_matter() -> None:
    values = np.array([[5.0, 1], [5.1, 1], [0.0, 1], [0.1, 1]])
    assert k_means_groups(values, 2, seed=0).tolist() == [1, 1, 0, 0]


TABLES = [
    ("name,age\na,1\n", "has no column image_id"),
    ("image_id,age\na,1\n", "1 images have no row (b)"),
    ("image_id,age\na,1\nb,2\nb,3\n", "b has 2 rows"),
    ("image_id,group\na,1\nb,2\n", "'group' is the name of another column"),
    ("image_id\na\nb\n", "no attribute column"),
]


@pytest.mark.parametrize(("text", "message"), TABLES)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        join(_table(2).assign(image_id=["a", "b"]), "table", lookup(Table(path=str(tmp_path / "t.csv"))), None)


def test_a_users_table_replaces_the_statistics(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,age,note\nb,2,x\na,1,y\nc,9,z\n")
    known = lookup(Table(path=str(tmp_path / "t.csv"), columns=["age"]))
    candidates = _table(2).assign(image_id=["a", "b"]).drop(columns=["a", "b"])
    joined = join(candidates, "table", known, None)
    assert list(joined.columns) == ["image_id", "file", "x", "y", "width", "height", "sha256", "age"]
    assert joined.age.tolist() == [1, 2]


def test_every_bad_file_is_listed(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    from ida_rd.core.images import write_png

    write_png(tmp_path / "good.png", astronaut)
    write_png(tmp_path / "small.png", astronaut[:10, :10].copy())
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut off.png").write_bytes((tmp_path / "good.png").read_bytes()[:5000])
    recipe = {
        "images": {"source": "folder", "path": str(tmp_path), "crop": 64},
        "multiple": 4,
        "opens_images": True,
        "sources": STATISTICS,
        "looking": {},
    }
    with pytest.raises(UserError) as error:
        attribute_table(recipe, Store(tmp_path / "store"))
    text = str(error.value)
    assert text.startswith("3 of 4 images cannot be used")
    for part in (
        "cut off.png: cannot be decoded",
        "empty.png: the file is empty",
        "small.png: 10 x 10 pixels, smaller",
    ):
        assert part in text
