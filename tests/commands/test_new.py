"""``ida-rd new``: a project that the pipeline runs in, made whole or not at all; and what its absence of DVC says."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, run, stage_here

import ida_rd.new
from ida_rd.commands import main
from ida_rd.core.errors import UserError
from ida_rd.core.software import MissingSoftware, needs
from ida_rd.inventory import health
from ida_rd.new import FILES, TEMPLATES, new_project

MADE = {".dvc", ".dvcignore", ".git", ".gitignore", "README.md", "dvc.yaml", "params.yaml", "requirements.txt"}


def test_a_new_project_is_one_that_git_and_dvc_know_and_whose_parameters_are_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "of" / "mine"
    main(["new", str(folder), "--json"])
    assert json.loads(capsys.readouterr().out) == {"path": str(folder), "git": True, "dvc_installed": True}
    assert {path.name for path in folder.iterdir()} == MADE
    assert list(folder.parent.iterdir()) == [folder]
    listed = run("git", "status", "--short", "--untracked-files=all", cwd=folder).stdout.split()[1::2]
    assert set(listed) == {*FILES.values(), ".dvc/config", "requirements.txt"}
    planned = stage_here("plan", cwd=folder)
    assert planned.returncode == 0, planned.stderr
    stages = run("dvc", "stage", "list", "--name-only", cwd=folder).stdout.split()
    assert {"plan", "downscale@dpid-4", "upscale@flow-compact-dpid-4", "report"} <= set(stages)
    assert f"=={importlib.metadata.version('ida-rd')}\n" in (folder / "requirements.txt").read_text()


def test_the_pipeline_of_a_project_is_that_of_the_repository_but_for_where_its_code_is() -> None:
    """Also `python experiments/sync.py --check` says so, of the whole text."""
    ours, theirs = (yaml.safe_load(path.read_text()) for path in (ROOT / "dvc.yaml", TEMPLATES / "pipeline.yaml"))
    assert theirs["stages"]["plan"].pop("always_changed")
    ours["stages"]["plan"]["deps"].remove("ida_rd")
    for name, entry in ours["stages"].items():
        entry["cmd"] = re.sub(r"^python stages/(\w+)\.py", r"python -m ida_rd.stages.\1", entry["cmd"])
        assert theirs["stages"][name] == entry
    assert theirs == ours


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    assert new_project(Path())
    assert tmp_path.stat().st_ino == before
    assert {path.name for path in Path().iterdir()} == MADE


@pytest.mark.parametrize("there", ["file", "folder"])
def test_what_is_there_is_refused_in_one_line_and_left_alone(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "mine"
    kept = place if there == "file" else place / ".hidden"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(SystemExit) as end:
        main(["new", str(place)])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    says = "is a file: name a folder that" if there == "file" else "exists and is not empty: name another folder"
    assert line.startswith(f"error: {place} {says}")
    assert kept.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


@pytest.mark.parametrize("exists", [False, True])
def test_a_project_that_cannot_be_finished_leaves_nothing(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    if exists:
        folder.mkdir()
    monkeypatch.setattr(ida_rd.new, "_git", _full)
    with pytest.raises(UserError, match="git init failed"):
        new_project(folder)
    assert [path.name for path in tmp_path.rglob("*")] == (["mine"] if exists else [])


def _full(folder: Path) -> bool:
    assert (folder / "params.yaml").is_file()
    raise UserError("new: git init failed: no space left")


def test_a_project_in_a_git_repository_is_part_of_it(tmp_path: Path) -> None:
    run("git", "init", "--quiet", cwd=tmp_path)
    assert new_project(tmp_path / "benchmarks" / "mine")
    assert not (tmp_path / "benchmarks/mine/.git").exists()
    assert "no_scm" not in (tmp_path / "benchmarks/mine/.dvc/config").read_text()
    assert run("dvc", "root", cwd=tmp_path / "benchmarks/mine").stdout.strip() == "."


def test_without_git_dvc_is_told_that_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert not new_project(tmp_path / "mine")
    monkeypatch.undo()
    assert not (tmp_path / "mine/.git").exists()
    assert run("dvc", "config", "core.no_scm", cwd=tmp_path / "mine").stdout.strip() == "true"
    assert "plan" in run("dvc", "stage", "list", "--name-only", cwd=tmp_path / "mine").stdout.split()


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part", "json.no_such_part"])
def test_what_the_pipeline_lacks_is_one_line_with_what_to_install(module: str) -> None:
    needs("json.decoder")
    says = f"^the package {module} is not installed, and the pipeline needs it: pip install 'ida-rd\\[pipeline\\]'$"
    with pytest.raises(MissingSoftware, match=says):
        needs(module)


def test_the_doctor_calls_what_the_pipeline_lacks_missing_and_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("dvc", "numba"):
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    required = ["numba>=0.61", 'dvc>=3.60; extra == "pipeline"', 'spandrel>=0.4; extra == "spandrel"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: required)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    rows = [row for row in health() if row["what"] in ("numba", "dvc", "spandrel")]
    assert {row["state"] for row in rows} == {"missing"}
    assert [(row["what"], row["detail"]) for row in rows] == [
        ("numba", "required: numba>=0.61"),
        ("dvc", "the pipeline needs it: pip install 'ida-rd[pipeline]'"),
        ("dvc", "runs the pipeline: pip install 'ida-rd[pipeline]'"),
    ]
