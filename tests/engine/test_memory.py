"""Memory: what is free, how many processes it is enough for, and one line where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.engine.memory import SHARE, WORKER_BYTES, affordable, free_bytes
from ida_rd.engine.store import Record, Store
from ida_rd.engine.units import Unit, Work, run

MEBI = 2**20


def _group(folder: Path, version: int, limit: str, used: int, cached: int) -> None:
    """The files of a control group, as the kernel writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    key = "inactive_file" if version == 2 else "total_inactive_file"
    for name, value in zip(names, (limit, str(used)), strict=True):
        (folder / name).write_text(value + "\n")
    (folder / "memory.stat").write_text(f"anon 5\n{key} {cached}\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("place", ["/", "/system/job", "/host/docker/a1"])
def test_the_limit_of_a_container_counts(tmp_path: Path, version: int, place: str) -> None:
    """Whether the group's path is seen as within the container, or is the host's, of which its own part is mounted."""
    groups, mount = tmp_path / "cgroup", tmp_path / "mount"
    lines = {1: f"3:cpu:/\n2:hugetlb,memory:{place}\n1:name=systemd:/\n", 2: f"0::{place}\n"}
    groups.write_text(lines[version])
    top = mount if version == 2 else mount / "memory"
    top.mkdir(parents=True)
    if version == 2:
        (mount / "cgroup.controllers").write_text("cpu memory\n")
    none = "max" if version == 2 else str(2**63 - 4096)
    inner = top / place.strip("/") if place == "/system/job" else top
    _group(inner, version, none, 70 * MEBI, 0)
    assert abs(free_bytes(groups, mount) - psutil.virtual_memory().available) < 2**29
    _group(inner, version, str(100 * MEBI), 70 * MEBI, 20 * MEBI)
    assert free_bytes(groups, mount) == 50 * MEBI
    _group(top, version, str(40 * MEBI), 39 * MEBI, 0)  # the one around it may be tighter
    assert free_bytes(groups, mount) == MEBI
    if inner != top:
        _group(inner.parent, version, str(MEBI), MEBI // 2, 0)  # and so may one in between
        assert free_bytes(groups, mount) == MEBI // 2
        _group(inner.parent, version, none, 0, 0)
    _group(top, version, "many", 0, 0)
    _group(inner, version, "", 0, 0)
    assert free_bytes(groups, mount) > 50 * MEBI
    assert free_bytes(tmp_path / "absent", mount) > 50 * MEBI


def test_processes_are_as_many_as_memory_is_enough_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDA_RD_WORKERS", raising=False)
    need = SHARE * free_bytes() / 2.5 - WORKER_BYTES
    assert affordable(8, need, "upscale") == 2
    said = capsys.readouterr().err
    assert said.startswith("upscale: 2 of ")
    assert said.count("\n") == 1
    assert "for lack of memory" in said
    assert affordable(2, need, "upscale") == 2
    assert affordable(8, 1.0, "upscale") == 8
    assert affordable(8, None, "upscale") == 8
    assert not capsys.readouterr().err
    assert affordable(8, 1e15, "upscale") == 1
    assert "images.crop" in capsys.readouterr().err
    monkeypatch.setenv("IDA_RD_WORKERS", "8")
    assert affordable(8, need, "upscale") == 8
    assert not capsys.readouterr().err
    assert affordable(8, 1e15, "upscale") == 8
    assert "this may fail" in capsys.readouterr().err


def _open_process(recipe: Any, device: str) -> Callable[[Any, list[str]], dict[str, Record]]:
    return lambda given, parts: {part: Record(os.getpid()) for part in parts}


def test_the_largest_image_that_is_left_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDA_RD_WORKERS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2), raising=False)
    store = Store(tmp_path)
    work = Work(_open_process, "work", memory=1000.0)
    for name, side, alone in (("small", 10, False), ("large", 10**7, True), ("again", 10, False)):
        units = [Unit(f"{name}{i}", {"a": store.key(name, i)}, i, (10, side if i else 10)) for i in range(4)]
        made = {part.value for _, parts in run(work, {}, units, store) for part in parts.values()}
        assert (made == {os.getpid()}) == alone
        assert ("1 of 2 processes, for lack of memory" in capsys.readouterr().err) == alone
    for need, alone in ((1e3, False), (1e16, True)):  # a unit may say all that it takes
        units = [Unit(f"told{i}", {"a": store.key("told", need, i)}, i, (10**7, 10**7), need) for i in range(4)]
        made = {part.value for _, parts in run(work, {}, units, store) for part in parts.values()}
        assert (made == {os.getpid()}) == alone
        capsys.readouterr()


RAISERS: dict[str, Callable[[], object]] = {
    "Python": lambda: bytearray(2**60),
    "NumPy": lambda: np.zeros(2**44),
    "torch": lambda: torch.empty(2**50),
}


def _open_greedy(recipe: dict[str, str], device: str) -> Callable[[Any, list[str]], dict[str, Record]]:
    if "load" in recipe:
        RAISERS[recipe["load"]]()
    return lambda given, parts: {part: Record(str(RAISERS[recipe["work"]]())) for part in parts}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("raiser", RAISERS)
def test_too_little_memory_is_a_line(
    raiser: str, workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever library says so: in the work on an image, and while what is needed for it is loaded."""
    monkeypatch.setenv("IDA_RD_WORKERS", workers)
    store = Store(tmp_path)
    units = [Unit(f"photo-{i}", {"a": store.key(i)}, i, (400, 300)) for i in range(2)]
    work = Work(_open_greedy, "distort", memory=1e4)
    with pytest.raises(UserError) as error:
        list(run(work, {"work": raiser}, units, store))
    line = str(error.value)
    assert line.startswith("distort: image photo-")
    assert "(400 x 300 pixels) needs more memory than there is, about 1.2 GB in all" in line
    assert "images.crop" in line
    assert "IDA_RD_WORKERS=1" in line
    assert "Traceback" not in line
    assert ("GB at once" in line) == (raiser != "Python")  # which does not say how much
    with pytest.raises(UserError, match=r"^distort: what it loads needs more memory than there is"):
        list(run(work, {"work": raiser, "load": raiser}, units, store))


PROGRAM = """
import resource, sys
from pathlib import Path
import psutil, torch
from ida_rd.core.errors import exit_with_line
from ida_rd.engine.store import Store
from ida_rd.upscale.recipe import upscale_recipe
from ida_rd.upscale.stage import upscale_folder
import ida_rd.models.flow_decoder, ida_rd.upscale.flow.sampler
here = Path(sys.argv[1])
recipe, _ = upscale_recipe("flow", {"method": "flow"}, 4, 0, 1, size=None, download=False)
limit = psutil.Process().memory_info().data + int(sys.argv[2]) * 10**6
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
exit_with_line(lambda: upscale_folder(recipe, here / "lr", here / "sr", Store(here / "store")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of data are Linux's")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_photograph_that_is_too_large_is_named(tmp_path: Path, astronaut: NDArray[np.uint8], workers: str) -> None:
    (tmp_path / "lr").mkdir()
    for name in ("a", "b"):
        Image.fromarray(astronaut[:400, :500]).save(tmp_path / "lr" / f"{name}.png")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "200"],
        env=os.environ | {"IDA_RD_WORKERS": workers, "IDA_RD_DEVICE": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 2, done.stderr
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "image a (2000 x 1600 pixels)" in errors[0] or "image b (2000 x 1600 pixels)" in errors[0]
    assert "needs more memory than there is, about 928 MB" in errors[0]
    assert "images.crop" in errors[0]
    assert not (tmp_path / "sr").exists()
