"""Parameters are described where they are defined, and what is made of that is up to date and true."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import ROOT
from pydantic import BaseModel, Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import ENTRY, Parameters, find_method, known_methods, validate
from ida_rd.downscale.degrade import STEPS, check_steps
from ida_rd.inventory import describe_fields, methods
from ida_rd.plan.schema import RunParameters
from ida_rd.reference import documents, main, page

RUNS = [path for path in sorted(ROOT.glob("experiments/**/params.yaml")) if "downscalers:" in path.read_text()]
ROOMS = {"downscalers": "downscale", "upscalers": "upscale", "distortions": "distort"}
SCHEMA = json.loads((ROOT / "docs/params.schema.json").read_text())


def _models() -> Iterator[tuple[str, type[BaseModel]]]:
    for stage in ENTRY:
        for name in known_methods(stage):
            yield f"{stage}/{name}", getattr(find_method(stage, name, where="x"), "Parameters", Parameters)
    yield from STEPS.items()
    waiting: list[type[BaseModel]] = [RunParameters]
    while waiting:
        model = waiting.pop()
        yield model.__name__, model
        for field in model.model_fields.values():
            kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
            waiting += [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


@pytest.mark.parametrize(("name", "model"), list(_models()), ids=lambda x: x if isinstance(x, str) else "")
def test_every_parameter_is_described_in_a_line_of_plain_words(name: str, model: type[BaseModel]) -> None:
    for key, entry in describe_fields(model).items():
        text = entry["description"]
        assert text, f"{name}.{key} has no Field(description=...)"
        assert not text.endswith(".")
        assert "\n" not in text
        assert "  " not in text
        assert not any(noise in entry["type"] for noise in ("typing", "Literal", "None", "[", "Annotated"))


def test_the_sections_of_params_yaml_are_among_those_that_are_checked() -> None:
    assert {"RunParameters", "Images", "Attributes", "Balance", "AttributeGroups", "Aggregate", "Report"} <= {
        name for name, _ in _models()
    }


def test_types_are_described_in_words() -> None:
    class Some(Parameters):
        a: int = 3
        b: float | None = Field(default=None, gt=0, le=2)
        c: list[float] = Field(description="numbers")
        d: dict[str, str] = Field(default_factory=dict)
        e: bool | None = None
        f: str = Field(default="x", alias="eff")

    assert {key: entry["type"] for key, entry in describe_fields(Some).items()} == {
        "a": "whole number",
        "b": "number, above 0, at most 2, or null",
        "c": "list of numbers",
        "d": "mapping",
        "e": "true, false or null",
        "eff": "text",
    }
    assert describe_fields(Some)["a"] == {"type": "whole number", "default": 3, "required": False, "description": ""}
    assert describe_fields(Some)["d"]["default"] == {}


@pytest.mark.parametrize("path", list(documents()), ids=str)
def test_the_documents_are_what_the_code_says(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == documents()[path], "run python -m ida_rd.reference --write"


def test_the_documents_are_written_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="docs is not here"):
        main(["--write"])
    (tmp_path / "docs").mkdir()
    with pytest.raises(UserError, match=r"parameters\.md is out of date"):
        main(["--check"])
    main(["--write"])
    main(["--check"])
    with (tmp_path / "docs/params.schema.json").open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match=r"params\.schema\.json is out of date"):
        main(["--check"])


def test_the_page_has_every_key_of_every_method() -> None:
    text = page()
    for method in methods():
        assert f"\n### {method['method']}\n" in text
        for key, entry in method["parameters"].items():
            assert f"| `{key}` | {entry['type']} |" in text
    assert "| `balance.attributes.NAME.edges` | list of numbers of -1000000000000 to 1000000000000 or null |" in text
    assert "``" not in text


def test_editors_find_the_schema() -> None:
    first = (ROOT / "params.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=docs/params.schema.json"
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


def _by_schema(values: Any) -> bool:
    return jsonschema.Draft7Validator(SCHEMA).is_valid(values)


def _by_program(values: Any) -> bool:
    """Whether ``plan`` would take the values, files and weights aside."""
    try:
        run = validate(RunParameters, values, where="")
        for name in run.attributes.sources():
            module = find_method("attributes", name, where="attributes")
            validate(module.Parameters, (run.attributes.model_extra or {}).get(name) or {}, where=name)
        for section, room in ROOMS.items():
            for name, entry in getattr(run, section).items():
                if not isinstance(entry.get("method"), str):
                    raise UserError(f"{name}: no method")
                module = find_method(room, entry["method"], where=name)
                given = {key: value for key, value in entry.items() if key != "method"}
                if room == "downscale" and "degrade" in given:
                    check_steps(given.pop("degrade"), where=name)
                parameters = validate(getattr(module, "Parameters", Parameters), given, where=name)
                if entry["method"] == "cascade":
                    module.files(parameters, 16)
    except UserError:
        return False
    return True


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RUNS], ids=lambda path: path.parent.name)
def test_every_committed_run_fits_the_schema(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    jsonschema.validate(values, SCHEMA, cls=jsonschema.Draft7Validator)
    assert _by_program(values)


def test_experiments_are_among_the_runs() -> None:
    assert len(RUNS) >= 10


GOOD = [
    ("attributes", {"source": "table", "table": {"path": "my.csv", "columns": ["age"]}}),
    ("attributes", {"source": {"age": "ffhq-features", "gender": "deepface"}, "ffhq-features": {"path": "x"}}),
    ("balance", {"method": "stratified", "size": 2, "attributes": {"age": {"edges": [1, 2.5]}, "gender": {}}}),
    ("images", {"source": "folder", "path": "x", "crop": None}),
    ("images", {"source": "folder", "path": "x", "photograph_before": "_s"}),
    ("primary", "fsim"),
    ("primary", None),
    ("downscalers", {"d": {"method": "dpid", "lambda": 0.5, "variant": "cuda"}}),
    ("downscalers", {"c": {"method": "command", "command": ["x", "{input}", "{output}"]}}),
    ("downscalers", {"p": {"method": "python", "function": "a.b", "arguments": {"anything": [1, {}]}}}),
    ("downscalers", {"n": {"method": "resample", "filter": "box", "degrade": [{"jpeg": {"quality": 5}}]}}),
    ("upscalers", {"s": {"method": "srflow", "paths": {"df2k_x4": "a.pth"}, "compat": "official"}}),
    (
        "upscalers",
        {"c": {"method": "cascade", "steps": [{"method": "flow", "factor": 4}, {"method": "srflow", "factor": 4}]}},
    ),
    ("upscalers", {"p": {"method": "pulse", "resolution": 64, "loss": "9*L1", "zero_noise": [0], "return": "best"}}),
    ("distortions", {"l": {"method": "lpips"}, "s": {"method": "structural", "metric": "vif"}}),
]
BAD = [
    (None, {}),
    ("sed", 0),
    ("seed", -1),
    ("seed", 0.5),
    ("seed", "zero"),
    ("factors", []),
    ("factors", [1]),
    ("factors", [4, 4]),
    ("factors", 4),
    ("samples", 0),
    ("missing_weights", "ignore"),
    ("images", {"source": "sample-photo"}),
    ("images", {"source": "sample-photos", "cropp": 256}),
    ("images", {"source": "sample-photos", "crop": 1}),
    ("images", {"source": "folder", "path": "x", "photograph_before": ""}),
    ("primary", ["lpips-alex"]),
    ("attributes", {"source": "tabel"}),
    ("attributes", {"source": {"age": "tabel"}}),
    ("attributes", {"source": "table", "table": {}}),
    ("attributes", {"source": "image-statistics", "tabel": {"path": "x"}}),
    ("balance", {"groups": 6}),
    ("balance", {"groups": 6, "size": 24, "least_probability": 2}),
    ("balance", {"method": "stratified", "size": 2, "attributes": {"age": {"edge": [1]}}}),
    ("aggregate", {"confidence": 1}),
    ("report", {"images": 0}),
    ("downscalers", {}),
    ("downscalers", []),
    ("downscalers", {"Big": {"method": "dpid"}}),
    ("downscalers", {"a": {}}),
    ("downscalers", {"a": {"method": "dpdi"}}),
    ("downscalers", {"a": {"method": "dpid", "lam": 1}}),
    ("downscalers", {"a": {"method": "dpid", "lambda": -1}}),
    ("downscalers", {"a": {"method": "resample"}}),
    ("downscalers", {"a": {"method": "resample", "filter": "bicubik"}}),
    ("downscalers", {"a": {"method": "bsrgan-type4", "noise": 1}}),
    ("downscalers", {"a": {"method": "l0", "degrade": {"jpeg": {"quality": 50}}}}),
    ("downscalers", {"a": {"method": "l0", "degrade": [{"jpeg": {"quality": 0}}]}}),
    ("downscalers", {"a": {"method": "l0", "degrade": [{"jpg": {"quality": 50}}]}}),
    ("downscalers", {"a": {"method": "l0", "degrade": [{"jpeg": {"quality": 50}, "contrast": {"factor": 1}}]}}),
    ("upscalers", {"a": {"method": "flow", "degrade": []}}),
    ("upscalers", {"a": {"method": "flow", "heat": "hot"}}),
    ("upscalers", {"a": {"method": "srflow", "paths": {"df2k": "a.pth"}}}),
    ("upscalers", {"a": {"method": "pulse", "resolution": 100}}),
    ("upscalers", {"a": {"method": "pulse", "paths": {"network": "a.pth"}}}),
    ("upscalers", {"a": {"method": "pulse", "keep": "best"}}),
    ("upscalers", {"a": {"method": "cascade", "steps": [{"method": "flow", "factor": 4}]}}),
    ("upscalers", {"a": {"method": "cascade", "steps": [{"method": "flow"}, {"method": "flow", "factor": 4}]}}),
    ("upscalers", {"a": {"method": "cascade", "steps": [{"method": "flow", "factor": 4, "heet": 1}] * 2}}),
    ("distortions", {"a": {"method": "structural", "metric": "sim"}}),
    ("distortions", {"a": {"method": "lpips", "backbone": None}}),
]


def _changed(key: str | None, value: Any) -> Any:
    values = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text()))
    if key == "distortions":
        del values["primary"]  # it names one of them
    return value if key is None else values | {key: value}


@pytest.mark.parametrize(("key", "value"), GOOD)
def test_what_the_program_takes_the_schema_takes(key: str, value: Any) -> None:
    values = _changed(key, value)
    assert _by_program(values)
    jsonschema.validate(values, SCHEMA, cls=jsonschema.Draft7Validator)


@pytest.mark.parametrize(("key", "value"), BAD)
def test_a_mistake_is_refused_by_the_schema_as_by_the_program(key: str | None, value: Any) -> None:
    values = _changed(key, value)
    assert not _by_program(values)
    assert not _by_schema(values)


def test_a_method_of_ones_own_is_named_by_its_module() -> None:
    assert _by_schema(_changed("upscalers", {"mine": {"method": "my_package.my_sr", "anything": 1}}))
    assert not _by_schema(_changed("upscalers", {"mine": {"method": "my_sr", "anything": 1}}))
