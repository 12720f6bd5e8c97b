"""What a training left behind is read as data: damaged or hostile, it is one line and nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ida_rd.core.errors import UserError
from ida_rd.training.export import export
from ida_rd.training.loop import CHECKPOINT, LOG, Loop, Product, Stage, read_checkpoint
from ida_rd.training.record import RECORD, read_run


def _loop(out: Path, width: int = 2) -> Loop:
    net = nn.Linear(width, 1)
    product = Product("net", "only", {"width": width})
    optimisers = {"net": torch.optim.Adam(net.parameters())}
    return Loop(out, {"net": net}, optimisers, product, {"seed": 0}, averaged=["net"], decay=0.9, clip_norm=1)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three steps of a training."""
    loop = _loop(tmp_path)
    descend = lambda i: {"norm": loop.descend("net", loop.modules["net"](torch.ones(1, 2)).sum(), 0.1)}  # noqa: E731
    loop.run([Stage("only", 3, descend)], log_every=1, save_every=1)
    (tmp_path / RECORD).write_text("{}")
    return tmp_path


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def _change(run: Path, **values: Any) -> None:
    torch.save(torch.load(run / CHECKPOINT, weights_only=True) | values, run / CHECKPOINT)


def test_a_checkpoint_that_runs_something_is_refused(run: Path) -> None:
    assert _loop(run).resume()
    state = torch.load(run / CHECKPOINT, weights_only=True)
    torch.save(state | {"more": _Runs(run / "written")}, run / CHECKPOINT)
    for read in (_loop(run).resume, lambda: export(run, run / "a.safetensors")):
        with pytest.raises(UserError, match=r"checkpoint\.pt: not a file of plain tensors"):
            read()
    assert not (run / "written").exists()
    assert not (run / "a.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x80\x02."])
def test_a_damaged_checkpoint_is_one_line(run: Path, content: bytes) -> None:
    (run / CHECKPOINT).write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a file of plain tensors") as error:
        read_checkpoint(run / CHECKPOINT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"seed": torch.zeros(2)}},
        {"settings": {"seed": 0, 1: 2}},
        {"modules": {}},
        {"modules": {"net": {"weight": torch.zeros(9, 9)}}},
        {"averages": []},
        {"optimisers": {"net": {"state": {}, "param_groups": []}}},
        {"step": "many"},
        {"seconds": None},
    ],
)
def test_a_checkpoint_with_other_content_is_one_line(run: Path, values: dict[str, Any]) -> None:
    _change(run, **values)
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a checkpoint of this run") as error:
        _loop(run).resume()
    assert "\n" not in str(error.value)


def test_a_checkpoint_in_an_unknown_stage_is_one_line(run: Path) -> None:
    _change(run, stage="another")
    loop = _loop(run)
    assert loop.resume()
    with pytest.raises(UserError, match="in a stage 'another' that this training does not have"):
        loop.run([Stage("only", 3, lambda i: {})], log_every=1, save_every=1)


@pytest.mark.parametrize("values", [{"product": 1}, {"product": {"stage": "only"}}, {"averages": {"net": {"a": 1}}}])
def test_a_checkpoint_that_cannot_be_exported_is_one_line(run: Path, values: dict[str, Any]) -> None:
    _change(run, **values)
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a checkpoint of a training"):
        export(run, run / "a.safetensors")
    assert not (run / "a.safetensors").exists()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"{", b"1\n"])
def test_a_damaged_log_is_one_line(run: Path, content: bytes) -> None:
    assert len(read_run(run)[1]) == 3
    (run / LOG).write_bytes(content)
    with pytest.raises(
        UserError, match=r"log\.jsonl(: not a log of a training| is not valid JSON).*--runs takes"
    ) as error:
        read_run(run)
    assert "\n" not in str(error.value)
