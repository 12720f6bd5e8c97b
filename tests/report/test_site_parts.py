"""S, S* and gap in a bundle and on the site: what adapted decoders find again, and who says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
from browsers import PHONE, WIDE, open_browser
from conftest import edit
from forger import change_rows, make_fit
from training_photos import TINY, write_photos

from ida_rd.aggregate.stage import write_results
from ida_rd.bundle.folder import Refused
from ida_rd.bundle.publish import _write, write_checksums
from ida_rd.bundle.rerun import _left_out
from ida_rd.bundle.told import WEIGHTS
from ida_rd.bundle.verify import verify
from ida_rd.core.files import write_json
from ida_rd.core.project import Branch, Project
from ida_rd.core.tables import read_table, write_table
from ida_rd.plan.stage import make_recipes, read_parameters, write_recipes
from ida_rd.site.badge import badge, badge_path
from ida_rd.site.boards import Board, Entry, boards_of, published
from ida_rd.site.write import _blur, _part, write_site

ADAPTED = {"tuned": {"method": "flow", "heat": 0.9, "adapt": {"images": "training", **TINY}}}


def _bundle(project: Project, target: Path) -> Path:
    target.mkdir()
    _write(project, target, json.loads((project.plan / "aggregate.json").read_text()), images=False)
    write_checksums(target)
    return target


@pytest.fixture
def two(walked: Path, tmp_path: Path) -> Path:
    """Bundles of the finished run: `ann` without an adapted decoder, whose `mine` loses a little less, and `bob` with.

    The rows of bob's adapted decoder are made up: what is asked here is what becomes of them.
    """
    project, folder = Project(), tmp_path / "bundles"
    folder.mkdir()
    ann = _bundle(project, folder / "ann")
    change_rows(ann, "flow-compact/x4/mine", lambda rows: rows.assign(psnr=rows.psnr + 0.5))
    (ann / "page").mkdir()  # into which the forger copies
    make_fit(ann)

    write_photos(Path("training"))
    values = yaml.safe_load(project.parameters.read_text()) | {"adapted": ADAPTED}
    project.parameters.write_text(yaml.safe_dump(values, sort_keys=False))
    write_recipes(make_recipes(read_parameters(project.parameters), download=False), project.plan)
    for name, gain in (("bicubic", 0.25), ("mine", 2.0)):
        mine, blind = Branch("tuned", 4, name), Branch("flow-compact", 4, name)
        rows = read_table(project.rows_of(blind), hint="")
        project.rows_of(mine).parent.mkdir(parents=True, exist_ok=True)
        write_table(project.rows_of(mine), rows.assign(psnr=rows.psnr + gain))
        record = json.loads(project.rows_of(blind).with_suffix(".json").read_text())
        write_json(project.rows_of(mine).with_suffix(".json"), record)
        write_json(project.adapted_of(mine).with_suffix(".json"), {"sha256": f"{len(name):064x}"})
    write_results(project)
    _bundle(project, folder / "bob")
    return folder


def test_a_bundle_with_an_adapted_decoder_verifies_and_the_site_shows_its_parts(two: Path, tmp_path: Path) -> None:
    bob = published(two / "bob")
    assert any(what.startswith("adapted.tuned: its weights") for what in bob.checked.unverified)
    left = _left_out(bob.checked, bob.checked.parameters.model_dump(mode="json"), {})
    assert left["tuned x4 bicubic"] == "adapted.tuned: its weights are not in the bundle"
    boards = boards_of([published(two / "ann"), bob])
    assert [board.upscaler for board in boards] == ["flow-compact", "flow-compact"], "S* stands beside S"
    write_site([two / "ann", two / "bob"], tmp_path / "site")
    by_psnr = pd.read_csv(tmp_path / "site/board-1.csv").set_index(["downscaler", "bundles"])
    assert by_psnr.gap["mine", "bob"] == pytest.approx(2)
    assert by_psnr.s_star["mine", "bob"] == pytest.approx(by_psnr["mean"]["mine", "bob"] + 2)
    assert by_psnr.unreadable["mine", "bob"] == pytest.approx(1.75)
    assert pd.isna(by_psnr.gap["mine", "ann"])
    assert by_psnr.gap["bicubic", "ann bob"] == pytest.approx(0.25)
    browser = open_browser(WIDE)
    try:
        _look(browser, tmp_path / "site")
    finally:
        browser.quit()
    _forge(two / "bob")


def _look(browser: Any, site: Path) -> None:
    browser.get((site / "index.html").as_uri())
    rows = browser.find_elements("css selector", ".board:nth-of-type(2) tbody tr")
    cells = [[cell.text for cell in row.find_elements("css selector", "td")] for row in rows]
    by = {(row[1], row[-1]): row for row in cells}
    assert by["mine", "bob"][4] == "2.000"
    assert by["mine", "ann"][3:5] == ["S only", ""]
    said = browser.find_element("css selector", ".board:nth-of-type(2)").text
    assert "S* by bob: 3 steps of 1 patches of 32 x 32, likelihood." in said
    box = browser.find_element("css selector", "#filter-text")
    box.send_keys("ann")  # a bundle's name is still found, behind two columns more
    assert [row.is_displayed() for row in rows] == ["ann" in row[-1] for row in cells]
    browser.find_element("link text", "bob").click()
    table = browser.find_elements("css selector", "table.parts")[1].text
    assert "mine 17.51 19.51 2.000" in table.replace("\n", " ")
    browser.back()
    browser.find_element("link text", "ann").click()
    assert "S only: this bundle has no decoder adapted" in browser.find_element("css selector", "body").text
    size = {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for page in ("index.html", "bundles/bob/index.html"):
        browser.get((site / page).as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0], page
    assert browser.get_log("browser") == []


def _forge(bundle: Path) -> None:
    """A gap that the rows do not give, weights that are not named, another budget."""
    table = read_table(bundle / "tables/matched.csv", hint="")
    good = (bundle / "tables/matched.csv").read_bytes()
    write_table(bundle / "tables/matched.csv", table.assign(gap=table.gap + 1))
    write_checksums(bundle)
    with pytest.raises(Refused, match=r"tables/matched.csv: line 2, gap is"):
        verify(bundle)
    (bundle / "tables/matched.csv").write_bytes(good)
    hashes = json.loads((bundle / WEIGHTS).read_text())
    write_json(bundle / WEIGHTS, {"x4/tuned/bicubic": hashes["x4/tuned/bicubic"]})
    write_checksums(bundle)
    with pytest.raises(Refused, match=f"{WEIGHTS}: does not name the weights of every adapted branch"):
        verify(bundle)
    write_json(bundle / WEIGHTS, hashes)
    edit(bundle / "params.yaml", "steps: 3", "steps: 400")
    write_checksums(bundle)
    with pytest.raises(Refused, match=r"adapted.budget.steps: is 3, params.yaml says 400"):
        verify(bundle)


def test_a_part_has_its_interval_or_none() -> None:
    row = {"gap": 0.12, "gap_low": 0.1, "gap_high": 0.14, "lost": float("nan")}
    assert _part(row, "gap") == ("0.120", "[0.100, 0.140]")
    assert _part(row, "lost") == ("", "")
    assert _part(row | {"gap_low": None, "gap_high": None}, "gap") == ("0.120", "")


def test_a_blur_equivalent_has_its_interval_and_a_place_in_the_order() -> None:
    row = {"place": "within", "blur": 0.451, "blur_low": 0.3, "blur_high": 1.2, "percent": None, "end": 1.2}
    assert _blur(row) == ("0.45", "[0.30, more than 1.2]", 0.451)
    less = row | {"place": "less", "blur": 0.0, "blur_low": None, "blur_high": None}
    assert _blur(less) == ("less than bicubic", "", -1)
    assert _blur(None) == ("-", "", "")


def test_a_badge_says_what_the_board_says_and_is_no_markup_of_a_stranger() -> None:
    """A label is whatever a module of the publisher's own says."""
    score = {"mean": 0.31, "ci_low": 0.29, "ci_high": 0.33}
    entry = Entry("mine", ["ann"], "verified", [], score, pd.Series(dtype=float), "")
    board = Board("t", "idard-photo-x4@1", "flow-compact", 4, "d", "<script>&\x1b", "lower", 0.95, [entry])
    text = badge(board, entry)
    root = ElementTree.fromstring(text)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "title", "rect", "g", "text"}
    said = "".join(root.itertext())
    assert "IDA-RD idard-photo-x4@1" in said
    assert "mine: <script>&" in said
    assert "0.310 [0.290, 0.330], verified" in said
    assert "\x1b" not in text
    assert badge_path(board, entry) == "badges/flow-compact/x4/mine/d.svg"
