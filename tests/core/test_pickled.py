"""Files of ``torch.save`` are read as torch reads them, and what is no tensor is refused at little cost."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save as save_safetensors
from torch import nn

from ida_rd.core.errors import UserError
from ida_rd.core.tensors import load_tensors, read_tensors

MARK, STOP = b"(", b"."
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _number(number: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", number)


def _storage(count: int, kind: str = "FloatStorage", module: str = "torch", *, old: bool = False) -> bytes:
    end = b"N" if old else b""
    return (
        MARK
        + _text("storage")
        + f"c{module}\n{kind}\n".encode()
        + _text("0")
        + _text("cpu")
        + _number(count)
        + (end + b"tQ")
    )


def _sizes(*sizes: int) -> bytes:
    return MARK + b"".join(_number(size) for size in sizes) + b"t"


def _made(storage: bytes, size: bytes, stride: bytes, offset: int = 0) -> bytes:
    """A pickle of ``{"a": tensor}``."""
    tensor = TENSOR + MARK + storage + _number(offset) + size + stride + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + _text("a") + tensor + b"s" + STOP


def _zip(pickled: bytes, storage: bytes = bytes(16), kind: int = zipfile.ZIP_STORED, **more: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in {"data.pkl": pickled, "data/0": storage, "version": b"3\n", **more}.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def _legacy(pickled: bytes, tail: bytes = b"") -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return b"".join(pickle.dumps(value, 2) for value in head) + pickled + pickle.dumps(["0"], 2) + tail


def _plain(body: bytes) -> bytes:
    return _zip(b"\x80\x02" + body + STOP)


class _Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


def _saved(value: Any, *, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def _scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    return file.getvalue()


GOOD = _made(_storage(4), _sizes(2, 2), _sizes(2, 1))
DEEP_KEY = b"}" + b")" + b"\x85" * 200_000 + b"Ns"  # {((((),),),): None}
DOUBLED = b")q\x00" + b"h\x00\x86q\x00" * 40  # (x, x), of that x again, ...
# Each is small, and asks for something that costs much or runs.
REFUSED = {
    "text": b"<html>404</html>",
    "empty": b"",
    "a deflated storage": _zip(_made(_storage(2**24), _sizes(2**24), _sizes(1)), bytes(2**26), zipfile.ZIP_DEFLATED),
    "a deflated file besides": _zip(GOOD, other=bytes(2**26), kind=zipfile.ZIP_DEFLATED),
    "another compression": _zip(GOOD, kind=zipfile.ZIP_BZIP2),
    "TorchScript": _scripted(),
    "TorchScript by its folder": _zip(GOOD, **dict[str, Any]({"code/a.py": b""})),
    "no pickle": _zip(GOOD).replace(b"data.pkl", b"data.pkx"),
    "big-endian": _zip(GOOD, byteorder=b"big"),
    "expanded": _zip(_made(_storage(4), _sizes(10**9, 4), _sizes(0, 1))),
    "beyond its storage": _zip(_made(_storage(4), _sizes(5), _sizes(1))),
    "beyond its storage by offset": _zip(_made(_storage(4), _sizes(4), _sizes(1), 1)),
    "beyond its storage by stride": _zip(_made(_storage(4), _sizes(2, 2), _sizes(3, 1))),
    "negative": _zip(_made(_storage(4), _sizes(-2, -2), _sizes(1, 1))),
    "negative stride": _zip(_made(_storage(4), _sizes(4), _sizes(-1), 3)),
    "overflowing": _zip(_made(_storage(4), _sizes(2**62, 4), _sizes(1, 1))),
    "without strides": _zip(_made(_storage(4), _sizes(2, 2), _sizes())),
    "storage larger than its file": _zip(_made(_storage(10**10), _sizes(4), _sizes(1))),
    "storage smaller than its file": _zip(_made(_storage(3), _sizes(3), _sizes(1))),
    "no storage": _zip(_made(b"N", _sizes(4), _sizes(1))),
    "quantized": _zip(_made(_storage(4, "QInt8Storage"), _sizes(4), _sizes(1))),
    "another module's storage": _zip(_made(_storage(4, module="os"), _sizes(4), _sizes(1))),
    "old: a huge storage": _legacy(_made(_storage(10**10, old=True), _sizes(4), _sizes(1))),
    "old: a large storage": _legacy(_made(_storage(10**9, old=True), _sizes(4), _sizes(1))),
    "old: expanded": _legacy(_made(_storage(4, old=True), _sizes(10**9, 4), _sizes(0, 1)), struct.pack("<q16x", 4)),
    "old: cut": _legacy(_made(_storage(4, old=True), _sizes(4), _sizes(1)), struct.pack("<q15x", 4)),
    "old: another size": _legacy(_made(_storage(4, old=True), _sizes(4), _sizes(1)), struct.pack("<q16x", 5)),
    "a bytearray": _plain(b"cbuiltins\nbytearray\n" + _number(10**10) + b"\x85R"),
    "a bytearray by its instruction": _plain(b"\x96" + struct.pack("<Q", 10**10)),
    "bytes": _plain(b"\x8e" + struct.pack("<Q", 10**10)),
    "a place far out in the memo": _plain(b"Nr\xff\xff\xff\x7f\x81"),
    "a number of many digits": _plain(b"I" + b"9" * 60_000 + b"\n"),
    "an int of many bytes": _plain(b"\x8b" + struct.pack("<i", 60_000) + b"\x7f" * 60_000),
    "a deeply nested key": _plain(DEEP_KEY),
    "a key that doubles": _plain(b"}" + DOUBLED + b"Ns"),
    "values that double": _plain(b"}" + _text("a") + DOUBLED + b"s"),
    "deeply nested": _plain(b"]" * 100_000 + b"a" * 99_999),
    "itself": _plain(b"]q\x00h\x00a"),
    "many instructions": _plain(b"N" * 2_100_000),
    "a class": _plain(b"cos\nsystem\n"),
    "a storage alone": _plain(_storage(4)),
    "a call": _zip(pickle.dumps({"a": _Bomb()}, 2)),
    "a call in an old file": _saved({"a": _Bomb()}, old=True),
    "a call by another name": _plain(b"c__builtin__\neval\n" + _text("1") + b"\x85R"),
    "sparse": _saved({"a": torch.eye(3).to_sparse()}),
    "quantized by torch": _saved({"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}),
    "meta": _saved({"a": torch.empty(10**12, device="meta")}),
    "a module": _saved(nn.Linear(2, 2)),
    "an attribute": _plain(b"ccollections\nOrderedDict\n)R}" + _text("x") + b"Nsb"),
    "nothing on the stack": _plain(b"0"),
}
REASONS = {
    "a deflated storage": "it is compressed",
    "TorchScript": "which holds code",
    "expanded": "larger than its storage",
    "beyond its storage by stride": "larger than its storage",
    "old: a huge storage": "its storages are larger than the file",
    "old: a large storage": "its storages are larger than the file",
}
MEASURE = """
import json, sys, time
from pathlib import Path
from ida_rd.core.errors import UserError
from ida_rd.core import pickled
from ida_rd.core.tensors import read_tensors
def peak():  # of this program: getrusage knows its parent's, too
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.pth")):
    before, started = peak(), time.perf_counter()
    try:
        read_tensors(path)
        said = None
    except UserError as error:
        said = str(error)
    now = peak()
    found[path.stem] = said, now - before, time.perf_counter() - started
