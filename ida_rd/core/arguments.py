"""Command-line arguments of the stages that run once per branch."""

from __future__ import annotations

import argparse
from typing import Any

from ida_rd.core.project import Branch

__all__ = ["arguments", "branch_argument"]


def arguments(stage: str, description: str | None, *names: str) -> list[Any]:
    """Return the positional arguments `names` of ``stages/<stage>.py``; a wrong number of them is exit code 2."""
    parser = argparse.ArgumentParser(prog=f"python stages/{stage}.py", description=description)
    for name in names:
        parser.add_argument(name, type=int if name == "factor" else str)
    return list(vars(parser.parse_args()).values())


def branch_argument(stage: str, description: str | None) -> Branch:
    """Return the branch that the arguments of ``stages/<stage>.py`` name."""
    upscaler, factor, downscaler = arguments(stage, description, "upscaler", "factor", "downscaler")
    return Branch(upscaler, factor, downscaler)
