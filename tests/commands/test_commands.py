"""The command line, and the same from Python."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, run
from numpy.typing import NDArray
from PIL import Image

import ida_rd.commands
from ida_rd import score
from ida_rd.commands import commands, main
from ida_rd.core.errors import UserError
from ida_rd.core.methods import ENTRY, known_methods
from ida_rd.core.project import Project
from ida_rd.core.weights import catalogue
from ida_rd.engine.times import costs, read_times
from ida_rd.inventory import health, methods, weights
from ida_rd.scoring import DISTORTIONS
from ida_rd.sizing import plan_size, sizing_markdown

SIDE = 64


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, (y, x) in enumerate([(0, 0), (60, 190), (200, 200), (400, 300)]):
        Image.fromarray(astronaut[y : y + SIDE, x : x + SIDE]).save(folder / f"p{i}.png")
    return folder


def _lr(photos: Path, name: str, filter_: Image.Resampling) -> Path:
    folder = photos.parent / name
    folder.mkdir()
    for path in photos.iterdir():
        Image.open(path).resize((SIDE // 4, SIDE // 4), filter_).save(folder / path.name)
    return folder


def _cli(*arguments: str, code: int = 0, capsys: pytest.CaptureFixture[str]) -> str:
    try:
        main(list(arguments))
        found = 0
    except SystemExit as stop:
        found = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert found == code, out + err
    return err if code else out


def test_finished_lr_images_are_scored_beside_bicubic(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores are those of the pipeline's own methods on the same images."""
    monkeypatch.chdir(photos.parent)
    mine = _lr(photos, "mine", Image.Resampling.NEAREST)
    own = _lr(photos, "own-bicubic", Image.Resampling.BICUBIC)
    arguments = ["score", "--hr", str(photos), "--lr", str(mine), "--lr", f"copy={own}", "--downscaler", "bicubic"]
    arguments += ["--downscaler", "nearest", "--samples", "2", "--distortion", "dss", "--distortion", "psnr"]
    out = json.loads(_cli(*arguments, "--json", "--save", "out", capsys=capsys))
    means = {(row["downscaler"], row["distortion"]): row["mean"] for row in out["scores"]}
    assert {name for name, _ in means} == {"mine", "copy", "bicubic", "nearest"}
    assert means["copy", "dss"] == means["bicubic", "dss"]
    assert means["mine", "psnr"] == means["nearest", "psnr"]
    assert means["mine", "dss"] > means["bicubic", "dss"]
    assert len(out["differences"]) == 2 * 6
    rows = pd.read_csv("out/rows.csv")
    assert len(rows) == 4 * 4 * 2
    assert rows[rows.downscaler == "mine"].psnr.mean() == pytest.approx(means["mine", "psnr"], rel=1e-12)
    assert "| differ significantly |" in Path("out/scores.md").read_text()


