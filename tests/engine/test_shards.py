"""Shares of a stage's units: who takes what, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import stage_here

from ida_rd.core.errors import UserError
from ida_rd.engine.shards import Shard, in_a_stage, shard


@pytest.fixture(autouse=True)
def _stage(monkeypatch: pytest.MonkeyPatch) -> object:
    for name in ("IDA_RD_SHARD", "DVC_STAGE", *(f"SLURM_ARRAY_TASK_{part}" for part in ("ID", "COUNT", "MIN", "MAX"))):
        monkeypatch.delenv(name, raising=False)
    in_a_stage(True)
    yield
    in_a_stage(False)


def _slurm(monkeypatch: pytest.MonkeyPatch, task: int, least: int, most: int, count: int) -> None:
    monkeypatch.setenv("IDA_RD_SHARD", "slurm")
    for name, value in {"ID": task, "MIN": least, "MAX": most, "COUNT": count}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_every_unit_is_in_one_share(count: int) -> None:
    shares = [Shard(number, count) for number in range(count)]
    assert all(sum(one.has(position) for one in shares) == 1 for position in range(50))


@pytest.mark.parametrize(
    "ids", [range(16), range(1, 17), range(100, 116), range(0, 32, 2), range(5, 50, 3), range(4, 5)]
)
def test_tasks_of_an_array_take_all_shares(ids: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its ids begin with, and however far they are apart."""
    found = []
    for task in ids:
        _slurm(monkeypatch, task, ids[0], ids[-1], len(ids))
        found.append(shard())
    assert found == [Shard(number, len(ids)) for number in range(len(ids))]


@pytest.mark.parametrize("text", ["0/16", "17/16", "3", "3/", "a/b", "-1/4", "1/0", "Slurm"])
def test_a_bad_share_is_a_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_SHARD", text)
    with pytest.raises(UserError, match=r"^IDA_RD_SHARD is '.*': give a share and their number, 1/16 to 16/16"):
        shard()


def test_an_array_that_is_none_or_has_gaps_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_SHARD", "slurm")
    with pytest.raises(UserError, match="SLURM_ARRAY_TASK_ID is '': this is no task of an array"):
        shard()
    for task in (1, 3, 7):
        _slurm(monkeypatch, task, 1, 7, 3)
        if task == 3:
            with pytest.raises(UserError, match=r"have gaps \(3 from 1 to 7\)"):
                shard()


def test_who_takes_no_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC has removed the output; a stage without units, and what is no stage, would do everything."""
    done = stage_here("upscale", "a", "4", "b", cwd=tmp_path, env={"IDA_RD_SHARD": "1/2", "DVC_STAGE": "upscale"})
    assert done.returncode == 2
    assert done.stderr.startswith("error: IDA_RD_SHARD is '1/2', and DVC removes a stage's output before it runs")
    for name in ("plan", "aggregate", "report", "balance"):
        done = stage_here(name, cwd=tmp_path, env={"IDA_RD_SHARD": "1/2"})
        assert done.returncode == 2
        assert "only a stage computes a share" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    in_a_stage(False)
    monkeypatch.setenv("IDA_RD_SHARD", "1/2")
    with pytest.raises(UserError, match="only a stage computes a share"):
        shard()
    assert not list(tmp_path.iterdir())
