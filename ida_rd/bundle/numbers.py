"""Compare what a bundle says with what its rows give: numbers as numbers, field by field.

Which fields and columns are compared depends on who wrote the bundle.

* Those that its version promises (`ida_rd.bundle.versions`) must be there and agree, whatever version of the program
  reads them.
* What this program computes beyond that is compared if the bundle has it too, and not missed otherwise.
* What the bundle has beyond that and this program does not compute is refused if the bundle is of this very
  program (its version, and the version of the schema), since it was then added by hand; otherwise it is ignored:
  another version of the program may know it.
* Markdown and LaTeX, whose wording is no promise, are compared byte for byte, and only if the bundle is of this
  very program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.bundle.folder import Bundle
from ida_rd.bundle.schema import RESULTS_SCHEMA, Results, program
from ida_rd.bundle.versions import Version, version_of
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table

__all__ = ["branch_problems", "equal", "of_this_program", "result_problems", "table_problems"]

RELATIVE = 1e-9  # another version of a library may sum in another order
SUMMARY = "ida_rd.json"


def of_this_program(results: Results) -> bool:
    """Whether a bundle was written by this very version of the program."""
    return results.schema_version == RESULTS_SCHEMA and results.program == program()


def equal(a: Any, b: Any) -> bool:
    """Whether two values are the same, numbers to nine digits; NaN is the same as NaN."""
    if isinstance(a, float | int) and isinstance(b, float | int):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-12)
    return bool(a == b)


def branch_problems(results: Results, summary: Mapping[str, Any], marks: Mapping[str, Any]) -> list[str]:
    """Compare ``results.json`` with what the rows give, branch by branch.

    Parameters
    ----------
    results : Results
    summary : mapping
        From `ida_rd.aggregate.results.Results`.
    marks : mapping
        What is known about each upscaler: ``x4/<name>`` to ``marks``, ``kind``.
    """
    problems = []
    for record in results.branches:
        branch = record.branch
        fresh = summary[branch.upscaler][f"x{branch.factor}"][branch.downscaler]
        known = marks[f"x{branch.factor}/{branch.upscaler}"]
        said = record.model_dump()
        where = f"results.json: {branch.title}"
        for key in version_of(results).counts:
            value = known["marks"] if key == "marks" else fresh[key]
            if not equal(said[key], value):
                problems.append(f"{where}: {key} is {said[key]}, the rows give {value}")
        if "kind" in said and said["kind"] != known["kind"]:
            problems.append(f"{where}: kind is {said['kind']}, the recipes say {known['kind']}")
        if odd := sorted(said["scores"].keys() ^ set(results.distortion_order)):
            problems.append(f"{where}: has scores for the wrong distortions ({', '.join(odd)})")
            continue
        for name, score in said["scores"].items():
            for key, stated in score.items():
                if not equal(stated, fresh[name][key]):
                    problems.append(f"{where}: {name} {key} is {stated}, the rows give {fresh[name][key]}")
    return problems


def result_problems(said: Any, made: Any, where: str = "results.json") -> list[str]:
    """Where ``results.json`` is not what rows and recipes give, whole; keys that `made` lacks are the publisher's word.

    Parameters
    ----------
    said, made : Any
        Its content, and what it should be: mappings, lists, values.
    where : str
        Place, for messages.
    """
    if isinstance(said, dict) and isinstance(made, dict):
        if where != "results.json" and (odd := sorted(said.keys() ^ made.keys())):
            return [f"{where}: {odd[0]}: {'does not follow' if odd[0] in said else 'missing'}"]
        return [p for key in made for p in result_problems(said.get(key), made[key], f"{where}: {key}")]
    if isinstance(said, list) and isinstance(made, list) and len(said) == len(made):
        return [
            p for i, pair in enumerate(zip(said, made, strict=True)) for p in result_problems(*pair, f"{where}.{i}")
        ]
    return [] if equal(said, made) else [f"{where} is {said!r}, rows and recipes give {made!r}"[:300]]


def table_problems(bundle: Bundle, fresh: Path, results: Results) -> list[str]:
    """Compare ``tables/`` of a bundle with tables that were written from its rows.

    Parameters
    ----------
    bundle : Bundle
    fresh : Path
        Folder of the tables as this program writes them.
    results : Results
    """
    version, own = version_of(results), of_this_program(results)
    wanted = {SUMMARY, *(f"{table}.csv" for table in version.columns), *version.texts}
    problems = []
    for path in sorted(fresh.iterdir()):
        name = f"tables/{path.name}"
        if name not in bundle.files:
            problems += [f"{name}: missing"] if own or path.name in wanted else []
        elif bundle.bytes(name) == path.read_bytes():
            continue
        elif path.suffix == ".csv":
            problems += _columns(bundle, name, path, version.promised(path.stem, results.distortion_order), own)
        elif path.suffix == ".json":
            problems += _leaves(bundle, name, path, version, own)
        elif own:
            problems.append(f"{name}: differs from what the rows give")
    return problems


def _columns(bundle: Bundle, name: str, fresh: Path, promised: list[str], own: bool) -> list[str]:
    """Column by column; the first place where a table differs is named."""
    a, b = bundle.table(name), read_table(fresh, hint="")
    if absent := [column for column in promised if column not in a]:
        return [f"{name}: has no column {', '.join(absent)}"]
    if own and (odd := sorted(set(a) ^ set(b))):
        return [f"{name}: has columns other than those that the rows give ({', '.join(odd)})"]
    if len(a) != len(b):
        return [f"{name}: has {len(a)} rows, but the rows of the branches give {len(b)}"]
    for column in b:
        if column not in a:
            continue
        for line, (x, y) in enumerate(zip(a[column], b[column], strict=True)):
            if not equal(x, y):
                return [f"{name}: line {line + 2}, {column} is {x}, the rows give {y}"]
    return []


def _leaves(bundle: Bundle, name: str, fresh: Path, version: Version, own: bool) -> list[str]:
    """The same for JSON: a value is named by its path, and promised by the last part of that."""
    a, b = _flat(bundle.json(name)), _flat(read_json(fresh, hint=""))
    promised = version.columns["ida_rd"]
    if odd := sorted(path for path in a.keys() ^ b.keys() if own or path[-1] in promised):
        which = "the rows do not give it" if odd[0] in a else "missing"
        return [f"{name}: {'.'.join(odd[0])}: {which}"]
    for path in sorted(a.keys() & b.keys()):
        if (own or path != ("schema",)) and not equal(a[path], b[path]):
            return [f"{name}: {'.'.join(path)} is {a[path]}, the rows give {b[path]}"]
    return []


def _flat(value: Any, *path: str) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {path: value}
    found: dict[tuple[str, ...], Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, *path, key)
    return found
