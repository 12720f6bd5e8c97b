"""What several commands print."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ["json_option", "print_json", "records"]


def json_option(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON cannot hold is an error."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def records(table: Any) -> list[dict[str, Any]]:
    """Rows of a DataFrame as plain values, in full precision; a missing number is null."""
    rows = table.to_dict("records")
    return [{key: None if value != value else value for key, value in row.items()} for row in rows]
