"""What all trainings share around their loop: photographs, device, record, and where a run goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch

from ida_rd.training.loop import Loop, Stage
from ida_rd.training.options import numbers
from ida_rd.training.patches import Downscaling, PatchSource, training_files
from ida_rd.training.photographs import Photographs
from ida_rd.training.record import write_record
from ida_rd.training.validation import check_held_out

__all__ = ["Options", "Training", "run", "source_of"]


class Options(TypedDict, total=False):
    """Keywords of `run` that every training passes on."""

    exclude_licence: str
    log_every: int
    save_every: int
    initial: Path | None


class Training(ABC):
    """What is a training's own: a loop, and the stages that it runs."""

    loop: Loop

    @abstractmethod
    def stages(self) -> list[Stage]:
        """The stages, in order."""

    def begin_from(self, weights: Path) -> None:
        """Take weights to begin from; without it, a training has no ``--initial``."""
        raise NotImplementedError


def run(
    begin: Callable[[list[Path], torch.device], Training],
    images: Path,
    validation: Path,
    out: Path,
    *,
    exclude_licence: str = "",
    log_every: int = 50,
    save_every: int = 200,
    initial: Path | None = None,
    device: str | None = None,
) -> Path:
    """Train, resuming if ``out`` has a checkpoint, and return its path, which `ida_rd.training.export` takes.

    A run that resumes refuses other settings and other photographs: it would end with the weights of neither.

    Parameters
    ----------
    begin : callable
        Makes the training, given the photographs and where it computes. Nothing is written before.
    images, validation, out : Path
        Folders of training photographs, of images that training never sees (no photograph may be there), of the run.
    exclude_licence : str
        Leave out photographs whose licence in ``LICENSES.csv`` begins with this.
    log_every, save_every : int
        Steps of a stage per line of the log, per checkpoint.
    initial : Path, optional
        A weight file to begin from.
    device : str, optional
        Where to compute; a GPU if there is one.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    known = Photographs(out)
    photographs = training_files(images, exclude_licence, known.sha256)
    files = [path for path, _ in photographs]
    check_held_out(files, validation, known.sha256)
    known.check(files)
    training = begin(files, chosen)
    if not training.loop.resume() and initial:
        training.begin_from(initial)
    out.mkdir(parents=True, exist_ok=True)
    known.write(files)
    write_record(out, training.loop.settings, photographs, chosen, initial)
    return training.loop.run(training.stages(), log_every=log_every, save_every=save_every)


def source_of(
    settings: Mapping[str, Any], files: list[Path], factor: int, side: int, downscalings: Sequence[Downscaling]
) -> PatchSource:
    """Crops of photographs as a training's settings say."""
    return PatchSource(
        *(files, factor, side, settings["seed"]),
        downscalings=downscalings,
        scales=numbers("scales", settings["scales"], 1),
        **{key: settings[key] for key in ("jpeg", "candidates", "sharpen")},
    )
