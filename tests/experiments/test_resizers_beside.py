"""What the study of resize functions says beside its findings: other distortions, trainings, single kernels."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from resizers_made import LEVELS, SETTINGS, load_resizers, write_project

from ida_rd.core.files import write_json
from ida_rd.core.tables import write_table

CONTROL = "  control:\n    title: A control\n    control: true\n    pairs: [[one, twin]]\n"


@pytest.fixture(scope="module")
def resizers() -> ModuleType:
    return load_resizers()


def _second_distortion(turned: bool) -> None:
    """The finished run of this folder gets MS-SSIM: the same numbers, or those of the functions the other way round."""
    rows = pd.read_csv("metrics/tables/images.csv")
    mean = rows.groupby(["upscaler", "image_id"])["lpips-alex"].transform("mean")
    rows["ms-ssim"] = 2 * mean - rows["lpips-alex"] if turned else rows["lpips-alex"]
    write_table(Path("metrics/tables/images.csv"), rows)
    _ask_ms_ssim()


def _ask_ms_ssim() -> None:
    recipe = json.loads(Path("data/plan/aggregate.json").read_text())
    recipe["distortion_order"].append("ms-ssim")
    recipe["distortions"]["ms-ssim"] = {"better": "lower", "label": "1 - MS-SSIM"}
    write_json(Path("data/plan/aggregate.json"), recipe)


def test_another_distortion_that_comes_to_something_else_is_heard(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turned in (False, True):
        folder = tmp_path / str(turned)
        folder.mkdir()
        write_project(folder, LEVELS, adapted=True, sign=1)
        monkeypatch.chdir(folder)
        _second_distortion(turned)
        resizers.main()
        text = Path("results/made/resizers.md").read_text()
        magic = text.split("## Is magic better?")[1].split("## Which at x2?")[0]
        assert ("By 1 - MS-SSIM the same." in magic.split("On screenshots")[0]) != turned
        other = "By 1 - MS-SSIM otherwise, *loses more*: magic than lanczos."
        assert (other in magic.split("On screenshots")[0]) == turned
        aliasing = "By 1 - MS-SSIM otherwise: of these 5 kernels, those that alias less are read worse (Spearman"
        assert magic.count(aliasing) == (2 if turned else 0)
        numbers = next(
            line for line in magic.splitlines() if line.startswith("| photographs, x4 (12) | magic, lanczos |")
        )
        by_lpips, by_ms_ssim = (numbers.split("|")[column] for column in (3, 6))
        assert (by_lpips == by_ms_ssim) != turned
        assert (
            by_lpips.strip().removeprefix("**+")[:6] == by_ms_ssim.strip().removeprefix("**-" if turned else "**+")[:6]
        )
        table = pd.read_csv("results/made/answers.csv")
        assert set(table.distortion) == {"lpips-alex", "ms-ssim"}
        ours = table[table.distortion == "lpips-alex"].drop(columns="distortion").reset_index(drop=True)
        theirs = table[table.distortion == "ms-ssim"].drop(columns="distortion").reset_index(drop=True)
        assert ours.equals(theirs) != turned
        assert "By 1 - MS-SSIM" not in text.split("## All functions")[1]


def test_trainings_are_counted_and_what_is_one_function_is_no_two_findings(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, LEVELS, adapted=True, sign=1)
    monkeypatch.chdir(tmp_path)
    rows = pd.read_csv("metrics/tables/images.csv")
    twin = rows[rows.downscaler == "lanczos"].assign(downscaler="twin")
    rows = pd.concat([rows, twin])
    write_table(Path("metrics/tables/images.csv"), rows)
    resizers.main()
    text = Path("results/made/resizers.md").read_text()
    assert "S* is by one training for each function: what another one would change is in no interval" in text
    assert "beside the other: bicubic = magic; lanczos = twin." in text
    first = text.split("### photographs, x4")[1].splitlines()[4:]
    table = pd.read_csv("results/made/table.csv")
    mine = table[(table.group == "photo") & table.s_star.notna()].sort_values("s_star", kind="stable")
    assert [line.split(" | ")[0].strip("| ") for line in first][: len(mine)] == list(mine.downscaler)

    recipe = json.loads(Path("data/plan/aggregate.json").read_text())
    recipe["matched"][0]["adapted"].append("again")
    write_json(Path("data/plan/aggregate.json"), recipe)
    again = rows[rows.upscaler == "tuned"].assign(upscaler="again")
    write_table(Path("metrics/tables/images.csv"), pd.concat([rows, again]))
    resizers.main()
    assert "S* is by 2 trainings for each function" in Path("results/made/resizers.md").read_text()


def test_a_finding_that_hangs_on_one_kernel_can_be_seen(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, LEVELS, adapted=False, sign=1)
    monkeypatch.chdir(tmp_path)
    rows = pd.read_csv("metrics/tables/images.csv")
    own = rows.downscaler.str.startswith("own")
    rng = np.random.default_rng(1)
    rows.loc[own, "lpips-alex"] = 0.4 + rng.normal(0, 0.01, own.sum()) + 0.5 * (rows.downscaler[own] == "own-box")
    write_table(Path("metrics/tables/images.csv"), rows)
    resizers.main()
    record = pd.read_csv("results/made/aliasing.csv")
    (one,) = record[record.group == "photo"].to_dict("records")
    assert one["rho"] > 0.3
    assert one["least"] < 0.15
    assert one["least"] <= one["rho"] <= one["most"] + 0.2
    text = Path("results/made/resizers.md").read_text()
    assert f"{one['least']:+.2f} to {one['most']:+.2f} without one of the kernels" in text


def test_aliasing_is_judged_by_adapted_decoders_where_all_kernels_have_one(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By S those that alias less are read better; they lose more: the first is in the table alone."""
    write_project(tmp_path, LEVELS, adapted=True, sign=1)
    monkeypatch.chdir(tmp_path)
    rows = pd.read_csv("metrics/tables/images.csv")
    own = rows[rows.downscaler.str.startswith("own")]
    turned = own.assign(upscaler="tuned", **{"lpips-alex": 0.8 - own["lpips-alex"]})
    write_table(Path("metrics/tables/images.csv"), pd.concat([rows, turned]))
    resizers.main()
    text = Path("results/made/resizers.md").read_text().split("Does less aliasing mean less loss?")[1].split("##")[0]
    words, numbers = text.split("\n| |")
    assert "S* is not measured" not in words
    assert "* On photographs, x4, by S*: of these 5 kernels, those that alias less lose more (" in words
    assert "by S:" not in words
    assert "| photographs, x4 (12) | S, LPIPS (AlexNet) | **+" in numbers
    assert "| photographs, x4 (12) | S*, LPIPS (AlexNet) | **-" in numbers


