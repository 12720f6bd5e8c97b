"""The pipeline as DVC runs it, in real repositories: what reruns, and that the numbers are the same."""

from __future__ import annotations

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
import yaml
from conftest import run, stage

from ida_rd.engine.device import worker_count

RUNNING = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)
CACHED = re.compile(r"^Stage '([^']+)' is cached", re.MULTILINE)


def _repro(repository: Path, target: str | None = None, env: dict[str, str] | None = None) -> set[str]:
    """Run the pipeline, or what `target` needs; return the stages that ran."""
    done = run("dvc", "repro", *([target] if target else []), cwd=repository, env=env)
    return set(RUNNING.findall(done.stdout))


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


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
        assert entry["dss"]["ci_low"] < entry["dss"]["mean"] < entry["dss"]["ci_high"]
        rows = pd.read_csv(finished / f"data/distortion/flow-compact/x4/{downscaler}.csv")
        assert list(rows.columns) == ["image_id", "sample", "finite", "attempts", "clipped", "dss", "psnr"]
        assert len(rows) == 8
        assert rows.groupby("image_id").dss.mean().mean() == entry["dss"]["mean"]
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


def test_changing_a_parameter_reruns_its_branch_alone(repository: Path) -> None:
    _edit(repository / "params.yaml", "filter: bicubic", "filter: box")
    assert _repro(repository) == ENDS | _branch("bicubic")


def test_editing_a_methods_source_reruns_its_branch_alone(repository: Path) -> None:
    _edit(repository / "mine.py", "hr[::4, ::4]", "hr[1::4, 1::4]")
    assert _repro(repository) == ENDS | _branch("mine")


def test_a_comment_in_another_room_reruns_nothing_of_this_one(repository: Path) -> None:
    _edit(repository / "ida_rd/report/figures.py", "from __future__", "# A remark.\nfrom __future__")
    assert _repro(repository) == {"plan", "report"}
    _edit(repository / "ida_rd/distort/pixel.py", "from __future__", "# A remark.\nfrom __future__")
    done = run("dvc", "repro", cwd=repository)
    ran = set(RUNNING.findall(done.stdout))
    assert ran >= {"plan", "distort@flow-compact-bicubic-4"}
    assert not {name for name in ran if name.startswith(("attributes", "balance", "downscale", "upscale"))}


def test_a_new_downscaler_runs_its_branch_alone(repository: Path) -> None:
    _edit(repository / "params.yaml", "  mine:", "  box: {method: resample, filter: box}\n  mine:")
    assert _repro(repository) == ENDS | _branch("box")
    metrics = json.loads((repository / "metrics/tables/ida_rd.json").read_text())
    assert set(metrics["flow-compact"]["x4"]) == {"bicubic", "box", "mine"}


def test_adding_a_distortion_computes_that_one_alone_and_removing_one_nothing(repository: Path) -> None:
    before = _finished_units(repository)
    _edit(repository / "params.yaml", "  psnr:", "  fsim: {method: structural, metric: fsim}\n  psnr:")
    ran = _repro(repository, "aggregate")
    assert not {name for name in ran if name.startswith(("downscale", "upscale"))}
    after = _finished_units(repository)
    assert len(after - before) == 2 * 4 * 2  # one per branch, image and sample
    _edit(repository / "params.yaml", "  dss: {method: structural, metric: dss}\n", "")
    _repro(repository, "aggregate")
    assert _finished_units(repository) == after


def test_what_a_squared_distance_is_made_of_stands_beside_it(repository: Path) -> None:
    _edit(repository / "params.yaml", "  dss:", "  mse: {method: pixel, metric: mse}\n  dss:")
    _repro(repository)
    rows = pd.read_csv(repository / "data/distortion/flow-compact/x4/mine.csv")
    assert (rows["mse:spread"] > 0).all()
    assert "dss:spread" not in rows
    entry = json.loads((repository / "metrics/tables/ida_rd.json").read_text())["flow-compact"]["x4"]["mine"]
    assert entry["mse"]["variance"] == pytest.approx(rows["mse:spread"].mean() / 2)
    assert entry["mse"]["variance"] + entry["mse"]["bias"] == pytest.approx(entry["mse"]["mean"])
    assert entry["psnr"]["variance"] is None
    table = (repository / "metrics/tables/ida_rd.md").read_text()
    assert f"| {entry['mse']['variance']:.4f} : {entry['mse']['bias']:.4f} = " in table
    assert "bias² " in (repository / "metrics/report/index.html").read_text()


