"""Where the time went: beside the page, never in it."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from pathlib import Path

from ida_rd.core.project import Project
from ida_rd.engine.times import SCHEMA, Took, costs, read_times
from ida_rd.report.stage import write_report
from ida_rd.report.times import HEAD, time_rows, times_markdown, times_svg, write_times

UPSCALE = Took(
    stage="upscale", branch="flow/x4/bicubic", samples=2, ended=0.0, whole=True, share="", units=10, stored=3, parts=20,
    parts_stored=6, parts_each=2.0, busy_s=50.0, wall_s=26.0, load_s=1.0, workers=2, threads=1, device="cpu",
    processor="a", memory=1_500_000_000, gpu_memory=None,
)  # fmt: skip


def test_a_row_sums_up_the_branches_of_a_stage_or_of_a_costly_method() -> None:
    lines = [
        UPSCALE,
        replace(UPSCALE, branch="flow/x4/nearest", busy_s=30.0, units=5, parts=10, wall_s=100.0),
        replace(UPSCALE, branch="srflow/x4/bicubic", device="cuda", workers=1, gpu_memory=9_000_000_000),
        replace(UPSCALE, stage="downscale", branch="x4/bicubic", samples=None, threads=None),
        replace(UPSCALE, stage="downscale", branch="x4/<nearest>", samples=None, threads=None),
    ]
    rows = {row[0]: dict(zip(HEAD, row, strict=True)) for row in time_rows(costs(lines))}
    assert list(rows) == ["downscale", "upscale flow", "upscale srflow"]
    flow = rows["upscale flow"]
    assert (flow["computed"], flow["from the store"], flow["K"]) == ("15", "6", "2")
    assert (flow["seconds each"], flow["loading"], flow["wall"]) == ("5.33", "2 s", "2.1 min")
    assert (flow["workers"], flow["memory"]) == ("2 x 1 threads, cpu", "1.5 GB")
    assert rows["upscale srflow"]["memory"] == "9 GB"
    assert rows["downscale"]["K"] == ""
    table = time_rows(costs([replace(UPSCALE, branch="<b>&\x1b/x4/a")]))
    assert ElementTree.fromstring(times_svg(table)).tag.endswith("svg"), "whatever a stranger calls a branch"
    assert "| upscale <b>" in times_markdown(table)


def test_the_page_is_the_same_whatever_it_took_and_the_table_beside_it_is_not(walked: Path, finished: Path) -> None:
    shutil.rmtree(walked / "metrics/report")
    took = read_times(Project().times)
    assert {one.stage for one in took} == {"attributes", "downscale", "upscale", "distort", "surprise"}
    slower = [{"schema": SCHEMA, **asdict(replace(one, busy_s=100 * one.busy_s))} for one in took]
    Project().times.write_text("".join(json.dumps(line) + "\n" for line in slower))
    write_report(Project())
    for path in (walked / "metrics/report").rglob("*.*"):
        assert path.read_bytes() == (finished / path.relative_to(walked)).read_bytes(), path
    for name in ("times.svg", "times.md"):
        assert (walked / ".ida-rd" / name).read_text() != (finished / ".ida-rd" / name).read_text()


def test_nothing_is_written_through_a_link_or_where_nothing_is_known(tmp_path: Path) -> None:
    for name in ("none", "linked", "known"):
        (tmp_path / name).mkdir()
    (tmp_path / "known/.ida-rd").mkdir()
    (tmp_path / "known/.ida-rd/times.jsonl").write_text(json.dumps({"schema": SCHEMA, **asdict(UPSCALE)}))
    write_times(Project(tmp_path / "none"))
    assert not (tmp_path / "none/.ida-rd").exists()
    (tmp_path / "linked/.ida-rd").symlink_to(tmp_path / "known/.ida-rd")
    write_times(Project(tmp_path / "linked"))
    assert [path.name for path in (tmp_path / "known/.ida-rd").iterdir()] == ["times.jsonl"]
    write_times(Project(tmp_path / "known"))
    assert "| upscale flow | 10 | 3 | 2 | 5 | 1 s | 26 s |" in (tmp_path / "known/.ida-rd/times.md").read_text()
    (tmp_path / "known/.ida-rd/times.svg").unlink()
    (tmp_path / "known/.ida-rd/times.svg").mkdir()
    write_times(Project(tmp_path / "known"))
