"""Methods are found by name in their rooms, which are read once and not for every name."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest
from conftest import ROOT

from ida_rd.bundle.verify import verify
from ida_rd.core import methods
from ida_rd.core.methods import ENTRY, known_methods


def test_verify_reads_each_room_once() -> None:
    methods._methods_in.cache_clear()
    verify(ROOT / "tests/bundle/golden/0.1.0")
    asked = methods._methods_in.cache_info()
    assert asked.misses <= len(ENTRY)
    assert asked.hits > asked.misses, "it asks for many names"


def test_a_room_that_changes_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "PACKAGE", tmp_path)
    room = tmp_path / "downscale"
    (room / "folder").mkdir(parents=True)
    seconds = count(1)

    def known() -> list[str]:
        os.utime(room, (0, next(seconds)))  # changes follow each other faster than the clock of some file systems
        return known_methods("downscale")

    (room / "contract.py").write_text("CONTRACT = 1\n")
    assert known() == []
    (room / "keep_one.py").write_text("def downscale(hr, size): ...\n")
    assert known() == ["keep-one"]
    known_methods("downscale").append("mine")  # what a caller does with the list is its own affair
    assert known_methods("downscale") == ["keep-one"]
    (room / "folder/__init__.py").write_text("def downscale(hr, size): ...\n")
    assert known() == ["folder", "keep-one"]
    (room / "keep_one.py").unlink()
    assert known() == ["folder"]
