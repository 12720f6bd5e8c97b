"""Readers of text formats: what is refused, in one line, before it costs memory or time."""

from __future__ import annotations

import bz2
import json
import os
import resource
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ida_rd.attributes import ffhq_features
from ida_rd.attributes import table as table_source
from ida_rd.core.errors import UserError
from ida_rd.core.readers import parse_json, parse_yaml, read_json, read_yaml
from ida_rd.core.tables import parse_table, read_table

K, M = 2**10, 2**20
FACE = {
    "faceRectangle": {"width": 10, "height": 10},
    "faceAttributes": {
        "age": 31.0,
        "gender": "female",
        "smile": 0.5,
        "glasses": "NoGlasses",
        "headPose": {"yaw": 1.0, "pitch": -2.5, "roll": 0.0},
    },
}


def _line(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


JSON = {
    "deep": (b"[" * M, "nested too deeply"),
    "deep, whole": (b"[" * 100 + b"]" * 100, "nested too deeply"),
    "deep objects": (b'{"a":' * 100 + b"1" + b"}" * 100, "nested too deeply"),
    "many": (b"[" + b"{}," * 10 * M + b"{}]", "more than 2,000,000 values"),
    "large integer": (b"[" + b"9" * 5000 + b"]", "is too large"),
    "no finite number": (b"[1e999]", "is too large"),
    "NaN": (b'{"a": NaN}', "NaN is not a number"),
    "-Infinity": (b"[-Infinity]", "-Infinity is not a number"),
    "key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is there twice"),
    "latin 1": (b'["\xff"]', "can't decode"),
    "surrogate": (b'["\\ud800"]', "surrogates not allowed"),
    "surrogate as key": (b'{"\\uDfff": 1}', "surrogates not allowed"),
    "empty": (b"", "Expecting value"),
    "cut": (b'{"a": [1, 2', "Expecting"),
}


@pytest.mark.parametrize(("data", "message"), JSON.values(), ids=JSON)
def test_json_that_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in _line(lambda: parse_json(data, "a.json", "get it again"))
    (tmp_path / "a.json").write_bytes(data)
    found = _line(lambda: read_json(tmp_path / "a.json", hint="get it again"))
    assert found.startswith(f"{tmp_path / 'a.json'} is not valid JSON (")
    assert found.endswith("): get it again")


def test_json_is_read_as_it_was() -> None:
    value = {"a": [1, -2.5e-3, None, True, "\N{GRINNING FACE}[[{{,"], "b": {"c": {}}, "n": 2**63 - 1}
    assert parse_json(json.dumps(value).encode(), "a.json") == value
    assert parse_json(b'"' + b"[" * 500 + b'"', "a.json") == "[" * 500
    deepest = b"[" * 64 + b"]" * 64
    assert parse_json(deepest, "a.json") == json.loads(deepest)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10))
YAML = {
    "aliases x 10 a line": (LAUGHS, "stands for more than 100,000 values"),
    "merged aliases": (MERGES, "stands for more than 100,000 values"),
    "contains itself": ("a: &a [*a]", "contains itself"),
    "deep": ("[" * 256 * K, "nested too deeply"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(500)), "nested too deeply"),
    "deep by aliases": ("- &a0 [x]\n" + "".join(f"- &a{i} [*a{i - 1}]\n" for i in range(1, 9000)), "nested too deeply"),
    "many": ("[" + "a," * (128 * K - 2) + "]", "more than 30,000 values"),
    "key twice": ("seed: 1\nsamples: 2\nseed: 3\n", "line 3: the key 'seed' is there twice"),
    "key twice, inside": ("downscalers: {box: {a: 1}, 'box': {a: 2}}", "the key 'box' is there twice"),
    "number of many parts": ("a: 1" + ":1" * 100 * K, "is too long"),
    "no date": ("a: 2001-13-45", "month must be"),
    "surrogate": ('a: "\\uD800"', "surrogates not allowed"),
    "no character": ('a: "\\UFFFFFFFF"', "params.yaml is not valid YAML ("),
    "program": ("!!python/object/apply:os.system [echo]", "could not determine a constructor"),
    "control character": ("a: \x1b", "not allowed"),
    "list as key": ("? [a]\n: b", "unhashable"),
    "two documents": ("a: 1\n---\nb: 2\n", "expected a single document"),
    "too large": ("#" * 257 * K, "262,144"),
}


@pytest.mark.parametrize(("text", "message"), YAML.values(), ids=YAML)
def test_yaml_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert message in _line(lambda: read_yaml(path, hint="mend it"))
    assert message in _line(lambda: parse_yaml(text.encode(), "params.yaml"))


def test_yaml_is_read_as_it_was() -> None:
    text = "a: &a {b: 1, c: [x, 2.5, ~, yes]}\nd: {<<: *a, b: 3}\ne: [*a, *a]\n# end\n"
    assert parse_yaml(text.encode(), "a.yaml") == yaml.safe_load(text)
    late = "r: {deep: &a {<<: {k: 2}, k: 1}}\nb: {<<: *a}"  # the merged pairs of a mapping are no second keys of it
    assert parse_yaml(late.encode(), "a.yaml") == yaml.safe_load(late)
    assert parse_yaml(b"", "a.yaml") is None


