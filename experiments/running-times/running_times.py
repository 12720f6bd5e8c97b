"""What a run takes, by stage and by image: the supplement's Table 1, so that it can be read.

    python running_times.py

Throughput: whole runs of N images, three N and more, each in a folder of its own and with an empty store. Every stage
is a process, as DVC starts it, so that start-up and loading are in it; a line through the N tells them (a) from what
an image costs (b). Upscalers alternate within an hour, N goes up and then down. What units took within a stage, memory
and device are the engine's own record, `ida_rd.engine.times`. Latency: one image at a time, see ``latency.py``.

DVC's own time is not in it, nor are figures and page. Raw rows are kept: ``runs.csv`` (a row per stage of a run),
``units.csv`` (a row per image and stage), ``latency.csv``.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import yaml
from pydantic import Field, field_validator
from timetable import Facts, draw, findings, latex, page, summarised

from ida_rd.core.candidates import candidate_files, source_path
from ida_rd.core.errors import UserError, exit_with_line, printable
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.images import ImageError, read_image, write_png
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.seeds import generator
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.temporary import PROGRAM, temporary_folder
from ida_rd.core.weights import torch_cache
from ida_rd.engine.device import worker_count
from ida_rd.engine.environment import environment
from ida_rd.engine.times import read_times
from ida_rd.report.figures import save
from ida_rd.study.record import program

STAGES = Path(__file__).resolve().parents[2] / "stages"
DOWNSCALER = "lr"  # what the one downscaler is called
PACKAGES = ("numpy", "pillow", "torch", "torchvision")
Count = Annotated[int, Field(ge=2)]


class Latency(Parameters):
    """How one image at a time is timed."""

    warm_up: int = Field(ge=1)
    images: int = Field(ge=2)


class Images(Parameters):
    """Where the HR images are cut from."""

    source: str
    path: str | None = None


class Paper(Parameters):
    """Table 1: minutes by method and N."""

    source: str
    minutes: dict[str, dict[int, float]]


class Timing(Parameters):
    """``params.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    before: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*$")
    images: Images
    sizes: list[int] = Field(min_length=1)
    counts: list[Count]
    repetitions: int = Field(ge=1)
    workers: list[int] = Field(min_length=1)
    seed: int
    factor: int = Field(ge=2)
    samples: int = Field(ge=1)
    downscaler: dict[str, Any]
    upscalers: dict[str, dict[str, Any]] = Field(min_length=1)
    distortions: dict[str, dict[str, Any]] = Field(min_length=1)
    latency: Latency
    confidence: float = Field(gt=0, lt=1)
    paper: Paper

    @field_validator("counts")
    @classmethod
    def _make_a_line(cls, counts: list[int]) -> list[int]:
        if len(set(counts)) < 3:
            raise ValueError("give three different N or more: of fewer, no line tells start-up from images")
        return sorted(set(counts))


@dataclass(frozen=True)
class Run:
    """One run, and which of its repetitions."""

    upscaler: str
    size: int
    workers: int
    count: int
    repetition: int


def write_tiles(timing: Timing, size: int, folder: Path) -> None:
    """As many HR images as the largest run has, each of another place of a photograph."""
    files = candidate_files(timing.images.source, timing.images.path)
    wholes = {}
    for name, file in files.items():
        path = source_path(file, timing.images.path)
        try:
            image = read_image(path)
        except ImageError as error:
            raise UserError(f"{path}: {error}; or remove it") from None
        if min(image.shape[:2]) >= size:
            wholes[name] = image
    if not wholes:
        raise UserError(f"params.yaml: sizes: no photograph has {size} x {size} pixels: give a folder of larger ones")
    names = list(wholes)
    for i in range(max(timing.counts)):
        image = wholes[names[i % len(names)]]
        rng = generator("running times", timing.seed, f"{size}-{i}")
        y, x = (int(rng.integers(0, side - size + 1)) for side in image.shape[:2])
        write_png(folder / f"tile-{i:05d}.png", np.ascontiguousarray(image[y : y + size, x : x + size]))


