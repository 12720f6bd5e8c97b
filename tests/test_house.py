"""The rooms: who may import whom, and that the documents describe what is there."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, run

from ida_rd.core.code import PLUMBING, module_file
from ida_rd.core.methods import ENTRY, find_method, known_methods
from ida_rd.core.weights import catalogue

LIBRARY = ROOT / "ida_rd"
ROOMS = ("attributes", "balance", "downscale", "upscale", "distort", "quality", "surprise", "aggregate", "report")
LAWS = {
    "core": {"core"},
    "engine": {"core", "engine"},
    "models": {"core", "models"},
    "training": {"core", "models", "training"},
    "adapt": {"core", "engine", "models", "training", "adapt"},
    **{room: {"core", "engine", "models", room} for room in ROOMS},
}
MOST_LINES = 400


def _imports(path: Path) -> set[str]:
    """Dotted names of this project's modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("ida_rd", "stages")}


@pytest.mark.parametrize("room", LAWS)
def test_a_room_imports_what_it_may(room: str) -> None:
    paths = list((LIBRARY / room).rglob("*.py"))
    assert paths
    for path in paths:
        for name in _imports(path):
            assert name.split(".")[1] in LAWS[room], f"{path} imports {name}"


STAGES = sorted(path.stem for path in (LIBRARY / "stages").glob("[a-z]*.py"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_thin_script_over_its_own_room(stage: str) -> None:
    path = LIBRARY / "stages" / f"{stage}.py"
    assert len(path.read_text().splitlines()) <= 45
    rooms = {name.split(".")[1] for name in _imports(path)}
    assert stage in rooms
    assert rooms <= {"core", "engine", stage}
    clones = ROOT / "stages" / f"{stage}.py"
    assert _imports(clones) == {f"ida_rd.stages.{stage}.run"}
    assert len(clones.read_text().splitlines()) <= 6


def test_nothing_of_the_library_imports_a_stages_script() -> None:
    for path in LIBRARY.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) ida_rd\.stages\b", path.read_text(), re.MULTILINE), path


def test_every_stage_of_the_pipeline_has_its_script_and_no_other() -> None:
    commands = set(re.findall(r"cmd: python (stages/\w+\.py)", (ROOT / "dvc.yaml").read_text()))
    assert sorted(commands) == sorted(f"stages/{path.name}" for path in (ROOT / "stages").glob("*.py"))
    assert sorted(commands) == [f"stages/{stage}.py" for stage in STAGES]
    inside = re.findall(r"cmd: python -m ida_rd\.stages\.(\w+)", (LIBRARY / "new/pipeline.yaml").read_text())
    assert set(inside) == set(STAGES)


def test_a_wheel_holds_the_library_alone() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert settings == {"include": ["ida_rd*"]}
    for path in LIBRARY.rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), f"{path.parent} is no package, and would be left out"


def test_a_folder_called_stages_is_anybodys(tmp_path: Path) -> None:
    """In a project with one of its own, and with packages called as our rooms are, the library works all the same."""
    for name in ("stages", "core", "plan", "report"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')\n")
    done = run("python", "-c", "from ida_rd import score; print(score.__module__)", cwd=tmp_path)
    assert done.stdout.strip() == "ida_rd.scoring"
    assert "downscale" in run("ida-rd", "list", "downscale", cwd=tmp_path).stdout


def test_plumbing_names_what_is_there() -> None:
    for name in PLUMBING:
        assert module_file(name).is_file(), name


def test_no_file_is_long() -> None:
    """Tables of cases are data: a file that is mostly such a table says so in its first line."""
    long = {}
    for folder in (LIBRARY, ROOT / "stages", ROOT / "experiments", ROOT / "benchmarks", ROOT / "docs", ROOT / "tests"):
        for path in folder.rglob("*.py"):
            lines = path.read_text().splitlines()
            if len(lines) > MOST_LINES and "a table of cases" not in lines[0]:
                long[path.relative_to(ROOT).as_posix()] = len(lines)
    assert not long


def test_methods_are_found_by_their_file() -> None:
    assert known_methods("downscale") == [
        "bsrgan-fixed",
        "bsrgan-type4",
        "command",
        "convolve",
        "dpid",
        "folder",
        "irn",
        "l0",
        "perceptual",
        "python",
        "resample",
        "resize",
    ]
    assert known_methods("upscale") == [
        "cascade",
        "command",
        "diffbir",
        "edm",
        "flow",
        "gaussian",
        "irn",
        "ldm",
        "pulse",
        "resshift",
        "spandrel",
        "sr3",
        "srflow",
        "stablesr",
    ]
    assert known_methods("distort") == ["dists", "lpips", "pixel", "st-lpips", "structural"]
    assert known_methods("quality") == ["brisque", "niqe", "pyiqa"]
    assert known_methods("attributes") == ["deepface", "ffhq-features", "image-statistics", "table"]
    for stage, entry in ENTRY.items():
        for name in known_methods(stage):
            assert callable(getattr(find_method(stage, name, where="x"), entry))


def test_every_experiment_has_the_pipeline_of_the_root() -> None:
    done = run("python", "experiments/sync.py", "--check", cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


LISTED = """
import sys
from dvc.cli import main
for file in sys.argv[1:]:
    print(file, flush=True)
    assert main(["stage", "list", "--name-only", file]) == 0, file
"""


def test_dvc_understands_every_experiment() -> None:
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").glob("*/dvc.yaml"))
    assert len(files) > 20
    printed = run("python", "-c", LISTED, *files, cwd=ROOT).stdout.splitlines()  # in one process: DVC starts slowly
    assert [line for line in printed if line in files] == files
    for file, after in zip(files, [*files[1:], None], strict=True):
        stages = printed[printed.index(file) + 1 : printed.index(after) if after else None]
        assert stages, file


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "experiments/README.md"]:
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
        path = Path(str(weight.file))
        assert path.stat().st_size <= 8_000_000
        assert "Training data" in path.with_suffix(".md").read_text()
        assert path.with_suffix(".csv").read_text().startswith("file,title,author,licence,source")


def test_no_measuring_image_weight_or_package_is_part_of_the_repository() -> None:
    listed = run("git", "ls-files", cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a git repository: what is part of it cannot be asked")
    unwanted = {".jpg", ".jpeg", ".pth", ".whl", ".gz", ".zip"}
    assert not [name for name in listed.stdout.splitlines() if Path(name).suffix in unwanted]
