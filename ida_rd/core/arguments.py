"""Command-line arguments of the stages that run once per branch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ida_rd.core.code import PACKAGE
from ida_rd.core.project import Branch

__all__ = ["arguments", "branch_argument", "called"]


def called(stage: str) -> str:
    """How the script of a stage was called: as a module of the package, or as a clone's own file."""
    inside = Path(sys.argv[0]).resolve().is_relative_to(PACKAGE)
    return f"python -m ida_rd.stages.{stage}" if inside else f"python stages/{stage}.py"


def arguments(stage: str, description: str | None, *names: str) -> list[Any]:
    """Return the positional arguments `names` of ``stages/<stage>.py``; a wrong number of them is exit code 2."""
    parser = argparse.ArgumentParser(prog=called(stage), description=description)
    for name in names:
        parser.add_argument(name, type=int if name == "factor" else str)
    return list(vars(parser.parse_args()).values())


def branch_argument(stage: str, description: str | None) -> Branch:
    """Return the branch that the arguments of ``stages/<stage>.py`` name."""
    upscaler, factor, downscaler = arguments(stage, description, "upscaler", "factor", "downscaler")
    return Branch(upscaler, factor, downscaler)
