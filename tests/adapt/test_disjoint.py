"""No training photograph is a test image: not its file, not its pixels in another file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_photos import write_photos

from ida_rd.adapt.photographs import TestImage, check_disjoint
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.images import read_image


def _check(photos: Path, *test: TestImage) -> None:
    files = {path.name: sha256_file(path) for path in sorted(photos.glob("*.png"))}
    check_disjoint(files, photos, test, where="adapted.a.adapt.images")


def test_the_same_file_and_the_same_pixels_are_refused_by_name(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    photo, sha256 = read_image(photos / "t1.png"), sha256_file(photos / "t1.png")
    other = np.zeros((32, 32, 3), np.uint8)
    _check(photos, TestImage("other", other, 3, 4, "0" * 64))
    # The file of which the test image is a crop: whatever its pixels are.
    with pytest.raises(
        UserError, match=r"images: the training photograph .*t1\.png is the test image a: .*take them out"
    ):
        _check(photos, TestImage("a", other, 3, 4, sha256))
    # The same pixels in a file of another kind, whole and as a crop of it.
    Image.fromarray(photo).save(photos / "t1.png", compress_level=1)
    assert sha256_file(photos / "t1.png") != sha256
    with pytest.raises(UserError, match=r"t1\.png is the test image whole"):
        _check(photos, TestImage("whole", photo, 7, 9, sha256))
    cut = photo[16:80, 24:88]
    with pytest.raises(UserError, match=r"t1\.png is the test image crop"):
        _check(photos, TestImage("crop", cut, 24, 16, sha256))
    changed = cut.copy()
    changed[-1, -1] ^= 1
    _check(photos, TestImage("crop", changed, 24, 16, "0" * 64))


def test_a_file_that_changed_since_plan_is_one_line(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    with pytest.raises(UserError, match=r"t0\.png"):
        check_disjoint({"t0.png": "0" * 64}, photos, [TestImage("a", np.zeros((8, 8, 3), np.uint8))], where="x")
