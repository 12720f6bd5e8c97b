"""The pipeline as DVC runs it, in real repositories: what reruns, and that the numbers are the same."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import edit, run, stage, units

RUNNING = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)
CACHED = re.compile(r"^Stage '([^']+)' is cached", re.MULTILINE)


def _repro(repository: Path, target: str | None = None, env: dict[str, str] | None = None) -> set[str]:
    """Run the pipeline, or what `target` needs; return the stages that ran."""
    done = run("dvc", "repro", *([target] if target else []), cwd=repository, env=env)
    return set(RUNNING.findall(done.stdout))


def _branch(downscaler: str) -> set[str]:
    return {
        f"downscale@{downscaler}-4",
        f"upscale@flow-compact-{downscaler}-4",
        f"distort@flow-compact-{downscaler}-4",
    }


ENDS = {"plan", "aggregate", "report"}


def test_the_first_run_made_everything(finished: Path) -> None:
    metrics = json.loads((finished / "metrics/tables/ida_rd.json").read_text())
    for downscaler in ("bicubic", "mine"):
        entry = metrics["flow-compact"]["x4"][downscaler]
        assert entry["images"] == 4
        assert entry["samples"] == 2
        assert entry["nonfinite_rate"] == 0
        assert entry["dss"]["ci_low"] is None, "four photographs are too few for an interval"
        rows = pd.read_csv(finished / f"data/distortion/flow-compact/x4/{downscaler}.csv")
        assert list(rows.columns) == ["image_id", "sample", "finite", "attempts", "clipped", "dss", "psnr"]
        assert len(rows) == 8
        assert rows.groupby("image_id").dss.mean().mean() == entry["dss"]["mean"]
    surprise = pd.read_csv(finished / "metrics/tables/surprise.csv").set_index("downscaler")
    assert surprise.z2["mine"] > surprise.z2["bicubic"]
    assert len(pd.read_csv(finished / "data/surprise.csv")) == 8
    for name in ("metrics/report/index.html", "metrics/plots/scores.svg", "metrics/tables/ida_rd.md", "dvc.lock"):
        assert (finished / name).stat().st_size > 0
    page = (finished / "metrics/report/index.html").read_text()
    for picture in re.findall(r'(?:src|href)="([^"#:]+)"', page):
        assert (finished / "metrics/report" / picture).is_file(), picture
    provenance = json.loads((finished / "metrics/provenance.json").read_text())
    assert len(provenance["dataset_sha256"]) == 64
    assert "flow-compact.x4" in provenance["methods"]["upscale/x4/flow-compact"]["weights"]
    assert provenance["environments"]["flow-compact/x4/bicubic"]["upscale"]["device"] == "cpu"
    # Small pixels of nearest-neighbour sampling are undone worse than bicubic's averages.
    scores = metrics["flow-compact"]["x4"]
    assert scores["mine"]["dss"]["mean"] > scores["bicubic"]["dss"]["mean"]


def test_nothing_reruns_where_nothing_changed_nor_for_device_and_workers(repository: Path) -> None:
    assert _repro(repository) == set()
    assert _repro(repository, env={"IDA_RD_DEVICE": "auto", "IDA_RD_WORKERS": "2"}) == set()


def test_a_changed_parameter_and_a_new_downscaler_run_their_branches_alone(changed: Path) -> None:
    printed = (changed.parent / "printed").read_text()
    assert set(RUNNING.findall(printed)) == ENDS | {"surprise"} | _branch("bicubic") | _branch("lanczos")
    metrics = json.loads((changed / "metrics/tables/ida_rd.json").read_text())
    assert set(metrics["flow-compact"]["x4"]) == {"bicubic", "lanczos", "mine"}


def test_editing_a_methods_source_reruns_its_branch_alone(repository: Path) -> None:
    edit(repository / "ida_rd/downscale/resample.py", "from __future__", "# A remark.\nfrom __future__")
    # The same LR images come out, and DVC goes no further along that branch.
    assert _repro(repository) == ENDS | {"downscale@bicubic-4"}
    # A module of the user's own is none of the files that DVC watches: `make repro` asks the plan.
    edit(repository / "mine.py", "hr[::4, ::4]", "hr[1::4, 1::4]")
    assert _repro(repository) == set()
    assert stage("plan", "--check", cwd=repository).returncode == 3


def test_editing_the_engine_reruns_nothing(repository: Path) -> None:
    for name in ("engine/local.py", "engine/store.py", "core/bar.py", "core/errors.py"):
        edit(repository / "ida_rd" / name, "from __future__", "# A remark.\nfrom __future__")
    assert _repro(repository) == {"plan"}


def test_a_comment_in_another_room_reruns_nothing_of_this_one(repository: Path) -> None:
    edit(repository / "ida_rd/report/figures.py", "from __future__", "# A remark.\nfrom __future__")
    assert _repro(repository) == {"plan", "report"}


def test_metrics_diff_shows_what_changed(changed: Path) -> None:
    changes = json.loads(run("dvc", "metrics", "diff", "--json", "before", cwd=changed).stdout)
    entry = changes["metrics/ida_rd.json"]["flow-compact.x4.bicubic.dss"]
    assert entry["old"] != entry["new"]
    assert not [key for key in changes["metrics/ida_rd.json"] if ".mine." in key]
    shown = run("dvc", "metrics", "show", "--md", cwd=changed).stdout
    assert "flow-compact.x4.mine.psnr" in shown


def _at_work(folder: Path) -> list[int]:
    """Processes whose working directory is `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if path.readlink() == folder:
                found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc which processes work")
def test_a_run_killed_in_upscale_leaves_nobody_behind_and_resumes_where_it_was(
    finished: Path, repository: Path
) -> None:
    """DVC itself is killed outright: its stage ends, what was finished is kept, and the next run ends with the same."""
    branch = "data/sr/flow-compact/x4/bicubic"
    shutil.rmtree(repository / ".ida-rd")
    command = ["dvc", "repro", "--force", "--single-item", "upscale@flow-compact-bicubic-4"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "IDA_RD_WORKERS": "1", "IDA_RD_DEVICE": "cpu", "PYTHONPATH": str(repository)}
    process = subprocess.Popen(command, cwd=repository, env=env)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not units(repository) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while time.monotonic() < deadline and _at_work(repository):
        time.sleep(0.1)
    assert not _at_work(repository), "left behind"
    found = units(repository)
    assert found
    if not (repository / branch).exists():  # else the machine was so slow to kill that the stage had ended
        assert len(found) <= 8
    inode = next(iter(found)).with_suffix(".webp").stat().st_ino
    done = run(*command, cwd=repository)
    assert len(found) < 2 or "of 4 images were already finished" in done.stderr
    kept = {path.stat().st_ino for path in (repository / ".ida-rd/store").glob("??/*.webp")}
    assert inode in kept, "the very file of the killed run"
    before = {p.relative_to(finished): p.read_bytes() for p in (finished / branch).rglob("*") if p.is_file()}
    after = {p.relative_to(repository): p.read_bytes() for p in (repository / branch).rglob("*") if p.is_file()}
    assert before == after
    assert _repro(repository) == set()
