"""docs/ci.md: its numbers, its workflows and its programs are tried."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from conftest import ROOT
from PIL import Image

from ida_rd.commands import _parser
from ida_rd.core.images import read_image

DOCUMENT = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
WORKFLOWS = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
PROGRAMS = {language: text for language, text in BLOCKS if language != "yaml"}
BUILD = {
    "rust": ["rustc", "-O", "-o", "shrink", "shrink.rs"],
    "js": [],
    "c": ["cc", "-Wall", "-Werror", "-o", "shrink", "shrink.c"],
}
FILES = {"rust": "shrink.rs", "js": "shrink.mjs", "c": "shrink.c"}


@pytest.fixture(scope="module")
def power() -> ModuleType:
    """The script that writes the document's numbers."""
    spec = importlib.util.spec_from_file_location("power", ROOT / "docs/figures/power.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["power"] = module
    spec.loader.exec_module(module)
    return module


def test_its_numbers_are_those_that_the_command_computes(power: ModuleType) -> None:
    _, _, rest = DOCUMENT.partition(power.MARKS[0])
    assert rest.partition(power.MARKS[1])[0].strip("\n") == power.document().strip("\n"), "run make figures"
    wrongly = re.findall(r"^\| (\d+) \| [\d.]+ % \| ([\d.]+) % \|$", rest, re.MULTILINE)
    assert [int(count) for count, _ in wrongly] == [5, 13, 24]
    assert all(float(share) <= 5.5 for _, share in wrongly)  # of 5,000 samples, for the worst of 30 pairs


def test_with_24_photographs_it_has_at_least_the_power_that_is_stated(power: ModuleType) -> None:
    stated = {
        name: int(share)
        for name, share in re.findall(
            r"^\| (\w+) \| [+-][\d.]+ \| [\d.]+ \| \d+ % \| (\d+) % \|", DOCUMENT, re.MULTILINE
        )
    }
    assert list(stated) == list(power.FILTERS)
    for name, share in stated.items():
        values = power.differences(name)
        assert 100 * power.power(values - values.mean(), 24, seed=1) >= share - 1  # three standard errors


def test_there_is_a_workflow_and_a_program_for_each_of_three_languages() -> None:
    assert len(WORKFLOWS) == 3
    assert set(PROGRAMS) == set(FILES)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=FILES)
def test_a_workflow_is_complete_and_its_commands_are_ours(workflow: dict) -> None:
    assert set(workflow) == {"name", True, "permissions", "jobs"}  # YAML reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["loss"]["steps"]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    ours = [shlex.split(step["run"])[1:] for step in steps if step.get("run", "").startswith("ida-rd ")]
    assert [arguments[0] for arguments in ours] == ["photos", "assert"]
    for arguments in ours:
        _parser().parse_args(arguments)


@pytest.mark.parametrize("language", FILES)
def test_a_program_reduces_a_folder_of_photographs(tmp_path: Path, language: str) -> None:
    """Compiled and run as the workflow says, on what ``ida-rd photos --ppm`` writes."""
    tool = (BUILD[language] or ["node"])[0]
    if shutil.which(tool) is None or subprocess.run([tool, "--version"], capture_output=True).returncode:
        pytest.skip(f"needs {tool}")  # rustup's rustc is there without a toolchain
    (tmp_path / FILES[language]).write_text(PROGRAMS[language])
    (tmp_path / "hr").mkdir()
    pictures = {f"p{i}.ppm": np.random.default_rng(i).integers(0, 256, (16, 8 * i, 3), dtype=np.uint8) for i in (1, 2)}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "hr" / name)
    if BUILD[language]:
        subprocess.run(BUILD[language], cwd=tmp_path, check=True)
    runs = [line["run"] for line in WORKFLOWS[list(FILES).index(language)]["jobs"]["loss"]["steps"] if "run" in line]
    (line,) = [line for line in runs if "shrink" in line and " 4" in line]
    subprocess.run(
        ["sh", "-c", line.replace("cargo run --release --example shrink --", "./shrink")], cwd=tmp_path, check=True
    )
    for name, pixels in pictures.items():
        h, w, _ = pixels.shape
        blocks = pixels.reshape(h // 4, 4, w // 4, 4, 3).astype(int).sum((1, 3))
        assert np.array_equal(read_image(tmp_path / "lr" / name), (blocks + 8) // 16)
