"""Bundles of other versions of the program: an earlier one verifies forever, and cannot be forged either."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ida_rd.bundle.folder import Bundle, Refused
from ida_rd.bundle.publish import write_checksums
from ida_rd.bundle.rerun import rerun
from ida_rd.bundle.schema import RESULTS_SCHEMA, PublishedResults, Results1, read_results
from ida_rd.bundle.verify import verify
from ida_rd.bundle.versions import RELEASED_WEIGHTS, VERSIONS
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file, write_json
from ida_rd.core.weights import WeightFile, catalogue

GOLDEN = Path(__file__).parent / "golden"
MINE = "rows/flow-compact/x4/mine.csv"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A bundle that ida-rd 0.1.0 wrote, free to be changed."""
    return Path(shutil.copytree(GOLDEN / "0.1.0", tmp_path / "bundle"))


def _change(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    write_json(path, data)


def _change_everywhere(bundle: Path, before: str, after: str) -> None:
    for path in bundle.rglob("*.json"):
        path.write_text(path.read_text().replace(before, after))


def _change_table(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)


def _make_hashes_fit(bundle: Path) -> None:
    """As a forger would: the hashes in results.json, and all checksums."""

    def fit(results: dict[str, Any]) -> None:
        for branch in results["branches"]:
            branch["sha256"] = sha256_file(bundle / branch["rows"])  # version 1 says where

    _change(bundle / "results.json", fit)
    write_checksums(bundle)


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.iterdir()))
def test_a_bundle_of_an_earlier_version_verifies_forever(version: str) -> None:
    results = verify(GOLDEN / version).results
    assert results.program == f"ida-rd {version}"
    assert len(results.branches) == 2


def test_the_first_version_is_read_by_its_own_schema() -> None:
    results = read_results(Bundle(GOLDEN / "0.1.0").json("results.json"))
    assert isinstance(results, Results1)
    published = json.loads((GOLDEN / "0.1.0/results.schema.json").read_text())
    assert Results1.json_schema()["properties"].keys() == published["properties"].keys()
    branch = Results1.json_schema()["$defs"]["BranchResult1"]
    assert set(branch["required"]) == set(published["$defs"]["BranchResult"]["required"])


