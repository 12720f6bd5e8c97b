"""Tests of parity with a reference take long: they run if what they depend on has changed since they last passed.

    @pytest.mark.parity("ida_rd.models.srflow.decoder", "ida_rd.upscale.srflow.sampler")

names the modules whose code, with all that they import, decides the outcome. ``tests/parity.json`` keeps the hash of
that code, of the test's own file and torch's version as of the last ``make test-all`` in which they passed; ``make
test`` leaves them out while nothing of that has changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from ida_rd.core.code import code_hashes

RECORD = Path(__file__).with_name("parity.json")
KEY = "parity"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="also run slow tests, and parity tests whose code did not change"
    )
    parser.addoption("--record-parity", action="store_true", help="write tests/parity.json, if all tests pass")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "parity(*modules): runs if the code of the modules changed, or with --all")
    config.addinivalue_line("markers", "cluster: real schedulers and workers, as processes on 127.0.0.1")
    config.addinivalue_line("markers", "slow: takes minutes; runs with --all")


@cache
def state(file: Path, modules: tuple[str, ...]) -> str:
    """Hash of what decides the outcome of a parity test."""
    code = code_hashes(*modules)
    test = hashlib.sha256(file.read_bytes()).hexdigest()
    text = json.dumps([code, test, importlib.metadata.version("torch")])
    return hashlib.sha256(text.encode()).hexdigest()


def key(file: Path, modules: Iterable[str]) -> str:
    """Name in the record."""
    return f"{file.name}: {', '.join(modules)}"


def recorded() -> dict[str, str]:
    """What passed last."""
    return json.loads(RECORD.read_text()) if RECORD.is_file() else {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = recorded()
    everything = config.getoption("--all")
    for item in items:
        if item.get_closest_marker("slow") and not everything:
            item.add_marker(pytest.mark.skip(reason="slow: `make test-all` runs it"))
        marker = item.get_closest_marker("parity")
        if marker is None:
            continue
        name, now = key(item.path, marker.args), state(item.path, marker.args)
        item.user_properties.append((KEY, json.dumps([name, now])))
        if known.get(name) == now and not everything:
            reason = "its code has not changed since parity last held (tests/parity.json): `make test-all` runs it"
            item.add_marker(pytest.mark.skip(reason=reason))


class Recorder:
    """Sees the outcome of every test, of all processes."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = [value for name, value in report.user_properties if name == KEY]
        for value in found:
            if report.failed:
                self.failed.add(str(value))
            elif report.when == "call" and report.passed:
                self.passed.add(str(value))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus or not self.config.getoption("--record-parity") or hasattr(self.config, "workerinput"):
            return
        held = dict(json.loads(value) for value in self.passed - self.failed)
        RECORD.write_text(json.dumps(recorded() | held, indent=2, sort_keys=True) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(Recorder(session.config), "parity-recorder")