def test_the_score_is_that_of_the_pipeline(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks from Python gets what DVC computed, to the last digit."""
    monkeypatch.chdir(tmp_path)
    metrics = json.loads((finished / "metrics/tables/ida_rd.json").read_text())["flow-compact"]["x4"]
    result = score(
        {"bicubic": "bicubic", "mine": lambda hr, size, *, rng: hr[::4, ::4].copy()},
        finished / "data/hr",
        upscaler={"method": "flow", "heat": 0.9},
        samples=2,
        distortions=["dss", "psnr"],
        resamples=200,
    )
    for row in result.scores.to_dict("records"):
        entry = metrics[row["downscaler"]][row["distortion"]]
        assert row["mean"] == entry["mean"]
        assert (row["ci_low"], row["ci_high"]) == (entry["ci_low"], entry["ci_high"])
    shown = result._repr_html_()
    assert "<table" in shown
    assert "1 - DSS ↓" in shown
    assert shown.index("bicubic") < shown.index("mine"), "best first"
    assert repr(result).startswith("| upscaler | factor | downscaler | 1 - DSS ↓ | PSNR (dB) ↑ |")


def test_arrays_of_any_size_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [astronaut[:67, :70], astronaut[100:165, 50:119]]
    result = score("nearest", images, samples=2, distortions=["psnr"], resamples=100)
    assert set(result.rows.image_id) == {"image-0000", "image-0001"}
    assert len(result.differences) == 0


def test_missing_weights_are_reported_or_refused(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDA_RD_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(photos.parent / "empty"))
    monkeypatch.chdir(photos.parent)
    distortions = ["lpips-alex", "psnr"]
    result = score("box", photos, samples=2, distortions=distortions, resamples=100)
    assert list(result.skipped) == ["lpips-alex"]
    assert "**Skipped: lpips-alex**" in result.markdown()
    assert "<b>Skipped: lpips-alex</b>" in result._repr_html_()
    with pytest.raises(UserError, match=r"weights torchvision.alexnet are not at"):
        score("box", photos, samples=2, distortions=distortions, missing_weights="error")
    capsys.readouterr()
    listed = _cli("weights", "verify", "torchvision.alexnet", code=2, capsys=capsys)
    assert "torchvision.alexnet" in listed
    assert DISTORTIONS[0] == "lpips-alex"


def test_a_downscaler_may_be_an_entry_or_a_function(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos.parent)
    Path("function_here.py").write_text("def keep(hr, size, *, rng):\n    return hr[::4, ::4].copy()\n")
    options = ["score", "--hr", str(photos), "--upscaler", "flow", "--samples", "1", "--distortion", "psnr", "--json"]
    entries = ["{method: resample, filter: box}", "soft={method: dpid, lambda: 0.5}"]
    for text in (*entries, "function_here.keep", "box", "dpid"):
        options += ["--downscaler", text]
    main(options)
    found = {row["downscaler"]: row["mean"] for row in json.loads(capsys.readouterr().out)["scores"]}
    assert set(found) == {"resample", "soft", "keep", "box", "dpid"}
    assert found["resample"] == found["box"]
    assert found["soft"] != found["dpid"]


def test_bad_input_is_one_line(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], astronaut: NDArray[np.uint8]
) -> None:
    monkeypatch.chdir(photos.parent)
    hr = ["score", "--hr", str(photos)]
    mine = _lr(photos, "mine", Image.Resampling.BOX)
    for arguments, wanted in [
        ([*hr], "give LR images (--lr) or downscalers (--downscaler)"),
        ([*hr, "--lr", "nowhere"], "--lr nowhere: is not a folder"),
        ([*hr, "--lr", str(mine), "--lr", str(mine)], "mine is there twice"),
        ([*hr, "--downscaler", "bicubik"], "bicubik"),
        ([*hr, "--downscaler", "bicubic", "--upscaler", "flo"], "did you mean 'flow'?"),
        ([*hr, "--downscaler", "bicubic", "--distortion", "fsimm"], "distortions.fsimm.metric"),
        ([*hr, "--lr", str(mine), "--factor", "8"], "expected 8 x 8"),
        ([*hr, "--downscaler", "A={method: dpid}"], "the name 'A' must consist of a-z, 0-9, - and _"),
        (
            [*hr, "--downscaler", "a={method: dpid, lambada: 1}"],
            "downscalers.a.lambada: unknown key; did you mean 'lambda'?",
        ),
        ([*hr, "--downscaler", "a={mthod: dpid}"], "--downscaler {mthod: dpid}: names no method"),
        ([*hr, *["--downscaler", "{method: dpid}"] * 2], "dpid is there twice; name them: --downscaler 'NAME={method"),
        ([*hr, "--lr", str(mine), "--factor", "2", "--upscaler", "edm"], "diffusion-compact supports factors 4, 8"),
        (["score", "--hr", "nowhere", "--downscaler", "box"], "nowhere is not a folder"),
        (["check", "pick"], "write STAGE/METHOD"),
        (["check", "downscale/dpd"], "did you mean 'dpid'?"),
        (["check", "downscale/dpid", "--set", "lambda"], "write KEY=VALUE"),
        (["check", "downscale/dpid", "--set", "lamda=1"], "lamda: unknown key; did you mean 'lambda'?"),
        (["weights", "fetch"], "name the weights"),
        (["weights", "fetch", "flow-compact.x5"], "did you mean 'flow-compact.x"),
        (["power", "a", "b"], "run `make repro` first"),
        (["power", "a", "b", "--power", "2"], "--power 2.0: give a number between 0 and 1"),
        (["compare", "main"], "run `make repro` first"),
    ]:
        error = _cli(*arguments, code=2, capsys=capsys)
        lines = [line for line in error.strip().splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, error
        assert wanted in lines[0]
    (mine / "p0.png").unlink()
    assert "1 LR images are missing (p0)" in _cli(*hr, "--lr", str(mine), code=2, capsys=capsys)
    Image.fromarray(astronaut[:66, :64]).save(photos / "p1.png")
    assert "66 pixels are not divisible by the factor 4" in _cli(
        *hr, "--lr", str(mine), "--factor", "4", code=2, capsys=capsys
    )
    with pytest.raises(UserError, match=r"float64 .*expected uint8"):
        score("box", [np.zeros((8, 8, 3)), np.zeros((8, 8, 3))])  # type: ignore[list-item]
    with pytest.raises(UserError, match="1 given"):
        score("box", [astronaut])
    with pytest.raises(UserError, match=r"downscaler mine, image-0000: the downscaler returned uint8 \(2, 2, 3\)"):
        score({"mine": lambda hr, size, *, rng: hr[:2, :2]}, [astronaut[:64, :64]] * 2)


def test_the_list_has_every_method_its_parameters_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    found = methods()
    assert {(m["stage"], m["method"]) for m in found} == {(s, m) for s in ENTRY for m in known_methods(s)}
    by_name = {m["method"]: m for m in found}
    assert by_name["dpid"]["parameters"]["lambda"] == {
        "type": "number, 0 to 20",
        "default": 1.0,
        "required": False,
        "description": "weight of details; 0: the area average",
    }
    assert by_name["folder"]["parameters"]["path"]["required"]
    assert by_name["flow"]["weights"] == ["flow-compact.x2", "flow-compact.x4", "flow-compact.x8"]
    assert all(m["about"] for m in found)
    text = _cli("list", capsys=capsys)
    assert "      lambda: number, 0 to 20, default 1.0; weight of details; 0: the area average\n" in text
    assert "weights flow-compact.x4: present; Apache-2.0" in text
    assert "weights srflow.df2k_x4: " in text
    assert "non-commercial" in text
    only = json.loads(_cli("list", "distort", "--json", capsys=capsys))
    assert {m["stage"] for m in only} == {"distort"}


def test_weights_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("IDA_RD_OFFLINE", "1")
    states = {entry["id"]: entry["state"] for entry in weights()}
    assert states.keys() == catalogue().keys()
    assert states["flow-compact.x4"] == "present"
    assert states["torchvision.alexnet"] == "missing"
    cache = tmp_path / "hub/checkpoints"
    cache.mkdir(parents=True)
    (cache / "alexnet-owt-7be5be79.pth").write_bytes(b"not weights")
    assert {e["id"]: e["state"] for e in weights()}["torchvision.alexnet"] == "wrong"
    assert "torchvision.alexnet" in _cli("weights", "verify", code=2, capsys=capsys)
    assert "wrong" in {row["state"] for row in health()}
    assert "doctor: torchvision.alexnet: see above" in _cli("doctor", code=2, capsys=capsys)


def test_the_doctor_sees_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    monkeypatch.chdir(ROOT)
    rows = {row["what"]: row for row in health()}
    assert rows["device"] == {"what": "device", "state": "ok", "detail": "cpu"}
    assert rows["torch"]["state"] == "ok"
    assert rows["pipeline"]["state"] == "ok"
    monkeypatch.setenv("IDA_RD_DEVICE", "tpu")
    monkeypatch.chdir(tmp_path)
    rows = {row["what"]: row for row in health()}
    assert rows["device"]["state"] == "wrong"
    assert rows["pipeline"]["state"] == "missing"


def test_contracts_run_from_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    for arguments in (
        ["downscale/resample", "--set", "filter=lanczos"],
        ["upscale/flow", "--factor", "4"],
        ["distort/structural", "--set", "metric=dss"],
    ):
        assert "keeps its contract" in _cli("check", *arguments, capsys=capsys)


def test_power_asks_the_rows_of_the_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_size(finished, "bicubic", "mine")
    a, b = (pd.read_csv(finished / f"data/distortion/flow-compact/x4/{name}.csv") for name in ("bicubic", "mine"))
    difference = b.set_index(["image_id", "sample"]).dss - a.set_index(["image_id", "sample"]).dss
    assert plan["difference"] == pytest.approx(difference.groupby("image_id").mean().mean())
    assert plan["distortion"] == "dss"
    assert plan["pilot"] == {"photographs": 4, "images": 4, "images_each": 1.0, "samples": 2.0}
    assert plan["photographs_needed"]["1"] >= plan["photographs_needed"]["10"]
    assert "| 5 | " in sizing_markdown(plan)
    more = plan["more_images"]
    assert (more["images"], more["samples"], more["device"]) == (100, 2, "cpu")
    assert more["known"] == more["of"] == 6, "two downscalers, each reduced, enlarged and compared"
    found = costs(read_times(Project(finished).times))
    surprise = found.pop(("surprise", "flow-compact/x4")).of(200)
    assert ("attributes", "") in found
    wanted = sum(cost.of(100) for (stage, _), cost in found.items() if stage != "attributes")
    assert more["seconds"] == pytest.approx(wanted + surprise)
    monkeypatch.chdir(finished)
    out = json.loads(_cli("power", "bicubic", "mine", "--distortion", "psnr", "--json", capsys=capsys))
    assert out["distortion"] == "psnr"
    assert "has dss, psnr" in _cli("power", "bicubic", "mine", "--distortion", "fsim", code=2, capsys=capsys)
    assert "did you mean 'bicubic'" in _cli("power", "bicubik", "mine", code=2, capsys=capsys)


def test_power_says_what_more_images_cost_where_that_is_known(finished: Path, tmp_path: Path) -> None:
    for name in ("data/plan", "data/distortion"):
        shutil.copytree(finished / name, tmp_path / name)
    shutil.copyfile(finished / "data/subset.csv", tmp_path / "data/subset.csv")
    assert plan_size(tmp_path, "bicubic", "mine")["more_images"] is None
    assert "more images" not in sizing_markdown(plan_size(tmp_path, "bicubic", "mine"))
    line = {
        "schema": 1, "stage": "upscale", "branch": "flow-compact/x4/mine", "samples": 2, "ended": 0, "whole": True,
        "share": "", "units": 10, "stored": 0, "parts": 20, "parts_stored": 0, "parts_each": 2, "busy_s": 60,
        "wall_s": 30, "load_s": 0, "workers": 2, "threads": 1, "device": "cpu", "processor": "", "memory": None,
        "gpu_memory": None, "seconds": [],
    }  # fmt: skip
    (tmp_path / ".ida-rd").mkdir()
    for seconds, told in ((60, "about 5 minutes"), (6, "less than a minute"), (3600, "about 5 hours")):
        (tmp_path / ".ida-rd/times.jsonl").write_text(json.dumps(line | {"busy_s": seconds}))
        text = sizing_markdown(plan_size(tmp_path, "bicubic", "mine"))
        assert f"100 more images cost {told} in all branches of this run, with K = 2" in text
        assert "(cpu, at most 2 workers). Times are known of 1 of its 6 parts alone, so it is more." in text


@pytest.mark.parametrize("command", ["", *commands()])
def test_help_is_there_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = _cli(*filter(None, [command]), "--help", capsys=capsys)
    assert "usage: ida-rd" in text
    if command not in ("", "doctor"):
        assert "examples:" in text


def test_the_help_names_every_command_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    text = _cli("--help", capsys=capsys)
    names = [line.split()[0] for line in text.splitlines() if line.startswith("    ") and line[4] != " "]
    assert names == list(commands())
    assert names[:6] == ["score", "assert", "photos", "list", "weights", "check"]
    assert names[6:12] == ["doctor", "compare", "publish", "verify", "bench", "site"]
    places = [module.PLACE for module in commands().values()]
    assert places == sorted(set(places)), "no two commands share a place"


def test_a_file_among_the_commands_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
PLACE, ABOUT, EXAMPLES = 15, "greet", "examples:\\n  ida-rd greet you"

def add_arguments(parser):
    parser.add_argument("whom")

def run(options):
    print(f"hello, {options.whom}")
"""
    (tmp_path / "greet.py").write_text(code)
    (tmp_path / "_private.py").write_text("raise AssertionError('this is no command')")
    monkeypatch.setattr(ida_rd.commands, "__path__", [*ida_rd.commands.__path__, str(tmp_path)])
    assert _cli("greet", "you", capsys=capsys) == "hello, you\n"
    assert list(commands())[:5] == ["score", "assert", "photos", "greet", "list"]
    del sys.modules["ida_rd.commands.greet"]


def test_the_help_waits_for_no_library(tmp_path: Path) -> None:
    code = """
import sys
from ida_rd.commands import main
try:
    main(["score", "--help"])
except SystemExit:
    print(*sorted({"numpy", "pandas", "scipy", "torch", "matplotlib", "pydantic"} & sys.modules.keys()))
"""
    done = run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert done.stdout.splitlines()[-1] == "", "the help has loaded these"


def test_the_command_is_installed(tmp_path: Path) -> None:
    assert shutil.which("ida-rd") or (ROOT / ".venv/bin/ida-rd").exists()
    done = run("ida-rd", "--version", cwd=tmp_path)
    assert done.stdout.startswith("ida-rd 0.")
    assert run("ida-rd", "nonsense", cwd=tmp_path, check=False).returncode == 2
