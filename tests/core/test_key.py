"""The user's key: made once by whoever comes first, private, and never in the way of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from ida_rd.core import key
from ida_rd.core.errors import UserError
from ida_rd.core.key import seal, unseal, user_key

KEY = bytes(range(32))
VALUE = {"value": [0.1, 1e-300, "é", None], "file": ".webp"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key._key.cache_clear()
    monkeypatch.delenv("IDA_RD_KEY_FILE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_private_name_is_known_to_who_has_the_key_alone() -> None:
    assert key.private_name(KEY, "a") == key.private_name(KEY, "a") != key.private_name(KEY, "b")
    assert key.private_name(KEY, "a") != key.private_name(KEY[::-1], "a")


def test_a_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    found = user_key()
    place = tmp_path / "state/ida-rd/key"
    assert place.read_bytes() == found
    assert len(found) == 32
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in place.parent.iterdir()] == ["key"]
    key._key.cache_clear()
    assert user_key() == found
    assert key._make(place) == found, "the first one's, if two find none"
    assert place.read_bytes() == found


def test_processes_that_come_together_have_one_key(tmp_path: Path) -> None:
    script = "from ida_rd.core.key import user_key; print(user_key().hex())"
    running = [
        subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    found = {process.communicate()[0] for process in running}
    assert found == {user_key().hex() + "\n"}


def test_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_KEY_FILE", str(tmp_path / "group" / "key"))
    user_key()
    assert (tmp_path / "group/key").is_file()
    assert not (tmp_path / "state").exists()
    monkeypatch.setenv("IDA_RD_KEY_FILE", "key")  # in a folder that somebody sent
    with pytest.raises(UserError, match="IDA_RD_KEY_FILE is 'key': give an absolute path"):
        user_key()
    monkeypatch.delenv("IDA_RD_KEY_FILE")
    monkeypatch.setenv("XDG_STATE_HOME", "state")  # the specification: a relative path is ignored
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    user_key()
    assert (tmp_path / "home/.local/state/ida-rd/key").is_file()


@pytest.mark.parametrize("what", ["a file above", "a folder", "too short", "too long", "no home"])
def test_without_a_key_a_run_works_and_says_so(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "state/ida-rd/key"
    if what == "a file above":
        (tmp_path / "state").touch()
    elif what == "no home":
        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.setattr(Path, "home", lambda: Path("~x").expanduser())  # raises, as for a user without one
    else:
        place.parent.mkdir(parents=True)
        place.mkdir() if what == "a folder" else place.write_bytes(bytes(31 if what == "too short" else 33))
    assert len(user_key()) == 32
    assert user_key() == user_key()
    said = capsys.readouterr().err
    assert said.startswith("warning: no key for finished units")
    assert said.count("\n") == 1
    if place.is_file():
        assert place.stat().st_size in (31, 33), "it may be worth something to somebody"


def test_what_was_sealed_is_found_again() -> None:
    assert unseal(KEY, "unit a", seal(KEY, "unit a", VALUE)) == VALUE


@given(st.data())
def test_what_was_changed_anywhere_is_not_believed(data: st.DataObject) -> None:
    whole = seal(KEY, "unit a", VALUE)
    at = data.draw(st.integers(0, len(whole) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "put", "drop"]))
    byte = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    changed = {
        "flip": whole[:at] + byte + whole[at + 1 :],
        "cut": whole[:at],
        "put": whole[:at] + byte + whole[at:],
        "drop": whole[:at] + whole[at + 1 :],
    }[how]
    if changed != whole:
        assert unseal(KEY, "unit a", changed) is None
    assert unseal(KEY, "unit b", whole) is None
    assert unseal(KEY[::-1], "unit a", whole) is None
