"""The recipe of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ida_rd.core.amounts import rungs_of
from ida_rd.core.code import PACKAGE, code_hashes
from ida_rd.core.files import sha256_file
from ida_rd.core.recipes import SCHEMA

__all__ = ["report_recipe"]

FROM_AGGREGATE = ("confidence", "primary", "distortions", "distortion_order", "upscalers")


def report_recipe(aggregate: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Make it from the recipe of the aggregation and the whole of ``params.yaml``."""
    folder = Path(__file__).with_name("templates")
    templates = {path.relative_to(PACKAGE.parent).as_posix(): sha256_file(path) for path in sorted(folder.iterdir())}
    rungs = rungs_of(aggregate)
    return {
        "schema": SCHEMA,
        "code": code_hashes("ida_rd.report.stage") | templates,
        "parameters": parameters,
        "images": parameters["report"]["images"],
        "browse": parameters["report"]["browse"],
        "methods": aggregate["recipes"]["distort"]["distortions"],
        **{key: aggregate[key] for key in FROM_AGGREGATE},
        "branches": [one for one in aggregate["branches"] if one["downscaler"] not in rungs],
        **{key: aggregate[key] for key in ("matched", "amounts") if key in aggregate},
    }
