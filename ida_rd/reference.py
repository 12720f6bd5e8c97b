"""The documents of all parameters: a page, and a JSON schema by which editors complete ``params.yaml``.

Both are made from the descriptions beside the parameters in the code:

    python -m ida_rd.reference --write      # rewrite docs/parameters.md and docs/params.schema.json
    python -m ida_rd.reference --check      # are they up to date?
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ida_rd.adapt.contract import Adaptation, adapters, find_adapter
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_text
from ida_rd.core.methods import ENTRY, NAME, SECTION, Parameters, find_method
from ida_rd.downscale.degrade import STEPS
from ida_rd.inventory import describe_fields, methods
from ida_rd.plan.schema import RunParameters

__all__ = ["documents", "page", "params_schema"]

TITLES = {
    "attributes": ("Sources of attributes", "Named by `attributes.source`; their parameters go beside it, as in\n"
                   "`attributes: {source: table, table: {path: my.csv}}`."),
    "downscale": ("Downscalers", "Named by `method` of an entry of `downscalers`. Each also takes `degrade`: see\n"
                  "[degradations](#degradations)."),
    "upscale": ("Upscalers", "Named by `method` of an entry of `upscalers`."),
    "distort": ("Distortions", "Named by `method` of an entry of `distortions`."),
    "quality": ("Measures of one image", "No part of `params.yaml`: `ida-rd quality --measure NAME --set KEY=VALUE`\n"
                "takes them. See [what each number may be used for](quality.md)."),
}  # fmt: skip
ADAPTED = """\
Entries of the section `adapted` are as those of `upscalers`, of method {}, and have a key `adapt` with these keys; see
[adapted decoders](adapt.md). As in `adapted: {{flow-adapted: {{method: flow, adapt: {{images: my_photos}}}}}}`."""
ADAPTED_FACTORS = (2, 4, 8)
HEAD = """\
<!-- written by `python -m ida_rd.reference --write`: change the descriptions in the code, not this page -->
# Parameters

Every key of `params.yaml`, and the parameters of every method. `ida-rd list` prints the methods of your installation.
An editor that understands the first line of `params.yaml` completes and checks it while you write; after you have added
a method of your own, the command above makes it known there.
"""


def documents() -> dict[Path, str]:
    """The documents' texts, by their paths in the repository."""
    schema = json.dumps(params_schema(), indent=1, ensure_ascii=False) + "\n"
    return {Path("docs/parameters.md"): page(), Path("docs/params.schema.json"): schema}


def page() -> str:
    """Return the page, in Markdown."""
    lines = [HEAD, "## params.yaml", "", *_table(_keys(RunParameters))]
    known = methods()
    for stage in ENTRY:
        title, text = TITLES[stage]
        lines += ["", f"## {title}", "", text]
        for method in known:
            if method["stage"] == stage:
                lines += ["", f"### {method['method']}", "", method["about"]]
                lines += ["", *_table(method["parameters"])] if method["parameters"] else ["", "No parameters."]
        if stage == "upscale":
            lines += ["", "### Adapted upscalers", "", ADAPTED.format(" or ".join(f"`{name}`" for name in adapters()))]
            lines += ["", *_table(describe_fields(Adaptation)), "", *_budgets()]
        if stage == "downscale":
            lines += ["", "### Degradations", "", "Steps of `degrade`, a list, applied in order, as in"]
            lines += ["`degrade: [{gaussian_blur: {sigma: 2}}, {jpeg: {quality: 50}}]`."]
            for name, step in STEPS.items():
                lines += ["", f"#### {name}", "", _about(step), "", *_table(describe_fields(step))]
    return "\n".join(lines) + "\n"


def _budgets() -> list[str]:
    """What null stands for in a budget, by method and the factors that share it."""
    presets: list[tuple[str, list[int], dict[str, Any]]] = []
    for method in adapters():
        for factor in ADAPTED_FACTORS:
            preset = find_adapter({"method": method}, where=method).preset(factor)
            if presets and (presets[-1][0], presets[-1][2]) == (method, preset):
                presets[-1][1].append(factor)
            else:
                presets.append((method, [factor], preset))
    keys = sorted({key for *_, preset in presets for key in preset})
    rows = [
        f"| `{method}` | {', '.join(map(str, factors))} | "
        + " | ".join(str(preset.get(key, "-")) for key in keys)
        + " |"
        for method, factors, preset in presets
    ]
    head = ["method", "factor", *(f"`{key}`" for key in keys)]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows]


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")


def _keys(model: type[BaseModel], prefix: str = "") -> dict[str, dict[str, Any]]:
    """Fields of a model and of the models in it, by their dotted keys."""
    found: dict[str, dict[str, Any]] = {}
    for name, entry in describe_fields(model).items():
        found[prefix + name] = entry
        inner, key = _model_in(model.model_fields[name].annotation), f"{prefix}{name}."
        if inner is None:
            continue
        mapping, part = inner
        if not mapping:
            entry["type"] = "section"
            entry["default"] = "see below"
        found |= _keys(part, key + "NAME." if mapping else key)
    return found


