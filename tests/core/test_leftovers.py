"""Nothing of a folder is left out in silence, and of files with several images it is said that one is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pictures import with_further_pictures
from PIL import Image

from ida_rd.core.candidates import candidate_files, check_sizes
from ida_rd.core.errors import UserError
from ida_rd.core.images import EXTENSIONS, image_files
from ida_rd.core.leftovers import left_out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two photographs and much else."""
    folder = tmp_path / "photos"
    (folder / "more" / "deep").mkdir(parents=True)
    (folder / ".cache").mkdir()
    for name in ("a.png", "b.JPG", "more/c.png", "more/deep/d.tif", "more/deep/notes.txt", ".cache/e.png", ".f.png"):
        Image.new("RGB", (16, 16)).save(folder / name, "PNG")
    for i in range(9):
        (folder / f"{i}.txt").touch()
    for name in ("x.gif", "y.GIF", "README"):
        (folder / name).touch()
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    return folder


def test_what_is_left_out_is_counted_in_one_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(candidate_files("folder", str(photos))) == ["a", "b"]
    assert capsys.readouterr().err == ""
    assert check_sizes("folder", str(photos), None, None, 4) == 16
    assert capsys.readouterr().err == (
        f"note: 13 files in {photos} are not images and are left out: 9 .txt, 2 .gif, 1 broken link, "
        f"1 without extension; 2 images in sub-folders of {photos} are left out (see images.pattern)\n"
    )


def test_a_pattern_says_what_is_meant(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for pattern in ("*.png", "a*", "more/*.png", "**/*.tif"):
        (photos / "gone.png").unlink(missing_ok=True)
        check_sizes("folder", str(photos), pattern, None, 4)
        assert capsys.readouterr().err == "", pattern
    check_sizes("folder", str(photos), "**/*", None, 4)
    assert "11 .txt" not in capsys.readouterr().err.replace("10 .txt", "11 .txt", 0)
    assert left_out(photos, EXTENSIONS, "**/*") == (
        f"13 files in {photos} are not images and are left out: 10 .txt, 2 .gif, 1 without extension"
    )


def test_a_folder_of_images_alone_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / ".DS_Store").touch()
    check_sizes("folder", str(tmp_path), None, None, 4)
    assert capsys.readouterr() == ("", "")


def test_many_kinds_are_still_one_short_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for i in range(100):
        (tmp_path / f"a.{i}").touch()
    line = left_out(tmp_path, EXTENSIONS)
    assert line is not None
    assert line.startswith("101 files")
    assert line.endswith("93 others")
    assert len(line) < 300


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.avif", "b.avif", "c.heic"):
        (tmp_path / name).touch()
    for find in (lambda: image_files(tmp_path, what="images"), lambda: candidate_files("folder", str(tmp_path), "./*")):
        with pytest.raises(UserError, match=r"holds no image.*; 3 files in .* are left out: 2 \.avif, 1 \.heic$"):
            find()


def test_files_with_further_images_are_counted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(7):
        (tmp_path / f"{i}.jpg").write_bytes(with_further_pictures())
    Image.new("RGB", (64, 64)).save(tmp_path / "single.jpg")
    check_sizes("folder", str(tmp_path), None, None, 4)
    assert capsys.readouterr().err == (
        "note: 7 files hold more than one image: the first is taken (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ...)\n"
    )


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.mpo", "a.pgm", "a.pbm", "a.pnm", "a.PNG"])
def test_other_names_of_the_same_formats_are_images(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert list(image_files(tmp_path, what="images")) == ["a"]
