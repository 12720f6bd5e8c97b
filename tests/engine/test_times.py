"""What units took is written beside the store: counted rightly, bounded, and read as a stranger's file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ida_rd.core.errors import UserError
from ida_rd.engine import times
from ida_rd.engine.shards import in_a_stage
from ida_rd.engine.store import Record, Store
from ida_rd.engine.times import SCHEMA, Place, Spent, Took, costs, read_times
from ida_rd.engine.units import Timed, Unit, Work, run

PAUSE_S = 0.05


def _open(recipe: dict[str, Any], device: str) -> Callable[[int, list[str]], dict[str, Record]]:
    time.sleep(2 * PAUSE_S)
    return partial(_wait, recipe)


def _wait(recipe: dict[str, Any], given: int, parts: list[str]) -> dict[str, Record]:
    if given in recipe.get("bad", ()):
        raise UserError(f"{given} is unlucky")
    time.sleep(PAUSE_S * len(parts))
    return {part: Record(given) for part in parts}


WORK = Work(_open, "waiting", timed=Timed("upscale", "mine/x4/bicubic", 2))


def _units(store: Store, numbers: range, samples: int, heat: float = 1.0) -> list[Unit]:
    return [Unit(f"i{n}", {str(k): store.key(heat, n, k) for k in range(samples)}, n) for n in numbers]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("IDA_RD_WORKERS", "1")
    return Store(tmp_path / ".ida-rd/store", tmp_path / ".ida-rd/times.jsonl")


def _lines(store: Store) -> list[Took]:
    assert store.times is not None
    return read_times(store.times)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_computed_is_counted_apart_from_what_was_found(
    workers: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", workers)
    list(run(WORK, {}, _units(store, range(4), 2), store))
    (took,) = _lines(store)
    assert (took.stage, took.branch, took.samples) == ("upscale", "mine/x4/bicubic", 2)
    assert (took.units, took.stored, took.parts, took.parts_stored, took.parts_each) == (4, 0, 8, 0, 2.0)
    assert (took.whole, took.device, took.workers) == (True, "cpu", int(workers))
    assert sorted(name for name, _, _ in took.seconds) == ["i0", "i1", "i2", "i3"]
    assert took.busy_s == pytest.approx(sum(seconds for _, _, seconds in took.seconds), abs=1e-5)
    assert took.load_s >= 2 * PAUSE_S, "loading is told apart"
    assert all(seconds >= 2 * PAUSE_S for _, _, seconds in took.seconds)
    assert took.wall_s * int(workers) >= took.busy_s
    assert took.memory is None or took.memory > 10**6
    list(run(WORK, {}, _units(store, range(4), 2), store))
    assert len(_lines(store)) == 1, "nothing was computed"
    list(run(WORK, {}, _units(store, range(5), 3), store))
    last = _lines(store)[1]
    assert (last.units, last.stored, last.parts, last.parts_stored, last.parts_each) == (5, 0, 7, 8, 3.0)
    cost = costs(_lines(store))["upscale", "mine/x4/bicubic"]
    assert (len(cost.calls), cost.units) == (2, 9)
    assert cost.each_s == pytest.approx((took.busy_s + last.busy_s) / 15 * 3), "by parts: units were done in part"
    assert cost.of(10) == pytest.approx(last.load_s + 10 * cost.each_s / last.workers)


def test_what_is_computed_anew_takes_the_place_of_what_was(store: Store) -> None:
    list(run(WORK, {}, _units(store, range(2), 1), store))
    list(run(WORK, {}, _units(store, range(2), 1, heat=0.9), store))
    assert costs(_lines(store))["upscale", "mine/x4/bicubic"].calls == (_lines(store)[1],)


def test_a_run_that_ends_early_says_what_it_took(store: Store) -> None:
    with pytest.raises(UserError, match="2 is unlucky"):
        list(run(WORK, {"bad": [2]}, _units(store, range(4), 1), store))
    (took,) = _lines(store)
    assert (took.whole, took.units, took.parts_each) == (False, 2, 1.0)
    list(run(WORK, {}, _units(store, range(4), 1), store))
    assert costs(_lines(store))["upscale", "mine/x4/bicubic"].units == 4


def test_shares_add_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_stage(True)
    try:
        for share in ("1/2", "2/2"):
            monkeypatch.setenv("IDA_RD_SHARD", share)
            with pytest.raises(SystemExit):
                list(run(WORK, {}, _units(store, range(5), 1), store))
    finally:
        in_a_stage(False)
    assert [took.units for took in _lines(store)] == [3, 2]
    cost = costs(replace(took, parts_stored=0) for took in _lines(store))["upscale", "mine/x4/bicubic"]
    assert cost.units == 5, "also where one saw nothing of the other"


def test_no_times_are_kept_where_none_are_asked_for(store: Store, tmp_path: Path) -> None:
    list(run(replace(WORK, timed=None), {}, _units(store, range(2), 1), store))
    list(run(WORK, {}, _units(store, range(2, 4), 1), Store(store.root)))
    assert not (tmp_path / ".ida-rd/times.jsonl").exists()


def _line(took: Took, **changes: Any) -> bytes:
    return json.dumps({"schema": SCHEMA, **asdict(took)} | changes).encode() + b"\n"


def test_a_file_of_somebody_else_is_read_with_care(store: Store, tmp_path: Path) -> None:
    """No line of it, whatever it holds, ends a run or is more than a count or a number of seconds."""
    list(run(WORK, {}, _units(store, range(2), 1), store))
    (took,) = _lines(store)
    file = tmp_path / ".ida-rd/times.jsonl"
    honest = file.read_bytes()
    for change in (
        {"units": "2"}, {"units": -1}, {"units": 0}, {"units": True}, {"busy_s": "x"}, {"busy_s": float("nan")},
        {"wall_s": 1e999}, {"seconds": [["a"]]}, {"seconds": 3}, {"stage": 4}, {"schema": 2}, {"more": 1}, {"whole": 1},
    ):  # fmt: skip
        file.write_bytes(_line(took, **change))
        assert _lines(store) == [], change
    file.write_bytes(b"\xff\n[1]\n3\n" + b"[" * 10**5 + b"\n" + honest + honest[:50])
    assert _lines(store) == [took]
    file.unlink()
    assert _lines(store) == []
    (tmp_path / "letter").write_text("precious")
    file.symlink_to(tmp_path / "letter")
    list(run(WORK, {}, _units(store, range(2, 4), 1), store))
    assert (tmp_path / "letter").read_text() == "precious"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    list(run(WORK, {}, _units(store, range(4, 6), 1), Store(store.root, tmp_path / "linked/times.jsonl")))
    assert not list((tmp_path / "elsewhere").iterdir()), "a line would leave the project"


def test_a_file_that_cannot_be_written_ends_no_run(store: Store, tmp_path: Path) -> None:
    (tmp_path / ".ida-rd").mkdir()
    (tmp_path / ".ida-rd/times.jsonl").mkdir()
    assert len(list(run(WORK, {}, _units(store, range(2), 1), store))) == 2


def test_the_file_stays_bounded_and_keeps_the_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "LARGEST", 4000)
    for heat in range(20):
        work = replace(WORK, timed=Timed("upscale", f"b{heat}"))
        list(run(work, {}, _units(store, range(1), 1, heat), store))
    found = _lines(store)
    assert 2 < len(found) < 12
    assert [took.branch for took in found] == [f"b{i}" for i in range(20 - len(found), 20)]


def test_a_gpu_is_waited_for_before_the_clock_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[str] = []

    def note(name: str, *device: str) -> int:
        asked.append(" ".join((name, *device)))
        return 7

    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, partial(note, name))
    monkeypatch.setattr(time, "perf_counter", partial(note, "clock"))
    begun = times.begin("cuda:1")
    place = Place.here("cuda:1", {"gpu": "H", "processor": "P"}, times.now("cuda:1") - begun, torch=True)
    assert (place.device, place.processor, place.threads) == ("cuda", "H", torch.get_num_threads())
    assert Spent.since(times.now("cuda:1"), 1, place, "cuda:1").gpu_memory == 7
    waited = ["synchronize cuda:1", "clock"]
    assert asked == ["clock", "reset_peak_memory_stats cuda:1", *waited * 3, "max_memory_allocated cuda:1"]
    assert times.now("cpu") == 7
    assert asked[-1] == "clock", "and nothing is waited for without one"


def test_what_is_kept_of_a_run_does_not_grow_with_it(tmp_path: Path) -> None:
    clock = times.Clock(Timed("upscale"), tmp_path / "times.jsonl")
    for i in range(3 * times.MOST_ROWS):
        clock.met(1, 1)  # each place is another object, as results of other processes are
        clock.add(f"i{i}", Spent(1, 0.5, Place(f"host:{i % 2}", "cpu", "a processor", 1, 2.0), 10 + i % 7, None))
    assert max(len(value) for value in vars(clock).values() if isinstance(value, list | set | dict)) == times.MOST_ROWS
    assert len(clock.places) == 2
    with clock.running():
        pass
    (took,) = read_times(tmp_path / "times.jsonl")
    assert (took.units, took.parts, took.workers, took.memory) == (3 * times.MOST_ROWS,) * 2 + (2, 16)
    assert took.busy_s == 1.5 * times.MOST_ROWS
    assert took.seconds[-1] == (f"i{times.MOST_ROWS - 1}", 1, 0.5)
