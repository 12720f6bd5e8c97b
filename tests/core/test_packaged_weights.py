"""Weights that lie in another package: found without importing it, and missed in one line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import stage_here

from ida_rd.core import weights
from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, catalogue, locate, read_weights

ENTRY = """["theirs"]
package = "their-nets==1.0"
name = "their_nets/net.pth"
sha256 = ["{}"]
licence = "MIT"
citation = "them"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as pip leaves it, whose code must not run."""
    site = tmp_path / "site"
    (site / "their_nets").mkdir(parents=True)
    (site / "their_nets-1.0.dist-info").mkdir()
    (site / "their_nets-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: their-nets\nVersion: 1.0\n")
    (site / "their_nets/__init__.py").write_text("raise RuntimeError('imported')\n")
    torch.save({"a": torch.ones(2)}, site / "their_nets/net.pth")
    digest = hashlib.sha256((site / "their_nets/net.pth").read_bytes()).hexdigest()
    (tmp_path / "room").mkdir()
    (tmp_path / "room/nets.toml").write_text(ENTRY.format(digest))
    monkeypatch.setattr(weights, "PACKAGE", tmp_path / "room")
    monkeypatch.syspath_prepend(str(site))
    return site


def test_a_file_of_a_package_is_read_and_verified_and_no_code_of_it_runs(installed: Path) -> None:
    found = locate("theirs", download=False)
    assert found.path == installed / "their_nets/net.pth"
    assert torch.equal(read_weights("theirs").tensors()["a"], torch.ones(2))
    assert "their_nets" not in sys.modules
    torch.save({"a": torch.zeros(2)}, found.path)
    with pytest.raises(UserError, match=r"net\.pth \(weights theirs\) has sha256"):
        read_weights("theirs")


def test_a_package_that_is_missing_or_incomplete_is_named(installed: Path) -> None:
    (installed / "their_nets/net.pth").unlink()
    with pytest.raises(MissingWeights, match=r"net\.pth \(weights theirs\) is missing: pip install --force-reinstall"):
        locate("theirs")
    (installed / "their_nets-1.0.dist-info/METADATA").unlink()
    (installed / "their_nets-1.0.dist-info").rmdir()
    with pytest.raises(MissingWeights) as error:
        locate("theirs")
    assert str(error.value) == (
        "weights theirs lie in the package their-nets==1.0, which is not installed: pip install their-nets==1.0"
    )


def test_a_package_without_the_name_of_its_file_is_refused(installed: Path) -> None:
    path = installed.parent / "room/nets.toml"
    path.write_text(path.read_text().replace('name = "their_nets/net.pth"\n', ""))
    with pytest.raises(UserError, match=r"weights theirs: name, the path of the file in the package, is missing"):
        catalogue()
    path.write_text(path.read_text())


def test_a_run_without_the_extra_says_so_in_one_line_or_skips_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == "stlpips-pytorch":  # whether or not the extra is installed here
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    parameters = yaml.safe_load((project / "params.yaml").read_text())
    parameters["distortions"]["st"] = {"method": "st-lpips"}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "weights st-lpips.alex lie in the package stlpips-pytorch==0.0.2" in done.stderr
    assert "pip install 'ida-rd[perceptual]'" in done.stderr
    (project / "params.yaml").write_text(yaml.safe_dump(parameters | {"missing_weights": "skip"}, sort_keys=False))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "distortion st is SKIPPED" in done.stderr
