"""What a stage opens is what ``plan`` hashed: another file, even of the same size and time, is refused before work."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ida_rd.attributes.recipe import source_recipes
from ida_rd.attributes.stage import attribute_table
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import open_method
from ida_rd.core.recipes import check_source_files, check_user_files, user_files
from ida_rd.core.weights import Weight, catalogue, expecting, locate, read_file, read_weights
from ida_rd.distort.recipe import distort_recipe
from ida_rd.distort.work import load_distortions
from ida_rd.downscale.recipe import downscale_recipe
from ida_rd.downscale.stage import downscale_folder
from ida_rd.engine.store import Store
from ida_rd.upscale.recipe import upscale_recipe
from ida_rd.upscale.stage import upscale_folder
from ida_rd.upscale.work import load_upscaler

CHANGED = "changed since plan ran: run `dvc repro`"
LONG_AGO = 10**18  # ns: a time at which a hash is remembered


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


def _change(path: Path) -> None:
    """Another last byte, of the same size and time."""
    content = path.read_bytes()
    _put(path, content[:-1] + bytes([content[-1] ^ 1]))


def _upscaler(entry: dict[str, Any], factor: int = 4) -> dict[str, Any]:
    return upscale_recipe("mine", entry, factor, 0, 2, size=None, download=False)[0]


def _downscaler(entry: dict[str, Any]) -> dict[str, Any]:
    return downscale_recipe("mine", entry, 4, 0, download=False)[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a project."""
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_flow_refuses_another_file_than_the_recipes(here: Path) -> None:
    own = _put(here / "own.safetensors", locate("flow-compact.x4").path.read_bytes())
    recipe = _upscaler({"method": "flow", "path": str(own)})
    load_upscaler(recipe, "cpu")
    _change(own)
    with pytest.raises(UserError, match=rf"own\.safetensors \(weights flow-compact\.x4\) {CHANGED}"):
        load_upscaler(recipe, "cpu")


def test_the_flow_refuses_another_preset_than_the_recipes(here: Path) -> None:
    own = _put(here / "own.safetensors", locate("flow-compact.x4").path.read_bytes())
    figures = _put(here / "own.json", json.dumps({"preset_heat": 0.5}).encode())
    recipe = _upscaler({"method": "flow", "path": str(own)})
    load_upscaler(recipe, "cpu")
    figures.write_text(json.dumps({"preset_heat": 0.6}))
    with pytest.raises(UserError, match=rf"upscaler mine: its settings {CHANGED}"):
        load_upscaler(recipe, "cpu")


def test_a_distortion_refuses_another_file_than_the_recipes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr(Weight, "accepts", lambda self, digest: True)
    torch.save(torchvision.models.alexnet().features.state_dict(prefix="features."), here / "a.pth")
    entry = distort_recipe("lpips", {"method": "lpips", "path": str(here / "a.pth")}, smallest=None, download=False)[0]
    load_distortions({"distortions": {"lpips": entry}}, "cpu")
    torch.save(torchvision.models.alexnet().features.state_dict(prefix="features."), here / "a.pth")
    with pytest.raises(UserError, match=rf"a\.pth \(weights torchvision\.alexnet\) {CHANGED}"):
        load_distortions({"distortions": {"lpips": entry}}, "cpu")


def test_outside_of_a_stage_nothing_is_expected(here: Path) -> None:
    path = str(locate("flow-compact.x4").path)
    with pytest.raises(UserError, match=CHANGED), expecting({"weights": {"flow-compact.x4": "0" * 64}}):
        locate("flow-compact.x4", path)
    with pytest.raises(UserError, match=CHANGED), expecting({"weights": {"flow-compact.x4": "0" * 64}}):
        read_weights("flow-compact.x4", path)
    with pytest.raises(UserError, match=CHANGED), expecting({"files": {"a": "0" * 64}}):
        read_file(Path(path))
    assert read_weights("flow-compact.x4", path).sha256 == locate("flow-compact.x4").sha256


