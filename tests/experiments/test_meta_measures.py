"""The experiment of meta-measures: variants, what lies outside the score, verdicts, and a small run from end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, walk
from made import script
from numpy.typing import NDArray
from PIL import Image

FOLDER = ROOT / "experiments/meta-measures"
RUN = """
seed: 0
images: {source: folder, path: photos, crop: 64}
attributes: {source: image-statistics}
balance: {groups: 2, size: 5}
factors: [4]
downscalers:
  bicubic: {method: resample, filter: bicubic}
  box: {method: resample, filter: box}
  nearest: {method: resample, filter: nearest}
  random: {method: python, function: emptied.random}
  noise: {method: resample, filter: bicubic, degrade: [{gaussian_noise: {sigma: 0.2}}]}
upscalers:
  flow: {method: flow}
samples: 1
distortions:
  psnr: {method: pixel}
  dss: {method: structural, metric: dss}
aggregate: {resamples: 200}
"""
SETTINGS: dict[str, Any] = {
    "data": "made",
    "ranked": ["bicubic", "box", "nearest"],
    "empty": ["random"],
    "ladders": {"noise": ["bicubic", "noise"]},
    "switch": {"downscalers": ["bicubic"], "others": 2},
    "variants": {
        "photographs": 5,
        "downscalers": ["bicubic", "box", "nearest"],
        "changes": ["flip", "shift"],
        "sides": [16, 32, 512],
    },
    "tasks": {"radius": 1.5, "ratio": 0.8, "classifier": "torchvision.alexnet"},
    "criteria": yaml.safe_load((FOLDER / "meta.yaml").read_text())["criteria"],
}


@pytest.fixture(scope="module")
def scripts() -> dict[str, ModuleType]:
    """All modules of the experiment, and those of others that it uses, each as it imports the ones before."""
    script("reliability/retest.py")
    script("external/external.py")
    names = ("emptied", "measured", "satisfied", "variants", "outside", "meta_measures")
    return {name: script(f"meta-measures/{name}.py") for name in names}


def test_verdicts_ask_for_value_and_interval(scripts: dict[str, ModuleType]) -> None:
    verdict, measured = scripts["satisfied"].verdict, scripts["measured"].Measured
    least = {"at_least": 0.9, "chance": 0.5}
    for value, low, high, wanted in (
        (1.0, 0.77, 1.0, "pass"),
        (1.0, 0.45, 1.0, "open"),  # chance could give it
        (0.8, 0.6, 0.95, "open"),
        (0.6, 0.4, 0.85, "fail"),
        (1.0, None, None, "open"),
    ):
        assert verdict(measured(value, low, high, 9), **least) == wanted
    for value, low, high, wanted in ((0.5, 0.2, 0.9, "pass"), (0.5, 0.2, 1.5, "open"), (3, 2, 4, "fail")):
        assert verdict(measured(value, low, high, 9), at_most=1) == wanted


def made_table() -> pd.DataFrame:
    """`good` passes both measures, `alike` too, `unsure` leaves one open, `bad` fails one; one row is not counted."""
    rows = []
    for distortion, second in (("bad", "fail"), ("unsure", "open"), ("good", "pass"), ("alike", "pass")):
        place = {"upscaler": "flow", "factor": 4, "distortion": distortion}
        for measure, said in (("switch", "pass"), ("empty", second)):
            value = 1.0 if said == "pass" else 0.25
            found = {"value": value, "low": value - 0.2, "high": value, "photographs": 13, "detail": ""}
            rows.append(place | found | {"measure": measure, "criterion": measure, "verdict": said})
    own = {"measure": "task: features", "criterion": "task", "verdict": "own features, not counted", "value": 1.0}
    rows.append(rows[4] | own)
    return pd.DataFrame(rows)


def test_the_scores_that_fail_least_are_named(scripts: dict[str, ModuleType]) -> None:
    table, satisfied = made_table(), scripts["satisfied"]
    best = satisfied.best_of(table)
    assert best["use"] == ["good by flow, x4", "alike by flow, x4"]
    assert best["scores"]["good by flow, x4"] == {"pass": 2, "open": 0, "fail": 0}, "its own features are not counted"
    criteria = {key: {"at_least": 0.9, "at_most": None, "chance": 0.5} for key in SETTINGS["criteria"]}
    page = satisfied.text(table, criteria, "made", {"sift": "no reason"}, {"confidence": 0.95})
    assert "**Use good by flow, x4 or alike by flow, x4**: fail 0, open 0, pass 2. The rule" in page
    assert "As few fail for unsure by flow, x4, 1 open: more" in page
    assert "*empty* fails for bad by flow, x4, 0.25 [0.05, 0.25]." in page
    assert "All scores pass switch." in page
    assert "Left out: sift: no reason." in page
    assert r"\textit{0.25}" in satisfied.latex(table, "made")


def test_a_score_is_not_better_for_a_measure_that_it_does_not_have(scripts: dict[str, ModuleType]) -> None:
    """One that leaves open what the other passes is second, though the other alone is asked more, and fails that."""
    rows = []
    for distortion, said in (
        ("short", {"switch": "open", "empty": "pass", "task: features": "own features, not counted"}),
        ("long", {"switch": "pass", "empty": "pass", "task: features": "fail", "side-128: tau": "fail"}),
    ):
        place = {"upscaler": "flow", "factor": 4, "distortion": distortion}
        found = {"value": 1.0, "low": 0.8, "high": 1.0, "photographs": 13, "detail": ""}
        rows += [place | found | {"measure": m, "criterion": "switch", "verdict": v} for m, v in said.items()]
    table, satisfied = pd.DataFrame(rows), scripts["satisfied"]
    best = satisfied.best_of(table)
    assert best["use"] == ["long by flow, x4"]
    assert best["scores"]["long by flow, x4"] == {"pass": 2, "open": 0, "fail": 2}, "all are shown"
    assert "of 2 measures that all scores have" in satisfied.said(table)[0]
    nothing = table[(table.distortion == "short") == (table.measure == "switch")]
    assert satisfied.best_of(nothing)["use"] == ["short by flow, x4"], "nothing in common"


def test_other_crops_stay_in_the_photograph(scripts: dict[str, ModuleType], astronaut: NDArray[np.uint8]) -> None:
    made = scripts["variants"].made
    image, place = astronaut[:128, :256], (160, 32, 64, 64)
    assert np.array_equal(made(image, place, "side-32", 4), image[48:80, 176:208])
    assert np.array_equal(made(image, (180, 32, 64, 64), "side-128", 4), image[:, 128:]), "moved inside"
    assert made(image, place, "side-256", 4) is None
    assert np.array_equal(made(image, place, "elsewhere", 4), image[64:, :64])
    assert np.array_equal(made(image, place, "shift", 4), image[32:96, 161:225])
    assert made(image[:, :64], (0, 32, 64, 64), "shift", 4) is None
    assert made(image[:64, :64], (0, 0, 64, 64), "elsewhere", 4) is None


def test_empty_images_hold_what_they_say(scripts: dict[str, ModuleType], astronaut: NDArray[np.uint8]) -> None:
    emptied, rng = scripts["emptied"], np.random.default_rng(0)
    hr, size = astronaut[:64, :96], (16, 24)
    flat, mixed, noise = (
        getattr(emptied, name)(hr, size, rng=rng).astype(int) for name in ("constant", "shuffled", "random")
    )
    lr = np.asarray(Image.fromarray(hr).resize((24, 16), Image.Resampling.BICUBIC)).astype(int)
    assert (flat == np.rint(hr.mean(axis=(0, 1)))).all()
    assert sorted(map(tuple, mixed.reshape(-1, 3))) == sorted(map(tuple, lr.reshape(-1, 3)))
    assert (mixed != lr).any(axis=2).mean() > 0.9
    assert abs(np.corrcoef(noise.ravel(), lr.ravel())[0, 1]) < 0.1
    assert {image.shape for image in (flat, mixed, noise)} == {(16, 24, 3)}


def test_partners_are_other_photographs_of_the_same_size(scripts: dict[str, ModuleType]) -> None:
    images, partners = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}, scripts["outside"].partners
    found = partners(images, dict.fromkeys(images, (8, 8)), 5)
    assert found == {"a1": ("b1", "c1"), "a2": ("b1", "c1"), "b1": ("c1", "a1"), "c1": ("a1", "b1")}
    assert partners(images, dict.fromkeys(images, (8, 8)), 1)["a1"] == ("b1",)
    sizes = {"a1": (8, 8), "a2": (8, 4), "b1": (8, 4), "c1": (4, 8)}
    assert partners(images, sizes, 1) == {"a1": (), "a2": ("b1",), "b1": ("a2",), "c1": ()}


def switches(losses: dict[str, list[float]]) -> pd.DataFrame:
    """Rows of one downscaler: losses against the own image, and against others."""
    rows = [
        {"image_id": name, "downscaler": "box", "other": other, "d": value}
        for name, values in losses.items()
        for other, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["image_id", "downscaler", "other", "d"])


def test_images_of_other_sizes_are_left_out_of_pairs_and_not_of_the_table(scripts: dict[str, ModuleType]) -> None:
    setting = scripts["measured"].Setting(0.95, 100, 0)

    def found(losses: dict[str, list[float]]) -> dict[str, Any]:
        photographs = {name: name[0] for name in losses}
        rows = scripts["meta_measures"].of_switches(switches(losses), "d", photographs, setting)
        return {measure: value for measure, _, value in rows}

    some = found({"a": [1, 2, 0.5], "b": [1, 2], "c": [9]})
    assert (some["switch"].value, some["switch"].photographs) == ((0.5 + 1) / 2, 2), "b has one pair, and c none"
    assert some["switch AUC"].value == (0.5 + 1) / 2, "b's 1 against a's 2 and 0.5; a's 1 against b's 2"
    assert some["switch"].detail == "2 of 3 photographs have another of their size"
    assert found({"a": [1.0, 2.0], "b": [1.0, 3.0]})["switch"].detail == ""
    assert found({"a1": [1.0], "a2": [1.0, 2.0], "b": [1.0, 3.0]})["switch"].photographs == 2, (
        "an image that has others speaks"
    )
    for losses, reason in (
        ({"a": [1.0], "b": [1.0]}, "0 of 2 photographs have another of their size"),
        ({}, "no photograph has all its reconstructions"),
    ):
        none = found(losses)
        assert list(none) == ["switch", "switch AUC"]
        for value in none.values():
            assert np.isnan(value.value)
            assert (value.low, value.photographs, value.detail) == (None, 0, reason)
    alone = found({"a": [1, 2]})
    assert alone["switch"].value == 1
    assert alone["switch AUC"].detail == "one photograph has no other"


def test_what_is_not_defined_is_a_row_with_its_reason_and_not_counted(scripts: dict[str, ModuleType]) -> None:
    table, satisfied = made_table(), scripts["satisfied"]
    assert satisfied.verdict(scripts["measured"].undefined("why"), at_least=0.9) == "not defined"
    lost = table.measure == "switch"
    table.loc[lost, ["value", "low", "high", "photographs", "verdict", "detail"]] = np.nan
    table["verdict"] = table.verdict.fillna("not defined")
    table["photographs"] = table.photographs.fillna(0).astype(int)
    table["detail"] = table.detail.fillna("no two are of one size")
    assert satisfied.best_of(table)["scores"]["bad by flow, x4"] == {"pass": 0, "open": 0, "fail": 1}
    assert satisfied.best_of(table)["use"] == ["good by flow, x4", "alike by flow, x4"]
    criteria = {key: {"at_least": 0.9, "at_most": None, "chance": 0.5} for key in SETTINGS["criteria"]}
    page = satisfied.text(table, criteria, "made", {}, {"confidence": 0.95})
    assert "*switch* is not defined for bad by flow, x4; unsure by flow, x4;" in page
    assert "alike by flow, x4: no two are of one size." in page
    assert "| not defined | not defined |" in page
    assert "nan" not in page + satisfied.latex(table, "made")
    texts = [text.get_text() for text in satisfied.draw(table, "made").axes[0].texts]
    assert "nan" not in texts


def test_chance_of_the_empty_images_is_that_of_an_order(scripts: dict[str, ModuleType]) -> None:
    """Losses that know nothing of the image: three real and two empty ones, in any order."""
    variants, measured = scripts["variants"], scripts["measured"]
    changed = SETTINGS | {"empty": ["random", "noise"]}
    meta = variants.validate(variants.Meta, changed, where="meta.yaml")
    losses = np.random.default_rng(0).random((20_000, 5))
    found = measured.beats_empty(
        losses[:, :3], losses[:, 3:], (["a", "b", "c"], ["d", "e"]), measured.Setting(0.999, 1, 0)
    )
    chance = variants.criteria_of(meta)["empty"]["chance"]
    assert chance == 1 / 10
    assert found.low < chance < found.high


@pytest.fixture(scope="module")
def finished_meta(
    tmp_path_factory: pytest.TempPathFactory, scripts: dict[str, ModuleType], astronaut: NDArray[np.uint8]
) -> Path:
    """Five photographs through the pipeline and all stages of the experiment."""
    folder = tmp_path_factory.mktemp("meta")
    (folder / "photos").mkdir()
    for i, (y, x) in enumerate([(0, 0), (60, 190), (200, 200), (400, 300), (100, 60)]):
        Image.fromarray(astronaut[y : y + 64, x : x + 80]).save(folder / f"photos/p{i}.png")
    shutil.copy(FOLDER / "emptied.py", folder)
    (folder / "params.yaml").write_text(RUN)
    (folder / "meta.yaml").write_text(yaml.safe_dump(SETTINGS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
            patch.setenv(key, value)
        patch.setenv("TORCH_HOME", str(folder / "nothing"))
        walk()
        for name in ("variants", "outside", "meta_measures"):
            scripts[name].main()
    return folder


@pytest.mark.slow
def test_a_small_run_gives_every_measure_of_every_distortion(finished_meta: Path) -> None:
    results = finished_meta / "results/made"
    table = pd.read_csv(results / "meta-measures.csv").set_index(["distortion", "measure"])
    measures = {
        *("switch", "switch AUC", "empty", "noise rises", "flip: tau", "flip: change"),
        *("shift: tau", "shift: change", "side-32: tau", "task: sift"),
    }
    for distortion in ("psnr", "dss"):
        found = set(table.loc[distortion].index) - {"side-16: tau"}
        assert measures - {"task: sift"} <= found <= measures, "512 is too large"
        assert table.value[distortion, "switch"] == 1, "a reconstruction is nearest to its own image"
        assert table.value[distortion, "empty"] == 1, "noise loses most, whichever way the distortion is turned"
        assert table.value[distortion, "noise rises"] == 1
    assert (table.photographs == 5).all()
    assert ("psnr", "side-16: tau") in table.index
    assert ("dss", "side-16: tau") not in table.index, "it compares no images of 16 pixels"
    page = (results / "meta-measures.md").read_text()
    assert "Left out: features: the weights torchvision.alexnet are not at hand." in page
    assert json.loads((results / "meta-measures.json").read_text())["use"]
    assert (results / "meta-measures.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_side_of_the_run_itself_changes_nothing(
    finished_meta: Path, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop of the tiles' own side, about their own middle, is the tile: the variant is what was scored."""
    monkeypatch.chdir(finished_meta)
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    variants, plan = scripts["variants"], json.loads(Path("data/plan/aggregate.json").read_text())
    changed = SETTINGS | {"variants": SETTINGS["variants"] | {"changes": [], "sides": [64], "photographs": 2}}
    meta = variants.validate(variants.Meta, changed, where="meta.yaml")
    subset = pd.read_csv("data/subset.csv", dtype={"image_id": str})
    found = variants.compute(meta, plan, yaml.safe_load(Path("params.yaml").read_text()), subset)
    before = variants.losses_before(plan, "flow", 4, SETTINGS["variants"]["downscalers"])
    assert len(found) == 2 * 3
    for row in found.itertuples():
        for distortion in ("psnr", "dss"):
            assert getattr(row, distortion) == before[distortion].loc[row.image_id, row.downscaler]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranked": ["bicubic", "box", "gone"]}, "no downscaler gone"),
        ({"variants": SETTINGS["variants"] | {"changes": ["mirror"]}}, "mirror is not known: use flip, shift"),
        ({"ladders": {"noise": ["noise"]}}, "noise has fewer than two rungs"),
        (
            {"criteria": SETTINGS["criteria"] | {"tau": {"at_least": 1, "at_most": 2}}},
            "tau: give either at_least or at_most",
        ),
        (
            {"criteria": SETTINGS["criteria"] | {"empty": {"at_least": 0.9, "chance": 0.5}}},
            "its chance follows from ranked and empty: leave it out",
        ),
    ],
)
def test_settings_that_the_run_does_not_know_are_refused_in_a_line(
    scripts: dict[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("meta.yaml").write_text(yaml.safe_dump(SETTINGS | change))
    plan = {"branches": [{"downscaler": name} for name in ("bicubic", "box", "nearest", "random", "noise")]}
    with pytest.raises(Exception, match=message) as raised:
        scripts["variants"].read_settings(plan)
    assert "\n" not in str(raised.value)
    with pytest.raises(Exception, match=r"30 is no multiple of the factor, 4"):
        scripts["variants"].variant_names(
            scripts["variants"].Variants(photographs=2, downscalers=["a", "b", "c"], changes=[], sides=[30]), 4
        )
