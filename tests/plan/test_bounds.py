"""Every number that a params.yaml can hold has two bounds, and every list an end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL, stage_here
from pydantic import BaseModel, ValidationError

from ida_rd.balance.groups import cells
from ida_rd.balance.selection import features
from ida_rd.core.errors import UserError
from ida_rd.core.methods import ENTRY, Parameters, find_method, known_methods
from ida_rd.downscale.degrade import STEPS
from ida_rd.plan.schema import RunParameters

LOW, HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def _models() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "params.yaml", RunParameters
    for stage in ENTRY:
        for name in known_methods(stage):
            yield f"{stage}/{name}", getattr(find_method(stage, name, where=""), "Parameters", Parameters)
    for name, step in STEPS.items():
        yield f"degrade/{name}", step


MODELS = dict(_models())


def _numbers(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a number within a JSON schema."""
    if isinstance(schema, dict):
        if schema.get("type") in ("number", "integer") and not {"enum", "const"} & schema.keys():
            yield where, schema
        for key, part in schema.items():
            yield from _numbers(part, f"{where}.{key}")
    elif isinstance(schema, list):
        for part in schema:
            yield from _numbers(part, where)


@pytest.mark.parametrize("name", MODELS)
def test_every_number_has_two_finite_bounds(name: str) -> None:
    for where, schema in _numbers(MODELS[name].model_json_schema(), name):
        for keys in (LOW, HIGH):
            bounds = [schema[key] for key in keys if key in schema]
            assert bounds, f"{where} has no {keys[0]}"
            assert all(math.isfinite(bound) for bound in bounds)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("value", [10**30, -(10**30), math.inf, -math.inf, math.nan, 1e308, "1" * 5000])
def test_no_number_beyond_them_passes(name: str, value: Any) -> None:
    model = MODELS[name]
    for key, schema in model.model_json_schema()["properties"].items():
        if next(_numbers({k: v for k, v in schema.items() if k != "items"}, key), None):
            with pytest.raises(ValidationError) as caught:
                model.model_validate({key: value})
            assert any(error["loc"][0] == key for error in caught.value.errors())


def test_more_branches_than_anyone_computes_are_refused_at_once() -> None:
    entry = {"method": "resample", "filter": "box"}
    parameters = yaml.safe_load(SMALL) | {
        "downscalers": {f"d{i}": entry for i in range(1000)},
        "upscalers": {f"u{i}": {"method": "flow"} for i in range(1000)},
    }
    with pytest.raises(ValidationError, match="1,000,000 branches, more than 20,000"):
        RunParameters.model_validate(parameters)
    parameters["downscalers"]["one-more"] = entry
    with pytest.raises(ValidationError, match="at most 1000 items"):
        RunParameters.model_validate(parameters)


EDGES = [
    ("seed", 2**32 - 1),
    ("aggregate/confidence", 0.9999),
    ("aggregate/confidence", 0.01),
    ("aggregate/resamples", 100),
    ("balance/groups", 4),
    ("report/browse", 1000),
    ("balance/attributes", {"luminance": {"edges": [-1e12, 0.0, 1e12]}}),
    ("balance/attributes", {"luminance": {"edges": [0.3], "labels": ["$5_$", "-12"]}}),
    ("images/pattern", "**/*.png"),
]


@pytest.mark.parametrize(("key", "value"), EDGES, ids=[f"{key}={value}"[:40] for key, value in EDGES])
def test_what_the_schema_lets_pass_runs_or_is_refused_in_one_line(project: Path, key: str, value: Any) -> None:
    parameters = yaml.safe_load(SMALL)
    parameters["downscalers"].pop("mine")
    *path, last = key.split("/")
    target = parameters
    for part in path:
        target = target[part]
    target[last] = value
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    for name in ("plan", "attributes", "balance"):
        done = stage_here(name, cwd=project)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
            assert (done.returncode, len(errors)) == (2, 1)
            return
    assert (project / "data/subset.csv").is_file()


def test_labels_that_differ_from_image_to_image_are_too_many_to_group() -> None:
    table = pd.DataFrame({name: [f"{name}{i}" for i in range(5000)] for name in "ab"})
    with pytest.raises(UserError, match="5000 x 5000 joint groups are more than 1,000,000"):
        cells(table, {name: {} for name in "ab"})
    with pytest.raises(UserError, match=r"balance\.attributes\.a: 5000 different labels are too many"):
        features(table, ["a"])
    assert features(table[:100], ["a"]).shape == (100, 100)
    assert np.array_equal(features(table[:2], ["b"]), np.eye(2))
