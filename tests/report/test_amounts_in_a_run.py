"""What scores amount to, in a run: its tables, its page and its bundle say it, and nothing else changes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from browsers import PHONE, WIDE, open_browser
from conftest import ROOT, edit, walk
from forger import change_rows, make_fit

from ida_rd.aggregate.rate import rates
from ida_rd.aggregate.results import aggregate, photographs_in, rows_in
from ida_rd.aggregate.write import write_tables
from ida_rd.bundle.folder import Refused
from ida_rd.bundle.publish import _write, write_checksums
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError
from ida_rd.core.project import Project
from ida_rd.core.tables import read_table
from ida_rd.plan.ladder import amounts_of, rung
from ida_rd.site.boards import boards_of, published
from ida_rd.site.write import write_site

LADDER = """downscalers:
  near: {method: resample, filter: nearest}
  rung-a: {method: resample, filter: bicubic, degrade: [{gaussian_blur: {sigma: 0.5}}]}
"""
SHOWN = {"bicubic", "mine", "near"}


def _tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: read_table(path, hint="") for path in sorted(folder.glob("*.csv"))}


@pytest.fixture
def laddered(walked: Path) -> Path:
    edit(walked / "params.yaml", "downscalers:\n", LADDER)
    with (walked / "params.yaml").open("a") as file:
        file.write("ladder: [bicubic, rung-a]\n")
    walk(report=True)
    return walked


def test_a_ladder_is_said_beside_every_score_and_takes_part_in_nothing_else(
    laddered: Path, bundled: Path, tmp_path: Path
) -> None:
    """Every other table is as without the rungs; page, tables and bundle say what a score amounts to."""
    project = Project(laddered)
    recipe = json.loads((project.plan / "aggregate.json").read_text())
    found = read_table(project.tables / "amounts.csv", hint="").set_index(["distortion", "downscaler"])
    assert {name for _, name in found.index} == SHOWN
    assert found.blur["psnr", "bicubic"] == 0
    assert found.place["psnr", "near"] == "more"
    assert found.percent["psnr", "near"] == pytest.approx(100)
    assert json.loads((laddered / "metrics/ida_rd.json").read_text())["flow-compact"]["x4"].keys() == SHOWN
    page = (project.page / "index.html").read_text()
    assert "Gaussian blur of so many LR pixels" in page
    assert re.findall(r'<td class="amount">([^<]*)</td>', page)[0] == "0.00; 0 %"
    said = re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)  # params.yaml names them
    for text in (said, *(path.read_text() for path in project.tables.glob("*.md"))):
        assert "rung-a" not in text
    assert "rung-a" in set(read_table(project.tables / "ida_rd.csv", hint="").downscaler)

    plain = recipe | {
        "branches": [one for one in recipe["branches"] if one["downscaler"] in SHOWN],
        "amounts": {"ladder": [], "nearest": "near"},
    }
    photographs = photographs_in(read_table(project.subset, hint=""))
    bits = rates(project.lr, [(name, 4) for name in sorted(SHOWN)], list(photographs))
    (tmp_path / "plain").mkdir()
    write_tables(tmp_path / "plain", plain, aggregate(plain, photographs, rows_in(project.distortion), bits))
    before, after = _tables(tmp_path / "plain"), _tables(project.tables)
    for name in ("differences", "ranks", "agreement", "leading", "mean_std"):
        pd.testing.assert_frame_equal(after[name], before[name], obj=name)
    for name in ("ida_rd.md", "differences.md", "mean_std.md", "mean_std.tex"):
        assert (tmp_path / "plain" / name).read_bytes() == (project.tables / name).read_bytes()
    assert before["amounts"].blur.isna().all()
    assert before["amounts"].percent.tolist() == pytest.approx(after["amounts"].percent.tolist())
    assert "Gaussian" not in (tmp_path / "plain/amounts.md").read_text()
    assert "; 100 %" in (tmp_path / "plain/amounts.md").read_text()

    bundle = tmp_path / "bundle"
    bundle.mkdir()
    _write(project, bundle, recipe, images=False)
    write_checksums(bundle)
    verify(bundle)
    boards = boards_of([published(bundle)])
    assert {entry.downscaler for board in boards for entry in board.entries} == SHOWN
    _look_at_the_site(bundle, Path(shutil.copytree(bundled, tmp_path / "plainer")), tmp_path / "site", found)
    edit(bundle / "tables/amounts.csv", "0.5,more", "0.4,more")
    write_checksums(bundle)
    with pytest.raises(Refused, match=r"tables/amounts.csv: line \d+, blur is 0.4"):
        verify(bundle)
    edit(bundle / "params.yaml", "ladder: [bicubic, rung-a]\n", "")
    write_checksums(bundle)
    with pytest.raises(Refused, match=r"aggregate.json.amounts.ladder"):
        verify(bundle)


def _look_at_the_site(bundle: Path, without: Path, site: Path, found: pd.DataFrame) -> None:
    """Blur-equivalents of the bundle that has a ladder stand beside its scores; the other has none."""
    change_rows(without, "flow-compact/x4/mine", lambda rows: rows.assign(psnr=rows.psnr + 0.5))
    make_fit(without)
    write_site([bundle, without], site)
    number = next(n for n in (0, 1) if "PSNR" in pd.read_csv(site / f"board-{n}.csv").board[0])
    table = pd.read_csv(site / f"board-{number}.csv")
    of = dict(zip(zip(table.downscaler, table.bundles, strict=True), table.to_dict("records"), strict=True))
    for name, bundles in (("near", "bundle"), ("mine", "bundle"), ("bicubic", "bundle plainer")):
        row = of[name, bundles]
        assert row["blur"] == found.blur["psnr", name]
        assert (row["blur_place"], row["blur_of"]) == (found.place["psnr", name], "bundle")
    assert pd.isna(of["mine", "plainer"]["blur"])
    browser = open_browser(WIDE)
    try:
        browser.get((site / "index.html").as_uri())
        board = browser.find_elements("css selector", ".board")[number]
        assert "Blur: it loses as much as bicubic" in board.text

        def cells() -> list[tuple[str, str, str]]:
            rows = [row.find_elements("css selector", "td") for row in board.find_elements("css selector", "tbody tr")]
            return [(row[1].text, row[-1].text, row[3].text) for row in rows]

        assert ("bicubic", "bundle plainer", "0.00") in cells()
        assert ("near", "bundle", "more than 0.5") in cells()
        assert ("mine", "plainer", "-") in cells(), "a dash: there is no ladder"
        button = board.find_elements("css selector", "th button")[3]
        assert button.text.startswith("as much as a blur of")
        for step in (1, -1):  # up and down; what has none stays last
            button.click()
            shown = [name for name, _, text in cells() if text != "-"]
            assert shown == sorted(shown, key=lambda name: step * found.blur["psnr", name])
            assert cells()[-1][2] == "-"
        board.find_elements("css selector", "th button")[2].click()
        rows = board.find_elements("css selector", "tbody tr")
        scores = [float(row.find_elements("css selector", "td")[2].text) for row in rows]
        assert scores == sorted(scores), "of every other column, too"
        browser.get((site / "bundles/bundle/index.html").as_uri())
        said = browser.find_element("css selector", "body").text
        assert re.search(r"bicubic 26\.86.* 0\.00; 0 %", said)
        assert "behind it, the share of the way from the best score here to nearest's" in said
        browser.get((site / "bundles/plainer/index.html").as_uri())
        assert not browser.find_elements("css selector", ".amount")
        size = {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for page in ("index.html", "bundles/bundle/index.html"):
            browser.get((site / page).as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0], page
        assert browser.get_log("browser") == []
    finally:
        browser.quit()


BICUBIC: dict[str, Any] = rung(0)


@pytest.mark.parametrize(
    ("downscalers", "said"),
    [
        ({"a": rung(0.2), "b": rung(0.4)}, "a comes first and has a blur"),
        ({"a": BICUBIC, "b": rung(0.4), "c": rung(0.2)}, "c has no more blur than b"),
        ({"a": BICUBIC, "b": BICUBIC}, "b has no more blur than a"),
        ({"a": BICUBIC, "b": {"method": "resample", "filter": "lanczos"}}, "b is no rung"),
        ({"a": BICUBIC, "b": {"method": "dpid"}}, "b is no rung"),
        ({"a": BICUBIC, "b": BICUBIC | {"degrade": [{"gaussian_noise": {"sigma": 0.1}}]}}, "b is no rung"),
        ({"a": BICUBIC, "b": BICUBIC | {"degrade": [{"gaussian_blur": {"sigma": 1, "when": "before"}}]}}, "b is no"),
        ({"a": BICUBIC | {"backend": "opencv"}, "b": rung(0.2)}, "a is no rung"),
    ],
)
def test_a_ladder_is_bicubic_and_rising_blurs(downscalers: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^ladder: {said}"):
        amounts_of(downscalers, list(downscalers), ())


def test_the_ladder_of_the_document_is_one() -> None:
    text = (ROOT / "docs/results.md").read_text()
    said = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "ladder:" in block)
    values = yaml.safe_load(said)
    found = amounts_of(values["downscalers"], values["ladder"], ())["amounts"]["ladder"]
    assert [sigma for _, sigma in found] == [0, 0.2, 0.4, 0.6, 0.8, 1.2]


def test_nearest_is_what_takes_nearest_neighbours_whatever_it_is_called() -> None:
    mine = {"nearest": {"method": "dpid"}, "mine": {"method": "resample", "filter": "nearest", "backend": "pillow"}}
    assert amounts_of(mine, [], ())["amounts"] == {"ladder": [], "nearest": "mine"}
    assert amounts_of(mine, [], ("mine",)) == {}
