"""The folder of the study of resize functions: parameters, pipeline and the programs beside them.

`test_folders` makes the whole plan, which is long for so many functions.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from made import script
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.downscale import resample, resize
from ida_rd.downscale.recipe import stated
from ida_rd.plan.stage import read_parameters
from ida_rd.upscale import flow

FOLDER = ROOT / "experiments/resizers"
NODE = shutil.which("node")
NO_NODE = "needs node, and `npm install --no-save sharp pica` in experiments/resizers"


def _done(*command: str | Path, cwd: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)


def test_every_entry_is_a_function_with_all_that_it_names(tmp_path: Path) -> None:
    parameters = read_parameters(FOLDER / "params.yaml")
    for name, entry in parameters.downscalers.items():
        values = entry if isinstance(entry, dict) else entry.model_dump(by_alias=True, exclude_unset=True)
        for factor in (4, 8):
            recipe, method = stated(name, values, factor, 0)
            assert recipe["factor"] == factor
        for argument in getattr(method.parameters, "command", []):
            if Path(argument).suffix in (".py", ".mjs"):
                assert (FOLDER / argument).is_file(), f"{name}: {argument}"
    text = (FOLDER / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("backend: skia, filter: mipmap", "backend: skia, filter: area"))
    odd = read_parameters(tmp_path / "params.yaml").downscalers["skia-mipmap"]
    with pytest.raises(UserError, match=r"skia-mipmap.*skia has no such filter"):
        stated("skia-mipmap", odd if isinstance(odd, dict) else odd.model_dump(exclude_unset=True), 4, 0)


def test_every_file_of_the_last_stage_is_there() -> None:
    """That dvc.yaml is the root's, and this, is `test_house`'s."""
    stage = yaml.safe_load((FOLDER / "dvc.yaml").read_text())["stages"]["answers"]
    made = ("data/", "metrics/")
    here = [path for path in stage["deps"] if not path.startswith(made)]
    assert {"resizers.py", "resizers.yaml", "../../ida_rd/aggregate"} <= set(here)
    assert [path for path in here if not (FOLDER / path).exists()] == []


def test_the_factors_that_no_decoder_here_is_for_are_one_line() -> None:
    decoder = flow.Parameters()
    for factor in (2, 4, 8):
        assert flow.describe(decoder, factor).weights is not None
    with pytest.raises(UserError, match=r"^factor 3: flow-compact supports factors 2, 4, 8, 16, 32, 64$"):
        flow.describe(decoder, 3)


@pytest.fixture
def jpeg(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    path = tmp_path / "in.jpg"
    Image.fromarray(astronaut[:256, :256]).save(path, quality=90)
    return path


def _reduced(command: list[str | Path], source: Path, *, factor: int = 4) -> NDArray[np.int64]:
    target = source.with_name("out.png")
    side = Image.open(source).width // factor
    done = _done(*command, source, target, str(side), str(side))
    assert done.returncode == 0, done.stderr
    return np.asarray(Image.open(target).convert("RGB")).astype(np.int64)


@pytest.mark.parametrize("library", ["pillow", "vips"])
def test_a_jpeg_file_that_is_shrunk_while_it_is_decoded_is_another(library: str, jpeg: Path) -> None:
    if library == "vips":
        pytest.importorskip("pyvips", reason="needs the package pyvips: pip install 'ida-rd[libraries]'")
    command: list[str | Path] = [sys.executable, "shrink.py", library]
    whole, fast = (_reduced([*command, how], jpeg) for how in ("whole", "fast"))
    assert 0.2 < np.abs(whole - fast).mean() < 10
    hr = np.asarray(Image.open(jpeg))
    kind: dict[str, Any] = {"filter": "lanczos"} if library == "pillow" else {"backend": "pyvips", "filter": "lanczos"}
    direct = resample.downscale(hr, (64, 64), rng=np.random.default_rng(0), **kind)
    assert np.array_equal(whole, direct)


def test_a_script_says_that_its_library_is_not_installed(tmp_path: Path) -> None:
    done = _done(sys.executable, "-I", "-S", "shrink.py", "vips")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "the package pyvips is not installed: pip install 'ida-rd[libraries]'\n"
    if NODE is None:
        return
    shutil.copy(FOLDER / "resize.mjs", tmp_path)
    done = _done(NODE, tmp_path / "resize.mjs", "pica", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.startswith("the package sharp is not installed: npm install")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(NODE is None or not (FOLDER / "node_modules/pica").exists(), reason=NO_NODE)
def test_packages_of_npm_are_what_they_are_called(jpeg: Path, astronaut: NDArray[np.uint8]) -> None:
    assert NODE is not None
    script: list[str | Path] = [NODE, "resize.mjs"]
    png = jpeg.with_name("in.png")
    hr = np.ascontiguousarray(astronaut[:256, :256])
    Image.fromarray(hr).save(png)
    rng = np.random.default_rng(0)
    mine = {n: resize.downscale(hr, (64, 64), rng=rng, backend="pillow", filter=n) for n in ("mks2013", "mks2021")}
    mine["lanczos3"] = resample.downscale(hr, (64, 64), rng=rng, filter="lanczos")
    near = {("pica", "default"): "mks2013", ("pica", "lanczos3"): "lanczos3"}
    if importlib.util.find_spec("pyvips"):  # sharp is libvips
        mine["vips-lanczos3"] = resample.downscale(hr, (64, 64), rng=rng, backend="pyvips", filter="lanczos")
        mine["vips-mks2021"] = resize.downscale(hr, (64, 64), rng=rng, backend="pyvips", filter="mks2021")
        near |= {("sharp", "default"): "vips-lanczos3", ("sharp", "mks2021"): "vips-mks2021"}
    for (library, kernel), like in near.items():
        lr = _reduced([*script, library, kernel, "whole"], png)
        apart = {name: np.abs(lr - theirs).mean() for name, theirs in mine.items()}
        assert min(apart, key=apart.__getitem__) == like
        assert apart[like] < 0.5
    whole, fast = (_reduced([*script, "sharp", "default", how], jpeg) for how in ("whole", "fast"))
    assert 0.2 < np.abs(whole - fast).mean() < 10
    assert _done(*script, "pica").stdout.startswith("pica ")
    assert "libvips" in _done(*script, "sharp").stdout


def test_how_far_functions_are_apart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    apart = script("resizers/apart.py")
    monkeypatch.chdir(FOLDER)
    names = ["pillow-nearest", "{method: resample, filter: bicubic}", "bicubic", "{method: resample, filter: box}"]
    monkeypatch.setattr("sys.argv", ["apart.py", "--images", "1", "--side", "64", *names])
    apart.main()
    table = pd.DataFrame([line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[4:]])
    found = table.set_index(0).astype(float).to_numpy()
    assert np.array_equal(found, found.T)
    assert found[1, 2] == 0
    assert found[0, 2] > 4 * found[2, 3] > 0
    monkeypatch.setattr("sys.argv", ["apart.py", "--side", "30", "bicubic"])
    with pytest.raises(UserError, match=r"^--side 30: no multiple of 4"):
        apart.main()
    with pytest.raises(UserError, match=r"^\{filter: box\}: no entry with a method"):
        apart.entry_of("{filter: box}", {})
