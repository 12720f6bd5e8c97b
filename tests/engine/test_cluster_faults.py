"""What can be wrong with a cluster: a line that says it, and nothing that is finished is lost."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import SQUARES, TESTS, Cluster, begun, cluster, squares, wait_for
from conftest import ROOT

from ida_rd.core.errors import UserError
from ida_rd.engine.store import Store
from ida_rd.engine.times import read_times
from ida_rd.engine.units import run
from ida_rd.inventory import health

pytest.importorskip("distributed")
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without workers; a test that starts some ends them."""
    with cluster(tmp_path_factory.mktemp("cluster") / "none", 0) as made:
        yield made


@pytest.fixture
def asked(none: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for key, value in none.settings().items():
        monkeypatch.setenv(key, value)
    yield none
    for worker in list(none.workers):
        none.end(worker)
    assert none.has(0)


def _finished(store: Store, count: int) -> list[int]:
    return [i for i, unit in enumerate(squares(store, count)) if store.get(unit.keys["a"])]


def _run(folder: Path, count: int, **recipe: object) -> Store:
    store = Store(folder / "store", folder / "times.jsonl")
    list(run(SQUARES, {"folder": str(folder), **recipe}, squares(store, count), store))
    return store


def test_no_workers(asked: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_CLUSTER_TIMEOUT", "1")
    with pytest.raises(UserError, match=r"^no workers for 1 s \(IDA_RD_CLUSTER_TIMEOUT\): start `dask worker`"):
        _run(tmp_path, 2)


def test_workers_that_go_and_do_not_come_back(asked: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_CLUSTER_TIMEOUT", "20")
    worker = asked.worker()
    assert asked.has(1)
    monkeypatch.setenv("IDA_RD_CLUSTER_TIMEOUT", "2")

    def kill() -> None:
        wait_for(lambda: begun(tmp_path, 3))
        asked.end(worker)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(UserError, match=r"^no workers for 2 s .*: finished images are kept|^no workers for 2 s"):
        _run(tmp_path, 6, waits=[3])
    thread.join()
    assert _finished(Store(tmp_path / "store"), 6) == [0, 1, 2]


def test_nobody_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_ENGINE", "dask")
    monkeypatch.setenv("IDA_RD_CLUSTER_TIMEOUT", "1")
    for value, says in (
        ("tcp://127.0.0.1:9", "no scheduler answers at tcp://127.0.0.1:9: start `dask scheduler` there, or correct"),
        ("tcp://nowhere", "no scheduler answers at tcp://nowhere"),
        (str(tmp_path / "none.json"), "is not there, or no scheduler's file: start `dask scheduler --scheduler-file"),
        ("", "IDA_RD_SCHEDULER is not set"),
    ):
        monkeypatch.setenv("IDA_RD_SCHEDULER", value)
        with pytest.raises(UserError, match="IDA_RD_SCHEDULER") as error:
            _run(tmp_path, 2)
        assert says in str(error.value)
    for name, value in (("IDA_RD_CLUSTER_TIMEOUT", "0"), ("IDA_RD_ENGINE", "ray")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(UserError, match=f"^{name} is '{value}': "):
                _run(tmp_path, 2)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many tasks runs have given to a scheduler."""
    from ida_rd.engine.cluster import run as module

    number = itertools.count()
    monkeypatch.setattr(module, "count", lambda: number)
    return lambda: next(number)


def test_a_unit_that_kills_three_workers_is_named_after_all_others(
    asked: Cluster, tmp_path: Path, tasks: Callable[[], int]
) -> None:
    for _ in range(4):
        asked.worker()
    with pytest.raises(
        UserError, match=r"^squares: image photo-60 ended 3 worker processes, most often for lack of mem"
    ):
        _run(tmp_path, 100, kills=[60])
    assert tasks() < 70, "they take so little that several go together"
    assert _finished(Store(tmp_path / "store"), 100) == [i for i in range(100) if i != 60]
    assert [begun(tmp_path, i) for i in range(100)] == [1] * 60 + [3] + [1] * 39, "no other is blamed, or begun again"


Change = Callable[[Path], dict[str, str]]


def _other_code(place: Path) -> dict[str, str]:
    shutil.copytree(ROOT / "ida_rd", place / "ida_rd", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    with (place / "ida_rd/upscale/work.py").open("a") as file:
        file.write("# something else\n")
    return {"PYTHONPATH": f"{place}{os.pathsep}{TESTS}"}


def _other_numpy(place: Path) -> dict[str, str]:
    (place / "numpy-0.0.1.dist-info").mkdir(parents=True)
    (place / "numpy-0.0.1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    return {"PYTHONPATH": os.pathsep.join([str(place), str(ROOT), str(TESTS)])}


def _other_key(place: Path) -> dict[str, str]:
    return {"IDA_RD_KEY_FILE": str(place / "key")}


def _no_code(place: Path) -> dict[str, str]:
    (place / "ida_rd").mkdir(parents=True)
    # Beside an editable installation an empty package would find its modules there.
    (place / "ida_rd/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ida_rd'\")\n")
    return {"PYTHONPATH": str(place)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_other_code, r"its ida_rd/upscale/work\.py is another than here: install the same version there"),
        (_other_numpy, r"it has numpy 0\.0\.1, and here is .*: install the same there, or set IDA_RD_ALLOW_MIXED=1"),
        (_other_key, "it has another key, so that none would take the other's units"),
        (
            _no_code,
            r"it cannot run what this version sends \(.*No module named.*\): install the same version there",
        ),
    ],
)
def test_a_worker_that_differs(
    change: Change, says: str, asked: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.worker(env=change(tmp_path / "place"))
    assert asked.has(1)
    code = {"code": {"ida_rd/upscale/work.py": ""}}
    with pytest.raises(UserError, match=rf"^squares: worker tcp://127\.0\.0\.1:\d+: {says}"):
        _run(tmp_path, 3, **code)
    assert not list(tmp_path.glob("opened"))
    if change is _other_numpy:
        monkeypatch.setenv("IDA_RD_ALLOW_MIXED", "1")
        store = _run(tmp_path, 3, **code)
        found = store.get(squares(store, 1)[0].keys["a"])
        assert found is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_other_code, "its ida_rd/upscale/work.py is another than here"),
        (lambda place: {"BROKEN": "1"}, r"it cannot load what this run needs \(libcudart.*\): mend that there"),
    ],
)
def test_a_worker_that_comes_later_and_is_not_fit(asked: Cluster, tmp_path: Path, change: Change, says: str) -> None:
    """That is the worker's fault, not that of the image it was to begin with."""
    env = change(tmp_path / "place")
    asked.worker()
    assert asked.has(1)

    def another() -> None:
        wait_for(lambda: begun(tmp_path, 0))
        asked.worker(env=env)

    thread = threading.Thread(target=another)
    thread.start()
    with pytest.raises(UserError, match=rf"^squares: worker tcp://127\.0\.0\.1:\d+: {says}"):
        _run(tmp_path, 4, waits=[0], code={"ida_rd/upscale/work.py": ""})
    thread.join()
    (tmp_path / "go").touch()


def test_a_worker_is_heard_of_while_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A scheduler gives up who is not: after `worker-ttl`, at least ten of its intervals of half a second."""
    with cluster(tmp_path / "impatient", 1, DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="1s") as impatient:
        for key, value in impatient.settings().items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("IDA_RD_CLUSTER_TIMEOUT", "10")
        assert impatient.has(1)
        store = _run(tmp_path, 1, lasts=8)
        assert _finished(store, 1) == [0]
        assert begun(tmp_path, 0) == 1
        assert impatient.has(1)
        assert "ttl" not in impatient.said()
    assert "ran again" not in capfd.readouterr().err


def test_a_worker_that_does_not_see_the_folder(asked: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process sees it, each other process sees something else: as on a host without the mount."""
    if not Path("/proc/self/cwd").exists():
        pytest.skip("needs /proc")
    asked.worker()
    assert asked.has(1)
    monkeypatch.chdir(tmp_path)
    store = Store(Path("/proc/self/cwd/store"))
    with pytest.raises(UserError, match=r"worker tcp://\S+: it does not see the folder /proc/self/cwd/store .*: mount"):
        list(run(SQUARES, {"folder": str(tmp_path)}, squares(store, 2), store))
    assert not list(tmp_path.glob("opened"))


def test_a_worker_loads_once_and_what_units_take_arrives(
    asked: Cluster, tmp_path: Path, tasks: Callable[[], int]
) -> None:
    asked.worker()
    assert asked.has(1)
    _run(tmp_path, 5, lasts=0.25)
    assert tasks() == 5, "a unit that takes long goes alone"
    assert [begun(tmp_path, i) for i in range(5)] == [1] * 5
    assert (tmp_path / "opened").read_text() == "x"
    (took,) = read_times(tmp_path / "times.jsonl")
    assert (took.stage, took.branch, took.units, took.parts, took.workers) == ("upscale", "mine/x4/bicubic", 5, 5, 1)
    assert took.whole
    assert sorted(name for name, _, _ in took.seconds) == [f"photo-{i}" for i in range(5)]
    assert all(seconds >= 0.25 for _, _, seconds in took.seconds)


@pytest.mark.slow
def test_the_doctor_sees_the_workers(asked: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.worker()
    asked.worker(env=_other_key(tmp_path))
    assert asked.has(2)
    monkeypatch.chdir(tmp_path)
    rows = health()
    assert next(row for row in rows if row["what"] == "cluster")["detail"].startswith("2 workers at tcp://127.0.0.1:")
    workers = [row for row in rows if row["what"].startswith("worker tcp://127.0.0.1:")]
    assert sorted(row["state"] for row in workers) == ["ok", "wrong"]
    for row in workers:
        assert "torch 2" in row["detail"]
        assert ("cpu, sees this folder" in row["detail"]) == (row["state"] == "ok")
        assert ("it has another key" in row["detail"]) == (row["state"] == "wrong")
