"""The seam and the store: a unit is computed once, whole, and found again by what decides its result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ida_rd.core.errors import UserError
from ida_rd.core.progress import advance, listening, share
from ida_rd.core.temporary import temporary_file
from ida_rd.engine.store import Record, Store
from ida_rd.engine.units import Unit, Work, run


def _open(recipe: dict[str, Any], device: str) -> Callable[[Any, list[str]], dict[str, Record]]:
    return partial(_square, recipe)


def _square(recipe: dict[str, Any], given: int, parts: list[str]) -> dict[str, Record]:
    with Path(recipe["asked"]).open("a") as file:
        file.write("".join(f"{given}:{part} " for part in parts))
    if given == recipe.get("bad"):
        raise UserError(f"{given} is unlucky")
    return {part: Record(given**2, f"{given} {part}".encode(), ".txt") for part in parts}


def _units(store: Store, numbers: list[int], samples: int, heat: float = 1.0) -> list[Unit]:
    return [Unit(str(n), {str(k): store.key({"heat": heat}, n, k) for k in range(samples)}, n) for n in numbers]


WORK = Work(_open, "squares", packages=("numpy",))


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[], list[str]]:
    """What was computed since the last call."""
    file = tmp_path / "asked"

    def read() -> list[str]:
        text = file.read_text() if file.exists() else ""
        file.unlink(missing_ok=True)
        return sorted(text.split())

    return read


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unit_is_computed_once_and_what_is_new_alone(
    workers: str, tmp_path: Path, asked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more sample, one more image, another parameter: just those."""
    monkeypatch.setenv("IDA_RD_WORKERS", workers)
    store = Store(tmp_path / "store")
    recipe = {"asked": str(tmp_path / "asked")}
    found = {unit.name: parts for unit, parts in run(WORK, recipe, _units(store, [2, 3], 2), store)}
    assert asked() == ["2:0", "2:1", "3:0", "3:1"]
    assert {name: [part.value for part in parts.values()] for name, parts in found.items()} == {
        "2": [4, 4],
        "3": [9, 9],
    }
    assert found["3"]["1"].file is not None
    assert found["3"]["1"].file.read_text() == "3 1"
    assert set(found["2"]["0"].environment) >= {"python", "device", "numpy"}
    for numbers, samples, heat, new in (
        ([2, 3], 2, 1.0, []),
        ([2, 3], 3, 1.0, ["2:2", "3:2"]),
        ([2, 3, 4], 3, 1.0, ["4:0", "4:1", "4:2"]),
        ([2], 1, 1.1, ["2:0"]),
        ([4, 3, 2], 1, 1.0, []),
    ):
        units = _units(store, numbers, samples, heat)
        assert len(list(run(WORK, recipe, units, store))) == len(units)
        assert asked() == new


def test_an_error_keeps_what_is_finished(
    tmp_path: Path, asked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "1")
    store = Store(tmp_path / "store")
    recipe = {"asked": str(tmp_path / "asked"), "bad": 3}
    with pytest.raises(UserError, match="3 is unlucky"):
        list(run(WORK, recipe, _units(store, [1, 2, 3, 4], 1), store))
    asked()
    list(run(WORK, recipe | {"bad": 0}, _units(store, [1, 2, 3, 4], 1), store))
    assert asked() == ["3:0", "4:0"]


def _one_by_one(recipe: dict[str, Any], device: str) -> Callable[[Any, list[str]], Iterator[tuple[str, Record]]]:
    def parts(given: int, missing: list[str]) -> Iterator[tuple[str, Record]]:
        for part in missing:
            if part == recipe["ends"]:
                raise UserError("the power is gone")
            yield part, Record(part)

    return parts


