"""What is slow, and parity whose code did not change, is left out; and runs again where it must."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, run

TESTS = """
import pytest


@pytest.mark.parity("ida_rd.core.seeds")
def test_parity():
    assert {holds}


@pytest.mark.slow
def test_slow():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copyfile(ROOT / "tests/parity.py", tmp_path / "parity.py")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["parity"]\n')
    (tmp_path / "test_it.py").write_text(TESTS.format(holds=True))
    return tmp_path


def _outcome(folder: Path, *options: str) -> str:
    done = run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, cwd=folder, check=False)
    return done.stdout.strip().splitlines()[-1].rsplit(" in ", 1)[0]


def test_parity_runs_until_it_is_recorded_and_again_where_its_file_changed(folder: Path) -> None:
    assert _outcome(folder) == "1 passed, 1 skipped"
    record = folder / "parity.json"
    assert _outcome(folder, "--numprocesses", "2", "--all", "--record-parity") == "2 passed"
    by_two = record.read_text()
    assert list(json.loads(by_two)) == ["test_it.py: ida_rd.core.seeds"]
    record.unlink()
    assert _outcome(folder, "--all", "--record-parity") == "2 passed"
    assert record.read_text() == by_two
    assert _outcome(folder) == "2 skipped"
    assert _outcome(folder, "--all") == "2 passed"
    (folder / "test_it.py").write_text(TESTS.format(holds=True) + "# A remark.\n")
    assert _outcome(folder) == "1 passed, 1 skipped"


def test_what_failed_is_not_recorded(folder: Path) -> None:
    (folder / "test_it.py").write_text(TESTS.format(holds=False))
    assert _outcome(folder, "--all", "--record-parity") == "1 failed, 1 passed"
    assert not (folder / "parity.json").exists()
