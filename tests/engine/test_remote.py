"""A worker's side of a cluster, without one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from conftest import ROOT

from ida_rd.engine.cluster import remote
from ida_rd.engine.cluster.remote import RUNNING, Order, answer, marks, nothing
from ida_rd.engine.store import Store
from ida_rd.engine.units import Work


def test_a_worker_that_cannot_read_what_it_needs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError that it raised would be that of a worker which is gone, and such are passed over in silence."""

    def broken(order: Order) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(remote, "_opened", broken)
    told = asyncio.run(answer(Order("folder", "0" * 64)))
    assert "it cannot load what this run needs (" in told["problem"]
    assert "libcudart.so.12: cannot open shared object file): mend that there" in told["problem"]
    assert told["device"] == ""
    assert told["host"]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    told = asyncio.run(answer(Order(str(tmp_path / "store/run"), "0" * 64)))
    assert told["problem"].startswith(f"it does not see the folder {tmp_path / 'store'} (")
    for name in ("job.json", "job.pickle"):
        (tmp_path / name).write_text("{}")
    told = asyncio.run(answer(Order(str(tmp_path), "0" * 64)))
    assert "is another folder: mount the run's there" in told["problem"]


def test_marks_are_counted_by_unit_and_files_of_others_are_none(tmp_path: Path) -> None:
    assert marks(tmp_path) == {}
    (tmp_path / RUNNING).mkdir()
    for name in ("3-0a", "3-0b", "12-0c", ".nfs0000001", "notes.txt", "-4"):
        (tmp_path / RUNNING / name).touch()
    assert marks(tmp_path) == {3: 2, 12: 1}


def test_a_worker_must_have_the_same_engine_and_the_same_code_as_the_recipe(tmp_path: Path) -> None:
    """No recipe names the engine's files; but its two sides must understand each other."""
    pytest.importorskip("distributed")
    from ida_rd.engine.cluster.look import write_order

    recipe = {"method": {"code": {"ida_rd/upscale/work.py": ""}}, "others": [{"code": {"ida_rd/core/seeds.py": ""}}]}
    order = write_order(tmp_path, Work(nothing, "numbers"), recipe, Store(tmp_path / "store"))
    asked = json.loads((Path(order.folder) / "job.json").read_text())["code"]
    engine = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ida_rd/engine").rglob("*.py")}
    assert "ida_rd/engine/cluster/remote.py" in engine
    assert engine | {"ida_rd/upscale/work.py", "ida_rd/core/seeds.py"} <= set(asked)
    assert all(asked.values())
