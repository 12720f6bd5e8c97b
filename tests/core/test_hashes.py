"""Hashes that are remembered: unchanged files are read once, and no changed file has its old hash."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ida_rd.core import hashes
from ida_rd.core.errors import UserError
from ida_rd.core.hashes import HASH_CACHE, digest, file_hashes

OLD = 1_600_000_000 * 10**9
SETTLED_NS = 20 * 10**6


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes, time_ns: int | None = OLD) -> Path:
    path.write_bytes(data)
    if time_ns is not None:
        os.utime(path, ns=(time_ns, time_ns))
        time.sleep(1.5 * SETTLED_NS / 10**9)  # nobody can set back when it was changed
    return path


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read, in a project of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashes, "_known", {})
    monkeypatch.setattr(hashes, "SETTLED_NS", SETTLED_NS)  # seconds, otherwise
    (tmp_path / "params.yaml").write_text("")
    names: list[str] = []
    real = hashes.sha256_file

    def read(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(hashes, "sha256_file", read)
    return names


def _another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_known", {})


def test_an_unchanged_file_is_read_once_by_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    a, b = _write(tmp_path / "a", b"one"), _write(tmp_path / "b", b"two")
    assert file_hashes([a, b]) == file_hashes([a, b]) == [_sha(b"one"), _sha(b"two")]
    _another_process(monkeypatch)
    assert file_hashes([b, a]) == [_sha(b"two"), _sha(b"one")]
    assert reads == ["a", "b"]
    file_hashes([_write(tmp_path / "c", b"three")])
    _another_process(monkeypatch)
    file_hashes([a, b])
    assert reads == ["a", "b", "c"]


@pytest.mark.parametrize("data", [b"other", b"1234567"])
def test_a_changed_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str], data: bytes
) -> None:
    file = _write(tmp_path / "a", b"first")
    assert file_hashes([file]) == [_sha(b"first")]
    _write(file, data, OLD + 1 if len(data) == 5 else OLD)  # another time, or another size
    assert file_hashes([file]) == [_sha(data)]
    _another_process(monkeypatch)
    assert file_hashes([file]) == [_sha(data)]
    assert reads == ["a", "a"]


def test_a_file_that_was_just_written_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    # A clock of a file system stands still for a moment: what is written twice in it looks unchanged.
    monkeypatch.setattr(hashes, "SETTLED_NS", 60 * 10**9)
    file = _write(tmp_path / "a", b"first")
    assert file_hashes([file]) == file_hashes([file]) == [_sha(b"first")]
    assert reads == ["a", "a"]
    assert not HASH_CACHE.exists()


def test_a_link_to_another_file_is_another_file(tmp_path: Path, reads: list[str]) -> None:
    link = tmp_path / "link"
    for name, data in (("a", b"first"), ("b", b"other")):
        link.unlink(missing_ok=True)
        link.symlink_to(_write(tmp_path / name, data))
        assert file_hashes([link]) == [_sha(data)]


@pytest.mark.parametrize("damage", ["", "{", "[]", '"text"', "[" * 100_000, '{"mac": "' + "0" * 64 + '", "files": {}}'])
def test_a_damaged_cache_is_only_a_cache(tmp_path: Path, reads: list[str], damage: str) -> None:
    HASH_CACHE.parent.mkdir()
    HASH_CACHE.write_text(damage)
    assert file_hashes([_write(tmp_path / "a", b"first")]) == [_sha(b"first")]
    assert list(json.loads(HASH_CACHE.read_text())["files"].values()) == [_sha(b"first")]


def test_a_cache_that_somebody_else_wrote_or_edited_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    file = _write(tmp_path / "a", b"first")
    file_hashes([file])
    honest = HASH_CACHE.read_text()
    HASH_CACHE.write_text(honest.replace(_sha(b"first"), _sha(b"forged")))
    _another_process(monkeypatch)
    assert file_hashes([file]) == [_sha(b"first")]
    assert reads == ["a", "a"]
    HASH_CACHE.write_text(honest)
    _another_process(monkeypatch)
    monkeypatch.setenv("IDA_RD_KEY_FILE", str(tmp_path / "of-another-user"))
    file_hashes([file])
    assert reads == ["a", "a", "a"]


def test_a_file_of_the_same_size_and_time_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    """Copied over with its time kept, or renamed into place: the system's own time and number of it tell."""
    file = _write(tmp_path / "a", b"first")
    assert file_hashes([file]) == [_sha(b"first")]
    _write(file, b"other")
    assert file_hashes([file]) == [_sha(b"other")]
    _write(tmp_path / "b", b"third").rename(file)
    assert file_hashes([file]) == [_sha(b"third")]


def test_a_cache_is_written_into_the_project_not_through_a_link(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "precious").write_text("precious")
    HASH_CACHE.parent.mkdir()
    HASH_CACHE.symlink_to(tmp_path / "precious")
    file_hashes([_write(tmp_path / "a", b"first")])
    assert (tmp_path / "precious").read_text() == "precious"
    assert not HASH_CACHE.is_symlink()


def test_nothing_is_left_in_a_folder_that_is_no_project(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "params.yaml").unlink()
    file_hashes([_write(tmp_path / "a", b"first")])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_processes_at_once_leave_a_whole_cache(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("")
    files = [_write(tmp_path / f"file-{i}", str(i).encode()) for i in range(40)]
    code = (
        "import sys; from pathlib import Path\n"
        "from ida_rd.core import hashes\n"
        "from ida_rd.core.hashes import file_hashes\n"
        "hashes.SETTLED_NS = 0\n"
        "print(*[file_hashes([Path(name)])[0] for name in sys.argv[1:]])"
    )
    orders = [files, files[::-1]]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, order)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for order in orders
    ]
    for process, order in zip(running, orders, strict=True):
        assert process.communicate()[0].split() == [_sha(path.read_bytes()) for path in order]
    kept = json.loads((tmp_path / HASH_CACHE).read_text())["files"]
    assert kept
    for key, sha in kept.items():
        assert sha == _sha(Path(key.split("|")[0]).read_bytes())


def test_one_digest_of_many_files_is_of_names_and_contents(tmp_path: Path, reads: list[str]) -> None:
    a, b = _write(tmp_path / "a", b"one"), _write(tmp_path / "b", b"two")
    first = digest([a, b])
    assert first == digest([b, a])
    assert first != digest([a])
    _write(b, b"owt", OLD + 1)
    assert first != digest([a, b])
    with pytest.raises(UserError, match="no such file"):
        digest([tmp_path / "c"])
