"""Leave in params.yaml the functions that are asked about: ``python asked.py [QUESTION ...]``, before a large run.

Takes the lines of all other downscalers out of ``params.yaml``: of those that no question of ``resizers.yaml`` names,
or none of the given ones, such as ``dpid`` and ``linear-light``. Bicubic stays: adapted decoders are compared with its
own. With `git checkout params.yaml` all are there again.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_text
from ida_rd.core.readers import read_yaml

ALWAYS = "bicubic"


def functions_of(questions: dict[str, Any], chosen: list[str]) -> set[str]:
    """Names of the functions that the chosen questions are about; none chosen: all questions."""
    for name in chosen:
        if name not in questions:
            raise UserError(f"{name}: resizers.yaml has no such question, but {', '.join(questions)}")
    asked = [questions[name] for name in chosen or questions]
    pairs = chain.from_iterable(chain.from_iterable(question["pairs"] for question in asked))
    return {ALWAYS, *pairs, *chain.from_iterable(question.get("kernels", []) for question in asked)}


def without_others(text: str, downscalers: list[str], kept: set[str]) -> str:
    """The text of params.yaml without the lines of other downscalers.

    Raises
    ------
    UserError
        One of them is not a line of its own, and so would stay.
    """
    others = [name for name in downscalers if name not in kept]
    lines = text.splitlines(keepends=True)
    for name in others:
        if not any(line.startswith(f"  {name}: {{") for line in lines):
            raise UserError(f"params.yaml: downscalers.{name}: write it as one line, {name}: {{method: ...}}")
    begun = tuple(f"  {name}: {{" for name in others)
    return "".join(line for line in lines if not line.startswith(begun))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="of resizers.yaml; without any, all")
    arguments = parser.parse_args()
    params = Path("params.yaml")
    hint = "run this in the folder of experiments/resizers"
    downscalers = list(read_yaml(params, hint=hint)["downscalers"])
    kept = functions_of(read_yaml(Path("resizers.yaml"), hint=hint)["questions"], arguments.questions)
    write_text(params, without_others(params.read_text(encoding="utf-8"), downscalers, kept))
    left = read_yaml(params, hint=hint)["downscalers"]
    print(f"params.yaml: {len(left)} of {len(downscalers)} downscalers are left")


if __name__ == "__main__":
    exit_with_line(main)
