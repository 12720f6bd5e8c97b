"""How alike decoders rank downscalers; and entries for the decoders whose files are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from judged import values_of, write_recipe
from made import make_rows, script
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.statistics import mean_interval
from ida_rd.core.errors import UserError
from ida_rd.core.methods import find_method, known_methods, validate
from ida_rd.core.weights import catalogue
from ida_rd.study import __main__ as study
from ida_rd.study.judge import Setting

HERE = ROOT / "experiments/decoders"
NETWORKS: dict[str, Any] = yaml.safe_load((HERE / "networks.yaml").read_text())
SETTING = Setting("lpips-alex", "LPIPS", "lower", 0.95, 400, 0)
ORDER = ("bilinear", "bicubic", "dpid", "l0", "perceptual", "nearest")
RESULTS = Path("results/sample-photos")


@pytest.fixture(scope="module")
def alike() -> ModuleType:
    return script("decoders/alike.py")


@pytest.fixture(scope="module")
def decoders(alike: ModuleType) -> ModuleType:
    return script("decoders/decoders.py")


@pytest.fixture(scope="module")
def at_hand() -> ModuleType:
    return script("at_hand.py")


# Statistics


def _losses(rng: np.random.Generator, levels: list[float], noise: float, count: int = 20) -> pd.DataFrame:
    return pd.DataFrame(np.array(levels) + noise * rng.normal(size=(count, len(levels))), columns=list("abcd"))


def test_a_photograph_is_drawn_for_both_decoders_at_once(alike: ModuleType) -> None:
    """Two that say the same of every photograph agree on all draws, however noisy both are."""
    a = _losses(np.random.default_rng(0), [1, 2, 3, 4], 5)
    assert alike.tau_of(a, a * 2 + 1, SETTING) == alike.Tau(1, 1, 1, 4, 20)
    assert alike.tau_of(a, -a, SETTING) == alike.Tau(-1, -1, -1, 4, 20)
    other = alike.tau_of(a, _losses(np.random.default_rng(1), [1, 2, 3, 4], 5), SETTING)
    assert other.low < other.value < other.high
    clear = alike.tau_of(*(_losses(np.random.default_rng(s), [1, 2, 3, 4], 0.1) for s in (0, 1)), SETTING)
    assert clear == alike.Tau(1, 1, 1, 4, 20)


def test_the_interval_of_a_mean_would_be_students(alike: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few photographs: plain percentiles would be three tenths too narrow for six."""
    monkeypatch.setattr(alike, "taus", lambda a, b: a[:, 0])
    a = _losses(np.random.default_rng(0), [1, 2, 3, 4], 1, 6)
    low, high = mean_interval(a["a"].to_numpy(), 0.95)
    assert low is not None
    assert high is not None
    found = alike.tau_of(a, pd.Series(dict.fromkeys(a, 1.0)), Setting("l", "L", "lower", 0.95, 20_000, 0))
    assert (found.high - found.low) / (high - low) == pytest.approx(1, abs=0.1)


def test_tau_with_printed_means_draws_our_photographs_alone(alike: ModuleType) -> None:
    a = _losses(np.random.default_rng(0), [1, 2, 3, 4], 0.1)
    assert alike.tau_of(a, pd.Series({"d": 0.4, "a": 0.1, "x": 9}), SETTING).value is None, (
        "two in common are no ranking"
    )
    printed = pd.Series({"d": 0.3, "c": 0.4, "b": 0.1, "a": 0.1})
    found = alike.tau_of(a, printed, SETTING)
    assert (
        found.value == found.low == found.high == pytest.approx(stats.kendalltau([1, 2, 3, 4], [1, 1, 4, 3]).statistic)
    )
    noisy = alike.tau_of(_losses(np.random.default_rng(0), [1, 2, 3, 4], 5), printed, SETTING)
    assert noisy.low < noisy.high


