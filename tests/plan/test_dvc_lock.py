"""A dvc.lock that a kill cut off: what is left is a file that DVC takes, with every entry that was whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import ROOT, run, stage
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from hypothesis import example, given
from hypothesis import strategies as st

from ida_rd.plan import dvc_lock

COMMITTED = (ROOT / "dvc.lock").read_bytes()
MERGED = b"<<<<<<< HEAD\n=======\n>>>>>>> other\n"
LINES = [i + 1 for i, byte in enumerate(COMMITTED) if byte == ord("\n")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("locks")


@example(0)
@example(8192)
@example(len(COMMITTED) - 1)
@given(st.integers(0, len(COMMITTED) - 1) | st.sampled_from(LINES))
def test_wherever_it_was_cut(folder: Path, cut: int) -> None:
    path = folder / "dvc.lock"
    path.write_bytes(COMMITTED[:cut])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dvc_lock, "WRITING_S", 0.0)
        dvc_lock.mend(path)
    stages = yaml.safe_load(COMMITTED)["stages"]
    ends = [i for i in LINES if COMMITTED[i : i + 2] == b"  " and COMMITTED[i + 2 : i + 3] not in b" -"]
    whole = max(sum(end <= cut for end in ends) - 1, 0)
    if not path.exists():
        assert whole == 0
        return
    left = path.read_bytes()
    assert COMMITTED.startswith(left)
    kept = COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(left))["stages"]
    assert whole <= len(kept) <= whole + 1
    assert all(kept[name] == stages[name] for name in list(kept)[:whole])


def test_one_that_is_whole_stays(folder: Path) -> None:
    path = folder / "dvc.lock"
    path.write_bytes(COMMITTED)
    assert dvc_lock.mend(path) is None
    assert path.read_bytes() == COMMITTED


@pytest.mark.parametrize(("at", "broken"), [(0.5, MERGED), (0.99, MERGED), (0.5, b": not yaml: [\n")])
def test_one_that_is_broken_otherwise_is_for_its_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: float, broken: bytes
) -> None:
    monkeypatch.setattr(dvc_lock, "WRITING_S", 0.0)
    path, place = folder / "dvc.lock", max(line for line in LINES if line <= at * len(COMMITTED))
    given = COMMITTED[:place] + broken + COMMITTED[place:]
    path.write_bytes(given)
    assert dvc_lock.mend(path) is None
    assert path.read_bytes() == given


def test_one_that_is_being_written_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "dvc.lock"
    path.write_bytes(COMMITTED[:9000])
    monkeypatch.setattr(dvc_lock.time, "sleep", lambda _: path.write_bytes(COMMITTED[:12000]))
    assert dvc_lock.mend(path) is None
    assert path.read_bytes() == COMMITTED[:12000]


@pytest.mark.parametrize("empty", [True, False])
def test_the_check_that_make_repro_runs_mends_it(repository: Path, empty: bool) -> None:
    path = repository / "dvc.lock"
    whole = path.read_bytes()
    path.write_bytes(b"" if empty else whole[: whole.rindex(b"    outs:\n") + len(b"    outs:\n")])
    refused = run("dvc", "status", cwd=repository, check=False)
    assert refused.returncode
    assert "./dvc.lock" in refused.stderr
    done = stage("plan", "--check", cwd=repository)
    assert done.returncode == 0
    assert "plan: dvc.lock was cut off" in done.stderr
    repeated = run("dvc", "repro", cwd=repository)
    assert "Running stage 'upscale" not in repeated.stdout, "DVC remembers its runs elsewhere, too"
    assert yaml.safe_load(path.read_bytes()) == yaml.safe_load(whole)
