"""What training sees: LR patches that are crops of a photograph's whole LR image, whatever made it."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from training_photos import recipe_of, write_photos

from ida_rd.adapt.sources import KEPT, drawn_form, source_of
from ida_rd.core.images import read_image
from ida_rd.core.methods import open_method
from ida_rd.downscale.work import reduce_image
from ida_rd.training.patches import PairSource, PatchSource

Pixels = NDArray[np.uint8]
PATCHES = 3
COMMAND = """
import sys
from PIL import Image
image = Image.open(sys.argv[1])
image.resize((image.width // 4, image.height // 4), Image.Resampling.BOX).save(sys.argv[2])
"""
LOCAL: list[dict[str, Any]] = [
    *(
        {"method": "resample", "filter": name}
        for name in ("box", "bilinear", "hamming", "bicubic", "lanczos", "nearest")
    ),
    *({"method": "dpid", "variant": variant} for variant in ("real", "matlab_official", "cuda")),
    {"method": "perceptual"},
    {"method": "l0"},
]
WHOLE: list[dict[str, Any]] = [
    {"method": "python", "function": "mine_whole.stretched"},
    {"method": "command", "command": [sys.executable, "shrink.py", "{input}", "{output}"]},
    {"method": "bsrgan-type4"},
    {"method": "resample", "filter": "bicubic", "degrade": [{"gaussian_blur": {"sigma": 1.5, "when": "before"}}]},
    {"method": "dpid", "degrade": [{"gaussian_noise": {"sigma": 0.1}}]},
]


def _forms(image: Pixels) -> list[Pixels]:
    return [np.rot90(flipped, turn) for flipped, turn in product((image, image[:, ::-1]), range(4))]


def _place(image: Pixels, patch: Pixels) -> tuple[int, int] | None:
    """Where a patch lies in an image."""
    side = patch.shape[0]
    first = (image[: 1 - side, : 1 - side] == patch[0, 0]).all(axis=-1)
    for y, x in zip(*np.nonzero(first), strict=True):
        if np.array_equal(image[y : y + side, x : x + side], patch):
            return int(y), int(x)
    return None


def _patches(source: PatchSource | PairSource) -> list[tuple[Pixels, Pixels]]:
    hr, lr = source.batch("nll", 0, PATCHES)
    return [(big.transpose(1, 2, 0), small.transpose(1, 2, 0)) for big, small in zip(hr, lr, strict=True)]


@pytest.mark.parametrize("downscaler", LOCAL, ids=lambda one: "-".join(map(str, one.values())))
@pytest.mark.parametrize("factor", [4, 8])
def test_a_crop_of_a_local_downscaler_is_the_crop_of_the_whole_lr_image(
    tmp_path: Path, downscaler: dict[str, Any], factor: int
) -> None:
    photos = write_photos(tmp_path / "photos", count=1, side=280)
    recipe = recipe_of(photos, downscaler, factor, jpeg=0.0, candidates=1)
    assert recipe["reach"] is not None
    source = source_of(recipe, tmp_path / "state")
    assert isinstance(source, PatchSource)
    method, photo = open_method(recipe["downscaler"]), read_image(photos / "t0.png")
    seen = set()
    for big, small in _patches(source):
        form, (y, x) = next((form, at) for form in _forms(photo) if (at := _place(form, big)) is not None)
        seen.add((y % factor, x % factor))
        shifted = form[y % factor :, x % factor :]  # any phase of the LR grid: that of the photograph without its rim
        height, width = (length // factor * factor for length in shifted.shape[:2])
        whole, _ = reduce_image(method, recipe["downscaler"], "t0", np.ascontiguousarray(shifted[:height, :width]))
        row, column = y // factor, x // factor
        cut = whole[row : row + small.shape[0], column : column + small.shape[1]]
        if downscaler["method"] == "l0":  # has no end, but fades: see tests/downscale/test_reach.py
            assert np.abs(cut.astype(int) - small).max() <= 1
        else:
            assert np.array_equal(cut, small)
    assert len(seen) > 1, "every phase of the LR grid"


@pytest.mark.parametrize("downscaler", WHOLE, ids=lambda one: one["method"] + ("-degraded" if "degrade" in one else ""))
def test_a_downscaler_that_may_look_anywhere_is_given_whole_photographs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downscaler: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shrink.py").write_text(COMMAND)
    # Of the whole image: a crop of it would be stretched otherwise.
    Path("mine_whole.py").write_text(
        "def stretched(hr, size, *, rng):\n    small = hr[::4, ::4].astype(int)\n"
        "    return ((small - small.min()) * 255 // max(1, small.max() - small.min())).astype('uint8')\n"
    )
    recipe = recipe_of(write_photos(Path("photos")), downscaler)
    assert recipe["reach"] is None
    source = source_of(recipe, tmp_path / "state")
    assert isinstance(source, PairSource)
    method, files = open_method(recipe["downscaler"]), recipe["images"]["files"]
    forms = {sha: drawn_form(read_image(Path("photos") / name), sha, 4, 0, 0.75) for name, sha in files.items()}
    for big, small in _patches(source):
        sha, (y, x) = next((sha, at) for sha, form in forms.items() if (at := _place(form, big)) is not None)
        assert (y % 4, x % 4) == (0, 0)
        whole, _ = reduce_image(method, recipe["downscaler"], f"training-{sha[:16]}", forms[sha])
        assert np.array_equal(whole[y // 4 : y // 4 + 8, x // 4 : x // 4 + 8], small)
    kept = sorted((tmp_path / "state" / KEPT).iterdir())
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    source_of(recipe, tmp_path / "state")
    assert [path.stat().st_mtime_ns for path in kept] == before, "made again"
    sys.modules.pop("mine_whole", None)


def test_lr_images_made_elsewhere_are_taken_as_they_are(tmp_path: Path) -> None:
    photos, small = write_photos(tmp_path / "photos"), tmp_path / "lr"
    small.mkdir()
    for path in photos.iterdir():
        image = Image.open(path)
        image.resize((image.width // 4, image.height // 4), Image.Resampling.HAMMING).save(small / path.name)
    test = tmp_path / "test_lr"
    test.mkdir()
    Image.new("RGB", (8, 8)).save(test / "a.png")
    recipe = recipe_of(photos, {"method": "folder", "path": str(test)}, lr=str(small))
    photographs = [read_image(photos / f"t{i}.png") for i in range(2)]
    lrs = [read_image(small / f"t{i}.png") for i in range(2)]
    for big, part in _patches(source_of(recipe, tmp_path / "state")):  # type: ignore[arg-type]
        i, (y, x) = next((i, at) for i, image in enumerate(photographs) if (at := _place(image, big)) is not None)
        assert np.array_equal(lrs[i][y // 4 : y // 4 + 8, x // 4 : x // 4 + 8], part)
