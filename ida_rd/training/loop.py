"""A training loop that knows nothing of what it trains.

It has *named* modules and *named* optimisers (a GAN has two of each) and runs stages of steps. Everything lies in one
folder: ``checkpoint.pt``, from which the same command resumes a run that was killed, and ``log.jsonl``. What a step
draws must be a function of its number, as by `ida_rd.core.seeds.generator`: then a run that was killed ends with the
weights that it would have had.
"""

from __future__ import annotations

import copy
import io
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_bytes
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import read_tensors

__all__ = ["CHECKPOINT", "LOG", "Loop", "Product", "Stage", "cosine", "read_checkpoint"]

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Stage:
    """Steps of one kind.

    Attributes
    ----------
    name : str
        Its name in checkpoint and log.
    steps : int
        How many.
    step : callable
        Does step number i, from 0, by `Loop.descend`, and returns what is to be logged.
    begin : callable, optional
        Called once when the stage begins, not when it is resumed.
    evaluate : callable, optional
        Called after every `evaluate_every` steps and after the last one; returns what is to be logged.
    """

    name: str
    steps: int
    step: Callable[[int], Mapping[str, float]]
    begin: Callable[[], None] | None = None
    evaluate: Callable[[], Mapping[str, float]] | None = None
    evaluate_every: int = 1000


@dataclass(frozen=True)
class Product:
    """What a run is for.

    Attributes
    ----------
    module : str
        The averaged module whose weights are exported.
    stage : str
        The stage from which on they can be.
    config : dict
        What the network is built from; stored beside the weights.
    """

    module: str
    stage: str
    config: dict[str, Any]


def cosine(step: int, steps: int, first: float, last: float) -> float:
    """Learning rate that falls from `first` to `last` over `steps` by half a cosine."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * min(step / steps, 1.0)))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values.

    Raises
    ------
    UserError
        It is damaged, or from an earlier version, whose layout was different.
    """
    state = read_tensors(path).state
    if not isinstance(state, dict) or not isinstance(state.get("settings"), dict):
        raise UserError(f"{path} was written by an earlier version and cannot be used: train into another folder")
    return state


