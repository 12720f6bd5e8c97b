"""Command-line arguments of the stages that run once per branch."""

from __future__ import annotations

import argparse

__all__ = ["arguments"]


def arguments(stage: str, description: str | None, *names: str) -> list[str]:
    """Return the positional arguments `names` of ``stages/<stage>.py``; a wrong number of them is exit code 2."""
    parser = argparse.ArgumentParser(prog=f"python stages/{stage}.py", description=description)
    for name in names:
        parser.add_argument(name)
    return list(vars(parser.parse_args()).values())
