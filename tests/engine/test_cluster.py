"""The same bytes from processes of this machine, a Dask cluster and shares, whoever dies meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from clusters import Cluster, cluster, wait_for
from conftest import ROOT, stage_here
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("distributed")
pytestmark = pytest.mark.cluster

PARAMETERS = """
seed: 0
images: {source: folder, path: photos, crop: 32}
attributes: {source: image-statistics}
balance: {groups: 2, size: 4}
factors: [4]
downscalers:
  bicubic: {method: resample, filter: bicubic}
upscalers:
  again: {method: lab.again}
samples: 2
distortions:
  psnr: {method: pixel}
aggregate: {resamples: 200}
"""
# An upscaler of the user's own. While the file `hang` is there, it says which process it is, and waits.
AGAIN = '''
"""Pixels repeated, with noise."""

import os
import time
from pathlib import Path

import numpy as np

from ida_rd.core.methods import Parameters
from ida_rd.upscale.contract import Descriptor, Samples


def describe(parameters, factor):
    return Descriptor(factor=factor, stochastic=True, blind=True, licence="mine", weights={})


def load(parameters, problem, device):
    return Again()


class Again:
    def sample(self, lr, draws):
        while Path("hang").exists():
            Path(f"{os.getpid()}.pid").touch()
            time.sleep(0.02)
        big = lr.repeat(4, 1).repeat(4, 2)
        sr = [np.clip(big + 5 * draw.normal(big.shape), 0, 255).astype(np.uint8) for draw in draws]
        return Samples(np.stack(sr), np.ones(len(draws), bool), np.zeros(len(draws)))
'''
BRANCH = ("again", "4", "bicubic")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, astronaut: NDArray[np.uint8]) -> Path:
    """A project whose branch is about to be upscaled."""
    root = tmp_path_factory.mktemp("prepared") / "run"
    (root / "photos").mkdir(parents=True)
    (root / "params.yaml").write_text(PARAMETERS)
    (root / "lab").mkdir()
    (root / "lab/__init__.py").touch()
    (root / "lab/again.py").write_text(AGAIN)
    for i, (y, x) in enumerate([(0, 0), (60, 190), (200, 200), (400, 300)]):
        Image.fromarray(astronaut[y : y + 32, x : x + 32]).save(root / "photos" / f"photo-{i}.png")
    for name, *arguments in (("plan",), ("attributes",), ("balance",), ("downscale", "bicubic", "4"), ("surprise",)):
        _stage(root, name, *arguments)
    return root


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "run"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two workers."""
    with cluster(tmp_path_factory.mktemp("cluster") / "two", 2) as made:
        yield made


