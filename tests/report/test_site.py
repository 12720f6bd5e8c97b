"""``ida-rd site``: bundles on boards, in a real browser from a file."""

from __future__ import annotations

import copy
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsers import PHONE, WIDE, open_browser
from forger import change_rows, make_fit

from ida_rd.bundle.folder import SUMS, Bundle, Refused
from ida_rd.bundle.verify import verify
from ida_rd.commands import main
from ida_rd.core.errors import UserError
from ida_rd.plan.schema import RunParameters
from ida_rd.site.boards import _rerun, boards_of, own_methods, published
from ida_rd.site.write import write_site


def _reproduced(bundle: Path, who: str, **changes: Any) -> Path:
    """What ``verify --rerun --json`` writes, as far as a site asks."""
    rerun = {"branches": [{"branch": "flow-compact x4 bicubic"}], "missing": 0}
    said = {"checksums": Bundle(bundle).sha256(SUMS), "rerun": rerun} | changes
    path = bundle.with_name(f"{bundle.name}.rerun.{who}.json")
    path.write_text(json.dumps(said))
    return path


@pytest.fixture(scope="module")
def three(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bundles of the same images: the second's `mine` loses a little less, and the third's are the first's."""
    folder = tmp_path_factory.mktemp("three")
    for name in ("ann", "bob", "cy"):
        shutil.copytree(bundled, folder / name)
    change_rows(folder / "bob", "flow-compact/x4/mine", lambda rows: rows.assign(psnr=rows.psnr + 0.5))
    make_fit(folder / "bob")
    _reproduced(folder / "cy", "d<e>e")
    return folder


@pytest.fixture(scope="module")
def site(three: Path) -> Path:
    main(["site", *(str(path) for path in sorted(three.iterdir())), "--out", str(three / "site")])
    return three / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = open_browser(WIDE)
    yield driver
    driver.quit()


def _rows(browser: Any, board: int) -> list[list[str]]:
    """Cells of the rows of a board that are shown."""
    rows = browser.find_elements("css selector", f".board:nth-of-type({board + 1}) tbody tr")
    return [[cell.text for cell in row.find_elements("css selector", "td")] for row in rows if row.is_displayed()]


def test_it_opens_from_a_file_filters_and_says_nothing_on_the_console(site: Path, browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    browser.get((site / "index.html").as_uri())
    titles = [title.text for title in browser.find_elements("css selector", ".board h2")]
    assert [title.rpartition(": ")[2] for title in titles] == ["1 - DSS", "PSNR (dB)"]
    by_psnr = _rows(browser, 1)
    # The same rows in several bundles are one entry; what differs is another.
    assert [(row[1], row[5]) for row in by_psnr] == [("bicubic", "ann bob cy"), ("mine", "bob"), ("mine", "ann cy")]
    assert by_psnr[0][4] == "reproduced by d<e>e"
    assert [row[4] for row in by_psnr[1:]] == ["verified", "verified"]
    assert "cannot show that any two" in browser.find_element("css selector", ".board").text
    assert by_psnr[0][2] == "26.86", "four photographs give no interval"

    Select(browser.find_element("css selector", "#filter-distortion")).select_by_visible_text("PSNR (dB)")
    assert not browser.find_element("css selector", ".board").is_displayed()
    Select(browser.find_element("css selector", "#filter-tier")).select_by_visible_text("reproduced")
    assert [row[1] for row in _rows(browser, 1)] == ["bicubic"]
    Select(browser.find_element("css selector", "#filter-tier")).select_by_visible_text("verified")
    box = browser.find_element("css selector", "#filter-text")
    box.send_keys("BOB")
    assert [row[5] for row in _rows(browser, 1)] == ["ann bob cy", "bob"]
    box.send_keys("x")
    assert browser.find_element("css selector", "#none").is_displayed()

    browser.get((site / "index.html").as_uri())
    for summary in browser.find_elements("css selector", ".board summary"):
        summary.click()
    wide = "return [...document.images].every(i => i.complete && i.naturalWidth > 300)"
    assert any(browser.execute_script(wide) for _ in range(300))
    browser.find_element("link text", "bob").click()
    assert browser.find_element("css selector", "h1").text == "bob"
    for link in browser.find_elements("css selector", "a[download]"):
        target = link.get_attribute("href").removeprefix(site.as_uri())
        assert (site / target.lstrip("/")).is_file(), target
    assert browser.get_log("browser") == []


def test_it_fits_a_phone(site: Path, browser: Any) -> None:
    size = {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for page in ("index.html", "bundles/ann/index.html"):
            browser.get((site / page).as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0], page
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_archive_is_the_bundle_and_no_script_of_a_stranger_is_served(
    site: Path, three: Path, tmp_path: Path
) -> None:
    with tarfile.open(site / "bundles/bob/bob.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    assert verify(tmp_path / "bob").bundle.sha256(SUMS) == Bundle(three / "bob").sha256(SUMS)
    badges = {path for path in site.rglob("*.svg") if path.parent.parent.parent.parent.name == "badges"}
    assert len(badges) == 12, "of 3 bundles, 2 downscalers and 2 distortions"
    found = {path for path in site.rglob("*") if path.suffix in (".html", ".svg", ".js")} - badges
    served = {path.relative_to(site).as_posix() for path in found}
    assert served == {"index.html", "site.js", *(f"bundles/{name}/index.html" for name in ("ann", "bob", "cy"))}
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert "default-src 'none'" in text
        assert "<script>" not in text
        assert " style=" not in text
    table = pd.read_csv(site / "board-1.csv")
    results = json.loads((three / "bob/results.json").read_text())
    mine = next(b for b in results["branches"] if b["downscaler"] == "mine")
    assert table[table.bundles == "bob"]["mean"].tolist() == [mine["scores"]["psnr"]["mean"]]
    assert set(table.reproduced_by.dropna()) == {"d<e>e"}


def test_who_ran_it_again_must_mean_this_bundle(three: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(three / "ann", tmp_path / "ann"))
    checked = verify(bundle)
    for changes, said in (
        ({"checksums": "0" * 64}, "is of another bundle"),
        ({"rerun": None}, "is not what ida-rd verify"),
        ({"rerun": {"branches": [{"branch": "flow-compact x4 lanczos"}], "missing": 0}}, "does not say that all"),
        ({"rerun": {"branches": [{"branch": "flow-compact x4 mine"}], "missing": 1}}, "does not say that all"),
        ({"rerun": {"branches": [{"branch": {}}], "missing": 0}}, "does not say that all"),
    ):
        path = _reproduced(bundle, "eve", **changes)
        with pytest.raises(UserError, match=said):
            _rerun(path, checked)
        path.unlink()
    _reproduced(tmp_path / "ann", "dee").rename(tmp_path / "annabel.rerun.dee.json")  # another bundle's
    assert published(bundle).tier("flow-compact x4 bicubic") == "verified"


def test_what_nobody_else_has_is_self_reported_and_compared_with_itself_alone(three: Path) -> None:
    ann, bob = published(three / "ann"), published(three / "bob")
    assert not ann.own, "a downscaler may be anybody's"
    parameters = ann.checked.parameters
    own = {"mine": {"method": "command", "command": ["sr", "{input}", "{output}"], "factors": [4], "stochastic": True}}
    values = parameters.model_dump(mode="json")
    assert own_methods(RunParameters.model_validate(values | {"upscalers": own}), {})
    boards = boards_of([replace(ann, own=True), bob])
    assert [board.title.endswith(" (ann alone): 1 - DSS") for board in boards if board.distortion == "dss"] == [
        True,
        False,
    ]
    assert {entry.tier for entry in boards[0].entries} == {"self-reported"}


@pytest.mark.parametrize(("file", "boards"), [("mine.safetensors", 4), ("code.py", 2)])
def test_decoders_of_other_files_are_on_other_boards(three: Path, file: str, boards: int) -> None:
    """A network's own file is part of what must be equal; the code that both name is not."""
    ann, bob = published(three / "ann"), published(three / "bob")
    assert len(boards_of([ann, bob])) == 2, "one for each distortion"
    recipe = copy.deepcopy(bob.checked.recipe)
    recipe["recipes"]["upscale/x4/flow-compact"]["files"] = {file: "0" * 64}
    assert len(boards_of([ann, replace(bob, checked=replace(bob.checked, recipe=recipe))])) == boards


def test_a_bundle_that_does_not_hold_up_leaves_no_site(three: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copytree(three / "ann", tmp_path / "bad"))
    change_rows(bad, "flow-compact/x4/mine", lambda rows: rows.assign(psnr=rows.psnr + 1))
    with pytest.raises(Refused):
        write_site([three / "bob", bad], tmp_path / "site")
    assert not (tmp_path / "site").exists()
    with pytest.raises(UserError, match="is called alike"):
        write_site([three / "bob", three / "bob"], tmp_path / "site")


def test_places_and_letters_follow_from_tests_over_photographs(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve photographs as if: two that hardly differ share a letter and a place, one that loses more does not."""
    import ida_rd.site.boards as module

    rng = np.random.default_rng(0)
    base = rng.normal(size=12)
    made = {"bicubic": base, "mine": base + 2 + 0.1 * rng.normal(size=12)}
    entry = module._entry

    def many(one: Any, record: Any, name: str) -> Any:
        found = entry(one, record, name)
        found.losses = pd.Series(made[record.downscaler] + 0.05 * rng.normal(size=12))
        found.sha256 = f"{one.name}{record.downscaler}"
        return found

    monkeypatch.setattr(module, "_entry", many)
    board = boards_of([published(three / name) for name in ("ann", "bob")])[0]
    assert not board.too_few
    assert [(e.downscaler, e.place, e.groups) for e in board.entries] == [
        ("bicubic", "1", "a"),
        ("bicubic", "1", "a"),
        ("mine", "3", "b"),
        ("mine", "3", "b"),
    ]
