"""The documents and the files that a code host reads: links, versions, and that CI runs what a developer runs."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "experiments").rglob("*.md"),
        *(ROOT / ".github").glob("*.md"),
    ]
)
VERSION = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_ci_runs_every_python_that_the_package_names() -> None:
    named = [match[1] for entry in PROJECT["classifiers"] if (match := VERSION.fullmatch(entry))]
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"
    first, last = (int(version.partition(".")[2]) for version in (named[0], named[-1]))
    assert named == [f"3.{minor}" for minor in range(first, last + 1)]


def test_the_workflow_runs_the_steps_of_ci_run() -> None:
    steps = [step["run"] for step in WORKFLOW["jobs"]["test"]["steps"] if "run" in step]
    script = (ROOT / ".ci/run").read_text()
    wanted = re.findall(r"^make .+$", script, re.MULTILINE)
    assert wanted
    assert [step for step in steps if step in wanted] == wanted
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {step.removeprefix("make ") for step in steps} <= set(targets)


def test_the_workflow_may_only_read_and_pins_its_actions() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for step in WORKFLOW["jobs"]["test"]["steps"]:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v0"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_code_hosts_accept(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert set(form) == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    for field in form["body"]:
        assert set(field) <= {"type", "id", "attributes", "validations"}
        assert field["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]
        if field["type"] in {"dropdown", "checkboxes"}:
            assert field["attributes"]["options"]
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_there_are_forms_for_bugs_methods_and_results() -> None:
    assert [path.stem for path in FORMS] == ["bug", "method", "result"]


def test_the_hooks_run_what_make_check_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local", "the environment's own versions"
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]]
    recipe = re.search(r"^check:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    checked = [line.strip().removesuffix(" .").removesuffix(" --check") for line in recipe[1].splitlines()]
    assert sorted(entries) == sorted(checked)
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_the_version_is_the_changelogs() -> None:
    sections = re.findall(
        r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    (unreleased, undated), (released, date), *_ = sections
    assert (unreleased, undated) == ("Unreleased", "")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["date-released"]) == (released, date)
    version = PROJECT["version"]
    assert version == released or version.endswith(".dev0"), "between releases, the version is that of the next"


def test_the_readme_names_every_document_and_every_target_of_tests() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]:
        assert f"({path.relative_to(ROOT).as_posix()})" in readme, path.name
    for target in ("make repro", "make test ", "make test-all"):
        assert target in readme


def test_the_readme_leads_with_a_finding_of_committed_results() -> None:
    spec = importlib.util.spec_from_file_location("finding", ROOT / "docs/figures/finding.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = script.finding(pd.read_csv(script.RESULTS))
    assert "nearest" in text
    assert script.written(readme, text) == readme, "run make figures"
