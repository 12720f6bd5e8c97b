"""Files and folders that are written whole or not at all: no name, link, neighbour or error loses anything."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from ida_rd.core import files
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, atomic_path, write_text
from ida_rd.core.temporary import _host, temporary_folder

NAMES = ["[x]*?", "x" * 250, "é" * 125, "-", "box", "$(touch trap)", " ", ".hidden", "a." + "b" * 248]


def _write(path: Path, text: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "file").write_text(text)


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".partial-"))


@pytest.fixture
def dead() -> int:
    """A process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("name", NAMES)
def test_a_result_may_have_any_name(tmp_path: Path, name: str) -> None:
    for text in ("one", "two"):
        _write(tmp_path / name, text)
        assert (tmp_path / name / "file").read_text() == text
    shutil.rmtree(tmp_path / name)
    for text in ("one", "two"):
        write_text(tmp_path / name, text)
        assert (tmp_path / name).read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_dead_processes_left_goes_and_what_others_write_stays(tmp_path: Path, dead: int) -> None:
    host, alive = _host(), os.getpid()
    stays = {
        f".partial-{host}-{alive}-0123456789ab",
        f".partial-box-blur-{host}-{alive}-abcd_123",
        f".partial-box-blur-{host}-{dead}-abcd_123",  # of another result, by an older version
        f".partial-[ab]ox-{host}-{dead}-abcd_123",
        f".partial-elsewhere-{dead}-0123456789ab",
        f".partial-{host}-{dead}",
        f".partial-{host}-{dead}-0123456789ab-notes",
        ".partial-",
        ".partial-notes",
        "box-blur",
    }
    goes = {f".partial-{host}-{dead}-0123456789ab", f".partial-box-{host}-{dead}-abcd_123"}
    for name in stays | goes:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / f".partial-{host}-{dead}-aaaaaaaaaaaa").symlink_to(tmp_path / "box-blur")
    _write(tmp_path / "box", "new")
    assert {path.name for path in tmp_path.iterdir()} == {*stays, "box", f".partial-{host}-{dead}-aaaaaaaaaaaa"}


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(tmp_path: Path, there: bool) -> None:
    disk, run = tmp_path / "disk", tmp_path / "run"
    run.mkdir()
    (run / "hr").symlink_to("../disk/hr")
    (run / "table.csv").symlink_to("../disk/table.csv")
    if there:
        _write(disk / "hr", "old")
        (disk / "table.csv").write_text("old")
    _write(run / "hr", "new")
    write_text(run / "table.csv", "new")
    assert (run / "hr").readlink() == Path("../disk/hr")
    assert (run / "table.csv").readlink() == Path("../disk/table.csv")
    assert (disk / "hr/file").read_text() == (disk / "table.csv").read_text() == "new"
    assert not _left(run) + _left(disk)
    assert sorted(path.name for path in disk.iterdir()) == ["hr", "table.csv"]
    with atomic_path(run / "table.csv", follow=False) as temporary:
        temporary.write_text("mine")
    assert (disk / "table.csv").read_text() == "new"
    assert not (run / "table.csv").is_symlink()


def test_what_cannot_be_a_result_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for opened in (
        atomic_folder(tmp_path / "file"),
        atomic_folder(tmp_path / "file/below"),
        atomic_folder(tmp_path / "loop"),
        atomic_folder(tmp_path / "pipe"),
        atomic_path(tmp_path / "folder"),
        atomic_path(tmp_path / "file/below.txt"),
        atomic_path(tmp_path / "loop"),
        atomic_path(tmp_path / "pipe"),
    ):
        with pytest.raises(UserError) as error, opened:
            pytest.fail("the work began")
        assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop", "pipe"]


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("theirs", ["folder", "empty folder", "file", "link"])
def test_what_somebody_put_there_meanwhile_is_theirs(tmp_path: Path, old: bool, theirs: str) -> None:
    out = tmp_path / "out"
    (tmp_path / "big").mkdir()
    if old:
        _write(out, "old")

    def work() -> None:
        with atomic_folder(out) as folder:
            (folder / "file").write_text("new")
            if old:
                shutil.rmtree(out)  # and its number in the file system is free for the next one
            if theirs == "folder":
                out.mkdir()
                (out / "file").write_text("theirs")
            elif theirs == "empty folder":
                out.mkdir()
            elif theirs == "file":
                out.write_text("theirs")
            else:
                out.symlink_to(tmp_path / "big")

    with pytest.raises(UserError, match="something else was put there"):
        work()
    if theirs == "link":
        assert out.readlink() == tmp_path / "big"
    elif theirs == "empty folder":
        assert not list(out.iterdir())
    else:
        assert (out / "file" if theirs == "folder" else out).read_text() == "theirs"
    assert not _left(tmp_path)