def test_what_ships_is_compared_with_the_catalogue_and_the_users_own_training_is_not(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = catalogue()["flow-compact.x4"]
    assert known.file is not None
    other = _put(here / "other.safetensors", catalogue()["flow-compact.x8"].file.read_bytes())  # type: ignore[union-attr]
    assert read_weights("flow-compact.x4", str(other)).sha256 not in known.sha256
    entry = Weight("flow-compact.x4", "", "", sha256=known.sha256, file=other)
    monkeypatch.setattr("ida_rd.core.weights.catalogue", lambda: {"flow-compact.x4": entry})
    with pytest.raises(UserError, match="has sha256"):
        read_weights("flow-compact.x4")


def _network(path: Path, seed: int) -> Path:
    pytest.importorskip("spandrel")
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(seed)
    path.parent.mkdir(exist_ok=True)
    torch.save(ESRGAN(num_filters=4, num_blocks=1, scale=2).state_dict(), path)
    return path


def test_spandrel_refuses_another_file_than_the_recipes(here: Path) -> None:
    path = _network(here / "a.pth", 0)
    recipe = _upscaler({"method": "spandrel", "path": str(path)}, 2)
    load_upscaler(recipe, "cpu")
    _network(path, 1)
    with pytest.raises(UserError, match=rf"a\.pth {CHANGED}"):
        load_upscaler(recipe, "cpu")
    (here / "lr").mkdir()
    Image.new("RGB", (8, 8)).save(here / "lr" / "a.png")
    with pytest.raises(UserError, match=rf"upscalers\.mine: a\.pth {CHANGED}"):
        upscale_folder(recipe, here / "lr", here / "sr", Store(here / "store"))
    assert not (here / "sr").exists()


def test_two_files_of_one_name_are_both_in_the_recipe(here: Path) -> None:
    steps = [{"method": "spandrel", "path": str(_network(here / f"{i}/a.pth", i)), "factor": 2} for i in range(2)]
    recipe = _upscaler({"method": "cascade", "steps": steps})
    hashes = {sha256_file(str(step["path"])) for step in steps}
    assert len(hashes) == 2
    assert hashes < set(recipe["files"].values())
    load_upscaler(recipe, "cpu")
    shutil.copy(here / "1/a.pth", here / "0/a.pth")
    with pytest.raises(UserError, match=rf"upscalers\.mine: a\.pth.* {CHANGED}"):
        check_user_files(open_method(recipe), recipe)


def _function(folder: Path) -> tuple[dict[str, Any], Path]:
    source = b"from helper import step\n\ndef halve(hr, size, *, rng):\n    return hr[::step, ::step].copy()\n"
    _put(folder / "expected_mine.py", source)
    return {"method": "python", "function": "expected_mine.halve"}, _put(folder / "helper.py", b"step = 4")


def _script(folder: Path) -> tuple[dict[str, Any], Path]:
    path = _put(folder / "shrink.sh", b"convert $1 -resize $3x$4 $2")
    return {"method": "command", "command": ["sh", str(path), "{input}", "{output}", "{width}", "{height}"]}, path


def _folder(folder: Path) -> tuple[dict[str, Any], Path]:
    for name in ("a", "b"):
        (folder / "lr").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / "lr" / f"{name}.png")
        os.utime(folder / "lr" / f"{name}.png", ns=(LONG_AGO, LONG_AGO))
    return {"method": "folder", "path": str(folder / "lr")}, folder / "lr" / "b.png"


@pytest.mark.parametrize("make", [_function, _script, _folder])
@pytest.mark.parametrize("change", [_change, Path.unlink])
def test_a_downscaler_refuses_other_files_than_the_recipes(
    here: Path, make: Callable[[Path], tuple[dict[str, Any], Path]], change: Callable[[Path], None]
) -> None:
    entry, path = make(here)
    recipe = _downscaler(entry)
    check_user_files(open_method(recipe), recipe)
    change(path)
    for name in ("a", "b"):
        (here / "hr").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(here / "hr" / f"{name}.png")
    with pytest.raises(UserError, match=rf"downscalers\.mine: {path.name}.* {CHANGED}") as error:
        downscale_folder(recipe, here / "hr", here / "out", Store(here / "store"))
    assert "\n" not in str(error.value)
    assert not (here / "out").exists()


def test_files_of_a_method_that_has_none_are_no_question(here: Path) -> None:
    recipe = _downscaler({"method": "resample", "filter": "box"})
    check_user_files(open_method(recipe), recipe)
    assert user_files(open_method(recipe), 4) == {}


def test_a_source_of_attributes_refuses_another_table_than_the_recipes(here: Path) -> None:
    path = _put(here / "labels.csv", b"image_id,age\na,10\nb,20\n")
    recipes, _ = source_recipes({"table": ["age"]}, {"table": {"path": str(path)}}, download=False)
    check_source_files(open_method(recipes["table"]), recipes["table"])
    _put(path, b"image_id,age\na,10\nb,30\n")
    images = {"source": "folder", "path": str(here), "pattern": None, "crop": None}
    recipe = {"images": images, "opens_images": False, "sources": recipes}
    with pytest.raises(UserError, match=rf"attributes\.table: .* {CHANGED}"):
        attribute_table(recipe, Store(here / "store"))
