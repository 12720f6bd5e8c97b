"""What experiments/pulse says of its searches: numbers from rows, a verdict, the documentation; and its wrong files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from made import script

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator


def _rows(shift: dict[int, float], *, lost: int = 0) -> pd.DataFrame:
    """Rows of eight images per kind and factor; `shift`: by how much the best is farther from HR, by factor."""
    rows = []
    for kind in ("own", "held-out"):
        for factor, more in shift.items():
            noise = 0.01 * generator("rows", kind, factor).standard_normal(8)
            for i in range(8):
                rows.append(
                    {
                        "kind": kind, "factor": factor, "image_id": f"i{i}", "finite": i >= lost, "converged": i < 6,
                        "first_step": 10 + i if i < 6 else -1, "residual_last": 2e-3, "residual_best": 1e-3,
                        "residual_8_bit": 3e-3, "distance_last": 0.5, "distance_best": 0.5 + more + noise[i],
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_numbers_are_those_of_the_rows() -> None:
    reach, rows = script("pulse/reach.py"), _rows({4: 0.2, 8: -0.2})
    groups = reach.numbers(rows, "lower")
    assert [(g["kind"], g["factor"]) for g in groups] == [("own", 4), ("own", 8), ("held-out", 4), ("held-out", 8)]
    for group in groups:
        of = rows[(rows.kind == group["kind"]) & (rows.factor == group["factor"])]
        assert (group["images"], group["converged"], group["first_step"]) == (8, 6, 12.5)
        assert group["best"] == pytest.approx(of.distance_best.mean())
        assert group["difference"] == pytest.approx(group["best"] - group["last"])
        assert group["low"] < group["difference"] < group["high"]
        assert group["return"] == ("last" if group["factor"] == 4 else "best")
    json.dumps(groups, allow_nan=False)
    few = reach.numbers(_rows({4: 0.2}, lost=3), "lower")
    assert {group["finite"] for group in few} == {5}
    assert "6 searches ended in numbers that are not finite" in reach.summary(few, "LPIPS", 2e-3, "lower")
    with pytest.raises(UserError, match="own x4: fewer than two searches ended in finite numbers: lower rate"):
        reach.numbers(_rows({4: 0.2}, lost=7), "lower")


@pytest.mark.parametrize(
    ("shift", "better", "chosen", "why"),
    [
        ({4: 0.0, 8: 0.0}, "lower", "last", "the two do not differ clearly ("),
        ({4: -0.2, 8: -0.2}, "lower", "best", "it is nearer to HR ("),
        ({4: -0.2, 8: 0.0}, "lower", "best", "it is nearer to HR at some factor, and clearly farther at none ("),
        ({4: -0.2, 8: 0.2}, "lower", "last", "which is nearer depends on the factor ("),
        ({4: 0.2, 8: 0.2}, "lower", "last", "it is nearer to HR ("),
        ({4: 0.2, 8: 0.2}, "higher", "best", "it is nearer to HR ("),
    ],
)
def test_the_best_is_chosen_only_where_it_is_clearly_nearer(
    shift: dict[int, float], better: str, chosen: str, why: str
) -> None:
    reach = script("pulse/reach.py")
    groups = reach.numbers(_rows(shift), better)
    assert reach.choice(groups) == chosen
    said = reach.verdict(groups, "LPIPS", better)
    assert said.startswith(
        f"`return: {chosen}`, since {why}LPIPS of the last image and of the best, {better} is better;"
    )
    assert f"x4: 0.5000 and {groups[2]['best']:.4f}, best - last " in said
    assert "own" not in said
    assert said in reach.summary(groups, "LPIPS", 2e-3, better)


def _written(folder: Path, groups: list[dict[str, Any]]) -> Path:
    reach = script("pulse/reach.py")
    told = {"groups": groups, "return": reach.choice(groups), "verdict": reach.verdict(groups, "LPIPS", "lower")}
    folder.mkdir()
    (folder / "reach.json").write_text(json.dumps(told))
    return folder


def test_the_documentation_gets_the_sentence_and_keeps_the_rest(tmp_path: Path) -> None:
    reach, document = script("pulse/reach.py"), script("pulse/document.py")
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{document.FIRST}\nnothing yet\n{document.LAST}\n\nafter\n")
    for name, more in (("first", 0.2), ("second", 0.3)):
        groups = reach.numbers(_rows({4: more, 8: more}), "lower")
        document.document(_written(tmp_path / name, groups), page)
        said = " ".join(page.read_text().split())
        assert f"writes this: --> The default is {reach.verdict(groups, 'LPIPS', 'lower')} <!-- to here -->" in said
    assert page.read_text().startswith("before\n\n<!--")
    assert page.read_text().endswith("-->\n\nafter\n")
    assert max(map(len, page.read_text().splitlines())) <= document.WIDTH
    former = page.read_text()
    other = _written(tmp_path / "other", reach.numbers(_rows({4: -0.2}), "lower"))
    with pytest.raises(UserError, match="speaks for `return: best`, and the default is last: change it"):
        document.document(other, page)
    assert page.read_text() == former
    for content, message in (("{}", "is not what reach.py writes"), ("{", r"reach\.json")):
        (other / "reach.json").write_text(content)
        with pytest.raises(UserError, match=message) as error:
            document.document(other, page)
        assert "\n" not in str(error.value)
    page.write_text("no marks")
    with pytest.raises(UserError, match="has no place for it: put the lines <!-- experiments/pulse"):
        document.document(tmp_path / "first", page)


def test_the_documentation_says_what_the_results_say() -> None:
    document = script("pulse/document.py")
    text = document.DOCUMENT.read_text()
    assert document.FIRST in text.partition(document.LAST)[0]
    results = ROOT / "experiments/pulse/results"
    if not (results / "reach.json").is_file():
        pytest.skip("experiments/pulse has no results yet")
    assert f"{document.FIRST}\n{document.sentence(results)}\n{document.LAST}" in text


def _checkpoint(folder: Path, averages: dict[str, Any], step: int = 5) -> Path:
    folder.mkdir()
    state = {"settings": {"steps": 5}, "product": {"stage": "gan"}, "stage": "gan", "step": step, "averages": averages}
    torch.save(state, folder / "checkpoint.pt")
    return folder


def test_what_is_no_trained_generator_is_not_exported(tmp_path: Path) -> None:
    export = script("pulse/export.py")
    both = {"mapping.dense0.weight": torch.ones(2), "synthesis.torgb.bias": torch.ones(3)}
    for run, message in [
        (tmp_path / "none", "checkpoint.pt does not exist: --run takes the --out of train.py"),
        (_checkpoint(tmp_path / "flow", {"flow": both}), "is not a checkpoint of train.py .*--run takes"),
        (_checkpoint(tmp_path / "other", {"generator": {"a.weight": torch.ones(2)}}), "has no mapping network: --run"),
        (_checkpoint(tmp_path / "early", {"generator": both}, step=4), "has not reached its last step yet"),
    ]:
        with pytest.raises(UserError, match=message) as error:
            export.export(run, tmp_path / "weights")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "weights").exists()
    export.export(_checkpoint(tmp_path / "whole", {"generator": both}), tmp_path / "weights")
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == [
        "mapping.safetensors", "synthesis.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--set", "{"], "--set and --distortion are JSON objects: "),
        (["--set", "[]"], "--set and --distortion are JSON objects, such as"),
        (["--distortion", "3"], "--set and --distortion are JSON objects, such as"),
        (["--set", '{"step": 3}'], "step"),
        (["--scale", "0.5"], "--scale 0.5: from 1 up"),
        (["--count", "1"], "--count is at least 2"),
        (["--factors", "4", "3"], "factor 3: a generator of 64 x 64 supports factors 2, 4"),
    ],
)
def test_wrong_options_of_the_search_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: list[str], message: str
) -> None:
    """Before anything is opened or searched for: none of the folders is there."""
    folders = [text for name in ("weights", "validation", "out") for text in (f"--{name}", str(tmp_path / name))]
    monkeypatch.setattr(sys, "argv", ["reach.py", *folders, *wrong])
    with pytest.raises(UserError, match=message) as error:
        script("pulse/reach.py").main()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_held_out_crops_are_centre_squares(tmp_path: Path) -> None:
    from PIL import Image

    reach = script("pulse/reach.py")
    for name, (height, width) in {"a": (40, 64), "b": (64, 32), "small": (20, 64)}.items():
        ramp = np.add.outer(np.arange(height), np.zeros(width)) + np.arange(width) / 4
        Image.fromarray(np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)).save(tmp_path / f"{name}.png")
    found = reach.held_out_crops(tmp_path, 16, 2.0, 5)
    assert list(found) == ["a", "b"]
    assert abs(found["a"].astype(float).mean() - (19.5 + 31.5 / 4)) < 1
    assert found["a"].shape == (3, 16, 16)
    with pytest.raises(UserError, match="fewer than two images have 16 x 16 pixels when reduced: lower --scale"):
        reach.held_out_crops(tmp_path, 16, 4.0, 5)
