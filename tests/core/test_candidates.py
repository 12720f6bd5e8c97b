"""Which images there are to choose from: patterns stay in the folder, and what was hashed is what is used."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ida_rd.attributes.stage import write_attributes
from ida_rd.balance.stage import write_subset, write_test_set
from ida_rd.core.candidates import candidate_files
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.images import write_png
from ida_rd.core.project import Project
from ida_rd.core.recipes import read_recipe
from ida_rd.distort.work import Compared
from ida_rd.distort.work import open_work as open_distortions
from ida_rd.downscale.stage import write_lr
from ida_rd.downscale.work import open_work as open_downscaler
from ida_rd.engine.store import Store
from ida_rd.pipeline import choose_images
from ida_rd.plan.stage import write_plan
from ida_rd.upscale.work import open_work as open_upscaler


def _photos(folder: Path, count: int = 4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        write_png(folder / f"photo-{i}.png", pixels)
    return folder


def _replace_unseen(path: Path) -> None:
    """Change a file's pixels, but neither its size nor its time of modification."""
    before = path.stat()
    size = before.st_size
    width, height = Image.open(path).size
    write_png(path, np.full((height, width, 3), 90, np.uint8))
    data = path.read_bytes()
    assert len(data) <= size
    path.write_bytes(data + bytes(size - len(data)))  # what stands behind a PNG's end is not looked at
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("/etc/*.png", "leaves the folder"),
        ("//etc/*.png", "leaves the folder"),
        ("../*.png", "leaves the folder"),
        ("a/../../*.png", "leaves the folder"),
        ("..", "leaves the folder"),
        ("**/**/*.png", "too deep"),
        ("**/a/**/*.png", "too deep"),
        ("*/" * 16 + "*.png", "too deep"),
        ("a\0/*.png", "no file name has"),
    ],
)
def test_a_pattern_stays_in_the_folder_and_ends(tmp_path: Path, pattern: str, reason: str) -> None:
    _photos(tmp_path / "outside", 1)
    _photos(tmp_path / "photos", 1)
    with pytest.raises(UserError, match=rf"^images\.pattern: .*{reason}"):
        candidate_files("folder", str(tmp_path / "photos"), pattern)


@pytest.mark.parametrize("pattern", ["*.png", "*/*.png", "**/*.png", "set/*/photo-?.png", "./*/*.png"])
def test_patterns_below_the_folder_find_what_they_found(tmp_path: Path, pattern: str) -> None:
    _photos(tmp_path / "set" / "a..b", 2)
    _photos(tmp_path / "elsewhere", 2)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "set").symlink_to(tmp_path / "set")  # the user's own links are followed
    (tmp_path / "photos" / "photo-0.png").symlink_to(tmp_path / "elsewhere" / "photo-0.png")
    (tmp_path / "photos" / "set" / "folder.png").mkdir()
    if pattern == "**/*.png":
        (tmp_path / "photos" / "photo-0.png").unlink()
    expected = {"*.png": ["photo-0"], "*/*.png": []}.get(pattern, ["photo-0", "photo-1"])
    if pattern in ("*/*.png", "./*/*.png"):
        with pytest.raises(UserError, match="holds no image"):
            candidate_files("folder", str(tmp_path / "photos"), pattern)
    else:
        assert list(candidate_files("folder", str(tmp_path / "photos"), pattern)) == expected


PARAMETERS = """
seed: 0
images: {source: folder, path: photos}
attributes: {source: image-statistics}
balance: {groups: 2, size: 4}
factors: [4]
downscalers:
  box: {method: resample, filter: box}
  theirs: {method: folder, path: theirs}
upscalers:
  flow-compact: {method: flow}
samples: 1
distortions:
  psnr: {method: pixel}
report: {images: 1}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A small project of four photographs, planned."""
    monkeypatch.chdir(tmp_path)
    _photos(Path("photos"))
    Path("theirs").mkdir()
    for path in Path("photos").iterdir():
        Image.open(path).resize((8, 8), Image.Resampling.BOX).save(Path("theirs") / path.name)
        for file in (path, Path("theirs") / path.name):
            os.utime(file, ns=(10**18, 10**18))  # long ago: its hash is remembered
    Path("params.yaml").write_text(PARAMETERS, encoding="utf-8")
    write_plan(Project())
    return Project()


def test_a_photograph_that_changes_before_its_attributes_are_computed_is_refused(project: Project) -> None:
    _replace_unseen(Path("photos/photo-2.png"))
    with pytest.raises(UserError, match=r"^1 of 4 images cannot be used: photo-2\.png: changed since"):
        write_attributes(project, Store(Path("store")))
    assert not project.attributes.exists()


def test_a_photograph_that_changes_before_it_is_chosen_is_refused(project: Project) -> None:
    write_attributes(project, Store(Path("store")))
    rows = pd.read_csv(project.attributes)
    assert rows.sha256.tolist() == [sha256_file(Path("photos") / file) for file in rows.file]
    _replace_unseen(Path("photos/photo-2.png"))
    with pytest.raises(UserError, match=r"^photo-2\.png: changed since[^\n]*make repro[^\n]*$"):
        write_test_set(project)
    assert not project.hr.exists()


def test_a_set_that_no_attribute_opened_is_chosen_without_hashes(tmp_path: Path) -> None:
    _photos(tmp_path, 1)
    for sha256 in ("", float("nan")):
        row = {"image_id": "photo-0", "file": "photo-0.png", "sha256": sha256} | dict.fromkeys(
            ("x", "y", "width", "height"), float("nan")
        )
        target = tmp_path / f"hr{sha256}"
        target.mkdir()
        write_subset(pd.DataFrame([row]), {"path": str(tmp_path), "multiple": 4}, target)
        assert (target / "photo-0.png").is_file()


def test_an_lr_image_made_elsewhere_that_changes_after_the_plan_is_refused(project: Project) -> None:
    choose_images(project, Store(Path("store")))
    _replace_unseen(Path("theirs/photo-1.png"))
    with pytest.raises(UserError, match=r"theirs.*photo-1\.png:? changed since"):
        write_lr(project, "theirs", 4, Store(Path("store")))
    assert not project.lr_of("theirs", 4).exists()


def test_a_worker_opens_what_its_unit_was_named_by(project: Project) -> None:
    photo = Path("photos/photo-0.png").absolute()
    sha = sha256_file(photo)
    box = open_downscaler(read_recipe(project, "downscale", "x4", "box"), "cpu")
    flow = open_upscaler(read_recipe(project, "upscale", "x4", "flow-compact", "box"), "cpu")
    psnr = open_distortions(read_recipe(project, "distort"), "cpu")
    compared = Compared("photo-0", photo, {0: photo}, {photo: sha})
    asked = [
        lambda: box(("photo-0", photo, sha), ["lr"]),
        lambda: flow(("photo-0", photo, sha), ["0"]),
        lambda: psnr(compared, ["psnr:0", "psnr"]),
    ]
    assert all(ask() for ask in asked)
    _replace_unseen(photo)
    for ask in asked:
        with pytest.raises(UserError, match=r"photo-0\.png: changed since[^\n]*$"):
            ask()
