"""What the engines cost: overhead per unit, scaling from one worker to two, and the parent's memory.

    python benchmarks/engine.py [--units 20000] [--many 100000] [--images 48] [--side 256] [--without-dask]

*Overhead*: seconds of a run over trivial units, less those of the same store's reads and writes in one process, by
unit; two workers. *Scaling*: time of `upscale` (the flow) and of `distort` (structural measures) over IMAGES images
of SIDE x SIDE pixels, two samples each, with one worker, over that with two; aim: at least 1.8 on idle cores. *Memory*:
by how much the parent's resident memory grows in the first half of MANY units, which has their list, and in the second,
which is to add nothing; their store is simulated. And the same over UNITS on the cluster, of the parent and of the
scheduler. The cluster is a scheduler and two workers on 127.0.0.1, which are started and ended here. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import skimage
from PIL import Image

from ida_rd.engine.store import Finished, Record, Store
from ida_rd.engine.units import Timed, Unit, Work, run

ROOT = Path(__file__).resolve().parent.parent


def open_trivial(recipe: Any, device: str) -> Callable[[int, list[str]], dict[str, Record]]:
    return lambda given, parts: {part: Record(given) for part in parts}


METRICS = ("ssim", "ms-ssim", "vif", "fsim", "dss")
TRIVIAL = Work(open_trivial, "trivial", timed=Timed("trivial"))


def resident() -> int:
    return psutil.Process().memory_info().rss


def timed(count: int, folder: Path, look: Callable[[], None] = lambda: None, store: Store | None = None) -> float:
    """Seconds of a run over trivial units; `look` is called at its begin, in its middle and at its end."""
    store = store or Store(folder)
    units = [Unit(str(i), {"a": store.key(i)}, i) for i in range(count)]
    look()
    start = time.perf_counter()
    for done, _ in enumerate(run(TRIVIAL, {}, units, store), 1):
        if done in (count // 2, count):
            look()
    return time.perf_counter() - start


def bare(count: int, folder: Path) -> float:
    """Seconds of what the store takes of that: each unit asked for, written, and read."""
    store = Store(folder)
    made = store.put_environment({})
    start = time.perf_counter()
    for i in range(count):
        key = store.key(i)
        store.get(key)
        store.put(key, Record(i), made)
        store.get(key)
    return time.perf_counter() - start


@contextmanager
def environment(**values: str) -> Iterator[None]:
    former = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A scheduler and two workers; yields the settings of a run on it."""
    file = folder / "scheduler.json"
    python = [sys.executable, "-m"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "IDA_RD_DEVICE": "cpu"}
    log = (folder / "cluster.log").open("w")
    common = ["--scheduler-file", str(file)]
    scheduler = [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = [*python, "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
    started = [subprocess.Popen([*scheduler, *common], env=env, stdout=log, stderr=log)]
    try:
        for number in range(2):
            place = ["--local-directory", str(folder / f"worker-{number}"), "--no-nanny"]
            while not file.exists():
                time.sleep(0.1)
            started.append(subprocess.Popen([*worker, *common, *place], env=env, stdout=log, stderr=log))
        yield {"IDA_RD_ENGINE": "dask", "IDA_RD_SCHEDULER": str(file)}
    finally:
        for process in started:
            process.kill()
            process.wait()
        log.close()


def halves(found: list[int]) -> dict[str, int]:
    """By how much memory has grown in each half of the units."""
    return {"first_half": found[1] - found[0], "second_half": found[2] - found[1]}


def of_dask(count: int, folder: Path) -> dict[str, Any]:
    from ida_rd.engine.cluster.connect import connected

    with cluster(folder) as settings, environment(**settings):
        with connected() as client:
            client.wait_for_workers(2)
        timed(10, folder / "warm")  # connected, loaded
        process = psutil.Process(_scheduler_of(folder))
        scheduler: list[int] = []
        parent: list[int] = []

        def look() -> None:
            scheduler.append(process.memory_info().rss)
            parent.append(resident())

        seconds = timed(count, folder / "dask", look)
    return {"seconds": seconds, "scheduler": halves(scheduler), "parent": halves(parent)}


def _scheduler_of(folder: Path) -> int:
    for child in psutil.Process().children():
        if str(folder) in " ".join(child.cmdline()) and "dask_scheduler" in " ".join(child.cmdline()):
            return child.pid
    raise RuntimeError("no scheduler")


class Simulated(Store):
    """Has nothing at first, and whatever was computed afterwards, of which it keeps nothing."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder)
        self.left = count

    def get(self, key: str) -> Finished | None:
        self.left -= 1
        return None if self.left >= 0 else Finished(0, None, {})

    def put(self, key: str, record: Record, environment: str) -> None:
        pass


def photographs(folder: Path, count: int, side: int, factor: int) -> None:
    photo = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    for name in ("hr", "lr"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        x, y = rng.integers(0, 512 - side + 1, 2)
        hr = photo.crop((x, y, x + side, y + side))
        hr.save(folder / "hr" / f"{i:03}.png")
        hr.resize((side // factor, side // factor), Image.Resampling.BICUBIC).save(folder / "lr" / f"{i:03}.png")


def scaling(count: int, side: int, folder: Path) -> dict[str, dict[str, float]]:
    """Seconds with one worker and with two, and how many times more they are with one."""
    from ida_rd.distort.recipe import distort_recipe
    from ida_rd.distort.stage import distort_folder
    from ida_rd.upscale.recipe import upscale_recipe
    from ida_rd.upscale.stage import upscale_folder

    photographs(folder, count, side, 4)
    recipe, _ = upscale_recipe("flow", {"method": "flow"}, 4, 0, 2, size=None, download=False)
    distances = {metric: {"method": "structural", "metric": metric} for metric in METRICS}
    measured = {
        "distortions": {n: distort_recipe(n, e, smallest=None, download=False)[0] for n, e in distances.items()}
    }
    seconds: dict[str, dict[int, float]] = {"upscale": {}, "distort": {}}
    for workers in (1, 2):
        with environment(IDA_RD_WORKERS=str(workers)):
            store = Store(folder / f"store-{workers}")
            sr = folder / f"sr-{workers}"
            for name, work in (
                ("upscale", partial(upscale_folder, recipe, folder / "lr", sr, store)),
                ("distort", partial(distort_folder, measured, folder / "hr", sr, store)),
            ):
                start = time.perf_counter()
                work()
                seconds[name][workers] = time.perf_counter() - start
    return {
        name: {"one_s": found[1], "two_s": found[2], "ratio": found[1] / found[2]} for name, found in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--units", type=int, default=20000)
    parser.add_argument("--many", type=int, default=100000)
    parser.add_argument("--images", type=int, default=48, help="0: no scaling")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--without-dask", action="store_true")
    a = parser.parse_args()
    os.environ |= {"IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "2", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {"units": a.units, "store_ms": 1e3 * bare(a.units, folder / "bare") / a.units}
        result["local_ms"] = 1e3 * timed(a.units, folder / "local") / a.units
        if not a.without_dask:
            dask = of_dask(a.units, folder)
            result["dask_ms"] = 1e3 * dask["seconds"] / a.units
            result |= {"dask_scheduler_bytes": dask["scheduler"], "dask_parent_bytes": dask["parent"]}
        result["many"] = a.many
        found: list[int] = []
        timed(a.many, folder / "many", lambda: found.append(resident()), Simulated(folder / "many", a.many))
        result["parent_bytes"] = halves(found)
        if a.images:
            result["scaling"] = scaling(a.images, a.side, folder)
    for engine in ("local", "dask"):
        if f"{engine}_ms" in result:
            result[f"{engine}_overhead_ms"] = result[f"{engine}_ms"] - result["store_ms"]
    print(json.dumps(result))


if __name__ == "__main__":
    importlib.import_module("engine").main()  # this file, under a name by which a cluster's workers find it, too
