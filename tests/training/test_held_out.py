"""Images of validation are never training photographs, whichever training it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from made import script
from training_photos import held_out, write_photos

from ida_rd.core.errors import UserError
from ida_rd.training import edm, flow, irn, sr3
from ida_rd.training.validation import check_held_out, validation_images


@pytest.mark.parametrize("training", [flow, irn, sr3, edm, "pulse"])
def test_a_training_refuses_validation_images_that_are_its_photographs(
    tmp_path: Path, training: ModuleType | str
) -> None:
    module: Any = script("pulse/train.py") if training == "pulse" else training
    photos, out = write_photos(tmp_path / "photos", side=40), tmp_path / "run"  # too small to be trained on
    shutil.copyfile(photos / "t1.png", held_out(photos) / "renamed.PNG")
    with pytest.raises(UserError, match=r"renamed\.PNG is the training photograph .*t1\.png: take it out of") as error:
        module.train(module.TrainConfig(), photos, held_out(photos), out)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_a_photograph_that_is_not_trained_on_may_be_held_out(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    one, other = sorted(photos.iterdir())
    shutil.copyfile(other, held_out(photos) / "same.png")
    check_held_out([one], held_out(photos))
    with pytest.raises(UserError, match=r"same\.png is the training photograph"):
        check_held_out([one, other], held_out(photos))
    check_held_out([one, other], tmp_path / "none")


def test_what_is_wrong_with_validation_images_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no image")
    for name, message in (
        ("none", "none is not a folder; give --validation"),
        ("empty", "empty holds no .jpg or .png file"),
        ("bad", r"bad/a\.png: .*; or remove it"),
    ):
        with pytest.raises(UserError, match=f"validation images: .*{message}"):
            list(validation_images(tmp_path / name, 5))
