"""``make figures``: the README's pictures and table, from the last run's outputs.

The pictures are made small enough for git; the run's own are in ``metrics/plots``.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MARKS = ("<!-- scores: written by make figures -->\n", "<!-- end of scores -->\n")


def main() -> None:
    plots = ROOT / "metrics" / "plots"
    Image.open(plots / "scores.png").convert("RGB").save(HERE / "scores.png", optimize=True)
    sheet = sorted(plots.glob("contact_sheet-*.png"))[0]
    image = Image.open(sheet).convert("RGB")
    image.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    image.save(HERE / "contact_sheet.webp", quality=85)
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    table = (ROOT / "metrics" / "tables" / "ida_rd.md").read_text(encoding="utf-8")
    readme.write_text(before + MARKS[0] + table + MARKS[1] + after, encoding="utf-8")


if __name__ == "__main__":
    main()
