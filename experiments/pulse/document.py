"""Write the default of ``return``, and the numbers that speak for it, into the documentation: ``python document.py``.

The sentence is that of ``reach.json``, from `reach`. It stands between two marks in ``docs/pulse.md``. If the upscaler
has another default than the results speak for, nothing is written.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_text
from ida_rd.core.foreign import decoding
from ida_rd.core.readers import read_json
from ida_rd.upscale.pulse import Parameters

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/pulse.md"
FIRST, LAST = "<!-- experiments/pulse/document.py writes this: -->", "<!-- to here -->"
WIDTH = 128


def sentence(results: Path) -> str:
    """What ``reach.json`` in a folder says of the default, as lines."""
    path = results / "reach.json"
    told = read_json(path, hint="run reach.py, whose --out is --results")
    with decoding(f"{path} is not what reach.py writes", "run it again"):
        wanted, text = told["return"], f"The default is {told['verdict']}"
    if wanted != (default := Parameters().keep):
        raise UserError(
            f"{path} speaks for `return: {wanted}`, and the default is {default}: change it in"
            " ida_rd/upscale/pulse/__init__.py, or search for more images"
        )
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def document(results: Path, path: Path) -> None:
    """Put the sentence between the marks of a document."""
    before, first, rest = path.read_text(encoding="utf-8").partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise UserError(f"{path} has no place for it: put the lines {FIRST} and {LAST} where it belongs")
    write_text(path, f"{before}{FIRST}\n{sentence(results)}\n{LAST}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python document.py", description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="the --out of reach.py")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="file with the two marks")
    arguments = parser.parse_args()
    document(arguments.results, arguments.document)


if __name__ == "__main__":
    exit_with_line(main)
