"""Leave in params.yaml the functions that are asked about: ``python asked.py [QUESTION ...]``, before a large run.

Takes the lines of all other downscalers out of ``params.yaml``: of those that no question of ``resizers.yaml`` names,
or none of the given ones, such as ``dpid`` and ``linear-light``. Bicubic stays: adapted decoders are compared with its
own. ``--adapted`` takes the comment away that stands before ``adapted``: S* and gap are measured too. With `git
checkout params.yaml` all is as it was.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_text
from ida_rd.core.foreign import decoding
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


def without_others(text: str, others: Collection[str]) -> str:
    """The text of params.yaml without these downscalers, each with the lines that it goes on over.

    Raises
    ------
    UserError
        More or less than these would be gone, such as where an entry is not written below its own name.
    """
    kept, gone = [], False
    for line in text.splitlines(keepends=True):
        name = re.match(r"  ([\w-]+):\s", line)
        inside = line.startswith("   ") and not line.isspace()
        gone = bool(name and name[1] in others) or (gone and inside)
        if not gone:
            kept.append(line)
    wanted = yaml.safe_load(text)
    wanted["downscalers"] = {name: one for name, one in wanted["downscalers"].items() if name not in others}
    with decoding("params.yaml: cannot be shortened", "git checkout params.yaml, and try again"):
        if yaml.safe_load("".join(kept)) != wanted:
            raise ValueError("its downscalers are not written as in the repository")
    return "".join(kept)


def with_adapted(text: str) -> str:
    """The text of params.yaml with ``adapted`` in it, which is a comment of two lines.

    Raises
    ------
    UserError
        It is not there as a comment.
    """
    found = re.sub(r"^# (adapted:\n)#(   *adapted: .*\n)", r"\1\2", text, count=1, flags=re.MULTILINE)
    with decoding("params.yaml: has no comment with adapted", "git checkout params.yaml, and try again"):
        if yaml.safe_load(found) == yaml.safe_load(text) or "adapted" not in yaml.safe_load(found):
            raise ValueError("it stands there already, or is written otherwise")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="of resizers.yaml; without any, all")
    parser.add_argument("--adapted", action="store_true", help="S* and gap too: a training for each function")
    arguments = parser.parse_args()
    params = Path("params.yaml")
    hint = "run this in the folder of experiments/resizers"
    downscalers = list(read_yaml(params, hint=hint)["downscalers"])
    kept = functions_of(read_yaml(Path("resizers.yaml"), hint=hint)["questions"], arguments.questions)
    others = [name for name in downscalers if name not in kept]
    text = params.read_text(encoding="utf-8")
    write_text(params, without_others(with_adapted(text) if arguments.adapted else text, others))
    left = read_yaml(params, hint=hint)["downscalers"]
    print(f"params.yaml: {len(left)} of {len(downscalers)} downscalers are left")


if __name__ == "__main__":
    exit_with_line(main)
