"""Names and factors mean one thing: what `plan` accepts is what DVC makes branches of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SMALL, run, stage_here
from dvc.parsing.context import Context
from dvc.utils.serialize import loads_yaml
from hypothesis import given
from hypothesis import strategies as st

from ida_rd.core.errors import UserError
from ida_rd.plan.stage import read_parameters

TEXT = """
seed: 0
images: {{source: folder, path: photos}}
attributes: {{source: image-statistics}}
balance: {{groups: 2, size: 4}}
factors: {factors}
downscalers:
  bicubic: {{method: resample, filter: bicubic}}
  {name}: {{method: l0}}
upscalers:
  {upscaler}: {{method: flow}}
samples: 1
distortions:
  psnr: {{method: pixel}}
"""
QUOTES = "put it in quotes"
RENAME = "rename it, by a-z"
NAMES = {
    "1e-3": ("is text here, but the number 0.001 to DVC", QUOTES),
    "12e03": ("is text here, but the number 12000.0 to DVC", QUOTES),
    "0o17": ("is text here, but the number 15 to DVC", QUOTES),
    "08": ("is text here, but the number 8 to DVC", QUOTES),
    "yes": ("is no text, but true", QUOTES),
    "no": ("is no text, but false", QUOTES),
    "on": ("is no text, but true", QUOTES),
    "off": ("is no text, but false", QUOTES),
    "true": ("is no text, but true", QUOTES),
    "null": ("is no text, but null", QUOTES),
    "0x10": ("is no text, but the number 16", QUOTES),
    "0b11": ("is no text, but the number 3", QUOTES),
    "017": ("is no text, but the number 15", QUOTES),
    "1_000": ("is no text, but the number 1000", QUOTES),
    "12": ("is no text, but the number 12", QUOTES),
    "2001-01-01": ("is no text, but the date 2001-01-01", QUOTES),
    "~": ("is no text, but null", RENAME),
    "1:30": ("is no text, but the number 90", RENAME),
    ".5": ("is no text, but the number 0.5", RENAME),
    ".inf": ("is no text, but the number inf", RENAME),
}
FACTORS = ["4.0", "1e1", "010", "08", "0o10", "'08'", "'+4'", "true", "null", "0:16", "4.", "'4.0'", "2001-01-01"]


def _written(folder: Path, name: str = "x", factors: str = "[4]", upscaler: str = "flow-compact") -> Path:
    path = folder / "params.yaml"
    path.write_text(TEXT.format(name=name, factors=factors, upscaler=upscaler))
    return path


def _line(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_parameters(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_not_the_same_text_to_dvc_is_refused_with_its_line_and_the_remedy(
    tmp_path: Path, name: str
) -> None:
    read, remedy = NAMES[name]
    found = _line(_written(tmp_path, name))
    assert f"params.yaml: downscalers: line 9: the name {name} {read}: {remedy}" in found
    assert f"upscalers: line 11: the name {name} {read}" in _line(_written(tmp_path, upscaler=name))
    if remedy == QUOTES:
        path = _written(tmp_path, f'"{name}"', upscaler=f"'{name}'")
        assert list(read_parameters(path).downscalers) == ["bicubic", name]
        assert _dvc(path) == (["bicubic", name], [name], ["4"])


@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_that_dvc_names_branches_otherwise_by_is_refused(tmp_path: Path, factor: str) -> None:
    assert "factors.1: is " in _line(_written(tmp_path, factors=f"[2, {factor}]"))


@pytest.mark.parametrize("factors", ["[4]", "['4']", "[0x10]", "[+4, 8]", "[1_0]"])
def test_a_factor_that_both_read_alike_is_taken(tmp_path: Path, factors: str) -> None:
    path = _written(tmp_path, factors=factors)
    assert [str(factor) for factor in read_parameters(path).factors] == _dvc(path)[2]


def _dvc(path: Path) -> tuple[list[Any], list[Any], list[str]]:
    """Downscalers, upscalers and factors by DVC's own loader and templates."""
    context = Context(loads_yaml(path.read_text()))
    return (
        list(context.resolve("${downscalers}", unwrap=False)),
        list(context.resolve("${upscalers}", unwrap=False)),
        [context.resolve(f"${{factors[{i}]}}x").removesuffix("x") for i in range(len(context["factors"]))],
    )