CSV = {
    "commas": (b"," * M, "1,048,577 columns"),
    "commas in a row": (b"a,b\n" + b"," * M, "rows have 1,048,577 cells, its head has 2"),
    "commas in a later row": (b"a,b\n1,2\n" + b"," * M, "saw 1048577"),
    "rows that end early": (b",".join(b"c%d" % i for i in range(10000)) + b"\n" + b"1\n" * 500_000, "end early"),
    "column twice": (b"a,b,a\n1,2,3\n", "two columns are called 'a'"),
    "head too short": (b"a,b\n1,2,3\n4,5,6\n", "rows have 3 cells, its head has 2"),
    "zero bytes": (b"a,b\n1,\0\n", "zero bytes"),
    "open quote": (b'a,b\n1,"2\n3,4\n', "EOF inside string"),
    "latin 1": (b"a,b\n\xff,2\n", "can't decode"),
    "long field": (b"a,b\n" + b"x" * M + b",1\n", "field larger"),
    "empty": (b"", "it is empty"),
    "blank": (b"\n\n", "it is empty"),
    "compressed": (bz2.compress(b"a,b\n1,2\n"), ""),
}


@pytest.mark.parametrize(("data", "message"), CSV.values(), ids=CSV)
def test_csv_that_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in _line(lambda: parse_table(data, "a.csv", "get it again"))
    (tmp_path / "a.csv").write_bytes(data)
    found = _line(lambda: read_table(tmp_path / "a.csv", hint="get it again"))
    assert found.startswith(f"{tmp_path / 'a.csv'} is not a CSV table (")
    assert found.endswith("): get it again")


def test_a_table_is_not_decompressed_because_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.bz2"
    path.write_bytes(bz2.compress(b"image_id,a\n" + b"x,0\n" * M))
    assert "is not a CSV table" in _line(lambda: read_table(path, hint="get it again"))
    path.write_bytes(b"image_id,a\nx,0\n")
    assert list(read_table(path, hint="").a) == [0]


def test_a_table_is_read_as_it_was() -> None:
    table = parse_table(b'\xef\xbb\xbfimage_id,a,b,\r\n001,0.1,"x, ""y""",\r\nnan,,NA,\r\n', "a.csv")
    assert list(table.columns) == ["image_id", "a", "b", "Unnamed: 3"]
    assert list(table.image_id) == ["001", "nan"]
    assert table.a[0] == 0.1
    assert list(table.b) == ['x, "y"', "NA"]


@pytest.mark.parametrize("read", [read_json, read_yaml, read_table])
def test_what_is_no_file_is_a_line(tmp_path: Path, read: Callable[..., Any]) -> None:
    (tmp_path / "subset.csv").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (
        ("subset.csv", "is a folder, expected a file"),
        ("pipe", "is not an ordinary file"),
        ("loop", "Too many levels of symbolic links"),
        ("absent", "does not exist: look"),
        ("subset.csv/inside", "does not exist: look"),
        ("a\0b", "cannot be read"),
        ("a" * 300, "File name too long"),
    ):
        assert message in _line(partial(read, tmp_path / name, hint="look"))


def test_no_small_file_costs_much(tmp_path: Path) -> None:
    """Each in a process of its own, with the peak of its memory."""
    code = """
        import sys
        from pathlib import Path
        from ida_rd.core.errors import UserError
        from ida_rd.core.readers import read_json, read_yaml
        from ida_rd.core.tables import read_table
        for path in sys.argv[1:]:
            read = {"json": read_json, "yaml": read_yaml, "csv": read_table}[path.rpartition(".")[2]]
            try:
                read(path, hint="")
            except UserError:
                pass
        status = Path("/proc/self/status").read_text().splitlines()  # its own peak; getrusage knows its parent's too
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    """
    files = {f"{i}.json": data for i, (data, _) in enumerate(JSON.values())}
    files |= {f"{i}.yaml": text.encode() for i, (text, _) in enumerate(YAML.values())}
    files |= {f"{i}.csv": data for i, (data, _) in enumerate(CSV.values())}
    files |= {"lists.json": b"[" + b"[]," * 1_999_000 + b"1]", "merge.yaml": b"- {a: b}\n" * 25_000}
    files |= {"cells.csv": b"a,b\n" + b"\n" * M, "wide.csv": b"a" + b",\n" * M}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", textwrap.dedent(code), *(str(tmp_path / name) for name in files)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500 * K
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 15


def _labels(path: Path) -> str:
    return _line(lambda: ffhq_features.lookup(ffhq_features.Parameters(path=str(path))))