def test_metrics_diff_shows_what_changed(repository: Path) -> None:
    run("git", "add", "--all", cwd=repository)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    run("git", *identity, "commit", "--quiet", "-m", "first", cwd=repository)
    _edit(repository / "params.yaml", "filter: bicubic", "filter: box")
    _repro(repository, "aggregate")
    changes = json.loads(run("dvc", "metrics", "diff", "--json", "HEAD", cwd=repository).stdout)
    entry = changes["metrics/ida_rd.json"]["flow-compact.x4.bicubic.dss"]
    assert entry["old"] != entry["new"]
    assert not [key for key in changes["metrics/ida_rd.json"] if ".mine." in key]
    shown = run("dvc", "metrics", "show", "--md", cwd=repository).stdout
    assert "flow-compact.x4.mine.psnr" in shown


def _remove_outputs(repository: Path) -> None:
    for name in ("data", "metrics", ".ida-rd", "dvc.lock", ".dvc/cache", ".dvc/tmp"):
        target = repository / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)


def test_numbers_do_not_depend_on_workers_or_the_order_of_files(finished: Path, repository: Path) -> None:
    # The first run had a worker a core, and the files in another order.
    workers = "1" if worker_count() > 1 else "2"
    _remove_outputs(repository)
    photos = repository / "photos"
    data = {path.name: path.read_bytes() for path in photos.iterdir()}
    shutil.rmtree(photos)
    photos.mkdir()
    for name in sorted(data, reverse=True):
        (photos / name).write_bytes(data[name])
    _repro(repository, "aggregate", {"IDA_RD_WORKERS": workers})
    for name in ("metrics/ida_rd.json", "metrics/balance.json", "data/subset.csv", "metrics/tables/ida_rd.csv"):
        assert (repository / name).read_bytes() == (finished / name).read_bytes(), name


def _finished_units(repository: Path) -> set[Path]:
    found = (repository / ".ida-rd/store").glob("??/*.json")
    return {path for path in found if not path.name.startswith(".")}


def test_a_run_killed_in_upscale_goes_on_where_it_was(finished: Path, repository: Path) -> None:
    branch = "data/sr/flow-compact/x4/bicubic"
    shutil.rmtree(repository / branch)
    shutil.rmtree(repository / ".ida-rd")
    shutil.rmtree(repository / ".dvc" / "cache")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "IDA_RD_WORKERS": "1", "IDA_RD_DEVICE": "cpu", "PYTHONPATH": str(repository)}
    process = subprocess.Popen(["python", "stages/upscale.py", "flow-compact", "4", "bicubic"], cwd=repository, env=env)
    deadline = time.monotonic() + 120
    units: set[Path] = set()
    while time.monotonic() < deadline and not units and process.poll() is None:
        units = _finished_units(repository)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    units = _finished_units(repository)
    assert 1 <= len(units) < 8, "the run was to be killed in the middle"
    assert not (repository / branch).exists()
    inode = next(iter(units)).with_suffix(".webp").stat().st_ino
    done = stage("upscale", "flow-compact", "4", "bicubic", cwd=repository)
    assert done.returncode == 0
    if len(units) > 1:
        assert f"{len(units) // 2} of 4 images were finished before" in done.stdout
    inodes = {path.stat().st_ino for path in (repository / branch).rglob("*.webp")}
    assert inode in inodes  # the very file of the killed run
    before = {p.relative_to(finished): p.read_bytes() for p in (finished / branch).rglob("*") if p.is_file()}
    after = {p.relative_to(repository): p.read_bytes() for p in (repository / branch).rglob("*") if p.is_file()}
    assert before == after
    _repro(repository, "aggregate")
    assert (repository / "metrics/ida_rd.json").read_bytes() == (finished / "metrics/ida_rd.json").read_bytes()


