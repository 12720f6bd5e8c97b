"""Weights: found, downloaded from a real server, verified; nothing broken is kept."""

from __future__ import annotations

import functools
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ida_rd.core import weights
from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, Weight, load_tensors, locate, torch_cache

DATA = b"0123456789" * 1000


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine with one weight file; torch's cache is empty."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "weights.pth").write_bytes(DATA)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("IDA_RD_OFFLINE", raising=False)
    yield f"http://127.0.0.1:{server.server_port}/weights.pth"
    server.shutdown()
    server.server_close()


def _list(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str) -> None:
    entry = Weight("w", licence="none", citation="none", sha256=(sha256,), url=url)
    monkeypatch.setattr(weights, "catalogue", lambda: {"w": entry})


def test_a_missing_file_is_downloaded_verified_and_kept(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    _list(monkeypatch, address, digest[:8])
    found = locate("w")
    assert found.sha256 == digest
    assert found.path == torch_cache() / "weights.pth"
    assert found.path.read_bytes() == DATA
    monkeypatch.setenv("IDA_RD_OFFLINE", "1")
    assert locate("w").sha256 == digest


def test_a_download_with_a_wrong_hash_is_not_kept(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _list(monkeypatch, address, "0" * 64)
    with pytest.raises(UserError, match="is not the expected one"):
        locate("w")
    assert not list(torch_cache().iterdir())


@pytest.mark.parametrize("change", [("weights.pth", "absent.pth"), ("127.0.0.1", "no-such-host.invalid")])
def test_what_cannot_be_downloaded_says_where_to_put_it(
    monkeypatch: pytest.MonkeyPatch, address: str, change: tuple[str, str]
) -> None:
    _list(monkeypatch, address.replace(*change), "0" * 64)
    with pytest.raises(MissingWeights, match=r"cannot be downloaded .*: put http"):
        locate("w")
    assert not list(torch_cache().glob("*"))


def test_offline_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _list(monkeypatch, address, "0" * 64)
    monkeypatch.setenv("IDA_RD_OFFLINE", "1")
    with pytest.raises(MissingWeights, match="are not at"):
        locate("w")
    with pytest.raises(UserError, match="no weights are called 'v'; known names: w"):
        locate("v")


def _list_archived(monkeypatch: pytest.MonkeyPatch, archive: str) -> None:
    entry = Weight("w", licence="none", citation="none", archive=archive, name="net.pth")
    monkeypatch.setattr(weights, "catalogue", lambda: {"w": entry})


@pytest.mark.parametrize("cached", [False, True])
def test_a_file_is_taken_from_its_archive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, cached: bool
) -> None:
    folder = torch_cache() if cached else tmp_path / "served"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("models/net.pth", DATA)
        archive.writestr("models/other.pth", b"other")
    _list_archived(monkeypatch, address.replace("weights.pth", "all.zip"))
    found = locate("w")
    assert found.path == torch_cache() / "net.pth"
    assert found.path.read_bytes() == DATA
    assert found.sha256 == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is not a complete archive"), ("other.pth", "holds 0 files called net.pth")]
)
def test_a_broken_archive_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str, content: str | None, message: str
) -> None:
    torch_cache().mkdir(parents=True)
    path = torch_cache() / "all.zip"
    path.write_bytes(b"not a zip")
    if content:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(content, b"")
    _list_archived(monkeypatch, address.replace("weights.pth", "all.zip"))
    with pytest.raises(UserError, match=message):
        locate("w")
    assert [p.name for p in torch_cache().iterdir()] == ["all.zip"]


def test_an_archive_that_is_gone_says_which_file_to_put_where(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _list_archived(monkeypatch, address.replace("weights.pth", "all.zip"))
    with pytest.raises(MissingWeights, match=r"put net\.pth into .*checkpoints"):
        locate("w")
    monkeypatch.setenv("IDA_RD_OFFLINE", "1")
    with pytest.raises(MissingWeights, match=r"net\.pth: put a copy there \(it was part of http.*all\.zip\)"):
        locate("w")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, name: str, damage: str) -> None:
    path, tensors = tmp_path / name, {"a": torch.zeros(1000)}
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"<html>404: not found</html>"}[damage])
    with pytest.raises(UserError, match=f"{name}: not a .*file") as error:
        load_tensors(path)
    assert "\n" not in str(error.value)
    path.write_bytes(whole)
    assert load_tensors(path)["a"].shape == (1000,)