def prepare(timing: Timing, run: Run, tiles: Path, folder: Path) -> None:
    """Write the ``params.yaml`` of a run, and its images."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for path in sorted(tiles.iterdir())[: run.count]:
        os.link(path, photos / path.name)
    entry = dict(timing.upscalers[run.upscaler])
    if "path" in entry:
        entry["path"] = str(Path(entry["path"]).expanduser().absolute())
    parameters = {
        "seed": timing.seed,
        "images": {"source": "folder", "path": "photos", "crop": run.size},
        "attributes": {"source": "image-statistics"},
        "balance": {"groups": 2, "size": run.count},
        "factors": [timing.factor],
        "downscalers": {DOWNSCALER: timing.downscaler},
        "upscalers": {run.upscaler: entry},
        "samples": timing.samples,
        "distortions": timing.distortions,
        "missing_weights": "skip",
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")


def commands(timing: Timing, upscaler: str) -> list[list[str]]:
    """The stages of a run in their order, as DVC calls them; not the page, which nobody waits for."""
    factor = str(timing.factor)
    branch = [upscaler, factor, DOWNSCALER]
    return [
        ["plan"], ["attributes"], ["balance"], ["downscale", DOWNSCALER, factor], ["upscale", *branch],
        ["distort", *branch], ["surprise"], ["aggregate"],
    ]  # fmt: skip


def call(folder: Path, script: Path, *arguments: str, workers: int) -> float:
    """Seconds that a process took; a `UserError` of it is passed on."""
    variables = os.environ | {"IDA_RD_OFFLINE": "1", "PYTHONPATH": str(STAGES.parent), "IDA_RD_WORKERS": str(workers)}
    variables.pop("DVC_STAGE", None)
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=folder, env=variables, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise UserError(f"{script.stem}: {last.removeprefix('error: ')}")
    return seconds


def timed(timing: Timing, run: Run, tiles: Path, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run it; rows of its stages, and of their units."""
    prepare(timing, run, tiles, folder)
    stages = []
    for name, *arguments in commands(timing, run.upscaler):
        row: dict[str, Any] = {**asdict(run), "stage": name, "load_before": os.getloadavg()[0]}
        row["seconds"] = call(folder, STAGES / f"{name}.py", *arguments, workers=run.workers)
        stages.append(row | {"ended": round(time.time())})
    project, units = Project(folder), []
    for took in read_times(project.times):
        for row in stages:
            if row["stage"] == took.stage:
                row |= {"units": took.units, "busy_s": took.busy_s, "loading_s": took.load_s, "within_s": took.wall_s}
                row |= {"processes": took.workers, "threads": took.threads, "device": took.device}
                row |= {
                    "processor": took.processor,
                    "samples": took.samples,
                    "memory": took.memory,
                    "gpu_memory": took.gpu_memory,
                }
        units += [
            {**asdict(run), "stage": took.stage, "image_id": name, "parts": parts, "seconds": seconds}
            for name, parts, seconds in took.seconds
        ]
    plan = read_json(folder / "data/plan/aggregate.json", hint="")
    lead = plan["distortion_order"][0]
    rows = read_table(project.rows_of(Branch(run.upscaler, timing.factor, DOWNSCALER)), hint="")
    score = float(rows[rows.finite].groupby("image_id")[lead].mean().mean())
    stages[-1] |= {"score": score, "scored_by": plan["distortions"][lead]["label"]}
    return stages, units