def test_any_external_program_is_an_upscaler(repository: Path) -> None:
    (repository / "sr.py").write_text(
        "import sys\n"
        "import numpy as np\n"
        "from PIL import Image\n"
        "image = Image.open(sys.argv[1])\n"
        "big = np.asarray(image.resize((4 * image.width, 4 * image.height), Image.Resampling.BICUBIC)).astype(int)\n"
        "noise = np.random.default_rng(int(sys.argv[3])).normal(0, 5, big.shape)\n"
        "Image.fromarray(np.clip(big + noise, 0, 255).astype(np.uint8)).save(sys.argv[2])\n"
    )
    parameters = yaml.safe_load((repository / "params.yaml").read_text())
    command = ["python", "sr.py", "{input}", "{output}", "{seed}"]
    parameters["upscalers"]["noisy"] = {"method": "command", "command": command, "factors": [4], "stochastic": True}
    sharp = ["python", "sr.py", "{input}", "{output}", "0"]
    parameters["upscalers"]["fixed"] = {"method": "command", "command": sharp, "factors": [4], "stochastic": False}
    (repository / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    ran = _repro(repository, "aggregate")
    assert not {name for name in ran if "flow-compact" in name}
    metrics = json.loads((repository / "metrics/tables/ida_rd.json").read_text())
    assert metrics["noisy"]["x4"]["bicubic"]["samples"] == 2
    assert metrics["noisy"]["x4"]["bicubic"]["psnr"]["std_samples"] > 0
    assert metrics["fixed"]["x4"]["bicubic"]["samples"] == 1  # deterministic: one sample is all there is
    assert metrics["fixed"]["x4"]["bicubic"]["psnr"]["std_samples"] is None


def test_samples_that_are_not_finite_are_left_out_and_counted(repository: Path) -> None:
    rows = repository / "data/sr/flow-compact/x4/mine/samples.csv"
    text = rows.read_text().splitlines()
    assert text[1].startswith("photo-0,0,True")
    rows.write_text("\n".join([text[0], text[1].replace("True,1", "False,3"), *text[2:]]) + "\n")
    (repository / "data/sr/flow-compact/x4/mine/photo-0/0.webp").unlink()
    assert stage("distort", "flow-compact", "4", "mine", cwd=repository).returncode == 0
    assert stage("aggregate", cwd=repository).returncode == 0
    entry = json.loads((repository / "metrics/tables/ida_rd.json").read_text())["flow-compact"]["x4"]["mine"]
    assert entry["nonfinite_rate"] == 1 / 8
    assert entry["images"] == 4
    table = pd.read_csv(repository / "data/distortion/flow-compact/x4/mine.csv")
    assert table.dss.isna().tolist() == [True] + [False] * 7


def test_a_downscaler_whose_software_is_missing_is_skipped_if_so_wished(finished: Path, repository: Path) -> None:
    parameters = yaml.safe_load((repository / "params.yaml").read_text()) | {"missing_software": "skip"}
    parameters["downscalers"]["gone"] = {"method": "command", "command": ["no-such-program", "{input}", "{output}"]}
    (repository / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = run("dvc", "repro", cwd=repository)
    assert "warning: downscaler gone is SKIPPED: the program 'no-such-program' is not on the PATH" in done.stderr
    table = (repository / "metrics/tables/ida_rd.md").read_text()
    assert "**Skipped: gone**, because the program 'no-such-program' is not on the PATH" in table
    assert "gone was skipped" in (repository / "metrics/report/index.html").read_text()
    before, after = (json.loads((root / "metrics/tables/ida_rd.json").read_text()) for root in (finished, repository))
    assert after["flow-compact"] == before["flow-compact"], "the others have their scores"
    assert after["skipped"].keys() == {"gone"}
    # Where the program turns up, its branch runs, and no other.
    parameters["downscalers"]["gone"] = {"method": "resample", "filter": "box"}
    (repository / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    stdout = run("dvc", "repro", cwd=repository).stdout
    assert "Running stage 'upscale@flow-compact-gone-4'" in stdout
    assert "Running stage 'upscale@flow-compact-bicubic-4'" not in stdout
    assert "gone" in json.loads((repository / "metrics/tables/ida_rd.json").read_text())["flow-compact"]["x4"]