PIECES = ["0", "1", "7", "9", "e", "x", "o", "b", "-", "_", "a", "f", "n", "y", "s", "t", "r", "u", ".", ":", "+"]
WORDS = st.sampled_from([*NAMES, "nan", "inf", "infinity", "n", "y", "a${x}", "${downscalers}", "none", "x-1e3"])
PLAIN = WORDS | st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
QUOTED = st.builds("{0}{1}{0}".format, st.sampled_from(["", "", "'", '"', "!!str "]), PLAIN)
NUMBERS = st.sampled_from([*FACTORS, "4", "8", "'4'", "0x10", "+4", "16", "'8'", "2"])


@given(name=QUOTED, other=QUOTED, factors=st.lists(NUMBERS, min_size=1, max_size=3).map(", ".join))
def test_whatever_plan_accepts_dvc_reads_as_the_same_text(
    tmp_path_factory: pytest.TempPathFactory, name: str, other: str, factors: str
) -> None:
    path = _written(tmp_path_factory.getbasetemp(), name, f"[{factors}]", other)
    try:
        found = read_parameters(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - many are refused
        return
    assert _dvc(path) == (list(found.downscalers), list(found.upscalers), [str(factor) for factor in found.factors])


def test_dvc_lists_every_branch_of_names_in_quotes_and_plan_stops_where_it_would_drop_one(project: Path) -> None:
    names = ["1e-3", "null", "yes", "0x10", "12"]
    parameters = yaml.safe_load(SMALL)
    parameters["downscalers"] = {f"'{name}'": {"method": "resample", "filter": "box"} for name in names}
    text = yaml.safe_dump(parameters, sort_keys=False).replace("'''", '"')
    (project / "params.yaml").write_text(text)
    assert stage_here("plan", cwd=project).returncode == 0
    run("git", "init", "--quiet", cwd=project)
    listed = run("dvc", "stage", "list", "--name-only", cwd=project).stdout.split()
    assert {name for name in listed if name.startswith("downscale@")} == {f"downscale@{name}-4" for name in names}
    (project / "params.yaml").write_text(text.replace('"1e-3"', "1e-3"))
    assert "downscale@1e-3-4" not in run("dvc", "stage", "list", "--name-only", cwd=project).stdout
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert 'the name 1e-3 is text here, but the number 0.001 to DVC: put it in quotes, "1e-3"' in done.stderr


def test_the_file_of_the_complaint(shared: Path) -> None:
    found = _line(shared / "cases/yaml-names/params.yaml")
    assert 'the name 1e-3 is text here, but the number 0.001 to DVC: put it in quotes, "1e-3"' in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("15: {method: l0}\n  0o17: {method: l0}", "duplicate key"),
        ("<<: {a: {method: l0}}\n  010: {method: l0}", "the name 8 is no text"),
        ("k: {method: l0, when: 2001-01-01}", "downscalers.k.when: '2001-01-01' is a date to DVC: put it in quotes"),
        ("k: {method: l0, when: !!set {a, b}}", "is a set to DVC"),
    ],
)
def test_what_dvc_cannot_take_at_all_is_a_line(tmp_path: Path, text: str, message: str) -> None:
    path = _written(tmp_path)
    path.write_text(path.read_text().replace("x: {method: l0}", text))
    assert message in _line(path)


def test_a_second_reading_of_the_largest_file_takes_no_time(tmp_path: Path) -> None:
    path = _written(tmp_path)
    path.write_text(path.read_text() + "more:\n" + "- {a: b}\n" * 9_000)
    before = time.process_time()
    assert "more: unknown key" in _line(path)
    assert time.process_time() - before < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("balance: {{groups: 2, size: 4, attributes: {{{0}: {{}}, {1}: {{}}}}}}", "balance.attributes"),
        ("balance: {{method: stratified, size: 4, attributes: {{a: {{groups: {{{0}: [x], {1}: [y]}}}}}}}}", "groups"),
        ("attributes: {{source: {{{0}: image-statistics, {1}: image-statistics}}}}", "attributes.source"),
    ],
)
def test_two_keys_of_one_normal_form_are_not_made_one(tmp_path: Path, text: str, message: str) -> None:
    path = _written(tmp_path)
    key = text.partition(":")[0]
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key}:")]
    path.write_text("\n".join([*lines, text.format("\u00e9", "e\u0301")]))
    found = _line(path)
    assert message in found
    assert "is there in two forms of Unicode (NFC and NFD): keep one" in found
