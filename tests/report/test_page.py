"""The page in a real browser, from a file, with the results of a real run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import PHONE, WIDE, open_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = open_browser(WIDE)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, finished: Path, tmp_path: Path) -> Any:
    """The page of a run, moved elsewhere: it must need nothing but its own folder."""
    shutil.copytree(finished / "metrics/report", tmp_path / "sent")
    browser.get((tmp_path / "sent/index.html").as_uri())
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def _find(page: Any, css: str) -> Any:
    return page.find_element("css selector", css)


def _column(page: Any, table: str, column: int) -> list[str]:
    cells = page.find_elements("css selector", f"#{table} tbody tr td:nth-child({column})")
    return [cell.get_attribute("data-value") or cell.text for cell in cells]


def _loaded(page: Any) -> bool:
    script = "return [...document.images].filter(i => !i.hidden).every(i => i.complete && i.naturalWidth > 0)"
    page.execute_script("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    return any(page.execute_script(script) for _ in range(100))


def test_it_opens_from_a_file_and_shows_every_picture(page: Any) -> None:
    assert page.title == "IDA-RD results"
    assert "comes first by 1 - DSS" in _find(page, "body").text
    assert _loaded(page)
    names = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    outside = [name for name in names if not name.startswith(("file:", "data:"))]
    assert outside == []


def test_a_click_on_a_head_sorts_and_a_second_one_turns_round(page: Any) -> None:
    heads = page.find_elements("css selector", "#scores th button")
    assert _column(page, "scores", 2) == ["bicubic", "mine"]
    heads[3].click()  # PSNR: the worse downscaler has less
    rising = [float(value) for value in _column(page, "scores", 4)]
    assert rising == sorted(rising)
    assert _column(page, "scores", 2) == ["mine", "bicubic"]
    assert heads[3].find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    heads[3].click()
    assert [float(value) for value in _column(page, "scores", 4)] == rising[::-1]
    heads[1].click()
    assert _column(page, "scores", 2) == ["bicubic", "mine"]
    assert page.find_elements("css selector", "#scores th[aria-sort]")[0].text.startswith("downscaler")


def _shown(page: Any) -> tuple[str, dict[str, str]]:
    images = page.find_elements("css selector", ".panes figure:not(:last-child) img")
    sources = {i.get_attribute("data-shows"): re.sub(r".*/images/", "", i.get_attribute("src")) for i in images}
    return _find(page, "#shown").text, sources


def test_the_browser_shows_the_image_the_downscaler_and_the_sample_that_are_chosen(page: Any, finished: Path) -> None:
    import pandas as pd
    from selenium.webdriver.support.ui import Select

    Select(_find(page, "#choose-image")).select_by_index(1)
    Select(_find(page, "#choose-downscaler")).select_by_visible_text("mine")
    Select(_find(page, "#choose-sample")).select_by_visible_text("2")
    text, sources = _shown(page)
    assert sources == {"hr": "1/hr.png", "lr": "1/1-lr.png", "sr": "1/1-1.webp"}
    image_id = text.split(",")[0]
    rows = pd.read_csv(finished / "data/distortion/flow-compact/x4/mine.csv")
    row = rows[(rows.image_id == image_id) & (rows["sample"] == 1)].iloc[0]
    assert text.endswith(f"sample 2: 1 - DSS {row.dss:.4f}, PSNR (dB) {row.psnr:.2f}")
    report = finished / "metrics/report/images"
    for shown, source in {
        "1/hr.png": f"data/hr/{image_id}.png",
        "1/1-lr.png": f"data/lr/x4/mine/{image_id}.png",
        "1/1-1.webp": f"data/sr/flow-compact/x4/mine/{image_id}/1.webp",
    }.items():
        assert (report / shown).read_bytes() == (finished / source).read_bytes()
    assert _loaded(page)
    assert not _find(page, "#choose-cell").is_displayed(), "one upscaler leaves nothing to choose"


def test_the_keyboard_is_enough(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    box = _find(page, "#browser")
    start = _shown(page)[1]
    assert start == {"hr": "0/hr.png", "lr": "0/0-lr.png", "sr": "0/0-0.webp"}
    box.send_keys(Keys.ARROW_RIGHT)
    assert _shown(page)[1]["hr"] == "1/hr.png"
    box.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert _shown(page)[1]["hr"] == "3/hr.png"
    box.send_keys(Keys.ARROW_DOWN, "2")
    assert _shown(page)[1]["sr"] == "3/1-1.webp"
    box.send_keys("9")
    assert _shown(page)[1]["sr"] == "3/1-1.webp"
    swipe = _find(page, "#swipe")
    swipe.send_keys(Keys.ARROW_RIGHT)
    assert swipe.get_attribute("value") == "51"
    over = _find(page, ".swipe img[data-shows=sr]")
    assert over.value_of_css_property("clip-path") == "inset(0px 0px 0px 51%)"
    assert _shown(page)[1]["hr"] == "3/hr.png", "keys of the slider are the slider's"


def test_the_swipe_follows_the_pointer(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    pane = _find(page, ".swipe .pane")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", pane)
    quarter = -round(pane.size["width"] / 4)
    ActionChains(page).move_to_element_with_offset(pane, quarter, 0).click().perform()
    assert int(_find(page, "#swipe").get_attribute("value")) == pytest.approx(25, abs=1)


def test_the_difference_is_black_where_nothing_differs_and_bright_where_it_does(page: Any, tmp_path: Path) -> None:
    import io

    import numpy as np
    from PIL import Image

    pane = _find(page, ".difference")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", pane)
    assert _loaded(page)
    drawn = np.asarray(Image.open(io.BytesIO(pane.screenshot_as_png)).convert("RGB")).astype(float)
    folder = tmp_path / "sent/images/0"
    hr, sr = (np.asarray(Image.open(folder / name).convert("RGB")).astype(float) for name in ("hr.png", "0-0.webp"))
    expected = np.minimum(3 * np.abs(hr - sr), 255)
    middle = np.asarray(Image.fromarray(drawn.astype(np.uint8)).resize((64, 64), Image.Resampling.BOX)).astype(float)
    assert np.corrcoef(middle.ravel(), expected.ravel())[0, 1] > 0.9
    page.execute_script("for (const i of document.querySelectorAll('.difference img')) i.src = 'images/0/hr.png'")
    assert _loaded(page)
    assert np.asarray(Image.open(io.BytesIO(pane.screenshot_as_png)).convert("RGB"))[8:-8, 8:-8].max() <= 3


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_follows_the_dark_mode(finished: Path, dark: bool) -> None:
    driver = open_browser(PHONE, *(["--blink-settings=preferredColorScheme=0"] if dark else []))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 1, "mobile": True},
        )
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]},
        )
        driver.get((finished / "metrics/report/index.html").as_uri())
        assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
        colour = _find(driver, "body").value_of_css_property("background-color")
        assert colour.startswith("rgba(22, 22, 22" if dark else "rgba(255, 255, 255")
    finally:
        driver.quit()


def test_without_javascript_the_tables_and_sheets_are_there(finished: Path) -> None:
    text = (finished / "metrics/report/index.html").read_text()
    assert '<div id="browser"' in text
    assert re.search(r'<div id="browser"[^>]* hidden>', text)
    assert "<noscript>" in text
    assert "contact_sheet-flow-compact-x4-1.png" in text


def test_the_page_shows_where_the_time_went_where_the_run_is_and_says_so_where_it_is_not(
    finished: Path, tmp_path: Path
) -> None:
    for name in ("metrics/report", ".ida-rd"):
        shutil.copytree(finished / name, tmp_path / "run" / name, ignore=shutil.ignore_patterns("store"))
    shutil.copytree(finished / "metrics/report", tmp_path / "sent/report")
    browser = open_browser(WIDE)
    try:
        for page, shown in (("run/metrics/report", True), ("sent/report", False)):
            browser.get((tmp_path / page / "index.html").as_uri())
            times = browser.find_element("css selector", "#times")
            assert not times.find_elements("css selector", "img"), "nothing outside is asked for unasked"
            times.find_element("css selector", "summary").click()
            wide = "const i = document.querySelector('#times img'); return !!i && i.complete && i.naturalWidth > 300"
            gone = "return document.querySelector('#times').textContent.includes('The times are not here')"
            found = any(browser.execute_script(wide if shown else gone) for _ in range(200))
            assert found
            assert browser.execute_script(wide) == shown
    finally:
        browser.quit()