def test_its_rows_follow_from_the_images(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = rerun(verify(GOLDEN / "0.1.0"), 9, files={"images.path": Path("../photos")})
    (found,) = again.branches
    assert found.branch == "flow-compact x4 bicubic"  # `mine` is the publisher's own program
    assert again.missing == 8
    assert found.largest < 1e-3  # DSS was in float32 then
    assert found.notes == ["the code was that of ida-rd 0.1.0"]
    assert list(elsewhere.iterdir()) == []
    assert not (project / ".ida-rd").exists()


@pytest.mark.parametrize("section", ["upscalers", "downscalers", "distortions"])
def test_no_code_of_the_publishers_is_run(old: Path, section: str) -> None:
    """`method: package.module` is theirs: it is not even looked for here."""
    checked = verify(old)
    for entry in getattr(checked.parameters, section).values():
        entry["method"] = "this.module"
    with pytest.raises(UserError, match=r"can be computed here: .*a module of the publisher's own"):
        rerun(checked, 1, files={"images.path": old})


def test_what_cannot_be_computed_again_is_said_in_one_line(old: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--images: .*nowhere does not exist"):
        rerun(verify(old), 1, files={"images.path": tmp_path / "nowhere"})
    with pytest.raises(UserError, match=r"^verify: the test set cannot be computed again here: .*holds no image"):
        rerun(verify(old), 1, files={"images.path": tmp_path})


def _flip_a_row(bundle: Path) -> None:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[0, "dss"] += 1e-3
        return rows

    _change_table(bundle / MINE, change)


def _flip_a_mean(bundle: Path) -> None:
    def change(results: dict[str, Any]) -> None:
        results["branches"][0]["scores"]["psnr"]["mean"] += 1e-3

    _change(bundle / "results.json", change)


def _flip_an_interval_of_the_table(bundle: Path) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[1, "ci_low"] += 1e-3
        return table

    _change_table(bundle / "tables/ida_rd.csv", change)


def _flip_the_json_table(bundle: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        table["flow-compact"]["x4"]["mine"]["mse"]["bias"] += 1e-3

    _change(bundle / "tables/ida_rd.json", change)


def _invent_a_branch(bundle: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        table["flow-compact"]["x4"]["best"] = table["flow-compact"]["x4"]["mine"]

    _change(bundle / "tables/ida_rd.json", change)


def _invent_a_score(bundle: Path) -> None:
    def change(results: dict[str, Any]) -> None:
        results["branches"][1]["scores"]["lpips"] = results["branches"][1]["scores"]["dss"]

    _change(bundle / "results.json", change)


FORGED: list[tuple[Callable[[Path], Any], str]] = [
    (_flip_a_row, "flow-compact x4 mine: dss mean is 0.52852990"),
    (_flip_a_mean, "results.json: flow-compact x4 bicubic: psnr mean is 26.86241999"),
    (_flip_an_interval_of_the_table, "tables/ida_rd.csv: line 3, ci_low is 0.0021920"),
    (_flip_the_json_table, "tables/ida_rd.json: flow-compact.x4.mine.mse.bias is 0.0147915"),
    (_invent_a_branch, "tables/ida_rd.json: flow-compact.x4.best.clipped_rate: the rows do not give it"),
    (_invent_a_score, "mine: has scores for the wrong distortions (lpips)"),
    (
        lambda bundle: _change_table(bundle / MINE, lambda rows: rows.drop(index=3)),
        f"{MINE}: 1 rows are missing, the first of image photo-1, sample 1",
    ),
    (
        lambda bundle: _change_table(bundle / "tables/ranks.csv", lambda table: table.drop(index=0)),
        "tables/ranks.csv: has 5 rows, but the rows of the branches give 6",
    ),
    (
        lambda bundle: _change_table(bundle / "tables/images.csv", lambda table: table.drop(columns="mse")),
        "tables/images.csv: has no column mse",
    ),
    (
        lambda bundle: _change_everywhere(bundle, RELEASED_WEIGHTS["flow-compact.x4"][0], "0" * 64),
        "results.json: flow-compact.x4 has the hash 000000000000..., but the file of this version has",
    ),
    (
        lambda bundle: _change(bundle / "results.json", lambda r: r["weights"].update({"flow-compact.x4": "0" * 64})),
        "results.json: weights flow-compact.x4: the hash differs from the recipes",
    ),
    (
        lambda bundle: _change(bundle / "recipes/upscale/x4/flow-compact.json", lambda r: r.update(seed=1)),
        "recipes/upscale/x4/flow-compact.json: differs from recipes/aggregate.json",
    ),
    (lambda bundle: _change(bundle / "results.json", lambda r: r.update(confidence=0.99)), "confidence differs"),
    (lambda bundle: (bundle / "tables/variance.csv").unlink(), "tables/variance.csv: missing"),
]


@pytest.mark.parametrize(("forge", "reason"), FORGED, ids=range(len(FORGED)))
def test_forged_numbers_of_an_earlier_version_are_refused(
    old: Path, forge: Callable[[Path], None], reason: str
) -> None:
    forge(old)
    _make_hashes_fit(old)
    with pytest.raises(Refused) as refusal:
        verify(old)
    assert reason in str(refusal.value)
    assert "checksum" not in str(refusal.value)


def test_what_another_version_may_say_differently_is_no_reason_to_refuse(old: Path) -> None:
    """Wording, columns that this version does not know, names and hashes of code, digits that no sum keeps."""
    for name in ("ida_rd.md", "mean_std.tex"):
        path = old / "tables" / name
        path.write_text("% other words\n" + path.read_text())
    _change_table(old / "tables/ranks.csv", lambda table: table.assign(novel=1.5))
    _change_table(old / "tables/ida_rd.csv", lambda table: table.assign(mean=table["mean"] * (1 + 1e-12)))
    _change(old / "tables/ida_rd.json", lambda table: table["flow-compact"]["x4"]["mine"].update(novel=1.5))
    _change_everywhere(old, "stages/core/images.py", "stages/core/pictures.py")
    _make_hashes_fit(old)
    verify(old)


def test_it_verifies_when_the_weights_that_ship_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def retrained(key: str, *, download: bool) -> WeightFile:
        return WeightFile(catalogue()[key], Path("new.safetensors"), "f" * 64)

    monkeypatch.setattr("ida_rd.bundle.verify.locate", retrained)
    verify(GOLDEN / "0.1.0")


def test_upgrading_gives_an_upscaler_its_marks_and_a_distortion_its_kind() -> None:
    recipe = json.loads((GOLDEN / "0.1.0/recipes/aggregate.json").read_text())
    descriptor = recipe["recipes"]["upscale/x4/flow-compact"]["descriptor"]
    now = VERSIONS[1].upgrade(recipe)
    assert now["upscalers"]["x4/flow-compact"]["marks"] == []
    assert [entry["kind"] for entry in now["distortions"].values()] == ["structural", "pixel", "pixel"]
    descriptor.update(stochastic=False, blind=False, licence="CC BY-NC 4.0, Non-Commercial")
    marks = VERSIONS[1].upgrade(recipe)["upscalers"]["x4/flow-compact"]["marks"]
    assert marks == ["deterministic", "not blind", "non-commercial"]


def test_a_bundle_of_a_newer_version_is_distinguished_from_a_damaged_one(old: Path) -> None:
    _change(old / "results.json", lambda data: data.update(schema_version=RESULTS_SCHEMA + 1, program="ida-rd 7.1.0"))
    with pytest.raises(UserError, match=r"schema version 3, and ida-rd \S+ reads up to 2: update.*\(ida-rd 7\.1\.0\)"):
        verify(old)
    for version in (0, "2", None):
        _change(old / "results.json", lambda data, version=version: data.update(schema_version=version))  # type: ignore[misc]
        with pytest.raises(Refused, match=r"results\.json: schema_version: Input should be 2"):
            verify(old)


def test_the_schema_knows_its_version_and_refuses_others() -> None:
    schema = PublishedResults.json_schema()
    assert schema["properties"]["schema_version"]["const"] == RESULTS_SCHEMA
    assert schema["additionalProperties"] is False
