"""What upscalers say of their own samples: declared, summed up, shown, published and verified."""

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
from conftest import walk
from PIL import Image

from ida_rd import score
from ida_rd.aggregate.own import own_markdown, own_rows, own_table, write_own_tables
from ida_rd.bundle.publish import publish, write_checksums
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError
from ida_rd.core.methods import method_recipe, open_method
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.columns import columns_of, declared

SEARCHER = '''
"""Pixels repeated, with noise; it says of each sample whether it is satisfied with it."""

import numpy as np

from ida_rd.core.methods import Parameters
from ida_rd.upscale.columns import Column
from ida_rd.upscale.contract import Descriptor, Samples


def describe(parameters, factor):
    return Descriptor(factor=factor, stochastic=True, blind=True, licence="mine", weights={}, kind="search")


def columns(parameters):
    return {
        "happy": Column("share", "satisfied", "samples that it likes"),
        "far": Column("mean", "distance", "how far off it is"),
    }


def load(parameters, problem, device):
    return Searcher(problem.factor)


class Searcher:
    def __init__(self, factor):
        self.factor = factor

    def sample(self, lr, draws):
        big = lr.repeat(self.factor, 1).repeat(self.factor, 2)
        noisy = [np.clip(big + 5 * draw.normal(big.shape), 0, 255).astype(np.uint8) for draw in draws]
        far = np.array([abs(float(draw.normal((1,), "far")[0])) for draw in draws])
        own = {"happy": far < 0.5, "far": far, "silent": far}
        return Samples(np.stack(noisy), np.ones(len(draws), bool), np.zeros(len(draws)), own)
'''
KNOWN: dict[str, Any] = {
    "x4/pulse": {
        "marks": ["non-commercial"],
        "columns": {
            "converged": {"kind": "share", "label": "reached eps", "text": "those that came close"},
            "residual": {"kind": "mean", "label": "residual", "text": "how far off they are"},
        },
    },
    "x4/flow": {"marks": []},
}
RECIPE: dict[str, Any] = {
    "confidence": 0.95,
    "upscalers": KNOWN,
    "branches": [
        {"upscaler": upscaler, "factor": 4, "downscaler": name}
        for upscaler in ("pulse", "flow")
        for name in ("box", "bicubic")
    ],
}


def _write_searcher(folder: Path) -> None:
    (folder / "own_lab").mkdir()
    (folder / "own_lab/__init__.py").touch()
    (folder / "own_lab/searcher.py").write_text(SEARCHER)


def _samples(folder: Path, downscaler: str, converged: list[Any], residual: list[Any]) -> None:
    """Two samples each of images a, b and c, of which a and b are of one photograph."""
    path = folder / f"pulse/x4/{downscaler}/samples.csv"
    path.parent.mkdir(parents=True)
    rows = {"image_id": [i for i in "abc" for _ in range(2)], "sample": [0, 1] * 3, "finite": True, "attempts": 1}
    pd.DataFrame(rows | {"clipped": 0.0, "converged": converged, "residual": residual}).to_csv(path, index=False)


@pytest.fixture
def sr(tmp_path: Path) -> Path:
    _samples(tmp_path, "box", [True, False, True, True, False, False], [0.1, 0.2, 0.1, 0.1, 0.4, 0.6])
    _samples(tmp_path, "bicubic", [True] * 6, [0.001] * 6)
    return tmp_path


def test_shares_and_means_are_over_photographs(sr: Path) -> None:
    rows = own_rows(sr, RECIPE)
    assert len(rows) == 2 * 3 * 2 * 2
    table = own_table(rows, {"a": "p", "b": "p", "c": "q"}, RECIPE).set_index(["downscaler", "column"])
    assert table.value["box", "converged"] == pytest.approx((0.75 + 0) / 2)
    assert table.value["box", "residual"] == pytest.approx((0.125 + 0.5) / 2)
    assert table.value["bicubic", "converged"] == 1
    assert set(table.photographs) == {2}
    assert set(table.images) == {3}
    assert set(table.samples) == {2}
    apart = own_table(rows, {"a": "a", "b": "b", "c": "c"}, RECIPE).set_index(["downscaler", "column"])
    assert apart.value["box", "converged"] == pytest.approx(0.5)