def able(timing: Timing, tiles: Path, size: int, root: Path) -> tuple[list[str], dict[str, str]]:
    """Upscalers that can be planned here, and why others cannot."""
    found, others = [], {}
    for name in timing.upscalers:
        folder = root / f"plan-{name}"
        prepare(timing, Run(name, size, 1, timing.counts[0], 0), tiles, folder)
        try:
            call(folder, STAGES / "plan.py", workers=1)
            found.append(name)
        except UserError as error:
            said = str(error).removeprefix("plan: ").replace(f"{Path.cwd()}{os.sep}", "")
            others[name] = said.replace(str(torch_cache()), "torch's cache")  # results are published
            print(f"{name} is left out: {printable(others[name])}", file=sys.stderr, flush=True)
    if not found:
        raise UserError("params.yaml: upscalers: none can be run here: add flow-compact: {method: flow}")
    return found, others


def measure(timing: Timing, root: Path) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """All rows, and which upscalers were left out."""
    rows: dict[str, list[dict[str, Any]]] = {"runs": [], "units": [], "latency": []}
    others: dict[str, str] = {}
    for size in timing.sizes:
        tiles = root / f"tiles-{size}"
        tiles.mkdir()
        write_tiles(timing, size, tiles)
        names, left = able(timing, tiles, size, root / str(size))
        others |= left
        last = {}
        for workers in dict.fromkeys(count or worker_count() for count in timing.workers):
            for repetition in range(timing.repetitions):
                for count in timing.counts[:: -1 if repetition % 2 else 1]:
                    for name in names:
                        run = Run(name, size, workers, count, repetition)
                        print(f"running times: {' '.join(map(str, asdict(run).values()))}", file=sys.stderr, flush=True)
                        last[name] = root / f"{size}-{workers}-{repetition}-{count}-{name}"
                        stages, units = timed(timing, run, tiles, last[name])
                        rows["runs"] += stages
                        rows["units"] += units
        for name in names:
            script, out = Path(__file__).with_name("latency.py"), last[name] / "latency.csv"
            numbers = (timing.latency.warm_up, timing.latency.images)
            call(last[name], script, name, str(timing.factor), DOWNSCALER, *map(str, numbers), workers=1)
            rows["latency"] += read_table(out, hint="").assign(upscaler=name, size=size).to_dict("records")
    return {key: pd.DataFrame(part) for key, part in rows.items()}, others


def machine() -> dict[str, Any]:
    """What the seconds are of."""
    import torch

    device = "cuda" if torch.cuda.is_available() and os.environ.get("IDA_RD_DEVICE", "") != "cpu" else "cpu"
    found: dict[str, Any] = environment(device, PACKAGES) | {"system": platform.platform(), "cores": os.cpu_count()}
    found |= {"cores_allowed": worker_count(), "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "unset")}
    found |= {"tf32": torch.backends.cuda.matmul.allow_tf32, "cuda": torch.version.cuda}
    return found | {"program": program(), "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC"}


def main() -> None:
    timing = validate(Timing, read_yaml("params.yaml", hint="run this in the experiment's folder"), where="params.yaml")
    before = None
    if timing.before is not None:
        before = read_table(f"results/{timing.before}/table.csv", hint="name results that are there, or null")
    with temporary_folder(Path(tempfile.gettempdir()), PROGRAM) as root:
        rows, others = measure(timing, root)
    settings = timing.model_dump(exclude={"paper", "upscalers", "latency"})
    methods = {name: str(entry["method"]) for name, entry in timing.upscalers.items()}
    table = summarised(rows, methods, timing.paper.minutes, timing.confidence, before)
    facts = Facts(timing.data, settings, machine(), others, timing.paper.source, timing.paper.minutes, rows, table)
    with atomic_folder(Path("results") / timing.data) as folder:
        for name, part in rows.items():
            write_table(folder / f"{name}.csv", part)
        write_table(folder / "table.csv", table)
        write_text(folder / "times.md", page(facts))
        write_text(folder / "times.tex", latex(facts))
        told = {"machine": facts.machine, "settings": settings, "left_out": others, "findings": findings(facts)}
        write_json(folder / "times.json", told)
        save(draw(facts), folder / "times")
    print(page(facts))


if __name__ == "__main__":
    exit_with_line(main)