@pytest.mark.parametrize(("mean", "spread", "clear"), [(0.0, 0.0, True), (0.025, 0.0, False), (0.0, 0.06, False)])
def test_what_a_control_reaches_is_no_difference_of_others(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mean: float, spread: float, clear: bool
) -> None:
    """Magic loses .02 less than lanczos on photographs, by S and S*; by the farther end of the control's interval."""
    same = {"photo": 0.0, "text": 0.0}
    write_project(tmp_path, LEVELS | {"one": same, "twin": same}, adapted=True, sign=1)
    monkeypatch.chdir(tmp_path)
    rows = pd.read_csv("metrics/tables/images.csv")
    rows["ms-ssim"] = rows["lpips-alex"]  # of which the control differs in nothing
    number = rows.image_id.str[-2:].astype(int)
    photographs = (rows.downscaler == "twin") & rows.image_id.str.startswith("photo")
    rows.loc[photographs, "lpips-alex"] += (mean + spread * (-1) ** number)[photographs]
    other = rows[rows.upscaler == "flow"].assign(factor=2)  # at which there is no S*, and no control
    write_table(Path("metrics/tables/images.csv"), pd.concat([rows, other[~other.downscaler.isin(["one", "twin"])]]))
    _ask_ms_ssim()
    recipe = json.loads(Path("data/plan/aggregate.json").read_text())
    recipe["recipes"] |= {name.replace("/x4/", "/x2/"): given for name, given in recipe["recipes"].items()}
    write_json(Path("data/plan/aggregate.json"), recipe)
    Path("resizers.yaml").write_text(SETTINGS.replace("    factor: 2\n", "") + CONTROL)
    resizers.main()
    found = pd.read_csv("results/made/answers.csv").set_index(["question", "distortion", "factor", "group", "less"])
    shown = found[["s_shown", "star_shown"]]
    assert list(shown.loc["magic", "lpips-alex", 4, "photo", "magic"]) == [int(clear)] * 2
    assert list(shown.loc["magic", "ms-ssim", 4, "photo", "magic"]) == [1, 1]
    assert list(shown.loc["magic", "lpips-alex", 4, "text", "bicubic"]) == [1, 0]
    at_two = shown.loc["magic", "lpips-alex", 2, "photo", "magic"]
    assert (at_two.s_shown, np.isnan(at_two.star_shown)) == (1, True)
    assert (shown.loc["control"].fillna(0) == 0).all(axis=None), "of a control nothing is shown"
    text = Path("results/made/resizers.md").read_text()
    assert "(p, corrected, below 0.05, and its whole interval beyond those of the controls)" in text
    magic, control = text.split("## Is magic better?")[1].split("## A control")
    assert ("photographs, x4 (N = 12): *loses less*: magic than lanczos (by 0.0" in magic) == clear
    assert "On photographs, x2 (N = 12): S* not measured, *read better*: magic than lanczos (by 0.0" in magic
    reached = float(control.split("beyond ")[1].split(" by S*")[0])
    one = found.loc["control", "lpips-alex", 4, "photo", "one"]
    assert reached == pytest.approx(max(abs(one.star_low), abs(one.star_high)), rel=0.1)
    for word in ("loses", "read better", "read worse"):
        assert word not in control.split("| |")[0]


