"""What ``pip install ida-rd`` brings, away from the clone: built, installed and used with what it requires, no more."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from conftest import MINE, ROOT, SMALL, edit, run
from numpy.typing import NDArray
from packaging.requirements import Requirement
from PIL import Image

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRA = PROJECT["optional-dependencies"]["pipeline"]
BUNDLE = ROOT / "tests/bundle/golden/0.1.0"
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, 'build_' + sys.argv[1])(sys.argv[2])"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "ida_rd", "stages", "dvc.yaml", "params.yaml")
LARGEST = 30_000_000  # two decoders, of two and of three factors


def _required(texts: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """The packages of this environment that requirements need, and what these need in turn."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [(Requirement(text), frozenset[str]()) for text in texts]
    done = set()
    while waiting:
        wanted, extras = waiting.pop()
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        key = (wanted.name, frozenset(wanted.extras))
        if key in done:
            continue
        done.add(key)
        try:
            package = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:  # of another kind of torch
            continue
        found[wanted.name] = package
        waiting += [(Requirement(text), frozenset(wanted.extras)) for text in package.requires or []]
    return found


def _packages(folder: Path, packages: Iterable[importlib.metadata.Distribution]) -> Path:
    """A folder with links to those packages alone: what an installer would have put there."""
    folder.mkdir()
    for package in packages:
        for name in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            if not (folder / name).exists():
                (folder / name).symlink_to(Path(str(package.locate_file(name))))
    return folder


def _installed(folder: Path) -> tuple[Path, dict[str, str]]:
    """Build an sdist, of it a wheel, and install that; return the programs' folder, and variables with the pipeline."""
    source, built = folder / "source", folder / "built"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, source / name)
    run(sys.executable, "-c", BUILD, "sdist", str(built), cwd=source)
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", BUILD, "wheel", str(built), cwd=unpacked)
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < LARGEST
    shutil.rmtree(source)
    shutil.rmtree(folder / "unpacked")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"), cwd=folder)
    programs = folder / "venv" / "bin"
    to = ("--python", str(programs / "python"))
    run(sys.executable, "-m", "pip", *to, "install", "--quiet", "--no-index", "--no-deps", str(wheel), cwd=folder)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    needed = _required(PROJECT["dependencies"])
    more = {name: package for name, package in _required(EXTRA).items() if name not in needed}
    assert len(more) > len(needed), "as docs/cli.md says"
    (site / "required.pth").write_text(f"{_packages(folder / 'required', needed.values())}\n")
    return programs, {"PYTHONPATH": str(_packages(folder / "pipeline", more.values()))}


def _away(programs: Path) -> dict[str, str]:
    """Variables that lead to the installed package alone."""
    path = f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return {"PATH": path, "PYTHONPATH": "", "TORCH_HOME": str(programs.parent / "torch"), "IDA_RD_WORKERS": "1"}


def _photos(folder: Path, astronaut: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True)
    for i, (y, x) in enumerate([(0, 0), (60, 190), (200, 200), (400, 300)]):
        Image.fromarray(astronaut[y : y + 64, x : x + 64]).save(folder / f"photo-{i}.png")


def test_the_wheel_scores_verifies_and_makes_a_project_away_from_the_clone_and_without_dvc(
    tmp_path: Path, astronaut: NDArray[np.uint8]
) -> None:
    programs, pipeline = _installed(tmp_path)
    empty, env = tmp_path / "empty", _away(programs)
    _photos(empty / "photos", astronaut)

    def ida_rd(*arguments: str, cwd: Path = empty, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = run(str(programs / "ida-rd"), *arguments, cwd=cwd, env=env, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    scored = ida_rd("score", "--hr", "photos", "--downscaler", "bicubic", "--downscaler", "lanczos").stdout
    assert re.search(r"^\| diffusion-compact[^|]* \| x4 \| bicubic \| .*\d", scored, re.MULTILINE), scored
    assert "| bicubic | lanczos |" in scored or "| lanczos | bicubic |" in scored, "and their difference"
    verified = json.loads(ida_rd("verify", str(BUNDLE), "--json").stdout)
    assert verified["branches"] == 2
    # The pipeline needs more, and says so.
    made = ida_rd("new", "project").stdout
    assert made.splitlines()[-1] == "next: pip install 'ida-rd[pipeline]', then cd project && dvc repro"
    needs = "error: the package {} is not installed, and the pipeline needs it: pip install 'ida-rd[pipeline]'\n"
    project = empty / "project"
    assert ida_rd("publish", "bundle", cwd=project, code=2).stderr == needs.format("dvc")
    done = run("python", "-m", "ida_rd.stages.plan", cwd=project, env=env, check=False)
    assert (done.returncode, done.stderr) == (2, needs.format("ruamel.yaml"))
    # With the extra, DVC plans what the project asks for.
    run("python", "-m", "dvc", "repro", "plan", cwd=project, env=env | pipeline)
    recipe = json.loads((project / "data/plan/upscale/x4/flow-compact/bicubic.json").read_text())
    assert recipe["code"].keys() >= {"ida_rd/upscale/flow/__init__.py", "ida_rd/models/flow.py"}


@pytest.mark.slow
def test_the_pipeline_of_a_project_without_a_clone_gives_the_bytes_of_the_clones(
    finished: Path, tmp_path: Path, astronaut: NDArray[np.uint8]
) -> None:
    programs, pipeline = _installed(tmp_path)
    project, env = tmp_path / "project", _away(programs) | pipeline
    run(str(programs / "ida-rd"), "new", str(project), cwd=tmp_path, env=env)
    _photos(project / "photos", astronaut)
    (project / "params.yaml").write_text(SMALL)
    (project / "mine.py").write_text(MINE)

    def repro() -> set[str]:
        done = run("python", "-m", "dvc", "repro", cwd=project, env=env)
        return set(re.findall(r"^Running stage '([^']+)'", done.stdout, re.MULTILINE))

    repro()
    for name in ("data", "metrics"):
        wanted = {path.relative_to(finished): path for path in (finished / name).rglob("*") if path.is_file()}
        assert {path.relative_to(project) for path in (project / name).rglob("*") if path.is_file()} == wanted.keys()
        assert [str(path) for path, file in wanted.items() if (project / path).read_bytes() != file.read_bytes()] == []
    assert repro() == {"plan"}, "which asks what DVC cannot see"
    ida_rd = str(programs / "ida-rd")
    run(ida_rd, "publish", "bundle", cwd=project, env=env)
    run(ida_rd, "verify", "bundle", cwd=project, env=_away(programs))
    edit(project / "params.yaml", "filter: bicubic", "filter: box")
    refused = run(ida_rd, "publish", "another", cwd=project, env=env, check=False)
    assert "not up to date (plan)" in refused.stderr
    branch = {f"{stage}-bicubic-4" for stage in ("upscale@flow-compact", "distort@flow-compact")}
    assert repro() == {"plan", "downscale@bicubic-4", *branch, "surprise", "aggregate", "report"}
