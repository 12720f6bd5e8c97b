"""A converted file is taken for the published one by who converted it, and by nobody's word."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ida_rd import convert as converting
from ida_rd.bundle import verify
from ida_rd.commands import main
from ida_rd.convert import convert
from ida_rd.core import key, weights
from ida_rd.core.converted import remember, source_of
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.weights import Weight, locate, read_weights


@pytest.fixture(autouse=True)
def _user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user of this test alone; reading is done in this process, which tests/commands/test_convert.py do not."""
    key._key.cache_clear()
    monkeypatch.setenv("IDA_RD_KEY_FILE", str(tmp_path / "me/key"))
    monkeypatch.setattr(converting, "_in_a_process", converting.transcribe)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that the catalogue has the hash of."""
    path = tmp_path / "net.ckpt"
    torch.save({"state_dict": {"w": torch.arange(6.0)}, "epoch": 3}, path)
    entry = Weight(
        "net", licence="CC0", citation="-", sha256=(sha256_file(path),), archive="https://x/y", name="net.ckpt"
    )
    for module in (weights, converting, verify):
        monkeypatch.setattr(module, "catalogue", lambda: {"net": entry})
    return path


def _as(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key._key.cache_clear()
    monkeypatch.setenv("IDA_RD_KEY_FILE", str(user / "key"))


def _refused(path: Path) -> str:
    found = []
    for ask in (locate, read_weights):
        with pytest.raises(UserError) as error:
            ask("net", str(path))
        found.append(str(error.value))
    assert found[0] == found[1]
    assert "\n" not in found[0]
    return found[0]


def _bundle(sha: str) -> list[str]:
    recipe: Any = {"recipes": {"upscale": {"weights": {"net": sha}}, "distort": {"distortions": {}}}}
    results: Any = SimpleNamespace(weights={"net": sha})
    return verify._weights(results, recipe)


def test_what_was_converted_here_stands_for_the_published_file(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["weights", "convert", str(published)])
    made = tmp_path / "net.safetensors"
    assert "will be taken for net by this user's runs" in capsys.readouterr().out
    found = locate("net", str(made))
    assert found.sha256 == sha256_file(made) != sha256_file(published), "the recipe names the file that is read"
    assert read_weights("net", str(made)).tensors()["w"].tolist() == [0, 1, 2, 3, 4, 5]
    moved = tmp_path / "elsewhere.safetensors"
    shutil.copy(made, moved)
    assert locate("net", str(moved)).path == moved, "its content counts"
    assert _bundle(found.sha256) == []


def test_what_a_file_says_of_itself_is_no_reason(published: Path, tmp_path: Path) -> None:
    """The text of the genuine one beside other tensors; and a note that belongs to another file."""
    made = Path(convert(published)["path"])
    with safe_open(made, "pt") as file:
        told = file.metadata()
    assert told["source_sha256"] == sha256_file(published)
    forged = tmp_path / "forged.safetensors"
    save_file(load_file(made) | {"w": torch.zeros(6)}, forged, metadata=told)
    told_line = _refused(forged)
    assert "it says that it was converted from that file, which anybody can write: convert the file itself" in told_line
    notes = tmp_path / "me/converted"
    shutil.copy(notes / f"{sha256_file(made)}.json", notes / f"{sha256_file(forged)}.json")
    assert _refused(forged) == told_line
    assert _bundle(sha256_file(forged)) == [f"results.json: {sha256_file(forged)[:12]}... is not the hash of net"]
    plain = tmp_path / "plain.safetensors"
    save_file({"w": torch.zeros(6)}, plain)
    assert "a broken or different file; remove it" in _refused(plain)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(made.read_bytes()[:40])
    assert "a broken or different file; remove it" in _refused(broken)


def test_another_users_notes_are_not_believed(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Path(convert(published)["path"])
    assert source_of(sha256_file(made)) == sha256_file(published)
    _as(tmp_path / "other", monkeypatch)
    assert "convert the file itself" in _refused(made)
    shutil.copytree(tmp_path / "me/converted", tmp_path / "other/converted")
    assert "convert the file itself" in _refused(made)
    again = convert(published, tmp_path / "again.safetensors")
    assert again["stands_for"] == ["net"]
    assert locate("net", str(made)), "the same bytes, which this user has now made too"


def test_a_part_that_was_chosen_stands_for_nothing(tmp_path: Path, published: Path) -> None:
    found = convert(published, tmp_path / "chosen.safetensors", "state_dict")
    assert found["stands_for"] == []
    assert "convert the file itself" in _refused(tmp_path / "chosen.safetensors")


def test_hashes_are_not_those_that_the_reading_process_says(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that got hold of it would name the published file's."""
    evil = tmp_path / "evil.ckpt"
    torch.save({"w": torch.ones(6)}, evil)
    said = sha256_file(published)

    def lying(path: Path, target: Path, chosen: str | None) -> dict[str, Any]:
        return converting.transcribe(path, target, chosen) | {"sha256": said}

    monkeypatch.setattr(converting, "_in_a_process", lying)
    with pytest.raises(UserError, match=r"evil\.ckpt changed while it was read"):
        convert(evil)
    assert not (tmp_path / "evil.safetensors").exists()
    assert not (tmp_path / "me/converted").exists()


def test_without_a_place_for_notes_files_are_converted_all_the_same(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    _as(tmp_path / "file", monkeypatch)
    assert convert(published)["stands_for"] == []
    assert load_file(tmp_path / "net.safetensors")["w"].shape == (6,)
    monkeypatch.delenv("IDA_RD_KEY_FILE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("~x").expanduser())  # raises, as for a user without one
    assert not remember("a", "b")
    assert source_of("a") is None