def test_what_another_distortion_has_not_measured_is_not_called_the_same(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, LEVELS, adapted=True, sign=1)
    monkeypatch.chdir(tmp_path)
    _second_distortion(False)
    rows = pd.read_csv("metrics/tables/images.csv")
    rows.loc[rows.downscaler == "magic", "ms-ssim"] = np.nan
    write_table(Path("metrics/tables/images.csv"), rows)
    resizers.main()
    magic = Path("results/made/resizers.md").read_text().split("## Is magic better?")[1].split("Does less aliasing")[0]
    assert magic.count("By 1 - MS-SSIM not all of it is measured.") == 2
    assert "the same" not in magic
    rows["ms-ssim"], rows["lpips-alex"] = rows["lpips-alex"], rows["ms-ssim"]
    write_table(Path("metrics/tables/images.csv"), rows)
    resizers.main()  # and the other way round: numbers stay below their own distortion
    magic = Path("results/made/resizers.md").read_text().split("## Is magic better?")[1].split("Does less aliasing")[0]
    (line,) = [line for line in magic.splitlines() if line.startswith("| photographs, x4 (12) | magic, lanczos |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == 8
    assert cells[2:5] == [""] * 3
    assert cells[5].startswith("**+0.0")


def test_functions_that_are_alike_are_controls_by_their_trainings(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their images are one, so that S says nothing; their trainings differ by more than magic and lanczos do."""
    same = {"photo": 0.0, "text": 0.0}
    for apart in (0.0, 0.05):
        folder = tmp_path / str(apart)
        folder.mkdir()
        write_project(folder, LEVELS | {"one": same, "twin": same}, adapted=True, sign=1)
        monkeypatch.chdir(folder)
        rows = pd.read_csv("metrics/tables/images.csv")
        again = rows[rows.downscaler == "linear"].assign(downscaler="again")
        again.loc[again.upscaler == "tuned", "lpips-alex"] += apart
        write_table(Path("metrics/tables/images.csv"), pd.concat([rows, again]))
        Path("resizers.yaml").write_text(SETTINGS + CONTROL)
        resizers.main()
        found = pd.read_csv("results/made/answers.csv").set_index(["question", "group", "less"])
        assert list(found.loc[("magic", "photo", "magic"), ["s_shown", "star_shown"]]) == [1, int(apart == 0)]
        assert "linear = again" in Path("results/made/resizers.md").read_text().replace(
            "again = linear", "linear = again"
        )
