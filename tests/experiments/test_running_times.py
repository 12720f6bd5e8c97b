"""Table 1: a line by stage and image, from raw rows that are kept; the paper's figures in a column of their own."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, stage_here
from made import script

from ida_rd.core.errors import UserError
from ida_rd.core.methods import validate

HERE = ROOT / "experiments/running-times"
START = {"plan": 1.0, "downscale": 2.0, "upscale": 5.0, "distort": 3.0, "aggregate": 1.0}
EACH = {"plan": 0.0, "downscale": 0.1, "upscale": 0.5, "distort": 0.25, "aggregate": 0.05}


@pytest.fixture(scope="module")
def timetable() -> ModuleType:
    return script("running-times/timetable.py")


@pytest.fixture(scope="module")
def running_times(timetable: ModuleType) -> ModuleType:
    return script("running-times/running_times.py")


def _rows(upscalers: dict[str, float], noise: float = 0.0) -> dict[str, pd.DataFrame]:
    """Runs on a line; an upscaler is so many times as slow as `EACH`, and two workers half as slow."""
    rng = np.random.default_rng(0)
    runs, units, calls = [], [], []
    for upscaler, slow in upscalers.items():
        for workers in (1, 2):
            for repetition in range(2):
                for count in (10, 20, 40):
                    key = {"upscaler": upscaler, "size": 64, "workers": workers, "count": count}
                    key["repetition"] = repetition
                    for stage in START:
                        seconds = START[stage] + EACH[stage] * slow * count / workers + noise * rng.normal()
                        row = key | {"stage": stage, "seconds": seconds, "memory": 10**9 * workers, "threads": 1}
                        row |= {
                            "gpu_memory": None,
                            "samples": 2 if stage == "upscale" else None,
                            "processes": workers,
                            "device": "cpu",
                            "loading_s": 0.5,
                        }
                        runs.append(row | {"score": np.nan, "scored_by": None})
                    runs[-1] |= {"score": count / 100, "scored_by": "LPIPS"}
                    units += [
                        key | {"stage": "upscale", "image_id": f"t{i}", "parts": 2, "seconds": slow * 0.01 * i}
                        for i in range(count)
                    ]
        for i, phase in enumerate(["load", "first", "warm-up", *["counted"] * 10]):
            row = {"upscaler": upscaler, "size": 64, "stage": "upscale", "phase": phase, "image_id": "t"}
            calls.append(row | {"seconds": {"load": 7.0, "first": 3.0, "warm-up": 9.0}.get(phase, 0.1 * i)})
    return {"runs": pd.DataFrame(runs), "units": pd.DataFrame(units), "latency": pd.DataFrame(calls)}


METHODS = {"mine": "flow", "theirs": "srflow"}
PAPER = yaml.safe_load((HERE / "params.yaml").read_text())["paper"]


def _table(timetable: ModuleType, rows: dict[str, pd.DataFrame], before: pd.DataFrame | None = None) -> pd.DataFrame:
    return timetable.summarised(rows, METHODS, PAPER["minutes"], 0.95, before)


def test_a_line_tells_start_up_from_what_an_image_costs(timetable: ModuleType) -> None:
    table = _table(timetable, _rows({"mine": 1.0, "theirs": 4.0})).set_index(timetable.KEYS).sort_index()
    for name, slow in (("mine", 1.0), ("theirs", 4.0)):
        for workers in (1, 2):
            part = table.loc[(name, 64, workers)]
            assert part.loc["upscale", ["a", "b"]].tolist() == pytest.approx([5.0, 0.5 * slow / workers])
            assert part.loc["the rest", ["a", "b"]].tolist() == pytest.approx([2.0, 0.05 * slow / workers])
            whole = part.loc["whole run"]
            assert [whole.a, whole.b] == pytest.approx([sum(START.values()), sum(EACH.values()) * slow / workers])
            assert (whole.runs, whole.least, whole.most) == (6, 10, 40), "three N, twice"
            assert whole.score == pytest.approx(0.4), "beside the time, of the largest run"
            assert part.loc["upscale"].memory == 10**9 * workers
    upscale = table.loc[("mine", 64, 1, "upscale")]
    assert (upscale.latency_load, upscale.latency_first, upscale.latency_count) == (7.0, 3.0, 10)
    assert upscale.latency_median == pytest.approx(0.75), "neither the first nor those after it are in it"
    assert upscale.latency_p90 == pytest.approx(np.quantile(0.1 * np.arange(3, 13), 0.9))
    assert upscale.unit_count == 140


def test_intervals_hold_the_line_and_are_none_where_nothing_is_free(timetable: ModuleType) -> None:
    table = _table(timetable, _rows({"mine": 1.0}, noise=0.3)).dropna(subset=["size"])
    rows = table[table.stage == "upscale"]
    assert (rows.b_low < rows.b_high).all()
    assert ((rows.b_low < 0.5 / rows.workers) & (0.5 / rows.workers < rows.b_high)).all()
    two = timetable.fitted(np.array([1.0, 2.0]), np.array([3.0, 5.0]), 0.95)
    assert (two["a"], two["b"]) == pytest.approx((1.0, 2.0))
    assert np.isnan([two["a_low"], two["b_high"]]).all()


def test_the_papers_seconds_are_a_column_of_their_own(timetable: ModuleType, shared: Path) -> None:
    paper = yaml.safe_load((shared / "paper/tables.yaml").read_text())["table_1_running_times"]
    assert PAPER["minutes"] == paper
    table = _table(timetable, _rows({"mine": 1.0, "theirs": 1.0}))
    assert [f"{value:.1f}" for value in timetable.divided(paper["pulse"])] == ["37.6", "37.0", "36.5"]
    assert [f"{value:.1f}" for value in timetable.divided(paper["srflow"])] == ["3.6", "3.5", "3.7"]
    told = table.dropna(subset=["paper"])
    assert told[["upscaler", "stage"]].drop_duplicates().to_numpy().tolist() == [
        ["theirs", "whole run"], ["pulse", "whole run"],
    ]  # fmt: skip
    assert [f"{value:.1f}" for value in told.paper] == ["3.6", "3.6", "37.0"]
    pulse = table[table.upscaler == "pulse"].iloc[0]
    assert np.isnan(pulse.b), "not run here: nothing of ours stands in its row"


def test_an_earlier_day_stands_beside(timetable: ModuleType) -> None:
    before = _table(timetable, _rows({"mine": 2.0}))
    table = _table(timetable, _rows({"mine": 1.0}), before).dropna(subset=["size"])
    both = table[table.stage != "the rest"]
    assert both.b_before.to_numpy() == pytest.approx(2 * both.b.to_numpy())


def _facts(timetable: ModuleType, **changes: Any) -> Any:
    settings = {"counts": [10, 20, 40], "repetitions": 2, "samples": 2, "factor": 4, "confidence": 0.95}
    settings |= {"downscaler": {"method": "resample", "filter": "bicubic"}, "distortions": {"lpips": {}}}
    machine = {"processor": "a_b & c", "program": {"version": "1", "commit": "abc"}}
    rows = _rows({"mine": 1.0, "theirs": 4.0})
    values = {
        "data": "made", "settings": settings, "machine": machine, "left_out": {"sr3": "its file is not here"},
        "source": PAPER["source"], "paper": PAPER["minutes"], "rows": rows, "table": _table(timetable, rows),
    }  # fmt: skip
    return timetable.Facts(**(values | changes))


def test_words_and_tables_say_what_was_computed(timetable: ModuleType) -> None:
    facts = _facts(timetable)
    text = timetable.page(facts)
    assert "mine, 64 pixels, 1 worker: a run takes 12 [12, 12] s and 0.9 [0.9, 0.9] s per image, 56% of that" in text
    assert "mine, 64 pixels: 2 workers in the place of 1 make an image cost 2.00 times less." in text
    assert "a sample takes 0.75 s (median of 10; 1.11 s at the 90th percentile), the first 3 s, after 7 s" in text
    assert "pulse divides to 37.6, 37.0, 36.5 s per image at N of 300, 600, 900; by a line through these" in text
    assert "pulse: not run here; Table 1: 37.0 s per image." in text
    assert "**Left out: sr3**, because its file is not here." in text
    assert "K = 2 (of a deterministic upscaler 1), factor 4, one downscaler (resample, bicubic)" in text
    assert "0.4 (LPIPS) | 3.6 |" in text
    tex = timetable.latex(facts)
    assert r"\toprule" in tex
    assert tex.count("whole run") == 5
    figure = timetable.draw(facts)
    (axis,) = figure.axes
    line = next(one for one in axis.lines if one.get_label() == "theirs, 2 workers")
    assert line.get_ydata().tolist() == pytest.approx([12.0, 12 + 40 * 1.8])


def test_settings_that_make_no_line_are_refused(running_times: ModuleType) -> None:
    values = yaml.safe_load((HERE / "params.yaml").read_text())
    assert validate(running_times.Timing, values, where="params.yaml").counts == [4, 8, 16]
    with pytest.raises(UserError, match="counts: give three different N or more"):
        validate(running_times.Timing, values | {"counts": [4, 8, 8]}, where="params.yaml")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The experiment with three small N; the working directory."""
    here = tmp_path / "experiment"
    here.mkdir()
    values = yaml.safe_load((HERE / "params.yaml").read_text())
    values |= {"data": "small", "sizes": [64], "counts": [2, 3, 4], "repetitions": 1, "workers": [1]}
    upscalers = {"flow-mode": {"method": "flow", "heat": 0}, "gone": {"method": "spandrel", "path": "x"}}
    values |= {"upscalers": upscalers | {"absent": {"method": "srflow"}}}
    values |= {"distortions": {"psnr": {"method": "pixel"}}, "latency": {"warm_up": 1, "images": 3}}
    (here / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(here)
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return here


def _in_this_process(folder: Path, script: Path, *arguments: str, workers: int) -> float:
    """What takes seconds to start takes none; the seconds are made up."""
    if script.parent == ROOT / "stages":
        done = stage_here(script.stem, *arguments, cwd=folder)
        if done.returncode:
            raise UserError(f"{script.stem}: {done.stderr.splitlines()[-1].removeprefix('error: ')}")
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", [str(script), *arguments])
            runpy.run_path(str(script), run_name="__main__")
    return 2.0 + 0.5 * len(list((folder / "photos").iterdir()))


def test_real_runs_leave_their_raw_rows(
    running_times: ModuleType, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_times, "call", _in_this_process)
    running_times.main()
    results = small / "results/small"
    assert {path.name for path in results.iterdir()} == {
        "latency.csv", "runs.csv", "table.csv", "times.json", "times.md", "times.pdf", "times.png", "times.svg",
        "times.tex", "units.csv",
    }  # fmt: skip
    runs, units, calls = (pd.read_csv(results / f"{name}.csv") for name in ("runs", "units", "latency"))
    assert len(runs) == 3 * 8, "a row per stage of a run"
    upscale = runs[runs.stage == "upscale"].set_index("count")
    assert upscale.units.to_dict() == {2: 2, 3: 3, 4: 4}
    assert (upscale.device == "cpu").all()
    assert (upscale.threads == 1).all()
    own = units[units.stage == "upscale"]
    assert own.groupby("count").image_id.nunique().to_dict() == {2: 2, 3: 3, 4: 4}
    assert (own.parts == 1).all(), "of a deterministic upscaler"
    sums = own.groupby("count").seconds.sum()
    assert sums.to_dict() == pytest.approx(upscale.busy_s.to_dict(), abs=1e-4)
    for stage in ("downscale", "upscale", "distort"):
        phases = calls[calls.stage == stage].phase.tolist()
        assert phases == ["load", "first", "warm-up", *["counted"] * 3]
    table = pd.read_csv(results / "table.csv").dropna(subset=["size"]).set_index("stage")
    assert table.b["whole run"] == pytest.approx(8 * 0.5)
    assert table.loc["upscale"].samples == 1
    told = json.loads((results / "times.json").read_text())
    assert told["left_out"]["gone"] == "upscalers.gone: path: x does not exist: give the file of a checkpoint"
    assert "not at torch's cache/" in told["left_out"]["absent"]
    assert str(small.parent) not in (results / "times.json").read_text(), "results are published: no folder of mine"
    assert told["machine"]["torch"]
    assert "Left out: gone" in (results / "times.md").read_text()


def test_an_error_of_a_stage_is_a_line_and_seconds_are_of_the_process(
    running_times: ModuleType, small: Path, tmp_path: Path
) -> None:
    sleeps, fails = tmp_path / "sleeps.py", tmp_path / "fails.py"
    sleeps.write_text("import os, sys, time\ntime.sleep(0.2)\nopen('told', 'w').write(os.environ['IDA_RD_WORKERS'])\n")
    fails.write_text("import sys\nprint('error: no such thing', file=sys.stderr)\nsys.exit(2)\n")
    assert running_times.call(tmp_path, sleeps, workers=3) >= 0.2
    assert (tmp_path / "told").read_text() == "3"
    with pytest.raises(UserError, match=r"^fails: no such thing$"):
        running_times.call(tmp_path, fails, workers=1)
    values = yaml.safe_load(Path("params.yaml").read_text()) | {"sizes": [5000]}
    timing = validate(running_times.Timing, values, where="params.yaml")
    with pytest.raises(UserError, match="no photograph has 5000 x 5000 pixels"):
        running_times.write_tiles(timing, 5000, tmp_path)


@pytest.mark.slow
def test_processes_of_their_own_do_it_too(running_times: ModuleType, small: Path) -> None:
    running_times.main()
    runs = pd.read_csv("results/small/runs.csv")
    assert (runs.seconds > 0).all()
    assert (runs.memory.dropna() > 10**7).all()
    shutil.rmtree("results")
