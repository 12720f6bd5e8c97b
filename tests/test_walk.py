"""The numbers of a run, walked through in one process; that DVC gives the same is tested here too."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import edit, run, units, walk

from ida_rd.core.project import Branch, Project
from ida_rd.distort.stage import write_distances
from ida_rd.engine.script import store_of

BRANCH = Branch("flow-compact", 4, "mine")


def _scores(folder: Path) -> dict:
    return json.loads((folder / "metrics/tables/ida_rd.json").read_text())


def _change(folder: Path, **sections: object) -> None:
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    for section, entries in sections.items():
        if isinstance(entries, dict):
            parameters[section] |= entries
        else:
            parameters[section] = entries
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in ("data", "metrics")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


def test_a_run_without_dvc_gives_the_same_bytes(finished: Path, walked: Path) -> None:
    """Also with one worker in place of one per core."""
    for name in ("data", "metrics", ".ida-rd"):
        shutil.rmtree(walked / name)
    done = run("python", "-m", "ida_rd.run", cwd=walked, env={"IDA_RD_WORKERS": "1"})
    assert "| flow-compact | x4 | bicubic |" in done.stdout
    wanted, found = _files(finished), _files(walked)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if wanted[name] != found[name]] == []
    both = [(folder / ".ida-rd/times.jsonl").read_text() for folder in (finished, walked)]
    assert both[0] != both[1], "what it took differs, and is in no output"


def test_what_is_finished_is_not_computed_again(walked: Path) -> None:
    """Another sample, another image, another name, another label: what is new alone."""
    before = units(walked)
    walk()
    assert units(walked) == before
    _change(walked, samples=3)
    walk()
    more = units(walked) - before
    assert len(more) == 2 * 4 * (1 + 2)  # per downscaler and image: a sample, and its distance by dss and psnr
    parameters = yaml.safe_load((walked / "params.yaml").read_text())
    parameters["downscalers"]["renamed"] = parameters["downscalers"].pop("mine")
    parameters["upscalers"]["heat-0.9".replace(".", "_")] = parameters["upscalers"].pop("flow-compact")
    (walked / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    before = units(walked)
    walk()
    assert units(walked) == before
    assert set(_scores(walked)["heat-0_9"]["x4"]) == {"bicubic", "renamed"}
    _change(walked, samples=2)
    walk()
    assert units(walked) == before


def test_one_more_image_computes_that_one(walked: Path) -> None:
    before = units(walked)
    shutil.copyfile(walked / "photos/photo-0.png", walked / "photos/photo-9.png")
    _change(walked, balance={"size": 5})
    walk()
    # Where its tile lies and what it looks like; two LR images; two samples of each; two distances of each sample; how
    # likely it is given either LR image. Its pixels are those of another image, but its name decides what is random.
    added = units(walked) - before
    assert len(added) == 2 + 2 + 2 * 2 + 2 * 2 * 2 + 2


def test_what_a_squared_distance_is_made_of_stands_beside_it(walked: Path) -> None:
    edit(walked / "params.yaml", "  dss:", "  mse: {method: pixel, metric: mse}\n  dss:")
    walk(report=True)
    rows = pd.read_csv(walked / "data/distortion/flow-compact/x4/mine.csv")
    assert (rows["mse:spread"] > 0).all()
    assert "dss:spread" not in rows
    entry = _scores(walked)["flow-compact"]["x4"]["mine"]
    assert entry["mse"]["variance"] == pytest.approx(rows["mse:spread"].mean() / 2)
    assert entry["mse"]["variance"] + entry["mse"]["bias"] == pytest.approx(entry["mse"]["mean"])
    assert entry["psnr"]["variance"] is None
    table = (walked / "metrics/tables/ida_rd.md").read_text()
    assert f"| {entry['mse']['variance']:.3f} : {entry['mse']['bias']:.3f} = " in table
    assert "squared error" in (walked / "metrics/report/index.html").read_text()


def test_adding_a_distortion_computes_that_one_alone_and_removing_one_nothing(walked: Path) -> None:
    before = units(walked)
    edit(walked / "params.yaml", "  psnr:", "  fsim: {method: structural, metric: fsim}\n  psnr:")
    walk()
    after = units(walked)
    assert len(after - before) == 2 * 4 * 2  # one per branch, image and sample
    edit(walked / "params.yaml", "  dss: {method: structural, metric: dss}\n", "")
    walk()
    assert units(walked) == after


def test_any_external_program_is_an_upscaler(walked: Path) -> None:
    (walked / "sr.py").write_text(
        "import sys\n"
        "import numpy as np\n"
        "from PIL import Image\n"
        "image = Image.open(sys.argv[1])\n"
        "big = np.asarray(image.resize((4 * image.width, 4 * image.height), Image.Resampling.BICUBIC)).astype(int)\n"
        "noise = np.random.default_rng(int(sys.argv[3])).normal(0, 5, big.shape)\n"
        "Image.fromarray(np.clip(big + noise, 0, 255).astype(np.uint8)).save(sys.argv[2])\n"
    )
    command = ["python", "sr.py", "{input}", "{output}", "{seed}"]
    sharp = ["python", "sr.py", "{input}", "{output}", "0"]
    noisy = {"method": "command", "command": command, "factors": [4], "stochastic": True}
    fixed = {"method": "command", "command": sharp, "factors": [4], "stochastic": False}
    _change(walked, upscalers={"noisy": noisy, "fixed": fixed})
    before = units(walked)
    walk()
    assert len(units(walked) - before) == 2 * 4 * (2 + 1) * 3, "nothing of the flow's"
    metrics = _scores(walked)
    assert metrics["noisy"]["x4"]["bicubic"]["samples"] == 2
    assert metrics["noisy"]["x4"]["bicubic"]["psnr"]["std_samples"] > 0
    assert metrics["fixed"]["x4"]["bicubic"]["samples"] == 1  # deterministic: one sample is all there is
    assert metrics["fixed"]["x4"]["bicubic"]["psnr"]["std_samples"] is None
    assert metrics["fixed"]["x4"]["bicubic"]["marks"] == "deterministic"
    assert "| fixed (deterministic) |" in (walked / "metrics/tables/ida_rd.md").read_text()


def test_samples_that_are_not_finite_are_left_out_and_counted(walked: Path) -> None:
    from ida_rd.aggregate.stage import write_results

    rows = walked / "data/sr/flow-compact/x4/mine/samples.csv"
    text = rows.read_text().splitlines()
    assert text[1].startswith("photo-0,0,True")
    rows.write_text("\n".join([text[0], text[1].replace("True,1", "False,3"), *text[2:]]) + "\n")
    (walked / "data/sr/flow-compact/x4/mine/photo-0/0.webp").unlink()
    project = Project()
    write_distances(project, BRANCH, store_of(project))
    write_results(project)
    entry = _scores(walked)["flow-compact"]["x4"]["mine"]
    assert entry["nonfinite_rate"] == 1 / 8
    assert entry["images"] == 4
    table = pd.read_csv(walked / "data/distortion/flow-compact/x4/mine.csv")
    assert table.dss.isna().tolist() == [True] + [False] * 7


def test_numbers_do_not_depend_on_the_order_of_files(finished: Path, walked: Path) -> None:
    photos = walked / "photos"
    data = {path.name: path.read_bytes() for path in photos.iterdir()}
    shutil.rmtree(photos)
    photos.mkdir()
    for name in sorted(data, reverse=True):
        (photos / name).write_bytes(data[name])
    for name in ("data", "metrics", ".ida-rd"):
        shutil.rmtree(walked / name)
    walk()
    for name in ("metrics/ida_rd.json", "metrics/balance.json", "data/subset.csv", "metrics/tables/ida_rd.csv"):
        assert (walked / name).read_bytes() == (finished / name).read_bytes(), name


def test_two_runs_at_once_end_with_what_each_gives_alone(finished: Path, walked: Path) -> None:
    for name in ("data", "metrics", ".ida-rd"):
        shutil.rmtree(walked / name)
    command = [sys.executable, "-m", "ida_rd.run", "--without-report"]
    runs = [subprocess.Popen(command, cwd=walked, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], errors
    assert sum("another run is working in" in text for text in errors) == 1
    assert (walked / "metrics/ida_rd.json").read_bytes() == (finished / "metrics/ida_rd.json").read_bytes()
    assert not list(walked.rglob(".partial-*"))


def test_a_downscaler_whose_software_is_missing_is_skipped_if_asked(
    finished: Path, walked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"method": "command", "command": ["no-such-program", "{input}", "{output}"]}
    _change(walked, downscalers={"gone": gone}, missing_software="skip")
    walk(report=True)
    said = capsys.readouterr().err
    assert "warning: downscaler gone is SKIPPED: the program 'no-such-program' is not on the PATH" in said
    table = (walked / "metrics/tables/ida_rd.md").read_text()
    assert "**Skipped: gone**, because the program 'no-such-program' is not on the PATH" in table
    assert "gone was skipped" in (walked / "metrics/report/index.html").read_text()
    before, after = _scores(finished), _scores(walked)
    assert after["flow-compact"] == before["flow-compact"], "the others have their scores"
    assert after["skipped"].keys() == {"gone"}
    # Where the program turns up, its branch runs, and no other.
    known = units(walked)
    _change(walked, downscalers={"gone": {"method": "resample", "filter": "box"}})
    walk()
    assert len(units(walked) - known) == 4 * (1 + 2 * 3 + 1)
    assert "gone" in _scores(walked)["flow-compact"]["x4"]