def test_what_is_missing_is_left_out_and_few_photographs_have_no_interval(alike: ModuleType) -> None:
    a, b = (_losses(np.random.default_rng(s), [1, 2, 3, 4], 0.1) for s in (0, 1))
    a.loc[3, "b"] = np.nan
    b = b.drop(index=[7]).drop(columns="d")
    found = alike.tau_of(a, b, SETTING)
    assert (found.downscalers, found.photographs) == (3, 18)
    few = alike.tau_of(a[:4].dropna(), b[:4], SETTING)
    assert few == alike.Tau(1, None, None, 3, 3)


def test_files_in_common_make_one_network_of_decoders(alike: ModuleType) -> None:
    one = {"method": "flow", "parameters": {"weights": "flow-compact"}, "weights": {"flow.x4": "12"}, "samples": 1}
    assert alike._hashes(one) == ["12"]
    assert alike._hashes({"bicubic": one, "box": one | {"files": {"a.pth": "34"}}, "marks": []}) == ["12", "12", "34"]
    assert alike._hashes({"method": "gaussian", "parameters": {}}) == []


def _tested(losses: NDArray[np.float64]) -> list[pd.DataFrame]:
    """Every two downscalers of (P, decoders, D), by the t-test, which is exact here."""
    i, j = np.triu_indices(losses.shape[2], 1)
    moved = losses[..., j] - losses[..., i]
    less, more = np.where(moved.mean(axis=0) > 0, i, j), np.where(moved.mean(axis=0) > 0, j, i)
    p = stats.ttest_1samp(moved, 0).pvalue
    return [pd.DataFrame({"loses_less": a, "loses_more": b, "p": q}) for a, b, q in zip(less, more, p, strict=True)]


def test_decoders_that_do_not_disagree_seldom_seem_to(alike: ModuleType) -> None:
    """The worst such worlds: by one decoder all downscalers differ, by nine none do, so that chance alone says it."""
    rng, worlds = np.random.default_rng(0), 150
    level = np.zeros((1, 10, 6))
    level[:, 0] = 9 * np.arange(6)
    together, apart = 0, 0
    for _ in range(worlds):
        tested = _tested(level + rng.normal(size=(12, 10, 6)))
        first, *others = alike.orders(tested, SETTING.level)
        assert len(first) == 15
        together += any(alike.otherwise(first, order) for order in others)
        apart += any(alike.otherwise(first, alike.orders([one], SETTING.level)[0]) for one in tested)
    assert together <= stats.binom.isf(0.01, worlds, SETTING.level)
    assert apart > 3 * worlds * SETTING.level, "nothing is asked of decoders together that each would not keep"


def test_holms_method_is_over_all_decoders_of_a_factor(alike: ModuleType) -> None:
    one = pd.DataFrame({"loses_less": ["a"], "loses_more": ["b"], "p": [0.03]})
    other = pd.DataFrame({"loses_less": ["b", "c"], "loses_more": ["a", "a"], "p": [0.01, 0.02]})
    assert alike.orders([one], 0.05) == [{("a", "b")}]
    assert alike.orders([one, other], 0.05) == [{("a", "b")}, {("b", "a"), ("c", "a")}]  # 0.01 * 3, 0.02 * 2, 0.03
    assert alike.orders([one, other, one.iloc[:0]], 0.05)[2] == frozenset()
    assert alike.orders([one.assign(p=0.06), other], 0.05) == [frozenset(), {("b", "a"), ("c", "a")}]
    assert alike.orders([one, other.assign(p=0.02)], 0.05) == [frozenset(), frozenset()]
    assert alike.otherwise({("a", "b"), ("a", "c")}, {("b", "a"), ("a", "c")}) == [("a", "b")]


# The experiment


