"""Compiled code is kept where only its user writes, and read by the next process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

ASK = """
import json, numpy as np
from ida_rd.downscale import kernels
kernels.block_moments(np.zeros((8, 8, 3), np.uint8), 2)
stats = kernels.block_moments.stats
print(json.dumps([sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def _ask(**variables: str) -> list[int]:
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=env | variables, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def _beside_the_source() -> set[Path]:
    return set((ROOT / "ida_rd/downscale").rglob("*.nb?"))


def test_a_second_process_does_not_compile_again(tmp_path: Path) -> None:
    before = _beside_the_source()
    assert _ask(XDG_CACHE_HOME=str(tmp_path)) == [0, 1]
    assert _ask(XDG_CACHE_HOME=str(tmp_path)) == [1, 0]
    assert _beside_the_source() == before
    assert (tmp_path / "ida-rd/numba").stat().st_mode & 0o777 == 0o700
    # Where others write, nothing is read.
    (tmp_path / "ida-rd/numba").chmod(0o777)
    assert _ask(XDG_CACHE_HOME=str(tmp_path))[0] == 0


@pytest.mark.parametrize("own", [True, False])
def test_the_users_own_folder_and_none(tmp_path: Path, own: bool) -> None:
    (tmp_path / "file").touch()
    if own:
        assert _ask(NUMBA_CACHE_DIR=str(tmp_path / "own")) == [0, 1]
        assert list((tmp_path / "own").rglob("*.nbi"))
    else:
        before = _beside_the_source()
        assert _ask(XDG_CACHE_HOME=str(tmp_path / "file"))[0] == 0
        assert _beside_the_source() == before
