"""What lies beside a study's table: images from which everything can be computed again, and what made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from judged import IMAGES, RESULTS, conditions_of, judge_study, write_recipe

from ida_rd.core.errors import UserError
from ida_rd.study.__main__ import main
from ida_rd.study.record import _method

LEVELS = {name: 1 + 0.07 * i for i, name in enumerate(conditions_of("real-world"))}
TILES = [f"p{i // 2}" for i in range(30)]


def _spoil(folder: Path, condition: str) -> None:
    """Of image i3 no sample is finite, of i7 one is not, of i5 one was drawn again."""
    path = folder / f"data/distortion/flow-compact/x4/{condition}.csv"
    rows = pd.read_csv(path)
    lost, again = rows.image_id == "i3", (rows.image_id == "i5") & (rows["sample"] == 0)
    rows.loc[lost, ["finite", "attempts", "lpips-alex"]] = [False, 3, np.nan]
    rows.loc[again, ["attempts", "clipped"]] = [2, 0.59]
    rows.loc[(rows.image_id == "i7") & (rows["sample"] == 0), ["finite", "attempts", "lpips-alex"]] = [False, 3, np.nan]
    rows.loc[rows.image_id == "i7", "clipped"] = 0.3
    rows.to_csv(path, index=False)


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with tiles, lost samples and one that was drawn again."""
    judge_study("real-world", LEVELS, tmp_path, monkeypatch, photographs=TILES)
    _spoil(tmp_path, "dpid")
    main([])
    return tmp_path


