"""The training loop, on a toy with two modules and two optimisers as a GAN has them."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.training.loop import Loop, Product, Stage, read_checkpoint


class Duel:
    """A generator that learns a mean, and a critic; each with its own optimiser."""

    def __init__(self, out: Path, **settings: Any) -> None:
        torch.manual_seed(0)
        self.generator, self.critic = (
            nn.Linear(2, 2),
            nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
        )
        self.begun: list[str] = []
        self.loop = Loop(
            out,
            {"generator": self.generator, "critic": self.critic},
            {"generator": self._adam(self.generator), "critic": torch.optim.SGD(self.critic.parameters(), 1, 0.9)},
            Product("generator", "duel", {"width": 2}),
            {"seed": 0} | settings,
            averaged=["generator", "critic"],
            decay=0.9,
            clip_norm=1.0,
        )
        out.mkdir(exist_ok=True)

    def _adam(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters())

    def draw(self, step: int) -> Tensor:
        return torch.randn(8, 2, generator=torch.Generator().manual_seed(step))

    def warm(self, step: int) -> dict[str, float]:
        loss = (self.generator(self.draw(step)) - 1).square().mean()
        return {"norm": self.loop.descend("generator", loss, 0.01)}

    def duel(self, step: int) -> dict[str, float]:
        made = self.generator(self.draw(step))
        critic = self.critic(made.detach()).mean() - self.critic(self.draw(step) + 3).mean()
        first = self.loop.descend("critic", critic, 0.02)
        return {"critic": first, "norm": self.loop.descend("generator", -self.critic(made).mean(), 0.01)}

    def begin(self) -> None:
        self.begun.append("duel")
        self.loop.optimisers["generator"] = self._adam(self.generator)

    def run(self, steps: int = 30, **changed: Callable[..., Any]) -> Path:
        stages = [
            Stage("warm", 10, changed.get("warm", self.warm)),
            Stage("duel", steps, changed.get("duel", self.duel), begin=self.begin, evaluate=changed.get("evaluate")),
        ]
        return self.loop.run(stages, log_every=1, save_every=4)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def _entries(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("at", [("warm", 2), ("warm", 9), ("duel", 0), ("duel", 17)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path, at: tuple[str, int]) -> None:
    whole = read_checkpoint(Duel(tmp_path / "whole").run())
    broken = Duel(tmp_path / "broken")

    def breaking(name: str, step: Callable[[int], dict[str, float]]) -> Callable[[int], dict[str, float]]:
        def one(i: int) -> dict[str, float]:
            if (name, i) == at:
                raise RuntimeError("killed")
            return step(i)

        return one

    with pytest.raises(RuntimeError, match="killed"):
        broken.run(warm=breaking("warm", broken.warm), duel=breaking("duel", broken.duel))
    again = Duel(tmp_path / "broken")
    assert again.loop.resume() == (at != ("warm", 2))  # before the first checkpoint there is nothing to resume
    mended = read_checkpoint(again.run())
    for state in (whole, mended):
        state.pop("seconds")
    assert _same(whole, mended)
    assert again.begun == ([] if at == ("duel", 17) else ["duel"])  # a stage that is resumed is not begun again


def test_a_request_to_terminate_saves_the_state_and_says_how_to_resume(tmp_path: Path) -> None:
    whole = read_checkpoint(Duel(tmp_path / "whole").run())
    stopped = Duel(tmp_path / "stopped")

    def duel(step: int) -> dict[str, float]:
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return stopped.duel(step)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match=r"stopped at duel step 7; the same command resumes from .*checkpoint\.pt"):
        stopped.run(duel=duel)
    assert signal.getsignal(signal.SIGTERM) is before
    again = Duel(tmp_path / "stopped")
    assert again.loop.resume()
    assert (again.loop.stage, again.loop.step) == ("duel", 7)
    assert _same(whole["averages"], read_checkpoint(again.run())["averages"])


def test_each_optimiser_moves_its_own_module_and_clips_its_own_gradient(tmp_path: Path) -> None:
    duel = Duel(tmp_path)
    critic = [p.clone() for p in duel.critic.parameters()]
    loss = 1e6 * duel.critic(duel.generator(duel.draw(0))).square().mean()
    duel.loop.optimisers["generator"] = torch.optim.SGD(duel.generator.parameters(), 1)
    before = torch.cat([p.detach().flatten().clone() for p in duel.generator.parameters()])
    assert duel.loop.descend("generator", loss, 0.5) > 1000
    moved = torch.cat([p.detach().flatten() for p in duel.generator.parameters()]) - before
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-3)  # the rate times the clipped norm
    assert all(torch.equal(a, b) for a, b in zip(critic, duel.critic.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_moves_nothing_and_is_counted(tmp_path: Path) -> None:
    duel = Duel(tmp_path)
    seen = []

    def warm(step: int) -> dict[str, float]:
        factor = torch.inf if step == 3 else 1.0
        before = duel.generator.weight.detach().clone()
        norm = duel.loop.descend("generator", factor * duel.generator(duel.draw(step)).square().mean(), 0.01)
        seen.append(torch.equal(before, duel.generator.weight))
        return {"norm": norm}

    duel.run(warm=warm)
    assert seen == [step == 3 for step in range(10)]
    assert [entry["skipped"] for entry in _entries(tmp_path)][:6] == [0, 0, 0, 1, 1, 1]


def test_the_average_follows_each_module_and_its_buffers(tmp_path: Path) -> None:
    duel = Duel(tmp_path)
    expected = [p.detach().clone() for p in duel.generator.parameters()]

    def follow(step: int) -> dict[str, float]:
        entry = duel.warm(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for mine, theirs in zip(expected, duel.generator.parameters(), strict=True):
            mine.mul_(decay).add_(theirs.detach(), alpha=1 - decay)
        return entry

    duel.loop.run([Stage("warm", 10, follow)], log_every=100, save_every=100)
    for mine, theirs in zip(expected, duel.loop.averages["generator"].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    duel.run(3)
    assert _same(dict(duel.loop.averages["critic"].named_buffers()), dict(duel.critic.named_buffers()))
    assert not any(p.requires_grad for p in duel.loop.averages["critic"].parameters())


def test_a_stage_is_evaluated_as_often_as_it_says_and_at_its_end(tmp_path: Path) -> None:
    duel = Duel(tmp_path)
    stage = Stage("duel", 7, duel.duel, evaluate=lambda: {"error": 0.5}, evaluate_every=3)
    duel.loop.run([stage], log_every=100, save_every=100)
    assert [(entry["step"], entry["error"]) for entry in _entries(tmp_path)] == [(3, 0.5), (6, 0.5), (7, 0.5)]


def test_a_run_may_start_at_a_later_stage_without_its_beginning(tmp_path: Path) -> None:
    duel = Duel(tmp_path)
    duel.loop.start_at("duel")
    duel.run(2)
    assert duel.begun == []
    assert [(entry["stage"], entry["step"]) for entry in _entries(tmp_path)] == [("duel", 1), ("duel", 2)]


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    Duel(tmp_path).run()
    again = Duel(tmp_path)
    again.loop.resume()

    def never(step: int) -> dict[str, float]:
        raise AssertionError

    again.run(warm=never, duel=never)


def test_a_checkpoint_of_other_settings_or_an_earlier_version_is_refused(tmp_path: Path) -> None:
    Duel(tmp_path).run()
    with pytest.raises(
        UserError, match=re.escape("belongs to a run with other settings (rate, seed): give another --out")
    ):
        Duel(tmp_path, seed=1, rate=2).loop.resume()
    torch.save({"net": {}, "ema": {}, "stage": "nll", "step": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt was written by an earlier version"):
        Duel(tmp_path).loop.resume()
