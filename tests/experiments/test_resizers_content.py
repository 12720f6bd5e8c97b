"""The images that the study of resize functions makes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from made import script

from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image


@pytest.fixture(scope="module")
def content() -> ModuleType:
    return script("resizers/content.py")


def test_images_are_the_same_every_time_and_each_is_another(content: ModuleType) -> None:
    first = {name: np.asarray(image) for name, image in content.made()}
    for name, image in content.made():
        assert np.array_equal(first[name], np.asarray(image)), name
    assert len(first) == 2 * content.COUNT + 1
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
    assert "1 flat, 13 photo, 2 text" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["content.py", "--photos", "images", "--faces", "images"])
    before = {path.name for path in Path("images").iterdir()}
    content.main()
    names = {path.name for path in Path("images").iterdir()}
    assert {f"face-{name}" for name in before} <= names
    assert read_image(Path("images/photo-photo-china.png")).shape[2] == 3


def test_the_first_of_each_folder_are_taken_by_name(
    content: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(content, "COUNT", 1)
    monkeypatch.setattr("sys.argv", ["content.py"])
    content.main()
    written = sorted(path.name for path in Path("images").glob("photo-*"))
    monkeypatch.setattr("sys.argv", ["content.py", "--first", "3"])
    content.main()
    assert sorted(path.name for path in Path("images").glob("photo-*")) == written[:3]
    monkeypatch.setattr("sys.argv", ["content.py", "--first", "0"])
    with pytest.raises(UserError, match="--first 0"):
        content.main()
