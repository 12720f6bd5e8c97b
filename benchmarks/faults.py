"""A campaign of kills: a small `make repro` that is killed at a random moment, and then run to its end.

    python benchmarks/faults.py [--kills 50] [--seed 0] [--of dvc stage worker] [--keep FOLDER]

Each time a fresh repository (four photographs of 64 x 64 pixels, two downscalers, K = 2) is started; after a random
share of the time that an undisturbed run takes, one of its processes is sent SIGKILL or SIGTERM: DVC itself, a stage or
a worker, at random. Workers live for moments: from a moment of the first half of the run, the next one is waited for.
When that run has ended, by itself or not, two things are asked: is any of its processes alive, and is its lock held.
Then the same command is run again, to the end, and its numbers are compared byte by byte with those of the undisturbed
run. DVC writes dvc.lock in place: where a kill has cut it off, `make repro` mends it, which is counted. A line for each
kill; the last line is JSON. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import skimage
from filelock import FileLock, Timeout
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CODE = ["ida_rd", "stages", "Makefile", "dvc.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".gitignore"]
PARAMETERS = """
seed: 0
images: {source: folder, path: photos, crop: 64}
attributes: {source: image-statistics}
balance: {groups: 2, size: 4}
factors: [4]
downscalers:
  bicubic: {method: resample, filter: bicubic}
  box: {method: resample, filter: box}
upscalers:
  flow-compact: {method: flow, heat: 0.9}
samples: 2
distortions:
  dss: {method: structural, metric: dss}
  psnr: {method: pixel}
aggregate: {resamples: 200}
report: {images: 1}
"""
LOCK_CUT_OFF = "dvc.lock was cut off"
KINDS = ["dvc", "stage", "worker"]
ENDING_S = 30  # that processes have to be gone, on a machine that is busy
Result = dict[str, object]
COMPARED = ("metrics/ida_rd.json", "data/sr", "data/distortion", "data/lr")


def repository(folder: Path) -> None:
    """Make a repository in which nothing has run."""
    for name in CODE:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", ".partial-*"))
        else:
            shutil.copyfile(ROOT / name, target)
    (folder / "params.yaml").write_text(PARAMETERS)
    photo = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    (folder / "photos").mkdir()
    for i, (x, y) in enumerate([(0, 0), (190, 60), (200, 200), (300, 400)]):
        photo.crop((x, y, x + 64, y + 64)).save(folder / "photos" / f"photo-{i}.png")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def start(folder: Path) -> subprocess.Popen[str]:
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "IDA_RD_OFFLINE": "1",
        "IDA_RD_DEVICE": "cpu",
        "IDA_RD_WORKERS": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = ["make", "--silent", "--assume-old=.venv/.installed", "repro"]  # this environment stands for make's
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def numbers(folder: Path) -> dict[str, bytes]:
    """What is compared: scores, images and distances."""
    paths = [path for name in COMPARED for path in [folder / name, *(folder / name).rglob("*")] if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def family(process: subprocess.Popen[str]) -> list[tuple[str, psutil.Process]]:
    """The run's processes and what they are: DVC, a stage, a worker."""
    found = []
    with suppress(psutil.Error):
        top = psutil.Process(process.pid)
        for child in top.children(recursive=True):
            with suppress(psutil.Error):
                command = " ".join(child.cmdline())
                parent = child.parent()
                if "dvc repro" in command and not command.startswith("/bin/"):
                    found.append(("dvc", child))
                elif "stages/" in command and not command.startswith("/bin/"):  # DVC's shell is neither
                    same = parent is not None and " ".join(parent.cmdline()) == command
                    found.append(("worker" if same else "stage", child))
    return found


def runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def left(folder: Path) -> list[int]:
    """Processes that work in the folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if runs(process) and Path(process.cwd()).is_relative_to(folder):
                found.append(process.pid)
    return found


def locked(folder: Path) -> bool:
    try:
        with FileLock(folder / ".ida-rd/run.lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nothing had begun
        return False


def kill(process: subprocess.Popen[str], kind: str, number: signal.Signals, rng: random.Random) -> bool:
    """Signal the next process of a kind as soon as it is seen, which for workers is chance enough; was there one?"""
    while process.poll() is None:
        found = [one for name, one in family(process) if name == kind]
        if found:
            with suppress(psutil.Error):
                rng.choice(found).send_signal(number)
                return True
        time.sleep(0.005)
    return False


def one(folder: Path, kinds: list[str], rng: random.Random, seconds: float, expected: dict[str, bytes]) -> Result:
    """One kill, and the run after it."""
    repository(folder)
    process = start(folder)
    kind, number = rng.choice(kinds), rng.choice([signal.SIGKILL, signal.SIGTERM])
    time.sleep(rng.uniform(0.0, seconds / 2 if kind == "worker" else seconds))
    kind = kind if kill(process, kind, number, rng) else "none"
    process.communicate()
    deadline = time.monotonic() + ENDING_S
    while (orphans := left(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    stale = locked(folder)
    again = start(folder)
    text = again.communicate()[0]
    return {
        "killed": kind,
        "signal": number.name,
        "first": process.returncode,
        "again": again.returncode,
        "same": numbers(folder) == expected,
        "orphans": len(orphans),
        "locked": stale,
        "lock_cut_off": LOCK_CUT_OFF in text,
        "said": text[-500:] if again.returncode else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", nargs="+", choices=KINDS, default=KINDS, help="what is killed")
    parser.add_argument("--keep", type=Path, help="work there, and keep runs that went wrong")
    a = parser.parse_args()
    rng = random.Random(a.seed)
    with tempfile.TemporaryDirectory() as name:
        place = a.keep or Path(name)
        place.mkdir(parents=True, exist_ok=True)
        repository(place / "undisturbed")
        begun = time.monotonic()
        process = start(place / "undisturbed")
        text = process.communicate()[0]
        if process.returncode:
            raise SystemExit(text)
        seconds = time.monotonic() - begun
        expected = numbers(place / "undisturbed")
        found: list[Result] = []
        while sum(result["killed"] != "none" for result in found) < a.kills:
            folder = place / f"kill-{len(found)}"
            result = one(folder, a.of, rng, seconds, expected)
            print(f"{len(found)}: {json.dumps(result)}", flush=True)
            found.append(result)
            if result["same"] and not result["orphans"] and not result["locked"]:
                shutil.rmtree(folder, ignore_errors=True)
    print(
        json.dumps(
            {
                "kills": a.kills,
                "runs": len(found),
                "seconds": round(seconds, 1),
                "same": sum(bool(one["same"]) for one in found),
                "orphans": sum(bool(one["orphans"]) for one in found),
                "locked": sum(bool(one["locked"]) for one in found),
                "lock_cut_off": sum(bool(one["lock_cut_off"]) for one in found),
                "of": {kind: sum(one["killed"] == kind for one in found) for kind in (*KINDS, "none")},
            }
        )
    )


if __name__ == "__main__":
    main()