def test_differences_follow_from_images_alone(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (judged / "data").rglob("*"):
        if path.is_file():
            path.unlink()  # nothing else is read
    capsys.readouterr()
    main(["--from", str(RESULTS)])
    text = capsys.readouterr().out
    assert "From images.csv alone; no difference is further than" in text
    apart = float(text.split("further than ")[1].split()[0])
    assert apart < 1e-6
    page = (RESULTS / "study.md").read_text()
    assert text.partition("\n\n")[0] in page, "the same words, of the same comparisons"


def test_images_that_are_others_are_found_out(judged: Path) -> None:
    table = pd.read_csv(RESULTS / "images.csv")
    table.loc[table.downscaler == "nearest", "lpips-alex"] += 0.001
    table.to_csv(RESULTS / "images.csv", index=False)
    with pytest.raises(UserError, match=r"differences\.csv does not follow from images\.csv: .* 0\.001 apart"):
        main(["--from", str(RESULTS)])
    table.drop(columns="photograph").to_csv(RESULTS / "images.csv", index=False)
    with pytest.raises(UserError, match=r"images\.csv has no column photograph: --from takes a folder of results"):
        main(["--from", str(RESULTS)])
    (RESULTS / "provenance.json").write_text("{}")
    with pytest.raises(UserError, match=r"provenance\.json does not say how the study was judged"):
        main(["--from", str(RESULTS)])
    with pytest.raises(UserError, match="--from takes a folder of results"):
        main(["--from", "elsewhere"])


def test_images_are_sorted_with_six_digits_and_what_became_of_their_samples(judged: Path) -> None:
    text = (RESULTS / "images.csv").read_text().splitlines()
    head = "upscaler,factor,downscaler,image_id,photograph,samples,first_draw_failures,lost,clipped,lpips-alex"
    assert text[0] == head
    table = pd.read_csv(RESULTS / "images.csv")
    assert len(table) == 7 * 30
    keys = ["upscaler", "factor", "downscaler", "image_id"]
    assert table[keys].equals(table[keys].sort_values(keys, ignore_index=True))
    assert max(len(line.rpartition(",")[2]) for line in text[1:]) <= 8
    mine = table[table.downscaler == "dpid"].set_index("image_id")
    assert mine.loc["i0", "lpips-alex"] == pytest.approx(LEVELS["dpid"] * IMAGES[0] + 0.0005, abs=1e-6)
    assert mine.loc["i0", "photograph"] == mine.loc["i1", "photograph"] == "p0"
    assert mine.loc["i3", ["samples", "first_draw_failures", "lost"]].to_list() == [2, 2, 2]
    assert mine.loc["i5", ["samples", "first_draw_failures", "lost"]].to_list() == [2, 1, 0]
    assert np.isnan(mine.loc["i3", "lpips-alex"])


def test_failures_and_clipping_are_counted_in_every_table(judged: Path) -> None:
    row = pd.read_csv(RESULTS / "table.csv").set_index("condition").loc["dpid"]
    assert row.first_draw_failures == pytest.approx(4 / 60)
    assert (row.lost, row.images, row.photographs) == (3, 29, 15)
    assert row.clipped == pytest.approx((0.59 + 0.3) / 57), "of finite samples, each of which counts once"
    page = (RESULTS / "study.md").read_text()
    assert "| 6.67% | 1.56% |" in page
    assert "3 of them not finite" in page
    assert "| failed | clipped |" in page
    figures = json.loads((RESULTS / "study.json").read_text())["flow-compact"]["x4"]
    assert figures["first_draw_failures"]["dpid"] == pytest.approx(4 / 60)
    assert figures["first_draw_failures"]["l0"] == 0


def test_rows_of_an_unknown_image_are_refused(judged: Path) -> None:
    subset = pd.read_csv(judged / "data/subset.csv")
    subset[subset.image_id != "i7"].to_csv(judged / "data/subset.csv", index=False)
    with pytest.raises(UserError, match=r"data/subset\.csv has no image i7, of which data/distortion has rows"):
        main([])


def test_provenance_says_each_thing_once(judged: Path) -> None:
    text = (RESULTS / "provenance.json").read_text()
    record = json.loads(text)
    assert record["program"].keys() == {"version", "commit"}
    assert (record["seed"], record["confidence"], record["resamples"]) == (0, 0.95, 500)
    assert len(record["dataset_sha256"]) == 64
    assert record["upscalers"]["x4/flow-compact"]["weights"] == {"w": "12ab"}
    assert record["upscalers"]["x4/flow-compact"]["samples"] == 2
    assert record["conditions"]["l0"] == {"method": "resample", "parameters": {"filter": "l0"}}
    assert record["environments"] == {"distort": {"torch": "2"}, "upscale": {"torch": "2", "device": "cpu"}}
    assert "a.py" not in text, "no hashes of code: the commit says it"
    assert "/somewhere/else" not in text, "where images lay is nobody's business"


def test_a_condition_that_depends_on_the_factor_is_there_for_each(judged: Path) -> None:
    write_recipe(judged, LEVELS)
    path = judged / "data/plan/aggregate.json"
    recipe = json.loads(path.read_text())
    recipe["recipes"]["downscale/x8/l0"] = {"method": "folder", "files": {"a": "56ef"}}
    path.write_text(json.dumps(recipe))
    main([])
    record = json.loads((RESULTS / "provenance.json").read_text())
    assert record["conditions"]["l0"].keys() == {"x4", "x8"}
    assert record["conditions"]["l0"]["x8"]["files"] == {"a": "56ef"}


def test_a_margin_or_column_that_speaks_of_nothing_is_refused(judged: Path) -> None:
    values = yaml.safe_load((judged / "study.yaml").read_text())
    values["paper"]["columns"]["Table 5, FFHQ"] = {"lancoz": 0.1}
    (judged / "study.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"study\.yaml: .*Table 5, FFHQ: no panel has the condition lancoz"):
        main([])
    values["paper"] |= {"columns": {}, "spearman": {"blur": 1.0}}
    (judged / "study.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"paper\.spearman: no panel is called blur"):
        main([])


def test_provenance_has_the_names_of_files_and_not_their_places() -> None:
    recipe = {
        "parameters": {"path": "/home/me/net.pth", "command": ["/usr/bin/convert", "-resize", "{width}x{height}!"]}
    }
    assert _method(recipe) == {
        "parameters": {"path": "net.pth", "command": ["convert", "-resize", "{width}x{height}!"]}
    }


def test_provenance_of_an_adapted_decoder_states_its_budget_and_not_where_its_weights_lie() -> None:
    recipe = {
        "method": "flow",
        "adapted": {"budget": {"steps": 400, "energy": 1.5}, "path": "data/adapt/x4/a/b.safetensors"},
    }
    assert _method(recipe) == {"method": "flow", "budget": {"steps": 400, "energy": 1.5}}