def test_the_interval_of_a_share_is_one_of_shares(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"upscaler": "pulse", "factor": 4, "downscaler": "box", "image_id": [f"i{i}" for i in range(6)], "sample": 0,
         "column": "converged", "value": [1.0, 1, 1, 1, 1, 0]}
    )  # fmt: skip
    alone = {"marks": [], "columns": {"converged": KNOWN["x4/pulse"]["columns"]["converged"]}}
    recipe = RECIPE | {"branches": RECIPE["branches"][:1], "upscalers": {"x4/pulse": alone}}
    table = own_table(rows, {f"i{i}": f"i{i}" for i in range(6)}, recipe).iloc[0]
    assert (table.high, table.value) == (1.0, pytest.approx(5 / 6))
    assert 0 < table.low < table.value


def test_the_table_says_what_the_columns_are_and_leaves_out_who_has_none(sr: Path, tmp_path: Path) -> None:
    table = own_table(own_rows(sr, RECIPE), {i: i for i in "abc"}, RECIPE)
    text = own_markdown(table, KNOWN)
    assert "| pulse (non-commercial) | x4 | box | 50 % | 0.25 |" in " ".join(text.split("  ")).replace("  ", " ")
    assert "100 %" in text
    assert "reached eps: those that came close." in text
    assert "flow" not in text
    folder = tmp_path / "tables"
    folder.mkdir()
    silent = RECIPE | {"branches": RECIPE["branches"][2:]}
    write_own_tables(folder, own_rows(sr, silent), {i: i for i in "abc"}, silent)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("converged", "residual", "message"),
    [
        (["yes"] * 6, [0.1] * 6, "converged holds something else than numbers"),
        ([0.5] * 6, [0.1] * 6, "converged: is neither True nor False everywhere"),
        ([True] * 6, [np.nan] + [0.1] * 5, "residual: a sample has none, or one that is not finite"),
        ([True] * 6, [np.inf] + [0.1] * 5, "residual: a sample has none, or one that is not finite"),
    ],
)
def test_values_that_a_column_cannot_have_are_one_line(
    tmp_path: Path, converged: list[Any], residual: list[float], message: str
) -> None:
    _samples(tmp_path, "box", converged, residual)
    with pytest.raises(UserError, match=message):
        own_rows(tmp_path, RECIPE)


def test_a_column_that_is_declared_and_not_there_is_one_line(sr: Path) -> None:
    path = sr / "pulse/x4/box/samples.csv"
    pd.read_csv(path).drop(columns="residual").to_csv(path, index=False)
    with pytest.raises(UserError, match=r"samples\.csv: has no column residual, which its upscaler declares"):
        own_rows(sr, RECIPE)


def test_pulse_and_a_chain_that_ends_with_it_declare_theirs() -> None:
    pulse = open_method(method_recipe("upscale", "p", {"method": "pulse", "resolution": 64}))
    assert {name: column.kind for name, column in columns_of(pulse).items()} == {
        "converged": "share",
        "residual": "mean",
    }
    flow, last = {"method": "flow", "factor": 4}, {"method": "pulse", "resolution": 64, "factor": 2}
    for steps, names in (([flow, last], {"converged", "residual"}), ([last, flow], set())):
        chain = open_method(method_recipe("upscale", "c", {"method": "cascade", "steps": steps}))
        assert columns_of(chain).keys() == names
    assert declared(open_method(method_recipe("upscale", "f", {"method": "flow"}))) == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", None),
        ('"happy": far < 0.5, ', "", r"columns\(\) declares happy, and sample\(\) does not give it"),
        ("far < 0.5", "far", "column happy, a share, holds 'f': give numbers, or True and False"),
        ('"far": far,', '"far": far.astype(str),', "column far, a mean, holds 'U'"),
    ],
)
def test_a_method_is_checked_for_what_it_declares(old: str, new: str, message: str | None) -> None:
    module = ModuleType("searcher")
    exec(SEARCHER.replace(old, new), module.__dict__)
    if message is None:
        check_upscaler(module, {}, 4)
        return
    with pytest.raises(UserError, match=message):
        check_upscaler(module, {}, 4)


def test_a_call_of_score_tells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    _write_searcher(tmp_path)
    images = {f"i{k}": astronaut[64 * k : 64 * k + 64, 128:192] for k in range(3)}
    found = score("box", images, upscaler={"method": "own_lab.searcher"}, samples=2, distortions=["psnr"])
    assert set(found.own["column"]) == {"happy", "far"}
    assert "satisfied: samples that it likes." in found.markdown()
    plain = score("box", images, upscaler="flow", samples=1, distortions=["psnr"])
    assert "samples that it likes" not in plain.markdown()


