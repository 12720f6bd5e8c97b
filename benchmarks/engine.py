"""What the engines cost: overhead per unit, scaling from one worker to two, and the parent's memory.

    python benchmarks/engine.py [--units 20000] [--many 100000] [--images 16] [--side 256] [--without-dask]

*Overhead*: seconds of a run over trivial units, less those of the same store's reads and writes in one process, by
unit; two workers. *Scaling*: time of `upscale` (the flow) and of `distort` (DSS and PSNR) over IMAGES images of
SIDE x SIDE pixels with one worker, over that with two; aim: at least 1.8 on idle cores. *Memory*: how much the parent's
resident memory grows while MANY units are computed, beyond that of their list, in the first half and in the second. The
cluster is a scheduler and two workers on 127.0.0.1, which are started and ended here. The last line is JSON.
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

from ida_rd.engine.local import run_units
from ida_rd.engine.store import Record, Store
from ida_rd.engine.units import Unit, Work, run

ROOT = Path(__file__).resolve().parent.parent


def open_trivial(recipe: Any, device: str) -> Callable[[int, list[str]], dict[str, Record]]:
    return lambda given, parts: {part: Record(given) for part in parts}


TRIVIAL = Work(open_trivial, "trivial")


def resident() -> int:
    return psutil.Process().memory_info().rss


def timed(count: int, folder: Path) -> float:
    """Seconds of a run over trivial units."""
    store = Store(folder)
    units = [Unit(str(i), {"a": store.key(i)}, i) for i in range(count)]
    start = time.perf_counter()
    for _ in run(TRIVIAL, {}, units, store):
        pass
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


def of_dask(count: int, folder: Path) -> dict[str, float]:
    with cluster(folder) as settings, environment(**settings):
        timed(10, folder / "warm")  # connected, loaded
        process = psutil.Process(_scheduler_of(folder))
        before = process.memory_info().rss
        seconds = timed(count, folder / "dask")
        grown = process.memory_info().rss - before
    return {"seconds": seconds, "scheduler_bytes_per_unit": grown / count}


def _scheduler_of(folder: Path) -> int:
    for child in psutil.Process().children():
        if str(folder) in " ".join(child.cmdline()) and "dask_scheduler" in " ".join(child.cmdline()):
            return child.pid
    raise RuntimeError("no scheduler")


def _nothing() -> Callable[[int], None]:
    return _none


def _none(unit: int) -> None:
    return None


def growth(count: int) -> dict[str, float]:
    """By how much the parent's memory grows over many units, of which the second half should add nothing."""
    units = list(range(count))
    at = {0: resident()}
    for done, _ in enumerate(run_units(_nothing, units, label="many"), 1):
        if done in (count // 2, count):
            at[done] = resident()
    return {"first_half": at[count // 2] - at[0], "second_half": at[count] - at[count // 2]}


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


def scaling(count: int, side: int, folder: Path) -> dict[str, float]:
    """Seconds with one worker over those with two."""
    from ida_rd.distort.recipe import distort_recipe
    from ida_rd.distort.stage import distort_folder
    from ida_rd.upscale.recipe import upscale_recipe
    from ida_rd.upscale.stage import upscale_folder

    photographs(folder, count, side, 4)
    recipe, _ = upscale_recipe("flow", {"method": "flow"}, 4, 0, 2, size=None, download=False)
    distances = {"dss": {"method": "structural", "metric": "dss"}, "psnr": {"method": "pixel"}}
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
    return {name: found[1] / found[2] for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--units", type=int, default=20000)
    parser.add_argument("--many", type=int, default=100000)
    parser.add_argument("--images", type=int, default=16, help="0: no scaling")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--without-dask", action="store_true")
    a = parser.parse_args()
    os.environ |= {"IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "2", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {"units": a.units, "store_ms": 1e3 * bare(a.units, folder / "bare") / a.units}
        result["local_ms"] = 1e3 * timed(a.units, folder / "local") / a.units
        if not a.without_dask:
            found = of_dask(a.units, folder)
            result["dask_ms"] = 1e3 * found["seconds"] / a.units
            result["scheduler_bytes_per_unit"] = found["scheduler_bytes_per_unit"]
        result["many"] = a.many
        result["parent_bytes"] = growth(a.many)
        if a.images:
            result["scaling"] = scaling(a.images, a.side, folder)
    for engine in ("local", "dask"):
        if f"{engine}_ms" in result:
            result[f"{engine}_overhead_ms"] = result[f"{engine}_ms"] - result["store_ms"]
    print(json.dumps(result))


if __name__ == "__main__":
    importlib.import_module("engine").main()  # this file, under a name by which a cluster's workers find it, too