class Loop:
    """Modules, their moving averages and optimisers; their checkpoint; and the steps that train them.

    Parameters
    ----------
    out : Path
        Folder of the checkpoint and the log.
    modules : dict of str to Module
        What is trained.
    optimisers : dict of str to Optimizer
        What trains it. A stage's `begin` may put others in their place.
    product : Product
    settings : dict
        What decides the weights, plain values: a checkpoint of other settings is refused.
    averaged : sequence of str
        Modules whose moving average is kept, in `averages`.
    decay : float
        Of the averages.
    clip_norm : float
        Largest norm of the gradient.
    """

    def __init__(
        self,
        out: Path,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, torch.optim.Optimizer],
        product: Product,
        settings: Mapping[str, Any],
        *,
        averaged: Sequence[str],
        decay: float,
        clip_norm: float,
    ) -> None:
        self.checkpoint, self.log = out / CHECKPOINT, out / LOG
        self.modules, self.optimisers = dict(modules), dict(optimisers)
        self.averages = {name: copy.deepcopy(modules[name]).requires_grad_(False).eval() for name in averaged}
        self.product, self.settings = product, dict(settings)
        self.decay, self.clip_norm = decay, clip_norm
        self.stage: str | None = None
        self.step, self.skipped, self.seconds = 0, 0, 0.0

    def save(self) -> None:
        """Write the checkpoint, atomically."""
        state = {
            "settings": self.settings,
            "product": asdict(self.product),
            "modules": _states(self.modules),
            "averages": _states(self.averages),
            "optimisers": _states(self.optimisers),
            "stage": self.stage,
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
        }
        content = io.BytesIO()  # torch's own writer says nothing that can be understood of a full disk
        torch.save(state, content)
        write_bytes(self.checkpoint, content.getvalue())

    def resume(self) -> bool:
        """Resume from the checkpoint if there is one; return whether there was.

        Raises
        ------
        UserError
            It has other settings, or is from an earlier version.
        """
        if not self.checkpoint.exists():
            return False
        state = read_checkpoint(self.checkpoint)
        with decoding(f"{self.checkpoint}: not a checkpoint of this run", "give another --out, or remove it"):
            if state["settings"] != self.settings:
                keys = sorted(state["settings"].keys() | self.settings)
                changed = [key for key in keys if state["settings"].get(key) != self.settings.get(key)]
                raise UserError(
                    f"{self.checkpoint} belongs to a run with other settings ({', '.join(changed)}):"
                    " give another --out, or remove it"
                )
            for owned, stored in (
                (self.modules, state["modules"]),
                (self.averages, state["averages"]),
                (self.optimisers, state["optimisers"]),
            ):
                for name, one in owned.items():
                    one.load_state_dict(stored[name])
            self.stage, self.step = state["stage"], int(state["step"])
            self.skipped, self.seconds = int(state["skipped"]), float(state["seconds"])
        return True

    def start_at(self, stage: str) -> None:
        """Let a new run start at a stage, whose `begin` is left out: its modules are as they should be."""
        self.stage = stage

    def restart_averages(self) -> None:
        """Set the averages to the modules as they are."""
        for name, average in self.averages.items():
            average.load_state_dict(self.modules[name].state_dict())

    def descend(self, optimiser: str, loss: Tensor, rate: float) -> float:
        """Take a step of an optimiser down a loss; return the norm of the gradient before it was clipped.

        A step whose gradient is not finite is left out, and counted in `skipped`.
        """
        chosen = self.optimisers[optimiser]
        for group in chosen.param_groups:
            group["lr"] = rate
        chosen.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [parameter for group in chosen.param_groups for parameter in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(parameters, self.clip_norm))
        if math.isfinite(norm):
            chosen.step()
        else:
            self.skipped += 1
        return norm

    @torch.no_grad()
    def _average(self) -> None:
        # A short memory at first, so that the average does not remember the initial weights.
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, average in self.averages.items():
            module = self.modules[name]
            torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)
            for mine, theirs in zip(average.buffers(), module.buffers(), strict=True):
                mine.copy_(theirs)

    def run(self, stages: Sequence[Stage], *, log_every: int, save_every: int) -> Path:
        """Run the stages, or what is left of them, and return the checkpoint's path.

        The log has a line, and the checkpoint is written, every so many steps of a stage.

        Raises
        ------
        UserError
            The process was asked to terminate: the checkpoint was written, and the same command resumes.
        """
        names = [stage.name for stage in stages]
        if self.stage and self.stage not in names:
            raise UserError(
                f"{self.checkpoint} is in a stage {self.stage!r} that this training does not have: remove it"
            )
        at = names.index(self.stage) if self.stage else 0
        done = sum(stage.steps for stage in stages[:at]) + self.step
        with (
            _termination() as stop,
            self.log.open("a", encoding="utf-8") as log,
            tqdm(total=sum(stage.steps for stage in stages), initial=done, unit="step", disable=None) as bar,
        ):
            for stage in stages[at:]:
                if stop:
                    break
                if stage.name != self.stage:
                    self.stage, self.step = stage.name, 0
                    if stage.begin:
                        stage.begin()
                self._run_stage(stage, stop, log, bar, log_every, save_every)
            self.save()
        if stop and (self.stage, self.step) != (names[-1], stages[-1].steps):
            where = f"{self.stage} step {self.step}"
            raise UserError(f"stopped at {where}; the same command resumes from {self.checkpoint}")
        return self.checkpoint

    def _run_stage(
        self, stage: Stage, stop: list[int], log: TextIO, bar: tqdm, log_every: int, save_every: int
    ) -> None:
        started = time.perf_counter()
        while self.step < stage.steps and not stop:
            entry = stage.step(self.step)
            self._average()
            self.step += 1
            bar.update()
            now = time.perf_counter()
            self.seconds, started = self.seconds + now - started, now
            if self.step % log_every == 0:
                self._write(log, entry)
            if self.step % save_every == 0:
                self.save()
            if stage.evaluate and (self.step % stage.evaluate_every == 0 or self.step == stage.steps):
                found = stage.evaluate()
                self._write(log, found)
                text = ", ".join(f"{key} {value:.4f}" for key, value in found.items())
                tqdm.write(f"{stage.name} step {self.step}: {text}", file=sys.stderr)
                started = time.perf_counter()  # evaluation does not count as training time

    def _write(self, log: TextIO, entry: Mapping[str, float]) -> None:
        head = {"stage": self.stage, "step": self.step, "skipped": self.skipped, "seconds": round(self.seconds, 1)}
        print(json.dumps(head | dict(entry)), file=log, flush=True)


def _states(owned: Mapping[str, nn.Module] | Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    return {name: one.state_dict() for name, one in owned.items()}


@contextmanager
def _termination() -> Iterator[list[int]]:
    """Collect requests to terminate: the state is saved at the next step. A SIGKILL loses whatever is newer."""
    stop: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # no handler can be set there
        yield stop
        return
    previous = signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, previous)