def test_a_run_shows_publishes_and_verifies_them_and_that_its_images_were_reduced(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process; that its outputs are up to date is what DVC is asked elsewhere."""
    monkeypatch.chdir(project)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("ida_rd.bundle.publish._refuse_stale", lambda root: None)
    _write_searcher(project)
    parameters = yaml.safe_load((project / "params.yaml").read_text())
    parameters["upscalers"] = {"own": {"method": "own_lab.searcher"}}
    parameters["distortions"] = {"psnr": {"method": "pixel"}}
    parameters["images"]["resize"] = 48
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    walk(report=True)
    table = pd.read_csv(project / "metrics/tables/own_columns.csv")
    assert set(zip(table.upscaler, table["column"], strict=True)) == {("own", "happy"), ("own", "far")}
    page = (project / "metrics/report/index.html").read_text()
    assert "What the upscalers say of their own samples" in page
    assert "samples that it likes" in page
    assert 'href="own_columns.csv"' in page
    assert {Image.open(path).size for path in (project / "data/hr").glob("*.png")} == {(48, 48)}
    for name in ("ida_rd.md", "mean_std.md", "mean_std.tex", "own_columns.md"):
        assert "HR reduced to 48 x 48" in (project / "metrics/tables" / name).read_text()
    assert "HR reduced to 48 x 48" in page
    bundle = tmp_path / "bundle"
    publish(project, bundle, images=True)
    assert any(what.startswith("own_columns.csv: ") for what in verify(bundle).unverified)
    for change, message in (
        (_lose_a_row, "own_columns.csv: own x4 .*: happy: is not there for every sample, once"),
        (_flip_a_value, "tables/own_columns.csv: line 3, value is"),
        (_half_a_value, "own_columns.csv: own x4 .*: happy: is neither True nor False everywhere"),
        (_declare_less, "own_columns.csv: has rows of happy of own, which no upscaler declares"),
        (lambda bundle: (bundle / "own_columns.csv").unlink(), "own_columns.csv: missing"),
        (_rename_a_column, "own_columns.csv: its columns are not upscaler, factor, downscaler, "),
        (_words, "own_columns.csv: own x4 .*: (happy|far): holds something else than numbers"),
        (_another_kind, "recipes/aggregate.json: own: happy is neither a share nor a mean"),
        (_declare_many, "recipes/aggregate.json: own declares more than 20 columns"),
    ):
        changed = tmp_path / "changed"
        shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(bundle, changed)
        change(changed)
        write_checksums(changed)
        with pytest.raises(UserError, match=message):
            verify(changed)


def _rows(bundle: Path, change: Any) -> None:
    """Change the table, given the first row of a share."""
    table = pd.read_csv(bundle / "own_columns.csv")
    first = table.index[table["column"] == "happy"][0]
    change(table, first).to_csv(bundle / "own_columns.csv", index=False)


def _lose_a_row(bundle: Path) -> None:
    _rows(bundle, lambda table, first: table.drop(index=first))


def _flip_a_value(bundle: Path) -> None:
    _rows(bundle, lambda table, first: table.assign(value=table.value.where(table.index != first, 1 - table.value)))


def _half_a_value(bundle: Path) -> None:
    _rows(bundle, lambda table, first: table.assign(value=table.value.where(table.index != first, 0.5)))


def _rename_a_column(bundle: Path) -> None:
    _rows(bundle, lambda table, first: table.rename(columns={"value": "values"}))


def _words(bundle: Path) -> None:
    """In all rows: a column of a table is read as one type."""
    _rows(bundle, lambda table, first: table.assign(value="often"))


def _declare(bundle: Path, change: Any) -> None:
    """Change what the recipes declare of columns."""
    for path in [bundle / "recipes/aggregate.json", bundle / "recipes/report.json", bundle / "provenance.json"]:
        data = json.loads(path.read_text())
        for known in data["upscalers"].values():
            if "columns" in known:
                change(known["columns"])
        path.write_text(json.dumps(data))


def _declare_less(bundle: Path) -> None:
    """Rows of a column that the recipes no longer declare."""
    _declare(bundle, lambda columns: columns.pop("happy"))


def _another_kind(bundle: Path) -> None:
    _declare(bundle, lambda columns: columns["happy"].update(kind="sum"))


def _declare_many(bundle: Path) -> None:
    _declare(bundle, lambda columns: columns.update({f"c{i}": columns["happy"] for i in range(20)}))
