"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from conftest import ROOT, run

DOCUMENT = ROOT / "CONTRIBUTING.md"
FENCE = re.compile(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)
RUNS = ("make repro", "dvc repro")  # minutes, on a busy machine
FILES = (
    "Makefile",
    "pyproject.toml",
    "requirements.lock",
    "tests/conftest.py",
    "tests/parity.py",
    "docs/params.schema.json",
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is (none: commands), its text."""

    language: str
    title: str | None
    text: str


def recipe(heading: str) -> list[Block]:
    """The blocks under a heading, in order."""
    section = DOCUMENT.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = [Block(m[2], m[3], dedent(m[4])) for m in FENCE.finditer(section)]
    assert len(found) == section.count("```") / 2, f"{heading}: a block that this test does not understand"
    assert found, f"CONTRIBUTING.md has no section {heading!r}"
    return found


def commands(blocks: list[Block]) -> Iterator[str]:
    """Every command of the blocks."""
    for block in blocks:
        if block.language == "sh":
            yield from block.text.splitlines()


def merge(old: Any, new: Any) -> Any:
    """Add keys to a mapping, as a reader adds lines under a key that is there."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: merge(old.get(key), value) for key, value in new.items()}


def follow(blocks: list[Block], clone: Path, *, whole: bool) -> dict[str, str]:
    """Write every file and run every command, in order; return what the commands printed.

    Unless it is followed as a whole, the pipeline itself is not run.
    """
    printed = {}
    for block in blocks:
        if block.language == "sh":
            for command in commands([block]):
                if whole or not command.startswith(RUNS):
                    printed[command] = run(*command.split(), cwd=clone).stdout
            continue
        assert block.title, f"a block of {block.language} that names no file"
        path = clone / block.title
        if block.title == "params.yaml":
            values = merge(yaml.safe_load(path.read_text()), yaml.safe_load(block.text))
            path.write_text(yaml.safe_dump(values, sort_keys=False))
            continue
        assert not path.exists(), f"{block.title} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    return printed


@pytest.fixture
def clone(repository: Path) -> Path:
    """What a clone of the repository holds, its environment made, a small run behind it."""
    for name in (*FILES, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").glob("*.py"))):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, repository / name)
    (repository / ".venv").mkdir()
    for name in (".installed", ".installed-dev"):  # as `make dev` leaves them: this environment is the one
        (repository / ".venv" / name).touch()
    return repository


@pytest.mark.parametrize("kind", ["downscaler", "upscaler", "distortion"])
def test_the_example_of_a_method_keeps_its_contract_and_passes_its_test(kind: str, clone: Path) -> None:
    """And that of a downscaler runs in the pipeline, and nothing else does."""
    blocks = recipe(f"Add {'an' if kind[0] in 'aeiou' else 'a'} {kind}")
    printed = follow(blocks, clone, whole=kind == "downscaler")
    checks = [text for command, text in printed.items() if command.startswith("ida-rd check")]
    assert checks
    assert all("keeps its contract" in text for text in checks)
    tests = [text for command, text in printed.items() if command.startswith("python -m pytest")]
    assert tests
    assert all(re.search(r"\b2 passed", text) for text in tests)
    assert "python stages/plan.py" in printed, "params.yaml was checked"
    assert "make repro" in commands(blocks)
    if kind == "downscaler":
        ran = set(re.findall(r"^Running stage '([^']+)'", printed["make repro"], re.MULTILINE))
        assert {name for name in ran if "@" in name} == {
            "downscale@pick-1-4",
            "upscale@flow-compact-pick-1-4",
            "distort@flow-compact-pick-1-4",
        }
        assert "| pick-1 |" in (clone / "metrics/tables/ida_rd.md").read_text()
    follow(recipe("Every new method"), clone, whole=False)
    (method, *_) = written = [block.title for block in blocks if block.language == "python" and block.title]
    assert f"### {Path(method).stem}\n" in (clone / "docs/parameters.md").read_text()
    run("ruff", "check", *written, cwd=clone)
    run("ruff", "format", "--check", *written, cwd=clone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "table", "row"),
    [
        ("Add an upscaler", "metrics/tables/ida_rd.csv", "grain-8,4,bicubic,dss,"),
        ("Add a distortion", "metrics/tables/ida_rd.csv", "flow-compact,4,mine,mae,"),
        ("Add an experiment", "experiments/hamming/results/sample-photos/table.csv", "hamming"),
    ],
)
def test_the_other_recipes_run_to_their_end(heading: str, table: str, row: str, clone: Path) -> None:
    follow(recipe(heading), clone, whole=True)
    assert row in (clone / table).read_text()


def test_the_experiment_of_the_recipe_is_given_a_pipeline_and_its_parameters_are_valid(clone: Path) -> None:
    blocks = recipe("Add an experiment")
    follow(blocks, clone, whole=False)
    folder = clone / "experiments" / "hamming"
    assert run("dvc", "stage", "list", "--name-only", cwd=folder).stdout.splitlines()[-1] == "study"
    run("python", "../../stages/plan.py", cwd=folder, env={"PYTHONPATH": str(clone)})
    assert "dvc repro experiments/hamming/dvc.yaml" in commands(blocks)