print(json.dumps(found))
"""


def test_what_costs_or_runs_is_refused_in_a_line_within_50_mb(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in REFUSED.items():
        assert len(content) < 200_000 or name in ("many instructions", "deeply nested", "a deeply nested key"), name
        (folder / f"{name}.pth").write_bytes(content)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == REFUSED.keys()
    unit = 1024
    for name, (said, memory, seconds) in found.items():
        assert said is not None, f"{name}: was read"
        assert "\n" not in said
        assert len(said) < 600
        assert f"{name}.pth: not a file of plain tensors" in said
        assert REASONS.get(name, "") in said
        slow = name == "many instructions"
        assert memory * unit < (150e6 if slow else 50e6), (name, memory)
        assert seconds < 10, (name, seconds)
    assert [path.name for path in tmp_path.iterdir()] == ["files"], "nothing was written"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride() and torch.equal(a, b)
    if isinstance(a, dict):
        metadata = getattr(a, "_metadata", None) == getattr(b, "_metadata", None)
        return metadata and list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def _checkpoint(*, old: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.rand(2, 3, 9, 9)).sum().backward()
    optimiser.step()
    large, types = torch.rand(40, 50), ["bfloat16", "float16", "float64", "int8", "uint8", "bool", "complex64"]
    return {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "views": [large, large[3:9, ::2], large.T],
        "types": {name: torch.tensor([0.0, 1.0]).to(getattr(torch, name)) for name in types},
        "new": {} if old else {name: torch.ones(3).to(getattr(torch, name)) for name in ("uint16", "float8_e5m2")},
        "parameter": nn.Parameter(torch.ones(3)).detach(),
        "empty": torch.empty(0, 3),
        "one": torch.tensor(3.5),
        "plain": [1, 2**80, -1.5, None, True, "text", b"bytes", (1, (2,)), {0: 1}],
    }


@pytest.mark.parametrize("old", [False, True])
def test_all_that_torch_saves_of_tensors_and_plain_values_is_read_as_torch_reads_it(
    tmp_path: Path, *, old: bool
) -> None:
    value = _checkpoint(old=old)
    torch.save(value, tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    read = read_tensors(tmp_path / "a.pth").state
    assert _same(torch.load(tmp_path / "a.pth", weights_only=True), read)
    assert _same(value["net"], load_tensors(tmp_path / "a.pth", "net"))
    read["views"][0].zero_()
    assert not read["views"][1].any(), "views of one storage stay so"


def test_real_files_are_read_as_torch_reads_them(shared: Path) -> None:
    files = sorted((shared / "weights").rglob("*.pth"))
    assert files
    for path in files:
        assert _same(torch.load(path, map_location="cpu", weights_only=True), read_tensors(path).state), path


def _problem(path: Path) -> str | None:
    try:
        read_tensors(path)
    except UserError as error:
        return str(error)
    return None


def _mutated(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice(b"().}]QRbstuXcqrhj\x80\x81\x85\x86\x87\x8a\x8b\x95\x96\xff")
        elif kind == 2:
            del changed[at : at + rng.choice((1, 4, 100))]
        elif kind == 3:
            changed[at:at] = rng.randbytes(rng.choice((1, 4)))
        else:
            changed[at : at + 8] = struct.pack("<q", rng.choice((-1, 2**31, 2**62, 10**10)))
        changed = changed or bytearray(b"x")
    return bytes(changed)


def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    net = OrderedDict(a=torch.rand(3, 4), b=torch.arange(5), c=torch.rand(2, 2, 2).half())
    kinds = {"zip": _saved({"params": net}), "old": _saved(net, old=True), "safetensors": save_safetensors(dict(net))}
    with zipfile.ZipFile(io.BytesIO(kinds["zip"])) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    refused = 0
    for i in range(1200):
        kind = ("zip", "pickle", "old", "safetensors")[i % 4]
        if kind == "pickle":  # past the checksum of the archive
            rest: dict[str, Any] = {name: content for name, content in parts.items() if name != "data.pkl"}
            content = _zip(_mutated(parts["data.pkl"], rng), **rest)
        else:
            content = _mutated(kinds[kind], rng)
        path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
        path.write_bytes(content)
        said = _problem(path)
        refused += said is not None
        assert said is None or (path.name in said and "\n" not in said)
        path.unlink()
    assert 600 < refused < 1200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"[" * 100_000, ""),
        (b'{"a":' * 50_000, ""),
        (b'{"a": {"dtype": "F32", "shape": [1000000000, 1000000000], "data_offsets": [0, 4]}}', ""),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', ""),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}', ""),
        (b'{"__metadata__": 5}', ""),
        (b" " * (9 * 2**20), "a header of 9,437,184 bytes"),
    ],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, header: bytes, reason: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(UserError, match=rf"a\.safetensors: not a safetensors file \({reason}"):
        load_tensors(tmp_path / "a.safetensors")


def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").mkdir()
    with pytest.raises(UserError, match=r"a\.pth"):
        load_tensors(tmp_path / "a.pth")
    os.mkfifo(tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"b\.pth"):
        load_tensors(tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"c\.pth cannot be read"):
        load_tensors(tmp_path / "c.pth")
