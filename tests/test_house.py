"""The rooms: who may import whom, and that the documents speak of what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT, run

from ida_rd.core.methods import ENTRY, find_method, known_methods
from ida_rd.core.weights import catalogue

STAGES = ROOT / "stages"
ROOMS = sorted(path.name for path in STAGES.iterdir() if path.is_dir() and (path / "__init__.py").is_file())


@pytest.mark.parametrize("room", ROOMS)
def test_a_stage_imports_core_and_itself_only(room: str) -> None:
    for path in (STAGES / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                parts = name.split(".")
                assert parts[0] != "ida_rd", f"{path} imports {name}"
                if parts[0] == "stages" and len(parts) > 1:
                    assert parts[1] in {room, "core"}, f"{path} imports {name}"


def test_methods_are_found_by_their_file() -> None:
    assert known_methods("downscale") == [
        "bsrgan-fixed",
        "bsrgan-type4",
        "command",
        "dpid",
        "folder",
        "l0",
        "perceptual",
        "python",
        "resample",
    ]
    assert known_methods("upscale") == ["cascade", "command", "flow", "spandrel", "srflow"]
    assert known_methods("distort") == ["lpips", "pixel", "structural"]
    assert known_methods("attributes") == ["deepface", "ffhq-features", "image-statistics", "table"]
    for stage, entry in ENTRY.items():
        for name in known_methods(stage):
            assert callable(getattr(find_method(stage, name, where="x"), entry))


def test_every_experiment_has_the_pipeline_of_the_root() -> None:
    done = run("python", "experiments/sync.py", "--check", cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in (ROOT / "experiments").glob("*/dvc.yaml")))
def test_dvc_understands_every_experiment(folder: str) -> None:
    assert run("dvc", "stage", "list", f"experiments/{folder}/dvc.yaml", cwd=ROOT).stdout


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readmes_downscaler_keeps_the_contract_and_is_ten_lines() -> None:
    from types import ModuleType

    from ida_rd.downscale.check import check_downscaler

    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    module = ModuleType("pick")
    exec(code, vars(module))
    check_downscaler(module, {"offset": 1})


def test_every_embedded_weight_is_small_and_has_a_card() -> None:
    embedded = [weight for weight in catalogue().values() if weight.file]
    assert embedded
    for weight in embedded:
        path = ROOT / str(weight.file)
        assert path.stat().st_size <= 6_000_000
        assert "Training data" in path.with_suffix(".md").read_text()
        assert path.with_suffix(".csv").read_text().startswith("file,title,author,licence,source")


def test_no_measuring_image_weight_or_package_is_part_of_the_repository() -> None:
    listed = run("git", "ls-files", cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a git repository: what is part of it cannot be asked")
    unwanted = {".jpg", ".jpeg", ".pth", ".whl", ".gz", ".zip"}
    assert not [name for name in listed.stdout.splitlines() if Path(name).suffix in unwanted]