def _model_in(annotation: Any) -> tuple[bool, type[BaseModel]] | None:
    """The model that a field is, or (True) whose values a mapping has."""
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind is not annotation, kind
    return None


def _table(fields: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for name, entry in fields.items():
        default = entry["default"] if isinstance(entry["default"], str) else json.dumps(entry["default"])
        shown = "required" if entry["required"] else default if entry["type"] == "section" else f"`{default}`"
        cells = [f"`{name}`", entry["type"], shown, entry["description"]]
        yield "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(cell: str) -> str:
    """Text of a table's cell; what stands between backticks is shown as it is, but for the bar."""
    parts = cell.replace("|", r"\|").split("`")
    return "`".join(part if i % 2 else part.replace("*", r"\*") for i, part in enumerate(parts))


def params_schema() -> dict[str, Any]:
    """Return the JSON schema of ``params.yaml``, the methods' own parameters included."""
    schema = _bare(RunParameters.model_json_schema())
    definitions: dict[str, Any] = schema.pop("$defs")
    abouts = {(method["stage"], method["method"]): method["about"] for method in methods()}
    for (stage, name), about in abouts.items():
        if stage not in SECTION:
            continue
        model = getattr(find_method(stage, name, where="reference"), "Parameters", Parameters)
        entry = _bare(model.model_json_schema()) | {"description": about}
        definitions |= entry.pop("$defs", {})
        if stage != "attributes":
            entry = _with(entry, "method", {"const": name, "description": about})
        if stage == "downscale":
            steps = {"type": "array", "items": _ref("degradation"), "description": "degradations, in order"}
            entry["properties"]["degrade"] = steps
        definitions[f"{stage}.{name}"] = entry
    for stage, section in SECTION.items():
        if stage == "attributes":
            continue
        choices = [_ref(f"{stage}.{name}") for room, name in abouts if room == stage] + [_ref("own")]
        names = {"pattern": f"^{NAME.pattern}$"}
        schema["properties"][section] |= {"propertyNames": names, "additionalProperties": {"oneOf": choices}}
    definitions["own"] = {
        "type": "object",
        "description": "a method of your own, by the dotted path of its module",
        "properties": {"method": {"type": "string", "pattern": r"^\w+(\.\w+)+$"}},
        "required": ["method"],
    }
    definitions["degradation"] = {
        "type": "object",
        "properties": {name: _bare(step.model_json_schema()) for name, step in STEPS.items()},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    definitions["upscale.cascade"]["properties"]["steps"]["items"] = {"oneOf": [*_steps(definitions), _ref("own")]}
    definitions["adapt"] = _bare(Adaptation.model_json_schema())
    for name in adapters():
        definitions[f"adapted.{name}"] = _with(definitions[f"upscale.{name}"], "adapt", _ref("adapt"))
    schema["properties"]["adapted"] |= {
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": {"oneOf": [_ref(f"adapted.{name}") for name in adapters()]},
    }
    sources = [name for room, name in abouts if room == "attributes"]
    _attributes(definitions["Attributes"], sources)
    # Draft 7: what the YAML support of editors reads.
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | schema | {"$defs": definitions}


def _steps(definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Upscalers as steps of a cascade, which have a factor; added to the definitions."""
    factor = {"type": "integer", "minimum": 2, "description": "scale factor of this step"}
    for name in [name for name in definitions if name.startswith("upscale.")]:
        definitions[f"step.{name.partition('.')[2]}"] = _with(definitions[name], "factor", factor)
        yield _ref(f"step.{name.partition('.')[2]}")


def _attributes(entry: dict[str, Any], sources: list[str]) -> None:
    kinds = [{"enum": sources}, {"type": "object", "additionalProperties": {"enum": sources}}]
    entry["properties"]["source"]["anyOf"] = kinds
    entry["properties"] |= {name: _ref(f"attributes.{name}") for name in sources}
    entry["additionalProperties"] = False


def _with(entry: dict[str, Any], key: str, value: dict[str, Any]) -> dict[str, Any]:
    """The schema of a mapping with one more key, required, before the others."""
    properties, required = entry.get("properties", {}), entry.get("required", [])
    return entry | {"properties": {key: value} | properties, "required": [key, *required]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _bare(schema: Any) -> Any:
    """The schema without titles, which repeat the names, and without the doubled backticks of docstrings."""
    if isinstance(schema, str):
        return schema.replace("``", "`")
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _bare(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}


def main(arguments: list[str] | None = None) -> None:
    """Write the documents, or refuse those that are out of date."""
    parser = argparse.ArgumentParser(prog="python -m ida_rd.reference", description="the documents of all parameters")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true", help="rewrite them")
    group.add_argument("--check", action="store_true", help="fail if one is out of date")
    options = parser.parse_args(arguments)
    for path, text in documents().items():
        if not path.parent.is_dir():
            raise UserError(f"{path.parent} is not here: run this in the root of the repository")
        if options.write:
            write_text(path, text)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise UserError(f"{path} is out of date: run python -m ida_rd.reference --write")


if __name__ == "__main__":
    exit_with_line(main)