def _run(folder: Path, monkeypatch: pytest.MonkeyPatch, levels: dict[str, Any], **marks: list[str]) -> None:
    """Rows of several decoders, judged by the experiment's own study."""
    images = np.random.default_rng(0).uniform(0.5, 1, 16)
    branches, facts, recipes = [], {}, {}
    for name, (scores, sha) in levels.items():
        rows = folder / f"data/distortion/{name}/x4"
        for condition, score in zip(ORDER, scores, strict=True):
            make_rows(rows, condition, score, images)
            (rows / f"{condition}.json").write_text(json.dumps({"distort": {"torch": "2"}}))
            branches.append({"upscaler": name, "factor": 4, "downscaler": condition})
        facts[f"x4/{name}"] = {"marks": marks.get(name, []), "licence": "free"}
        recipes[f"upscale/x4/{name}"] = {
            "method": "m",
            "samples": 2,
            "parameters": {},
            "weights": {"w": sha},
            "code": {},
        }
    pd.DataFrame({"image_id": [f"i{i}" for i in range(16)]}).to_csv(folder / "data/subset.csv", index=False)
    write_recipe(folder, {}, branches=branches, upscalers=facts, recipes=recipes | {"distort": {"distortions": {}}})
    (folder / "study.yaml").write_text(yaml.safe_dump(values_of("decoders"), sort_keys=False))
    monkeypatch.chdir(folder)
    study.main([])


RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_the_claim_falls_where_two_networks_order_two_downscalers_otherwise(
    decoders: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = {
        "flow": (RISING, "11"),
        "flow-cool": ([0.1, 0.2, 0.3, 0.4, 0.6, 0.5], "11"),
        "other": ([0.2, 0.1, 0.3, 0.4, 0.5, 0.6], "22"),
        "sharp": (RISING[::-1], "33"),
    }
    _run(tmp_path, monkeypatch, levels, sharp=["deterministic"])
    decoders.main()
    table = pd.read_csv(RESULTS / "alike.csv").set_index(["a", "b"])
    assert len(table) == 6
    assert table.kendall["flow", "other"] == pytest.approx(1 - 2 / 15)
    assert table.kendall["flow", "sharp"] == table.low["flow", "sharp"] == table.high["flow", "sharp"] == -1
    assert table.one_network.to_dict() == {pair: pair == ("flow", "flow-cool") for pair in table.index}
    assert table.otherwise["flow", "other"] == "bilinear < bicubic"
    assert table.otherwise["flow", "flow-cool"] == "perceptual < nearest"
    text = (RESULTS / "alike.md").read_text()
    assert "3 stochastic decoders of 2 networks. What follows is of these, without 1 that are deterministic." in text
    assert "2 of 2 pairs of networks order some downscalers the other way round" in text
    assert "of flow-cool and other, the least of 2 pairs." in text
    assert "**depends on the decoder** here" in text
    assert "DiffBIR's own row, as printed, has DPID lowest" in text
    ranks = pd.read_csv(RESULTS / "ranks.csv").set_index("downscaler")
    assert ranks["flow, rank"].to_dict() == {name: i + 1 for i, name in enumerate(ORDER)}
    assert ranks["paper: DiffBIR, rank"].idxmin() == "dpid"
    assert ranks.loc["dpid", "paper: DiffBIR"] == 0.313
    paper = pd.read_csv(RESULTS / "paper.csv").set_index(["decoder", "paper"])
    assert paper.value["flow", "ResShift"] == pytest.approx(
        stats.kendalltau(RISING, ranks.loc[list(ORDER), "paper: ResShift"]).statistic
    )
    figures = json.loads((RESULTS / "alike.json").read_text())["x4"]
    assert (figures["networks"], figures["otherwise"]["flow and other"]) == (3, 1)
    assert {f"alike-x4.{kind}" for kind in ("png", "svg", "pdf")} <= {path.name for path in RESULTS.iterdir()}
    assert "other" in (RESULTS / "alike.tex").read_text()
    assert "+0.87" in capsys.readouterr().out


def test_one_network_says_nothing_of_networks_and_agreement_proves_nothing(
    decoders: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (study, decoders):  # drawn above
        monkeypatch.setattr(module, "save", lambda *_: None)
    _run(tmp_path / "one", monkeypatch, {"flow": (RISING, "11")})
    decoders.main()
    text = (RESULTS / "alike.md").read_text()
    assert "1 stochastic decoder of 1 network. **One network cannot say whether" in text
    assert "the other way round" not in text
    assert pd.read_csv(RESULTS / "ranks.csv").shape == (6, 1 + 2 + 2 * 4 + 1)
    _run(tmp_path / "two", monkeypatch, {"flow": (RISING, "11"), "other": (RISING, "22")})
    decoders.main()
    text = (RESULTS / "alike.md").read_text()
    assert "None of 1 pair of networks orders two downscalers the other way round" in text
    assert text.count("does not prove it") == 1
    assert "nothing could contradict it" not in text
    _run(
        tmp_path / "alike",
        monkeypatch,
        {"flow": (RISING, "11"), "other": ([0.1, 0.1, 0.1, 0.1, 0.1, 0.1 + 1e-9], "22")},
    )
    decoders.main()
    assert "no two downscalers differ significantly, so that nothing" in (RESULTS / "alike.md").read_text()
    monkeypatch.chdir(HERE)
    with pytest.raises(UserError, match=r"results/sample-photos is not there: run `dvc repro`"):
        decoders.main()


def test_the_cells_are_those_of_tables_3_and_11(shared: Path) -> None:
    paper = yaml.safe_load((shared / "paper/tables.yaml").read_text())
    columns = dict(values_of("decoders")["paper"]["columns"])
    assert columns.pop("Table 11, SR3") == paper["table_11_unsuitable"]["sr3"]
    assert {title.lower(): cells for title, cells in columns.items()} == paper["table_3_stable_diffusion"]


# Entries


def _filled(at_hand: ModuleType, network: dict[str, Any]) -> dict[str, Any]:
    names = at_hand._wanted(network).values()
    found, _ = at_hand.entries(
        {"x": network}, {n: Path("/f") / n for n in names}, [network["factor"]], network.get("side")
    )
    return dict(found["x"])


@pytest.mark.parametrize("name", NETWORKS)
def test_an_entry_is_one_of_its_method_and_names_files_as_they_are_published(at_hand: ModuleType, name: str) -> None:
    network = NETWORKS[name]
    entry = _filled(at_hand, network)
    assert entry["method"] in known_methods("upscale")
    method = find_method("upscale", entry.pop("method"), where="x")
    validate(method.Parameters, entry, where="x")
    known = {weight.name or str(weight.url).rsplit("/", 1)[-1] for weight in catalogue().values()}
    known |= {weight.archive.rsplit("/", 1)[-1] for weight in catalogue().values() if weight.archive}
    assert name == "sr3" or set(network["files"].values()) <= known


def test_decoders_whose_files_are_all_there_are_entered(at_hand: ModuleType, tmp_path: Path) -> None:
    for file in ("a/SRFlow_DF2K_4X.pth", "b/general_full_v1.safetensors", "b/general_swinir_v1.ckpt",
                 "c/ldm-super-resolution-4x-openimages/unet/x.bin", "d/autoencoder_vq_f4.pth",
                 "e/stylegan_mapping.pt", "e/stylegan_synthesis.pt", "e/I640000_E37_gen.pth"):  # fmt: skip
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    files = at_hand.files_below([tmp_path])
    found, others = at_hand.entries(NETWORKS, files, [4], 256)
    assert found == {
        "srflow": {
            "method": "srflow",
            "weights": "df2k_x4",
            "paths": {"df2k_x4": str(tmp_path / "a/SRFlow_DF2K_4X.pth")},
        },
        "diffbir": {
            "method": "diffbir",
            "path": str(tmp_path / "b/general_full_v1.safetensors"),
            "swinir": str(tmp_path / "b/general_swinir_v1.ckpt"),
        },
        "ldm": {"method": "ldm", "path": str(tmp_path / "c/ldm-super-resolution-4x-openimages")},
    }
    assert "resshift: resshift_realsrx4_s15_v1.pth was not found" in others
    assert "pulse: makes images of 1024 x 1024, and params.yaml has images.crop 256" in others
    assert "sr3-faces: is for factor 8 alone, and params.yaml has factors [4]" in others
    assert (
        "diffbir: general_full_v1.ckpt and general_swinir_v1.ckpt were not found"
        in at_hand.entries(NETWORKS, {}, [4], 256)[1]
    )
    assert "pulse" in at_hand.entries(NETWORKS, files, [4], 1024)[0]
    text = (HERE / "params.yaml").read_text()
    entered = yaml.safe_load(at_hand.entered(text, found))["upscalers"]
    assert list(entered) == ["flow-compact", "flow-warm", "flow-cool", "edm", *found]