def _archive(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_archives_of_labels_that_are_refused(tmp_path: Path) -> None:
    label = json.dumps([FACE]).encode()
    path = tmp_path / "labels.zip"
    _archive(path, {"0.json": b" " * 300 * M})
    assert path.stat().st_size < 400_000
    assert "0.json has 314,572,800 bytes, more than the 1,048,576 of a file of labels" in _labels(path)
    _archive(path, {f"{i}.json": b" " * M for i in range(40)})
    assert "would have 41,943,040 bytes when extracted" in _labels(path)
    _archive(path, {"0.json": label}, zipfile.ZIP_BZIP2)
    assert "0.json is neither stored nor deflated" in _labels(path)
    whole = _archive(path, {f"{i}.json": label for i in range(3)}).read_bytes()
    encrypted = bytearray(whole)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[whole.index(signature) + offset] |= 1
    path.write_bytes(encrypted)
    assert "0.json cannot be extracted" in _labels(path)
    path.write_bytes(whole[:-30])
    assert "not a complete zip archive" in _labels(path)
    broken = bytearray(whole)
    broken[45:60] = b"\xff" * 15
    path.write_bytes(broken)
    assert "cannot be extracted" in _labels(path)
    entry = whole.index(b"PK\1\2")
    double = whole[entry : whole.index(b"PK\1\2", entry + 4)].replace(b"0.json", b"9.json")
    end = whole.rindex(b"PK\5\6")
    tail = bytearray(whole[end:])
    tail[8:12] = bytes([13, 0, 13, 0])
    tail[12:16] = (len(whole[entry:end]) + 10 * len(double)).to_bytes(4, "little")
    path.write_bytes(whole[:end] + double * 10 + tail)
    assert "its files overlap" in _labels(path)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b"[" * 10000, "0.json: is not a file of ffhq-features"),
        (b"{}", "it is not a list of faces"),
        (b"[1]", "not subscriptable"),
        (b"[{}]", "has no 'faceRectangle'"),
        (json.dumps([FACE]).replace("31.0", '"nan"').encode(), "nan is not a finite number"),
        (json.dumps([FACE]).replace("31.0", "[]").encode(), "ffhq-features"),
        (b"\xff", "can't decode"),
    ],
)
def test_labels_that_are_not_of_the_form(tmp_path: Path, label: bytes, message: str) -> None:
    assert message in _labels(_archive(tmp_path / "labels.zip", {"0.json": label}))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "0.json").write_bytes(label)
    assert message in _labels(tmp_path / "folder")


def test_tables_of_attributes_that_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "subset.csv"
    folder.mkdir()
    given = table_source.Parameters(path=str(folder))
    for call in (table_source.files, table_source.lookup):
        assert "subset.csv is a folder, expected" in _line(partial(call, given))
    path = tmp_path / "a.csv"
    for number in ("inf", "1e300", "-1e999"):
        path.write_text(f"image_id,age\na,1\nb,{number}\n")
        found = _line(lambda: table_source.lookup(table_source.Parameters(path=str(path))))
        assert "age of b is" in found
        assert "too large for an attribute" in found
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 100 + b"PAR1")
    found = _line(lambda: table_source.lookup(table_source.Parameters(path=str(path))))
    assert "is not a Parquet table" in found or "needs the package pyarrow" in found


SEEDS = [
    json.dumps({"a": [1, 2.5, None, True, "text"], "b": {"c": [{"d": 1e-9}]}}).encode(),
    b"seed: 0\nimages: &x {source: folder, path: photos}\nagain: {<<: *x, crop: 0x40}\nlist: [1:30, 2001-01-01, ~]\n",
    b'image_id,a,b\n001,1.5,"x, y"\n002,,nan\n',
    json.dumps([FACE]).encode(),
]


PIECES = [
    *(bytes([c]) for c in b"\"'[]{}&*\0\xff\n\r,:!-|?%`"),
    *(b"\\u", b"\\ud8", b"<<: ", b"!!binary ", b"!!timestamp ", b"!!set ", b"!!int ", b"1e400", b"9" * 50),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A small file of each format, cut, repeated and with bytes put into it."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        data[at : at + draw(st.integers(0, 5))] = piece
    return bytes(data)


@settings(max_examples=150)
@given(mutated())
def test_whatever_is_in_a_file_a_reader_returns_or_raises_one_line(tmp_path_factory: Any, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "mutated"
    path.write_bytes(data)
    archive = folder / "mutated.zip"
    _archive(archive, {"0.json": data})
    damaged = folder / "damaged.zip"
    damaged.write_bytes(_spliced(archive.read_bytes(), data))
    for call in (
        lambda: read_json(path, hint="x"),
        lambda: read_yaml(path, hint="x"),
        lambda: read_table(path, hint="x"),
        lambda: table_source.lookup(table_source.Parameters(path=str(path))),
        lambda: ffhq_features.lookup(ffhq_features.Parameters(path=str(archive))),
        lambda: ffhq_features.lookup(ffhq_features.Parameters(path=str(damaged))),
    ):
        try:
            call()
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 - most are refused, some are fine


def _spliced(archive: bytes, data: bytes) -> bytes:
    """The archive with some of its bytes replaced by others."""
    at = int.from_bytes(data[:2], "little") % len(archive)
    return archive[:at] + data[2:8] + archive[at + 6 :]
