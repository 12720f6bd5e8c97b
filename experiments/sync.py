"""Give every experiment, and `ida-rd new`, the root pipeline: ``python experiments/sync.py`` (or ``make experiments``).

An experiment is a folder with its own ``params.yaml``; its ``dvc.yaml`` is that of the root, with the
path of the code adjusted, so it runs by ``dvc repro`` in that folder and keeps its data there. If
there is a ``study.yaml``, a last stage writes the experiment's own table and figure by ``ida_rd.study``; a
stage of another kind is given in ``own.yaml``. What ``ida-rd new`` writes for a project without the
clone is ``ida_rd/new/pipeline.yaml``. With ``--check`` nothing is written; exit code 1 names what is out of date.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make experiments` from the root's dvc.yaml: change that one. params.yaml says what runs.\n"


STUDY = """\
vars:
  - study.yaml
stages:
  study:
    desc: Table, figure, and what they show
    cmd: python -m ida_rd.study
    deps:
      - {up}/ida_rd/study
      - {up}/ida_rd/aggregate
      - study.yaml
      - data/plan/aggregate.json
      - data/subset.csv
      - data/distortion
    outs:
      - results/${{data}}:
          cache: false
"""


def experiments() -> list[Path]:
    """Folders whose ``params.yaml`` is for the pipeline."""
    found = sorted((ROOT / "experiments").rglob("params.yaml"))
    return [path.parent for path in found if "downscalers" in yaml.safe_load(path.read_text(encoding="utf-8"))]


def pipeline(folder: Path) -> str:
    """The text of an experiment's ``dvc.yaml``."""
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    body = text[text.index("stages:\n") :]
    up = Path(os.path.relpath(ROOT, folder)).as_posix()
    text = body.replace("      - ida_rd\n", f"      - {up}/ida_rd\n").replace("python stages/", f"python {up}/stages/")
    # Ordinary outputs here: as metrics they would appear in the root's `dvc metrics show` and `dvc exp show` too.
    text = text.replace("    metrics:\n", "")
    last = ""
    if (folder / "own.yaml").exists():
        last = (folder / "own.yaml").read_text(encoding="utf-8")
    elif (folder / "study.yaml").exists():
        last = STUDY.format(up=up)
    head, _, stage = last.partition("stages:\n")
    head = (head or "vars:\n").rstrip("\n") + "\n  - adapted: {}  # unless params.yaml has that section\n"
    return HEADER + head + text.rstrip("\n") + "\n" + (f"\n{stage}" if stage else "")


def without_clone() -> str:
    """The text of the ``dvc.yaml`` of a project whose code is installed.

    DVC cannot see an installed package change: such a project's plan, which takes a second, runs each time instead,
    and the stages whose recipes it finds as they were do not.
    """
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8").replace("python stages/", "python -m ida_rd.stages.")
    text = re.sub(r"(python -m ida_rd\.stages\.\w+)\.py\b", r"\1", text)
    return text.replace("      - params.yaml\n      - ida_rd\n", "      - params.yaml\n    always_changed: true\n")


def main() -> None:
    stale = []
    wanted = {folder / "dvc.yaml": pipeline(folder) for folder in experiments()}
    for path, text in (wanted | {ROOT / "ida_rd/new/pipeline.yaml": without_clone()}).items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'out of date' if '--check' in sys.argv else 'written'}: {', '.join(stale)}")
    raise SystemExit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