def test_parts_that_take_long_are_kept_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "1")
    store = Store(tmp_path)
    units = _units(store, [1], 4)
    work = Work(_one_by_one, "parts")
    with pytest.raises(UserError, match="the power is gone"):
        list(run(work, {"ends": "2"}, units, store))
    assert [store.get(key) is not None for key in units[0].keys.values()] == [True, True, False, False]
    assert list(next(run(work, {"ends": ""}, units, store))[1]) == ["0", "1", "2", "3"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_a_key_depends_on_values_and_not_on_their_order(value: Any) -> None:
    def turned(x: Any) -> Any:
        if isinstance(x, dict):
            return {key: turned(x[key]) for key in reversed(x)}
        return [turned(y) for y in x] if isinstance(x, list) else x

    assert Store.key(value, "a") == Store.key(turned(value), "a")
    assert Store.key(value, "a") != Store.key(value, "b")
    assert Store.key([value]) != Store.key(value)


def test_a_unit_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.put_environment({"python": "3"})
    key = store.key("a")
    assert store.get(key) is None
    store.put(key, Record({"x": 0.1}, b"image", ".webp"), made)
    found = Store(tmp_path).get(key)
    assert found is not None
    assert found.value == {"x": 0.1}
    assert found.file is not None
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".partial-")]
    entry = tmp_path / key[:2] / f"{key}.json"
    whole = entry.read_bytes()
    (tmp_path / "else.webp").write_bytes(b"other")
    outside = whole.replace(b'".webp"', b'"/../../else.webp"')
    (tmp_path / key[:2] / key).mkdir()  # so that the way out exists
    short = whole.replace(b'"bytes": 5', b'"bytes": 6')
    for damage in (whole[: len(whole) // 2], b"", b"{}", b"[1]", short, outside):
        entry.unlink()
        entry.write_bytes(damage)
        assert Store(tmp_path).get(key) is None, damage
    entry.write_bytes(whole)
    found.file.unlink()
    assert Store(tmp_path).get(key) is None
    store.put(key, Record({"x": 0.1}, b"image", ".webp"), made)
    assert Store(tmp_path).get(key) is not None


def test_what_somebody_else_wrote_or_changed_is_computed_again(
    tmp_path: Path,
    asked: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run's folder that was sent, or edited: none of it becomes a result, and a line says so."""
    monkeypatch.setenv("IDA_RD_WORKERS", "1")
    place, recipe = tmp_path / "store", {"asked": str(tmp_path / "asked")}
    (tmp_path / "elsewhere").write_bytes(b"2 0")

    def again() -> tuple[list[str], str]:
        store = Store(place)
        found = {unit.name: parts for unit, parts in run(WORK, recipe, _units(store, [2, 3], 1), store)}
        assert {name: (parts["0"].value, parts["0"].file.read_text()) for name, parts in found.items()} == {  # type: ignore[union-attr]
            "2": (4, "2 0"),
            "3": (9, "3 0"),
        }
        return asked(), capsys.readouterr().err

    again()
    assert again()[0] == []
    key, other = (Store.key({"heat": 1.0}, n, 0) for n in (2, 3))
    entry, file = place / key[:2] / f"{key}.json", place / key[:2] / f"{key}.txt"
    environment = next((place / "environments").iterdir())
    honest = entry.read_bytes()
    old = {"value": 4, "environment": environment.stem, "bytes": 3, "file": ".txt"}  # of version 0.2

    def replace(path: Path, data: bytes) -> None:
        path.unlink()
        path.write_bytes(data)

    def link() -> None:
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")

    for change, count in (
        (lambda: replace(entry, honest.replace(b'"value": 4', b'"value": 5')), 1),
        (lambda: replace(entry, (place / other[:2] / f"{other}.json").read_bytes()), 1),
        (lambda: replace(entry, json.dumps(old).encode()), 1),
        (lambda: replace(entry, b"[" * 10**6), 1),
        (lambda: replace(file, b"2 1"), 1),
        (link, 1),
        (lambda: replace(environment, environment.read_bytes().replace(b"cpu", b"tpu")), 0),
    ):
        change()
        computed, said = again()
        assert computed == (["2:0"] if count else ["2:0", "3:0"])
        assert said.count("1 stored results are left out: this user did not write them, or somebody") == count
        assert again()[0] == []
    monkeypatch.setenv("IDA_RD_KEY_FILE", str(tmp_path / "key-of-another-user"))
    computed, said = again()
    assert computed == ["2:0", "3:0"]
    assert "2 stored results are left out" in said


def test_nothing_outside_the_store_is_read_written_or_removed(tmp_path: Path) -> None:
    """By links in a store that was sent."""
    outside = tmp_path / "documents"
    outside.mkdir()
    store = Store(tmp_path / "store")
    made = store.put_environment({})
    keys = [store.key(i) for i in range(3)]
    names = [f"{keys[0]}.json", ".partial-a", "letter.txt"]
    for name in names:
        (outside / name).write_text("precious")
        os.utime(outside / name, (1, 1))
    (tmp_path / "store" / keys[1][:2]).symlink_to(outside)
    (tmp_path / "store" / keys[2][:2]).symlink_to(outside)
    place = tmp_path / "store" / keys[0][:2]
    place.mkdir()
    (place / f"{keys[0]}.bin").symlink_to(outside / "letter.txt")
    (place / f"{keys[0]}.json").symlink_to(outside / "letter.txt")
    (place / "letter.txt").write_text("not the store's")
    store.put(keys[0], Record(0, b"data", ".bin"), made)
    store.put(keys[1], Record(1, b"data", ".bin"), made)
    assert store.get(keys[0]) is not None
    assert store.get(keys[1]) is not None
    assert store.collect(0).removed == 2
    assert [(outside / name).read_text() for name in names] == ["precious"] * 3
    assert sorted(path.name for path in outside.iterdir()) == sorted(names)
    assert [path.name for path in place.iterdir()] == ["letter.txt"]
    with pytest.raises(ValueError, match="no suffix"):
        store.put(keys[2], Record(0, b"data", "/../../x"), made)


def test_what_a_killed_worker_was_writing_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = tmp_path / "ab"
    place.mkdir()
    with temporary_file(place) as mine, temporary_file(place) as theirs:
        of_another = theirs.with_name(theirs.name.replace(f"-{os.getpid()}-", "-1234567-"))
        of_another.touch()
        store.forget({1234567})
        assert mine.exists()
        assert not of_another.exists()


def test_a_linked_file_survives_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = store.put_environment({})
    for i in range(5):
        store.put(store.key(i), Record(i, bytes(1000), ".bin"), made)
    first = store.get(store.key(0))
    assert first is not None
    first.link(tmp_path / "out" / "0.bin")
    before = sorted(path for path in (tmp_path / "store").glob("??/*"))
    assert len(before) == 10
    old = [path for i in (1, 2) for path in (tmp_path / "store").glob(f"??/{store.key(i)}.json")]
    for path in old:  # long not used
        os.utime(path, (1, 1))
    size = sum(path.stat().st_size for path in before)
    result = store.collect(size - 1500)
    assert (result.removed, result.left) == (2, 3)
    assert store.get(store.key(1)) is None
    assert store.get(store.key(3)) is not None
    assert store.collect(0).left == 0
    assert (tmp_path / "out" / "0.bin").read_bytes() == bytes(1000)
    with pytest.raises(UserError, match="vanished while this ran"):
        first.link(tmp_path / "out" / "again.bin")


def test_what_was_used_is_kept_longest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.put_environment({})
    for name in "abc":
        store.put(store.key(name), Record(name, bytes(100), ".bin"), made)
        for path in tmp_path.glob(f"??/{store.key(name)}.json"):
            os.utime(path, (1000 + ord(name), 1000 + ord(name)))
    assert store.get(store.key("a")) is not None
    one = sum(path.stat().st_size for path in tmp_path.glob(f"??/{store.key('a')}.*"))
    store.collect(one + 10)
    assert store.get(store.key("a")) is not None
    assert store.get(store.key("c")) is None


def test_a_unit_reports_its_progress() -> None:
    told: list[float] = []
    advance(0.5)  # nobody listens
    with listening(told.append):
        advance(0.25)
        with share(1, 4):
            advance(0.5)
        with share(2, 4), share(1, 2):
            advance(1.0)
    assert told == [0.25, 0.375, 0.5, 0.75, 0.75, 0.75]


def test_units_of_two_environments_are_both_named(tmp_path: Path) -> None:
    from ida_rd.engine.environment import joined

    store = Store(tmp_path)
    for i, version in enumerate(("2.0", "1.9")):
        store.put(store.key(i), Record(i), store.put_environment({"torch": version, "device": "cpu"}))
    units = [store.get(store.key(i)) for i in range(2)]
    assert joined(unit.environment for unit in units if unit) == {"torch": "1.9, 2.0", "device": "cpu"}
    assert json.loads(next((tmp_path / "environments").glob("*.json")).read_text())["device"] == "cpu"
