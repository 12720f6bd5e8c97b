"""The images that the study of resize functions makes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from made import script
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image


@pytest.fixture(scope="module")
def content() -> ModuleType:
    script("resizers/lineart.py")
    return script("resizers/content.py")


def test_images_are_the_same_every_time_and_each_is_another(content: ModuleType) -> None:
    first = {name: np.asarray(image) for name, image in content.made()}
    for name, image in content.made():
        assert np.array_equal(first[name], np.asarray(image)), name
    assert len(first) == content.COUNT + len(content.KINDS) + 1
    assert len(set(content.KINDS)) == len(content.KINDS) == 12, "a drawing that is like another one is no image more"
    assert len({image.tobytes() for image in first.values()}) == len(first)
    for name, image in first.items():
        assert image.shape == (content.SIDE, content.SIDE, 3)
        edges = np.abs(np.diff(image.astype(int), axis=1)).max(axis=2)
        share = float((edges > 32).mean())
        assert share == 0 if name.startswith("flat") else 0.01 < share < 0.9, name


def test_a_folder_of_all_groups_is_written(
    content: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(content, "COUNT", 2)
    monkeypatch.setattr("sys.argv", ["content.py"])
    content.main()
    assert "12 art, 1 flat, 13 photo, 2 text" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["content.py", "--photos", "images", "--faces", "images"])
    before = {path.name for path in Path("images").iterdir()}
    content.main()
    names = {path.name for path in Path("images").iterdir()}
    assert {f"face-{name}" for name in before} <= names
    assert read_image(Path("images/photo-photo-china.png")).shape[2] == 3


def _write_sample(content: ModuleType, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write `images` of the sample photographs, with one screenshot, into a folder, and be there."""
    monkeypatch.chdir(here)
    monkeypatch.setattr(content, "COUNT", 1)
    monkeypatch.setattr("sys.argv", ["content.py"])
    content.main()


def test_the_first_photographs_are_taken_by_name_and_all_faces(
    content: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_sample(content, tmp_path, monkeypatch)
    written = sorted(path.name for path in Path("images").glob("photo-*"))
    Path("faces").mkdir()
    whole = np.random.default_rng(0).integers(0, 256, (600, 520, 3), np.uint8)
    for name, pixels in {"a": whole, "b": whole[:300], "c": whole[:100, :90]}.items():
        Image.fromarray(pixels).save(f"faces/{name}.png")
    monkeypatch.setattr("sys.argv", ["content.py", "--first", "2", "--faces", "faces"])
    content.main()
    assert sorted(path.name for path in Path("images").glob("photo-*")) == written[:2]
    sizes = {path.stem: read_image(path).shape[:2] for path in Path("images").glob("face-*")}
    assert sizes == {"face-a": (300, 260), "face-b": (300, 520), "face-c": (100, 90)}
    mean = whole[:2, :2].astype(float).mean(axis=(0, 1))
    assert np.abs(read_image(Path("images/face-a.png"))[0, 0] - mean).max() <= 0.5
    monkeypatch.setattr("sys.argv", ["content.py", "--first", "0"])
    with pytest.raises(UserError, match="--first 0"):
        content.main()


def test_an_image_that_is_cut_off_is_named_and_the_images_of_before_stay(
    content: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_sample(content, tmp_path, monkeypatch)
    before = sorted(path.name for path in Path("images").iterdir())
    whole = Path("images/photo-china.png").read_bytes()
    Path("my photos").mkdir()
    Path("my photos/cut off.png").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr("sys.argv", ["content.py", "--photos", "my photos"])
    with pytest.raises(UserError, match=r"cut off\.png: .*mend it, or take it out"):
        content.main()
    assert sorted(path.name for path in Path("images").iterdir()) == before
