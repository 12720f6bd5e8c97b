"""What several tests share: the real measuring files, photographs, and real DVC repositories."""

from __future__ import annotations

import io
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import skimage
from filelock import FileLock
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from ida_rd import commands, pipeline
from ida_rd.aggregate.results import Results
from ida_rd.core.project import Project

pytest_plugins = ["parity"]

# A first call that imports a library is slow; no test asserts a time. Examples are fixed: CI tests the same each time.
settings.register_profile("ida-rd", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("ida-rd")

ROOT = Path(__file__).resolve().parent.parent
# Tests leave the developer's own key alone; all processes of a session share one.
os.environ.setdefault("IDA_RD_KEY_FILE", str(Path(tempfile.gettempdir()) / f"ida-rd-tests-{os.getuid()}" / "key"))
SHARED = Path(os.environ.get("IDA_RD_SHARED", ROOT.parent / "shared"))
CODE = ["ida_rd", "stages", "dvc.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".gitignore"]

# A whole pipeline, small: 4 photographs of 64 x 64, 2 downscalers, K = 2, distances without weights.
SMALL = """
seed: 0
images: {source: folder, path: photos, crop: 64}
attributes: {source: image-statistics}
balance: {groups: 2, size: 4}
factors: [4]
downscalers:
  bicubic: {method: resample, filter: bicubic}
  mine: {method: python, function: mine.halve_twice}
upscalers:
  flow-compact: {method: flow, heat: 0.9}
samples: 2
distortions:
  dss: {method: structural, metric: dss}
  psnr: {method: pixel}
aggregate: {resamples: 200}
report: {images: 1}
"""
MINE = '''
"""A downscaler of a user's own."""

def halve_twice(hr, size, *, rng):
    return hr[::4, ::4].copy()
'''


@pytest.fixture(autouse=True)
def _forget_modules_of_the_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module that a test wrote and imported is gone with its folder: the next test of that name imports its own."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real test images and weights, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the measuring images and weights at {SHARED} (or IDA_RD_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """A real photograph, (512, 512, 3), uint8 (NASA, public domain)."""
    return np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB"))


def run(
    *command: str, cwd: Path, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a program with this environment's Python first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = os.environ | {"PATH": path, "IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu"}
    if (cwd / "ida_rd").is_dir():  # a copy of the code, free to be changed
        variables["PYTHONPATH"] = str(cwd)
    variables |= env or {}
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def stage(name: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one stage as DVC does, by the code that lies in `cwd`."""
    return run("python", f"stages/{name}.py", *arguments, cwd=cwd, env=env, check=False)


def stage_here(
    name: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one stage's script in this process, by the code of the repository: what takes seconds to start takes none."""
    script = ROOT / "stages" / f"{name}.py"
    command = [str(script), *arguments]
    return _here(lambda: runpy.run_path(str(script), run_name="__main__"), command, cwd=cwd, env=env)


def ida_rd_here(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process."""
    return _here(commands.main, ["ida-rd", *arguments], cwd=cwd)


def _here(
    call: Callable[[], object], command: list[str], *, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    variables = {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"} | (env or {})
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "path", list(sys.path))
        for key, value in variables.items():
            patch.setenv(key, value)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                call()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    inside = f"{cwd.resolve()}{os.sep}"
    for key, module in list(sys.modules.items()):  # the user's own modules are another test's next time
        if (getattr(module, "__file__", None) or "").startswith(inside):
            del sys.modules[key]
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def copy_code(target: Path) -> None:
    """Copy what a clone of the repository would hold, as far as the pipeline needs it."""
    for name in CODE:
        source = ROOT / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", ".partial-*"))
        else:
            shutil.copyfile(source, target / name)


@pytest.fixture
def project(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """A fresh project with the small configuration; nothing has run."""
    copy_code(tmp_path)
    (tmp_path / "params.yaml").write_text(SMALL)
    (tmp_path / "mine.py").write_text(MINE)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, (y, x) in enumerate([(0, 0), (60, 190), (200, 200), (400, 300)]):
        Image.fromarray(astronaut[y : y + 64, x : x + 64]).save(photos / f"photo-{i}.png")
    return tmp_path


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder once for all test processes of a session, and return it. Copy it before changing it."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(shared / f"{name}.lock"):
        if not (shared / name).is_dir():
            partial = shared / f".{name}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            partial.rename(shared / name)
    return shared / name


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, astronaut: NDArray[np.uint8]) -> Path:
    """A real DVC repository in which the small configuration has run once. Copy it before changing it."""

    def make(path: Path) -> None:
        project.__wrapped__(path, astronaut)  # type: ignore[attr-defined]
        run("git", "init", "--quiet", cwd=path)
        run("dvc", "repro", cwd=path)

    return once(tmp_path_factory, "finished", make)


IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b.c")


def commit(repository: Path, message: str) -> None:
    """Commit all there is."""
    run("git", "add", "--all", cwd=repository)
    run("git", *IDENTITY, "commit", "--quiet", "--allow-empty", "-m", message, cwd=repository)


@pytest.fixture(scope="session")
def changed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished repository, two commits on: the branch `before`, and a run since. Copy it before changing it.

    A downscaler's parameter was edited, and another downscaler added. What DVC printed lies beside it, in `printed`.
    """

    def make(path: Path) -> None:
        repository = path / "repository"
        shutil.copytree(finished, repository, symlinks=True)
        commit(repository, "first")
        run("git", "branch", "before", cwd=repository)
        edit(repository / "params.yaml", "filter: bicubic", "filter: box")
        edit(repository / "params.yaml", "  mine:", "  lanczos: {method: resample, filter: lanczos}\n  mine:")
        (path / "printed").write_text(run("dvc", "repro", cwd=repository).stdout)
        commit(repository, "second")

    return once(tmp_path_factory, "changed", make) / "repository"


@pytest.fixture(scope="session")
def bundled(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the finished run. Copy it before changing it."""

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(finished, Path(folder) / "run", symlinks=True))
            run("ida-rd", "publish", str(path / "bundle"), cwd=copy)

    return once(tmp_path_factory, "bundled", make) / "bundle"


@pytest.fixture
def repository(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished repository, free to be changed."""
    target = tmp_path / "repository"
    shutil.copytree(finished, target, symlinks=True)
    return target


@pytest.fixture
def walked(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the finished run, and the working directory: for `walk`, without code, git and DVC."""
    target = tmp_path / "walked"
    target.mkdir()
    for name in ("params.yaml", "mine.py"):
        shutil.copyfile(finished / name, target / name)
    for name in ("photos", "data", "metrics", ".ida-rd"):
        shutil.copytree(finished / name, target / name)
    monkeypatch.chdir(target)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    return target


def walk(*, report: bool = False) -> Results:
    """Run the pipeline of the working directory in this process."""
    return pipeline.run(Project(), with_report=report)


def units(folder: Path) -> set[Path]:
    """Finished parts of units in a project's store; one that a killed process was writing does not count."""
    return {path for path in (folder / ".ida-rd/store").glob("??/*.json") if not path.name.startswith(".")}


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first `old` of a file, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
