"""``ida-rd gc``: the store is bounded, and nothing that a run works with is taken from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import units, walk

from ida_rd.commands import main
from ida_rd.commands.gc import bytes_of
from ida_rd.core.errors import UserError
from ida_rd.core.project import Project
from ida_rd.engine.lock import working


def _gc(*arguments: str) -> int:
    try:
        main(["gc", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("1.5KB", 1500), ("5GB", 5 * 10**9), ("3 m", 3 * 10**6), ("2tb", 2 * 10**12)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "5 GiB", "1e3"])
def test_what_is_no_size_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match="give a size such as 500MB, 5GB or 0"):
        bytes_of(text)


def test_the_store_is_bounded_and_outputs_stay(
    finished: Path, walked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = units(walked)
    (walked / ".ida-rd/journal").mkdir()
    assert _gc("--size", "1TB", "--json") == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 0
    assert not (walked / ".ida-rd/journal").exists()
    size = sum(path.stat().st_size for path in (walked / ".ida-rd/store").glob("??/*"))
    assert _gc("--size", str(size // 2), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < len(units(walked)) == found["left"] == len(before) - found["removed"]
    assert found["size"] <= size // 2
    assert _gc("--size", "0") == 0
    assert "0 of 0.0 MB are left" in capsys.readouterr().out
    assert not units(walked)
    assert len(list((walked / "data/sr").rglob("*.webp"))) == 16, "outputs are not the store's"
    walk()
    assert units(walked) == before
    assert (walked / "metrics/ida_rd.json").read_bytes() == (finished / "metrics/ida_rd.json").read_bytes()


def test_nothing_is_removed_while_a_run_works(walked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = units(walked)
    with working(Project()):
        assert _gc("--size", "0") == 2
    assert "gc: a run is working in" in capsys.readouterr().err
    assert units(walked) == before
    shutil.rmtree(walked / ".ida-rd")
    assert _gc("--size", "0") == 2
    assert "run this in the folder of a run" in capsys.readouterr().err
