"""``ida-rd weights convert``: the tensors of a published checkpoint, and nothing that it would run."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import types
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors import safe_open
from safetensors.torch import load_file

from ida_rd.commands import main
from ida_rd.convert import convert, transcribe
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.tensors import load_tensors

NAMED = "pytorch_lightning.callbacks.model_checkpoint"


def _network() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    large = torch.rand(40, 50)
    kinds = ["bfloat16", "float16", "float64", "int8", "uint8", "bool", "int16", "int32", "int64"]
    return {
        "unet.weight": large,
        "unet.view": large[3:9, ::2],
        "unet.turned": large.T,
        "step": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "ä.bias": torch.ones(3, dtype=torch.float64),
        **{name: torch.tensor([0, 1, 1]).to(getattr(torch, name)) for name in kinds},
    }


def _lightning(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """A checkpoint as Lightning writes it, whose pickle names a class of that package."""
    module = types.ModuleType(NAMED)
    named = type("ModelCheckpoint", (), {"__module__": NAMED})
    module.ModelCheckpoint = named  # type: ignore[attr-defined]
    for i in range(1, NAMED.count(".") + 2):
        monkeypatch.setitem(sys.modules, ".".join(NAMED.split(".")[:i]), module)
    torch.manual_seed(1)
    return {
        "epoch": 3,
        "callbacks": {named: {"best_model_score": torch.tensor(0.5), "best_model_path": "a.ckpt"}},
        "optimizer_states": [{"state": {0: {"step": 7, "exp_avg": torch.rand(9)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"milestones": Counter([3, 3]), "seen": defaultdict(list, {"a": [1]})}],
        "score": np.float64(0.5),
        "state_dict": torch.nn.Linear(3, 4).state_dict() | _network(),
    }


def _saved(path: Path, value: Any, *, old: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not old)
    return path


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("old", [False, True])
def test_a_checkpoint_with_training_state_gives_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, old: bool
) -> None:
    """By the command, in the process that reads; torch itself refuses such a file."""
    value = _lightning(monkeypatch)
    path = _saved(tmp_path / "a.ckpt", value, old=old)
    with pytest.raises(pickle.UnpicklingError, match="ModelCheckpoint"):
        torch.load(path, weights_only=True)
    main(["weights", "convert", str(path)])
    said = capsys.readouterr().out
    out = tmp_path / "a.safetensors"
    wanted = dict(value["state_dict"])
    assert _same(load_file(out), wanted)
    assert _same(load_tensors(out), wanted)
    assert f"a.safetensors: {len(wanted)} tensors of state_dict" in said
    assert "left out: callbacks, epoch, lr_schedulers, optimizer_states, score" in said
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"format": "pt", "source_sha256": sha256_file(path)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt", "a.safetensors"]
    content = out.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    places = {name: entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}
    assert all(place % wanted[name].element_size() == 0 for name, place in places.items()), "aligned, to be mapped"
    other = tmp_path / "b.safetensors"
    transcribe(path, other, None)
    assert other.read_bytes() == out.read_bytes()


def test_which_tensors_are_taken(tmp_path: Path) -> None:
    net, ema = {"w": torch.ones(2)}, {"w": torch.zeros(2)}
    out = tmp_path / "out.safetensors"

    def taken(value: Any, key: str | None = None) -> tuple[Any, dict[str, list[float]]]:
        found = transcribe(_saved(tmp_path / "a.pth", value), out, key)
        return found["key"], {name: tensor.tolist() for name, tensor in load_file(out).items()}

    assert taken(net | {"epoch": 1}) == (None, {"w": [1, 1]})
    assert taken({"params_ema": ema, "epoch": 1, "optimizer": {"state": {0: net}}}) == ("params_ema", {"w": [0, 0]})
    assert taken({"params": net, "params_ema": ema}, "params_ema") == ("params_ema", {"w": [0, 0]})
    assert taken({"state_dict": net, "ema": ema}) == ("state_dict", {"w": [1, 1]})
    assert taken({"parts": {"g": net, "d": {"ema": ema}}}, "parts") == ("parts", {"g.w": [1, 1], "d.ema.w": [0, 0]})
    with pytest.raises(UserError, match=r"a\.pth: its tensors are in params, params_ema: choose one of these by --key"):
        taken({"params": net, "params_ema": ema})
    with pytest.raises(UserError, match=r"no dictionary called 'param_ema'; did you mean 'params_ema'\?"):
        taken({"params": net, "params_ema": ema}, "param_ema")


class _Bomb:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.place}",)


def _pickled(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


BAD: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a call": (lambda p: _pickled({"state_dict": {"w": torch.ones(2)}, "x": _Bomb(p)}), r"posix\.system"),
    "a class": (lambda p: _pickled(torch.nn.Linear(2, 2)), r"torch\.nn\.modules\.linear\.Linear"),
    "a bare pickle": (lambda p: pickle.dumps({"w": _Bomb(p)}, 2), "posix"),
    "cut": (lambda p: _pickled(_network())[:-300], "it is cut off or damaged"),
    "cut to its beginning": (lambda p: _pickled(_network())[:500], "it is cut off or damaged"),
    "text": (lambda p: b"<html>404</html>" * 9, "not a checkpoint"),
    "empty": (lambda p: b"", "not a checkpoint"),
    "safetensors": (lambda p: b"\x08\0\0\0\0\0\0\0{}      ", "begins as a safetensors file does"),
    "no tensors": (lambda p: _pickled({"epoch": 1}), "holds no tensors"),
    "no tensors in it": (lambda p: _pickled({"state_dict": {}}), "holds no tensors"),
    "a list": (lambda p: _pickled([torch.ones(2)]), "holds a list, expected a dictionary"),
    "a clash": (lambda p: _pickled({"m": {"a": {"b": torch.ones(2)}, "a.b": torch.ones(2)}}), r"called 'a\.b'"),
    "a clash of a number": (lambda p: _pickled({"1": torch.ones(2), 1: torch.ones(2)}), "called '1'"),
    "the name of the texts": (lambda p: _pickled({"__metadata__": torch.ones(2)}), "called '__metadata__'"),
    "complex": (lambda p: _pickled({"w": torch.ones(2, dtype=torch.complex64)}), "w is of the type torch.complex64"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, kind: str) -> None:
    make, wanted = BAD[kind]
    path, exploded = tmp_path / "a.ckpt", tmp_path / "exploded"
    path.write_bytes(make(exploded))
    with pytest.raises(UserError, match=wanted) as caught:
        transcribe(path, tmp_path / "a.safetensors", None)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"], "nothing was run, and nothing written"


def test_a_damaged_tensor_is_refused(tmp_path: Path) -> None:
    """It has no other place for its checksum than the archive."""
    path = _saved(tmp_path / "a.ckpt", {"w": torch.full((1000,), 0.123)})
    content = bytearray(path.read_bytes())
    content[content.find(torch.full((1,), 0.123).numpy().tobytes() * 9) + 400] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.ckpt: not a checkpoint of plain tensors \(.*is damaged\)"):
        transcribe(path, tmp_path / "a.safetensors", None)


def test_the_command_says_what_is_wrong_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def line(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["weights", *arguments])
        assert stop.value.code == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        return error.removeprefix("error: ")

    bomb = tmp_path / "bomb.ckpt"
    bomb.write_bytes(_pickled({"w": torch.ones(2), "x": _Bomb(tmp_path / "exploded")}))
    (tmp_path / "there.safetensors").write_text("mine")
    assert line("convert", str(bomb)).endswith(
        "bomb.ckpt: not a checkpoint of plain tensors (posix.system: neither a dense tensor nor a plain value): nothing"
        " in it was run, and nothing was written"
    )
    assert "there.safetensors is there" in line("convert", str(bomb), "--out", str(tmp_path / "there.safetensors"))
    assert "ends in .safetensors" in line("convert", str(bomb), "--out", str(tmp_path / "a.bin"))
    assert "no such file" in line("convert", str(tmp_path / "none.ckpt"))
    assert ".: is no ordinary file" in line("convert", ".")
    assert "is no ordinary file" in line("convert", str(tmp_path))
    assert "give one file" in line("convert")
    assert "options of convert" in line("verify", "--key", "params")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.ckpt", "there.safetensors"]
    assert (tmp_path / "there.safetensors").read_text() == "mine"


CONFINED = """
import json, os, pickle, socket, subprocess, sys, types
from pathlib import Path
from ida_rd.convert import confine
from ida_rd.core.errors import UserError
confine(Path("allowed"), 2**20)
tries = {
    "program": lambda: os.system("touch ran"),
    "subprocess": lambda: subprocess.run(["touch", "ran"]),
    "fork": os.fork,
    "socket": lambda: socket.create_connection(("127.0.0.1", 9)),
    "pickle": lambda: pickle.loads(b"ccollections\\nOrderedDict\\n."),
    "file": lambda: open("other", "w"),
    "handle": lambda: os.open("other", os.O_WRONLY | os.O_CREAT),
    "append": lambda: open("mine", "a"),
    "remove": lambda: os.remove("mine"),
    "rename": lambda: os.rename("mine", "other"),
    "import": lambda: __import__("ftplib"),
    "code": lambda: eval("1"),
    "target": lambda: open("allowed", "wb").write(b"x"),
    "reading": lambda: open("mine").read(),
}
found = {}
for name, what in tries.items():
    try:
        what()
        found[name] = True
    except UserError:
        found[name] = False
print(json.dumps(found))
"""


def test_the_process_that_reads_can_do_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CONFINED], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    found = json.loads(done.stdout)
    assert {name for name, possible in found.items() if possible} == {"target", "reading"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["allowed", "mine"]


HIJACKED = """
import os, sys
from ida_rd import convert
from ida_rd.core.errors import exit_with_line
convert.transcribe = lambda *arguments: os.system("touch ran")
sys.argv = ["convert", "a.ckpt", "a.safetensors"]
exit_with_line(convert.main)
"""


def test_reading_that_was_made_to_run_something_is_stopped(tmp_path: Path) -> None:
    _saved(tmp_path / "a.ckpt", {"w": torch.ones(2)})
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", HIJACKED], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: os.system")
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_reader_that_dies_leaves_a_line_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path / "a.ckpt", {"w": torch.ones(2)})
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(UserError, match=r"a\.ckpt: reading it ended early \(SIGKILL\)"):
        convert(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt", "python"]
