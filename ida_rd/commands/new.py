"""``ida-rd new``."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from ida_rd.commands._output import json_option, print_json
from ida_rd.core.errors import printable

PLACE = 92
ABOUT = "write a project, in which the pipeline runs without a clone of the repository"
EXAMPLES = """\
examples:
  ida-rd new my-benchmark
  cd my-benchmark && dvc repro                   params.yaml says what runs

In a folder that does not exist yet, or is empty: params.yaml, dvc.yaml, what DVC keeps of its own, and a git repository
(unless the folder lies in one)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("folder", type=Path, metavar="DIR")


def run(options: argparse.Namespace) -> None:
    from ida_rd.core.software import PIPELINE
    from ida_rd.new import new_project

    under_git = new_project(options.folder)
    installed = importlib.util.find_spec("dvc") is not None
    if options.json:
        print_json({"path": str(options.folder), "git": under_git, "dvc_installed": installed})
        return
    where = printable(options.folder)
    note = "" if under_git else "; git is not installed, so that DVC works without it"
    print(f"{where}: params.yaml says what runs{note}")
    print(f"next: {'' if installed else f'{PIPELINE}, then '}cd {where} && dvc repro")
