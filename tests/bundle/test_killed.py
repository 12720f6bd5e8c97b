"""A process that is killed while it verifies, or saves, leaves nothing that stays."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import ida_rd.bundle.verify as module
from ida_rd.core.files import write_json
from ida_rd.scored import Result


def _killed(work: Callable[[], Any]) -> None:
    """Do it in a process that something in it kills."""
    process = os.fork()
    if not process:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status), "it was to be killed"


def _kill(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_verify_left_goes_with_the_next_one(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        known = module.version_of
        patch.setattr(module, "version_of", lambda results: replace(known(results), write_tables=_kill))
        _killed(lambda: module.verify(bundled))
    assert len(list(tmp_path.iterdir())) == 1
    module.verify(bundled)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a folder that is there: the tables are made beside their place."""
    empty = pd.DataFrame()
    result = Result(empty, empty, empty, empty, {}, {})
    with monkeypatch.context() as patch:
        patch.setattr(Result, "_write", _kill)
        _killed(lambda: result.save(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    written = ("scores.csv", "differences.csv", "images.csv", "rows.csv", "scores.md")
    monkeypatch.setattr(Result, "_write", lambda self, folder: [(folder / name).touch() for name in written])
    result.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(written)


def test_what_a_killed_bench_left_beside_its_file_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ida_rd.core.files as files
    import ida_rd.named.bench as bench
    from ida_rd.commands import main

    shown = SimpleNamespace(markdown=str, differences_markdown=str)
    monkeypatch.setattr(bench, "run_benchmark", lambda name, given: (shown, {}))
    monkeypatch.setattr(bench, "told", lambda result, what: {"benchmark": "x"})
    command = ["bench", "idard-photo-x4@1", "--downscaler", "box", "--save", str(tmp_path / "b.json")]
    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "write_bytes", _kill)
        _killed(lambda: main(command))
    assert [path.name.startswith(".partial-") for path in tmp_path.iterdir()] == [True]
    main(command)
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    write_json(tmp_path / "again.json", {"benchmark": "x"})
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "again.json").read_bytes()