def test_of_two_that_write_one_folder_the_first_ones_stays_whole(tmp_path: Path) -> None:
    """`engine.lock` keeps runs apart; whoever comes together all the same is told, and deletes nothing."""

    def work() -> None:
        with atomic_folder(tmp_path / "out") as first:
            (first / "a").write_text("first")
            with atomic_folder(tmp_path / "out") as second:
                (second / "b").write_text("second")

    with pytest.raises(UserError, match="something else was put there"):
        work()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_if_the_new_folder_cannot_take_its_place_the_old_one_comes_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _write(out, "old")
    before = files._identity(out)
    with temporary_folder(tmp_path) as container:  # in which there is no new folder
        with pytest.raises(UserError, match="cannot be replaced"):
            files._take_place(container, out, before)
        assert (out / "file").read_text() == "old"
    assert (out / "file").read_text() == "old"
    assert not _left(tmp_path)


def test_a_process_killed_between_old_and_new_loses_nothing(tmp_path: Path, dead: int) -> None:
    container = tmp_path / f".partial-{_host()}-{dead}-0123456789ab"
    for name in ("old/out", "new"):
        (container / name).mkdir(parents=True)
        (container / name / "file").write_text(name)
    with pytest.raises(UserError, match="no luck"), atomic_folder(tmp_path / "out"):
        raise UserError("no luck")
    assert (tmp_path / "out/file").read_text() == "old/out"
    assert not _left(tmp_path)
    # Somebody else has taken its place: both stay.
    (container / "old/out").mkdir(parents=True)
    _write(tmp_path / "out", "theirs")
    assert (container / "old/out").is_dir()


@pytest.fixture
def undeletable(tmp_path: Path) -> Iterator[Path]:
    """A result with a file that nobody can delete."""
    out = tmp_path / "out"
    _write(out, "old")
    (out / "fixed").touch()
    if (
        shutil.which("chattr") is None
        or subprocess.run(["chattr", "+i", out / "fixed"], capture_output=True).returncode
    ):
        pytest.skip("making a file immutable needs root, and a file system that knows it")
    yield out
    for path in tmp_path.rglob("fixed"):
        subprocess.run(["chattr", "-i", path], check=True)


def test_an_old_folder_that_cannot_be_deleted_is_said(undeletable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(undeletable, "new")
    assert [path.name for path in undeletable.iterdir()] == ["file"]
    said = capsys.readouterr().err
    assert said.startswith("warning: the former content of a result cannot be removed (")
    assert said.count("\n") == 1
    assert _left(undeletable.parent)[0] in said


def test_a_folder_that_was_made_read_only_is_deleted(tmp_path: Path) -> None:
    _write(tmp_path / "out", "old")
    (tmp_path / "out").chmod(0o555)
    _write(tmp_path / "out", "new")
    assert not _left(tmp_path)
    assert (tmp_path / "out/file").read_text() == "new"


CODES = ["ENOSPC", "EDQUOT", "EFBIG", "EIO", "EMFILE", "ENFILE", "EROFS", "EACCES", "EPERM", "ENAMETOOLONG"]


@pytest.mark.parametrize("code", CODES)
def test_an_error_of_the_system_is_one_line_and_the_old_stays(
    tmp_path: Path, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from ida_rd.core.errors import exit_with_line

    number = getattr(errno, code)
    _write(tmp_path / "out", "old")
    write_text(tmp_path / "table", "old")

    def fail(opened: object) -> None:
        with opened as temporary:  # type: ignore[attr-defined]
            if temporary.is_dir():
                (temporary / "file").write_text("half")
            raise OSError(number, os.strerror(number), str(temporary))

    for opened in (atomic_folder(tmp_path / "out"), atomic_path(tmp_path / "table")):
        with pytest.raises(SystemExit) as end:
            exit_with_line(lambda opened=opened: fail(opened))  # type: ignore[misc]
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert os.strerror(number) in said
    assert (tmp_path / "out/file").read_text() == (tmp_path / "table").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "table"]


def test_a_limit_of_the_system_is_one_line(tmp_path: Path) -> None:
    """Really: a file larger than the process may write, and more files than it may open."""
    script = (
        "import signal, sys\nfrom pathlib import Path\n"
        "from ida_rd.core.errors import exit_with_line\n"
        "from ida_rd.core.files import write_bytes\n"
        "def main():\n"
        "    if sys.argv[1] == 'files':\n"
        "        held = []\n"
        "        try:\n"
        "            while True:\n"
        "                held.append(open('/dev/null'))\n"
        "        except OSError:\n"
        "            held.pop()\n"
        "            held.pop()\n"
        "            held.pop().close()\n"
        "    write_bytes('out', bytes(10**6))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "exit_with_line(main)\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    (tmp_path / "out").write_text("old")
    for what, says in (("size", "File too large"), ("files", "")):
        done = subprocess.run(
            [sys.executable, "-c", script, what],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=limit,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
        assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
