"""What users of resize functions ask, answered from made rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from resizers_made import GROUPS, LEVELS, SETTINGS, load_resizers, write_project

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.tables import write_table


@pytest.fixture(scope="module")
def resizers() -> ModuleType:
    return load_resizers()


def test_every_question_is_answered_in_words_and_in_numbers(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, LEVELS, adapted=True, sign=1)
    monkeypatch.chdir(tmp_path)
    resizers.main()
    text = Path("results/made/resizers.md").read_text()
    magic, video = text.split("## Is magic better?")[1].split("## Which at x2?")
    magic, kernels = magic.split("Does less aliasing mean less loss?")
    words, numbers = magic.split("\n| |")
    assert words.strip().startswith("Asked in Pillow#8811. *Loses less*: what a decoder makes of the function's images")
    assert "\n* On photographs, x4 (N = 12): *loses less*: magic than lanczos (by 0.0" in words
    # By S linear light is worse everywhere; adapted decoders read both alike: nothing of it is lost.
    alike = "bicubic and linear (though bicubic is better read)"
    assert f"; *no difference in loss shown*: {alike}.\n" in words
    assert f"screenshots, x4 (N = 8): *no difference in loss shown*: magic and lanczos, {alike}.\n" in words
    assert words.count("*loses") == 1
    assert "S* is not measured" not in magic
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in numbers.splitlines() if line.strip()]
    assert rows[0] == [
        "first, second (numbers: second minus first; above 0 the first is the better)",
        "S*, LPIPS (AlexNet)",
        "S, LPIPS (AlexNet)",
        "gap, LPIPS (AlexNet)",
    ]
    assert [row[:2] for row in rows[2:]] == [
        [group, pair]
        for group in ("photographs, x4 (12)", "screenshots, x4 (8)")
        for pair in ("magic, lanczos", "bicubic, linear")
    ]
    (star, s, gap) = rows[3][2:]
    assert star.startswith(("+0.000", "-0.000"))
    assert s.startswith("**+0.03")
    assert gap.startswith("+0.03")
    assert all(", p " in cell for cell in (star, s))
    assert "* On a flat image, x4: not shown, too few images or functions." in words
    assert "* Not measured: absent: the program 'magick' is not on the PATH; unknown, unnamed: not among" in words
    assert "faces" not in magic
    assert "At x2 this is not measured: no decoder of this run is for it. At x4:" in video
    assert (
        "* On photographs, x4, by S: of these 5 kernels, those that alias less are read better (Spearman's rho"
        in kernels
    )
    assert kernels.startswith(
        " By the blind decoder alone: S* is not measured, so that nothing here says what is lost.\n"
    )
    assert "| photographs, x4 (12) | S, LPIPS (AlexNet) | **+" in kernels
    answers = pd.read_csv("results/made/answers.csv")
    of_photographs = answers[(answers.question == "magic") & (answers.group == "photo")].set_index("less")
    one = of_photographs.loc["bicubic"]
    assert one["s"] == pytest.approx(0.03, abs=0.003)
    assert one["gap"] == pytest.approx(one["s"] - one["star"])
    assert one["gap_low"] < 0.03 < one["gap_high"]
    assert one["gap_high"] - one["gap_low"] < 0.005
    assert of_photographs.loc["magic", "gap"] == pytest.approx(
        0, abs=1e-4
    )  # adapted decoders find the whole difference again
    table = pd.read_csv("results/made/table.csv").set_index(["group", "downscaler"])
    assert table.loc[("photo", "linear"), "s"] - table.loc[("photo", "bicubic"), "s"] == pytest.approx(0.03, abs=0.003)
    assert table.loc[("text", "linear"), "gap"] == pytest.approx(0.03, abs=0.003)
    assert np.isnan(table.loc[("text", "own-box"), "gap"])


def test_a_question_about_a_factor_is_answered_at_that_factor_and_one_that_was_not_asked_is_not_there(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, LEVELS, adapted=False, sign=1)
    monkeypatch.chdir(tmp_path)
    text = SETTINGS + "  other:\n    title: Not asked?\n    threads: [a#1]\n    pairs: [[dpid, bicubic]]\n"
    recipe = json.loads(Path("data/plan/aggregate.json").read_text())
    recipe["recipes"] |= {name.replace("/x4/", "/x2/"): given for name, given in recipe["recipes"].items()}
    Path("data/plan/aggregate.json").write_text(json.dumps(recipe))
    rows = pd.read_csv("metrics/tables/images.csv")
    pd.concat([rows, rows.assign(factor=2)]).to_csv("metrics/tables/images.csv", index=False)
    for question in (2, 8):
        Path("resizers.yaml").write_text(text.replace("factor: 2", f"factor: {question}"))
        resizers.main()
        written = Path("results/made/resizers.md").read_text()
        magic, video = written.split("## Is magic better?")[1].split("## Which at x2?")
        assert "On photographs, x2 (N = 12)" in magic
        assert "On photographs, x4 (N = 12)" in magic
        assert "On photographs, x2 (N = 12)" in video
        assert ("On photographs, x4" in video) == (question == 8)
        assert ("is not measured: no decoder of this run is for it" in video) == (question == 8)
        assert "Not asked?" not in written
        assert set(pd.read_csv("results/made/answers.csv").question) == {"magic", "video"}
    asked = sys.modules["questions"].Question(title="Which?", pairs=[("a", "b")], factor=2)
    assert sys.modules["drawn"]._title(asked, 4) == "Which? (asked of x2)"
    assert sys.modules["drawn"]._title(asked, 2) == "Which?"


def test_without_adapted_decoders_it_says_so_and_aliasing_may_be_the_better(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, LEVELS, adapted=False, sign=-1)
    monkeypatch.chdir(tmp_path)
    resizers.main()
    text = Path("results/made/resizers.md").read_text()
    said = "By the blind decoder alone: S* is not measured, so that nothing here says what is lost."
    assert text.count(said) == 3  # two questions, and aliasing
    assert "*read better*: magic than lanczos (by 0.0" in text
    assert "of these 5 kernels, those that alias less are read worse" in text
    assert "one is no second finding beside the other: bicubic = magic." in text
    assert "| S* |" not in text
    for word in ("loses", "lose "):  # of S alone: but in titles, which are questions
        assert word not in " ".join(line for line in text.splitlines() if not line.startswith("#"))
    table = pd.read_csv("results/made/answers.csv")
    assert (table.s_p[table["count"] < 5] == 1).all()


@pytest.mark.parametrize(("adapted", "by"), [(True, "star"), (False, "s")])
def test_the_figure_shows_every_answer_and_which_are_shown(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapted: bool, by: str
) -> None:
    """By S*, where there is one: bicubic is read better than linear, and loses no less."""
    write_project(tmp_path, LEVELS, adapted=adapted, sign=1)
    monkeypatch.chdir(tmp_path)
    resizers.main()
    assert all(Path(f"results/made/answers-x4.{form}").stat().st_size > 5000 for form in ("png", "svg", "pdf"))
    assert "![All questions](answers-x4.png)" in Path("results/made/resizers.md").read_text()
    answers = pd.read_csv("results/made/answers.csv")
    drawn = sys.modules["drawn"]
    names = {"photo": "photographs", "text": "screenshots", "flat": "a flat image"}
    titles = {"video": "Which at x2?", "magic": "Is magic better?"}
    figure = drawn.draw(drawn.drawable(answers)[4], titles, names, filled="p below 0.05", note="of made rows")
    assert [axis.get_title() for axis in figure.axes] == list(titles.values())
    (magic,) = [axis for axis in figure.axes if axis.get_title() == "Is magic better?"]
    assert [label.get_text() for label in magic.get_yticklabels()] == ["magic, lanczos", "bicubic, linear"]
    points = [line for line in magic.lines if line.get_marker() != "None"]
    drawn_as = sorted((float(line.get_xdata()[0]), line.get_markerfacecolor() != "white") for line in points)
    rows = answers[(answers.question == "magic") & (answers.group != "flat") & answers[by].notna()]
    assert drawn_as == sorted(zip(rows[by], rows[f"{by}_shown"] != 0, strict=True))
    assert {filled for _, filled in drawn_as} == {True, False}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["photographs", "screenshots"]
    one = drawn.draw(drawn.drawable(answers)[4], {"magic": "Is magic better?"}, names, filled="p", note="of one")
    assert len(one.axes) == 1, "half of it would be empty"


def test_groups_that_are_too_small_leave_no_figure_and_no_link_to_one(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in GROUPS:
        monkeypatch.setitem(GROUPS, group, 3)
    write_project(tmp_path, LEVELS, adapted=False, sign=1)
    monkeypatch.chdir(tmp_path)
    resizers.main()
    assert not list(Path("results/made").glob("answers-x*"))
    assert "![" not in Path("results/made/resizers.md").read_text()
    assert sys.modules["drawn"].drawable(pd.DataFrame()) == {}, "not one pair was measured"


def test_a_distortion_of_which_more_is_better_gives_the_same_answers(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for better in ("lower", "higher"):
        folder = tmp_path / better
        folder.mkdir()
        write_project(folder, LEVELS, adapted=True, sign=1)
        if better == "higher":
            recipe = json.loads((folder / "data/plan/aggregate.json").read_text())
            recipe["distortions"]["lpips-alex"]["better"] = "higher"
            write_json(folder / "data/plan/aggregate.json", recipe)
            rows = pd.read_csv(folder / "metrics/tables/images.csv")
            write_table(folder / "metrics/tables/images.csv", rows.assign(**{"lpips-alex": -rows["lpips-alex"]}))
        monkeypatch.chdir(folder)
        resizers.main()
        answers.append(pd.read_csv("results/made/answers.csv"))
        table = pd.read_csv("results/made/table.csv").set_index(["group", "downscaler"])
        assert table.loc[("photo", "linear"), "gap"] == pytest.approx(0.03, abs=0.003)
        assert (table.s_low.dropna() <= table.s[table.s_low.notna()]).all()
    pd.testing.assert_frame_equal(*answers)


def test_flat_images_differ_in_nothing_and_break_nothing(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GROUPS, "flat", 6)
    levels = {name: {**by_group, "flat": 0.0} for name, by_group in LEVELS.items()}
    write_project(tmp_path, levels, adapted=True, sign=1)
    monkeypatch.chdir(tmp_path)
    resizers.main()
    text = Path("results/made/resizers.md").read_text()
    assert (
        "* On a flat image, x4 (N = 6): *no difference in loss shown*: magic and lanczos, bicubic and linear.\n" in text
    )
    assert "On a flat image, x4, by S: not shown, too few for an interval." in text
    answers, aliasing = (pd.read_csv(f"results/made/{name}.csv") for name in ("answers", "aliasing"))
    assert (answers[answers.group == "flat"].s == 0).all()
    (row,) = aliasing[aliasing.group == "flat"].to_dict("records")
    assert np.isnan([row["rho"], row["rho_of_means"]]).all()
    assert row["photographs"] == 0


def test_only_what_adapted_decoders_show_is_called_lost(resizers: ModuleType) -> None:
    """Whatever S says; and where they contradict each other, both are said."""
    answer, in_words = sys.modules["verdicts"].Answer, sys.modules["said"]._sorted
    numbers = {"factor": 4, "group": "photo", "less": "a", "more": "b", "count": 9}
    said = {}
    for s in (-1, 0, 1):
        for star in (-1, 0, 1):
            p, star_p = (0.01 if value else 0.5 for value in (s, star))
            ends = {"s": s, "s_low": s - 0.1, "s_high": s + 0.1, "s_p": p}
            ends |= {"s_shown": s, "star_shown": star}
            ends |= {"star": star, "star_low": star - 0.1, "star_high": star + 0.1, "star_p": star_p, "gap": s - star}
            said[s, star] = in_words([answer(**numbers, **ends)], partly=True)
            assert ("loses" in said[s, star]) == bool(star)
    assert said[1, 1] == "*loses less*: a than b (by 1.000 [0.900, 1.100])"
    assert said[-1, -1] == "*loses more*: a than b (by 1.000 [0.900, 1.100])"
    assert said[0, 1] == "*loses less*: a than b (by 1.000 [0.900, 1.100], which S does not show)"
    assert said[-1, 1] == "*loses less*: a than b (by 1.000 [0.900, 1.100], though b is better read)"
    assert said[1, 0] == "*no difference in loss shown*: a and b (though a is better read)"
    assert said[0, 0] == "*no difference in loss shown*: a and b"
    blind = answer(**numbers, s=0.1, s_low=0.05, s_high=0.15, s_p=0.01, s_shown=1)
    assert in_words([blind], partly=False) == "*read better*: a than b (by 0.100 [0.050, 0.150])"
    assert in_words([blind], partly=True).startswith("S* not measured, *read better*: a than b")


def test_p_are_corrected_over_all_pairs_and_groups_that_are_tested(resizers: ModuleType) -> None:
    def answer(count: int, s_p: float, star_p: float | None = None) -> Any:
        return sys.modules["verdicts"].Answer(
            4, "photo", "a", "b", count, 0.1, None, None, s_p, 0.1, None, None, star_p
        )

    found = [answer(12, 0.01, 0.02), answer(12, 0.02), answer(12, 0.04, 0.9), answer(3, 0.25, 0.25)]
    corrected = resizers.Study._corrected(found)
    assert [one.s_p for one in corrected] == pytest.approx([0.03, 0.04, 0.04, 1])
    assert [one.star_p for one in corrected] == [pytest.approx(0.04), None, pytest.approx(0.9), 1.0]


def test_what_is_no_function_or_group_of_the_run_is_one_line(
    resizers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, LEVELS, adapted=False, sign=1)
    monkeypatch.chdir(tmp_path)
    path = Path("resizers.yaml")
    path.write_text(SETTINGS.replace("preset: flow", "preset: blind"))
    with pytest.raises(UserError, match=r"^resizers\.yaml: preset: blind is no upscaler of this run"):
        resizers.main()
    path.write_text(SETTINGS.replace("text: screenshots, ", ""))
    with pytest.raises(UserError, match=r"^resizers\.yaml: groups: text-00 begins with none of"):
        resizers.main()
    recipe = json.loads(Path("data/plan/aggregate.json").read_text())
    recipe["recipes"]["downscale/x4/own-box"]["parameters"] = {"filter": "box"}
    write_json(tmp_path / "data/plan/aggregate.json", recipe)
    path.write_text(SETTINGS)
    with pytest.raises(UserError, match=r"^resizers\.yaml: kernels: own-box: not of the method convolve"):
        resizers.main()


def test_aliasing_is_as_the_kernels_are_known(resizers: ModuleType) -> None:
    passed = {
        kernel: sys.modules["aliasing"].aliasing(kernel, 4) for kernel in ("box", "bilinear", "quadratic", "lanczos3")
    }
    assert passed["box"] > passed["bilinear"] > passed["quadratic"] > 0
    assert passed["box"] > passed["lanczos3"]


def test_every_function_that_is_asked_about_is_in_the_parameters() -> None:
    folder = ROOT / "experiments" / "resizers"
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    settings = yaml.safe_load((folder / "resizers.yaml").read_text())
    for question in settings["questions"].values():
        asked = {name for pair in question["pairs"] for name in pair} | set(question.get("kernels", []))
        assert asked <= parameters["downscalers"].keys()
    for name, entry in parameters["downscalers"].items():
        if entry["method"] == "command" and entry["command"][0] != "python":
            assert entry["version"][0] == entry["command"][0], name