def _stage(root: Path, name: str, *arguments: str, code: int | str = 0, **env: str) -> str:
    done = stage_here(name, *arguments, cwd=root, env=env)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def _outputs(root: Path) -> dict[str, bytes]:
    paths = [path for name in ("sr", "distortion") for path in (root / "data" / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in [*paths, root / "metrics/ida_rd.json"]}


def _rest(root: Path, **env: str) -> dict[str, bytes]:
    _stage(root, "upscale", *BRANCH, **env)
    _stage(root, "distort", *BRANCH, **env)
    _stage(root, "aggregate")
    found = _outputs(root)
    assert len([name for name in found if name.endswith(".webp")]) == 8
    assert not list((root / ".ida-rd/store").glob(".partial-*")), "the run's own folder"
    return found


@pytest.fixture(scope="module")
def expected(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes."""
    return _rest(Path(shutil.copytree(prepared, tmp_path_factory.mktemp("one") / "run")))


def _meanwhile(what: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=what)
    thread.start()
    return thread


def _under_way(root: Path) -> int:
    """Wait for a process that is in the middle of a unit."""
    assert wait_for(lambda: list(root.glob("*.pid")))
    return int(next(root.glob("*.pid")).stem)


def test_two_processes(folder: Path, expected: dict[str, bytes]) -> None:
    assert _rest(folder, IDA_RD_WORKERS="2") == expected


def test_a_worker_of_this_machine_that_is_killed_costs_its_unit_alone(folder: Path, expected: dict[str, bytes]) -> None:
    (folder / "hang").touch()

    def kill() -> None:
        os.kill(_under_way(folder), signal.SIGKILL)
        (folder / "hang").unlink()

    thread = _meanwhile(kill)
    said = _stage(folder, "upscale", *BRANCH, IDA_RD_WORKERS="2")
    thread.join()
    assert "4/4" in said
    assert "1 ran again" in said
    assert _rest(folder) == expected


def test_two_workers_of_a_cluster(two: Cluster, folder: Path, expected: dict[str, bytes]) -> None:
    assert two.has(2)
    assert _rest(folder, **two.settings()) == expected


def test_a_worker_of_a_cluster_that_is_killed(two: Cluster, folder: Path, expected: dict[str, bytes]) -> None:
    (folder / "hang").touch()

    def kill() -> None:
        pid = _under_way(folder)
        two.end(next(worker for worker in two.workers if worker.pid == pid))
        (folder / "hang").unlink()

    thread = _meanwhile(kill)
    said = _stage(folder, "upscale", *BRANCH, **two.settings())
    thread.join()
    two.worker()  # in its place
    assert "1 ran again" in said
    assert _rest(folder) == expected


def test_a_scheduler_that_is_killed_and_a_run_after_it(
    two: Cluster, folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    (folder / "hang").touch()
    with cluster(tmp_path / "short", 1) as short:

        def kill() -> None:
            _under_way(folder)
            short.scheduler.kill()

        thread = _meanwhile(kill)
        said = _stage(folder, "upscale", *BRANCH, code=2, **short.settings())
        thread.join()
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "is gone; finished images are kept: run again to go on" in lines[0]
    assert not (folder / "data/sr").exists() or not list((folder / "data/sr").rglob("*.webp"))
    (folder / "hang").unlink()
    assert _rest(folder, **two.settings()) == expected


def test_a_stage_without_its_scheduler_ends_with_a_line_and_leaves_its_output(folder: Path) -> None:
    former = {path: path.read_bytes() for path in (folder / "data/lr").rglob("*.png")}
    shutil.rmtree(folder / ".ida-rd")
    env = {"IDA_RD_ENGINE": "dask", "IDA_RD_SCHEDULER": "tcp://127.0.0.1:9", "IDA_RD_CLUSTER_TIMEOUT": "1"}
    said = _stage(folder, "downscale", "bicubic", "4", code=2, **env)
    assert said.startswith("error: IDA_RD_SCHEDULER: no scheduler answers at tcp://127.0.0.1:9")
    assert len(said.splitlines()) == 1
    assert len(former) == 4
    assert {path: path.read_bytes() for path in (folder / "data/lr").rglob("*.png")} == former


def test_three_shares_and_a_plain_run(folder: Path, expected: dict[str, bytes]) -> None:
    said = {n: _stage(folder, "upscale", *BRANCH, IDA_RD_SHARD=f"{n}/3") for n in (3, 1, 3, 2)}
    assert "share 1 of 3: 2 of its 2 images are computed now" in said[1]
    assert "share 2 of 3: 1 of its 1 images are computed now" in said[2]
    assert "nothing is left to compute" not in said[3]
    assert "share 3 of 3: 0 of its 1 images are computed now, 1 were finished" in said[3]
    assert not list((folder / "data/sr").rglob("*")) or not list((folder / "data/sr").rglob("*.webp"))
    assert "nothing is left to compute" in _stage(folder, "upscale", *BRANCH, IDA_RD_SHARD="2/3")
    assert not list((folder / "data/sr").rglob("*.webp"))
    assert "4 of 4 images were already finished" in _stage(folder, "upscale", *BRANCH)
    for n in (1, 2, 3):
        _stage(folder, "distort", *BRANCH, IDA_RD_SHARD=f"{n}/3")
    assert not list((folder / "data").glob("distortion/**/*.csv"))
    assert _rest(folder) == expected


def test_nothing_imports_dask_that_is_not_asked_to(prepared: Path) -> None:
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['downscale', 'bicubic', '4']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'stages/downscale.py')!r}, run_name='__main__')\n"
        "finally:\n"
        "    assert 'ida_rd.engine.units' in sys.modules\n"
        "    assert not {'dask', 'distributed', 'ida_rd.engine.cluster'} & set(sys.modules)\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "IDA_RD_ENGINE"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=prepared, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
