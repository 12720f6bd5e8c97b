"""``make figures``: the README's pictures and table, from the last run's outputs.

The pictures are made small enough for git; the originals are in ``metrics/plots``.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MARKS = ("<!-- scores: written by make figures -->\n", "<!-- end of scores -->\n")


def page_picture(page: Path, target: Path) -> None:
    """Show the page's beginning and its image browser side by side, as Chromium draws them (with ``make dev``)."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if importlib.util.find_spec("selenium") is None or browser is None or driver is None:
        print(f"{target.name}: needs chromium, chromedriver and `make dev`; left as it is")
        return
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,900"):
        options.add_argument(argument)
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        window.get(page.resolve().as_uri())
        shots = [Image.open(io.BytesIO(window.get_screenshot_as_png())).convert("RGB")]
        window.execute_script("document.getElementById('browser').scrollIntoView()")
        window.implicitly_wait(1)
        shots.append(Image.open(io.BytesIO(window.get_screenshot_as_png())).convert("RGB"))
    finally:
        window.quit()
    both = Image.new("RGB", (sum(shot.width for shot in shots) + 20, shots[0].height), "white")
    both.paste(shots[0], (0, 0))
    both.paste(shots[1], (shots[0].width + 20, 0))
    both.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    both.save(target, quality=85)


def main() -> None:
    plots = ROOT / "metrics" / "plots"
    for stem in ("differences", "scores"):
        Image.open(plots / f"{stem}.png").convert("RGB").save(HERE / f"{stem}.png", optimize=True)
    sheet = sorted(plots.glob("contact_sheet-*.png"))[0]
    image = Image.open(sheet).convert("RGB")
    image.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    image.save(HERE / "contact_sheet.webp", quality=85)
    page_picture(ROOT / "metrics" / "report" / "index.html", HERE / "page.webp")
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    table = (ROOT / "metrics" / "tables" / "ida_rd.md").read_text(encoding="utf-8")
    readme.write_text(before + MARKS[0] + table + MARKS[1] + after, encoding="utf-8")


if __name__ == "__main__":
    main()
