"""The distribution of styles is computed once, however many processes want it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

# Each says that it computes, and finishes only when it may: the second has then begun, or was never going to wait.
PROGRAM = """
import sys, time
from pathlib import Path
import torch
from ida_rd.models.stylegan.network import Mapping
from ida_rd.upscale.pulse import fit
folder, name = Path(sys.argv[1]), sys.argv[2]
compute = fit.compute_fit
def slow(net):
    (folder / f"computes-{name}").touch()
    for _ in range(6000):  # it ends in any case: nobody may wait for one that computes and should not
        if (folder / "go").exists():
            break
        time.sleep(0.02)
    return compute(net, 300)
fit.compute_fit = slow
torch.manual_seed(0)
found = fit.fit_of(Mapping(8, 2), "a" * 64)
print(found.mean.tolist(), found.std.tolist())
"""


def _process(folder: Path, name: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "TORCH_HOME": str(folder / "torch")}
    command = [sys.executable, "-c", PROGRAM, str(folder), name]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_two_processes_one_computes_the_fit_and_the_other_waits(tmp_path: Path) -> None:
    first = _process(tmp_path, "first")
    try:
        _wait_for(tmp_path / "computes-first", first)
        second = _process(tmp_path, "second")
        try:
            assert second.stderr is not None
            said = second.stderr.readline()
            assert re.fullmatch(
                r"the distribution of the generator's styles is being computed by another process"
                rf" \(process {first.pid} on \S+, since [\d: -]+\): waiting for it\n",
                said,
            )
            (tmp_path / "go").touch()
            one, two = first.communicate(timeout=300)[0], second.communicate(timeout=300)[0]
        finally:
            second.kill()
    finally:
        first.kill()
    assert (first.returncode, second.returncode) == (0, 0)
    assert one == two
    assert one.startswith("[")
    assert not (tmp_path / "computes-second").exists()


def test_a_process_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    first = _process(tmp_path, "first")
    _wait_for(tmp_path / "computes-first", first)
    first.kill()
    first.wait()
    (tmp_path / "go").touch()
    second = _process(tmp_path, "second")
    out, _ = second.communicate(timeout=300)
    assert second.returncode == 0
    assert out
    assert (tmp_path / "computes-second").exists()


@pytest.mark.parametrize("what", ["a link", "a folder"])
def test_the_lock_empties_nothing_of_others(tmp_path: Path, what: str) -> None:
    from ida_rd.engine.lock import making

    (tmp_path / "precious").write_text("precious")
    beside = tmp_path / "fit.safetensors.lock"
    if what == "a link":
        beside.symlink_to(tmp_path / "precious")
    else:
        beside.mkdir()
    with making(tmp_path / "fit.safetensors", "it"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
