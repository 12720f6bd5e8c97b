"""Weights: found, downloaded from a real server, verified; nothing broken is kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ida_rd.core import download, weights
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
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("IDA_RD_OFFLINE", raising=False)
    monkeypatch.setattr(download, "SCHEMES", ("https", "http"))  # no certificate is needed here
    yield f"http://127.0.0.1:{server.server_port}/weights.pth"
    server.shutdown()
    server.server_close()


def _list(monkeypatch: pytest.MonkeyPatch, url: str, *sha256: str, size: int | None = None) -> None:
    entry = Weight("w", licence="none", citation="none", sha256=sha256, url=url, size=size)
    monkeypatch.setattr(weights, "catalogue", lambda: {"w": entry})


def test_a_missing_file_is_downloaded_verified_and_kept(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    _list(monkeypatch, address, digest, size=len(DATA))
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
    _list(monkeypatch, address, hashlib.sha256(DATA).hexdigest()[:8])
    with pytest.raises(UserError, match="is not the expected one"):  # part of a hash is no hash
        locate("w")


class _Odd(BaseHTTPRequestHandler):
    """Answers that a file's server does not give."""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path in ("/ftp.pth", "/file.pth", "/loop.pth"):
            self.send_response(302)
            to = {"/ftp.pth": "ftp://127.0.0.1/a", "/file.pth": "file:///etc/hostname", "/loop.pth": "/loop.pth"}
            self.send_header("Location", to[self.path])
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/says-more.pth":
            self.send_header("Content-Length", str(10**12))
        if self.path == "/ends-early.pth":
            self.send_header("Content-Length", str(len(DATA)))
        if self.path == "/no-number.pth":
            self.send_header("Content-Length", "many")
        self.end_headers()
        if self.path == "/ends-early.pth":
            self.wfile.write(DATA[:100])
            return
        with contextlib.suppress(OSError):  # the other side does not wait for the end
            for _ in range(40 if self.path == "/slow.pth" else 1000):
                self.wfile.write(DATA if self.path != "/slow.pth" else b"x")
                self.wfile.flush()
                if self.path == "/slow.pth":
                    time.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ftp", "not https"),
        ("file", "not allowed"),
        ("loop", "redirect"),
        ("says-more", "would have 1,000,000,000,000 bytes"),
        ("sends-more", "more than 10,000 bytes"),
        ("no-number", "more than 10,000 bytes"),
        ("ends-early", "expected one|incomplete"),
        ("slow", "more than 0.1 seconds"),
    ],
)
def test_a_download_stays_within_size_time_and_https(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, name: str, reason: str
) -> None:
    monkeypatch.setattr(download, "LONGEST_S", 0.1 if name == "slow" else 60)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Odd) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        digest = hashlib.sha256(DATA).hexdigest()
        _list(monkeypatch, f"http://127.0.0.1:{server.server_port}/{name}.pth", digest, size=len(DATA))
        with pytest.raises(UserError, match=reason) as error:
            locate("w")
        server.shutdown()
    assert "\n" not in str(error.value)
    assert not list(torch_cache().glob("*"))


def test_http_is_not_asked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(download, "SCHEMES", ("https",))
    _list(monkeypatch, address, hashlib.sha256(DATA).hexdigest())
    with pytest.raises(MissingWeights, match="not https"):
        locate("w")


def test_a_file_of_unknown_hash_is_not_downloaded(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _list(monkeypatch, address)
    with pytest.raises(MissingWeights, match=r"are not at .*weights\.pth: put a copy of http"):
        locate("w")
    torch_cache().mkdir(parents=True)
    (torch_cache() / "weights.pth").write_bytes(DATA)
    assert locate("w").sha256 == hashlib.sha256(DATA).hexdigest()


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


def test_a_file_is_taken_from_an_archive_in_the_cache_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    torch_cache().mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "served" / "all.zip", "w") as archive:
        archive.writestr("models/net.pth", DATA)
        archive.writestr("models/other.pth", b"other")
    _list_archived(monkeypatch, address.replace("weights.pth", "all.zip"))
    with pytest.raises(MissingWeights, match="put a copy there"):
        locate("w")
    shutil.copy(tmp_path / "served" / "all.zip", torch_cache())
    found = locate("w")
    assert found.path == torch_cache() / "net.pth"
    assert found.path.read_bytes() == DATA
    assert found.sha256 == hashlib.sha256(DATA).hexdigest()


def _archive(damage: str) -> bytes:
    file = io.BytesIO()
    kind = zipfile.ZIP_LZMA if damage == "lzma" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("other.pth" if damage == "other" else "net.pth", DATA)
    content = bytearray(file.getvalue())
    if damage == "encrypted":
        content[content.index(b"PK\x01\x02") + 8] |= 1
        content[6] |= 1
    if damage == "crc":
        content[content.index(b"PK\x01\x02") + 16] ^= 1
    if damage == "data":
        content[45] ^= 255
    if damage == "large":
        at = content.index(b"PK\x01\x02") + 24
        content[at : at + 4] = (4 * 10**9).to_bytes(4, "little")
    return b"not a zip" if damage == "text" else bytes(content[:-30] if damage == "cut" else content)


@pytest.mark.parametrize("damage", ["text", "cut", "other", "encrypted", "crc", "data", "large", "lzma"])
def test_a_broken_archive_is_named(monkeypatch: pytest.MonkeyPatch, address: str, damage: str) -> None:
    torch_cache().mkdir(parents=True)
    (torch_cache() / "all.zip").write_bytes(_archive(damage))
    _list_archived(monkeypatch, address.replace("weights.pth", "all.zip"))
    reason = {"other": "holds 0 files called net.pth", "large": "more than 2,147,483,648 bytes"}
    with pytest.raises(UserError, match=rf"all\.zip.*{reason.get(damage, 'is not a complete archive')}") as error:
        locate("w")
    assert "\n" not in str(error.value)
    assert [p.name for p in torch_cache().iterdir()] == ["all.zip"]


def test_an_archive_that_is_gone_says_which_file_to_put_where(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _list_archived(monkeypatch, address.replace("weights.pth", "all.zip"))
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
