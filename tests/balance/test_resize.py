"""HR images that are reduced to one size before they are downscaled, for upscalers that make one size alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import stage_here
from golden.pulse.recipe import mapping, synthesis
from numpy.typing import NDArray
from PIL import Image

from ida_rd.balance.stage import write_subset
from ida_rd.core.candidates import check_sizes, rectangles, whole_sizes
from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, pixels_sha256, read_image
from ida_rd.core.methods import validate
from ida_rd.plan.schema import Images

FOLDER = {"source": "folder", "path": "photos"}


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """Two photographs of different sizes and shapes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(astronaut[:200, :302]).save(folder / "a.png")
    Image.fromarray(astronaut[100:330, 60:260]).save(folder / "b.png")
    return folder


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"crop": 32, "resize": 64}, "resize is 64, larger than crop, 32, and none is enlarged: use a crop of 64"),
        ({"resize_filter": "box"}, "resize_filter is for resize, which is not given"),
        ({"resize": 64, "resize_filter": "nearest"}, "resize_filter"),
        ({"resize": 4}, "resize"),
    ],
)
def test_what_cannot_be_is_one_line(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(Images, FOLDER | more, where="images")
    assert "\n" not in str(error.value)


def test_a_run_that_reduces_nothing_knows_nothing_of_it() -> None:
    plain = validate(Images, FOLDER, where="images")
    assert not {"resize", "resize_filter"} & plain.model_dump().keys()
    assert plain.marks() == []
    some = validate(Images, FOLDER | {"resize": 64}, where="images")
    assert some.model_dump()["resize_filter"] == "lanczos"
    assert validate(Images, some.model_dump(), where="images") == some
    assert some.marks() == ["HR reduced to 64 x 64"]


def test_the_largest_centred_square_is_taken_and_tiles_where_there_is_a_crop(photos: Path) -> None:
    assert rectangles("a", 302, 200, None, 4, 64) == [("a", 51, 0, 200, 200)]
    assert rectangles("a", 64, 64, None, 4, 64) == [("a", 0, 0, 64, 64)]
    assert rectangles("a", 302, 200, 100, 4, 64) == rectangles("a", 302, 200, 100, 4)
    with pytest.raises(ImageError, match=r"302 x 200 pixels, smaller than images\.resize = 256, and none is enlarged"):
        rectangles("a", 302, 200, None, 4, 256)
    assert check_sizes("folder", str(photos), None, None, 4, resize=64) == 64
    with pytest.raises(UserError, match=r"a\.png: 302 x 200 pixels, smaller than images\.resize = 256"):
        check_sizes("folder", str(photos), None, None, 4, resize=256)
    assert whole_sizes("folder", str(photos), None, 4) == {(200, 300): "a.png", (228, 200): "b.png"}


def test_what_is_written_is_reduced_and_the_manifest_says_whence(photos: Path, tmp_path: Path) -> None:
    subset = pd.DataFrame({"image_id": ["a", "b"], "file": ["a.png", "b.png"], "sha256": ""})
    subset[["x", "y", "width", "height"]] = np.nan
    images = {"path": str(photos), "multiple": 4, "resize": 64, "resize_filter": "box"}
    manifest = write_subset(subset, images, tmp_path / "hr").set_index("image_id")
    assert manifest.loc["a", ["x", "y", "width", "height"]].tolist() == [51, 0, 200, 200]
    assert manifest.loc["b", ["x", "y", "width", "height"]].tolist() == [0, 15, 200, 200]
    expected = Image.open(photos / "a.png").crop((51, 0, 251, 200)).resize((64, 64), Image.Resampling.BOX)
    written = read_image(tmp_path / "hr/a.png")
    np.testing.assert_array_equal(written, np.asarray(expected))
    assert manifest.pixels_sha256["a"] == pixels_sha256(written)
    # One that has the size already is written as it is, whatever the filter.
    Image.fromarray(written).save(photos / "a.png")
    again = write_subset(subset, images | {"resize_filter": "lanczos"}, tmp_path / "again")
    assert again.pixels_sha256[0] == manifest.pixels_sha256["a"]


def test_the_plan_says_what_to_do_and_then_says_in_all_tables_that_it_was_done(project: Path, tmp_path: Path) -> None:
    """Whole images of another size than a generator's; then the same with `images.resize`."""
    import torch

    net = synthesis(16, torch.float32, channels=(8, 6, 4), latent=8)
    torch.save(net.state_dict(), tmp_path / "synthesis.pth")
    torch.save(mapping(torch.float32, width=8).state_dict(), tmp_path / "mapping.pth")
    paths = {name: str(tmp_path / f"{name}.pth") for name in ("synthesis", "mapping")}
    theirs = json.dumps({"method": "pulse", "resolution": 16, "paths": paths, "steps": 2})
    text = (project / "params.yaml").read_text().replace("\nsamples: 2", f"\n  theirs: {theirs}\nsamples: 2")
    text = text.replace("  dss: {method: structural, metric: dss}\n", "")
    whole = text.replace("crop: 64", "crop: null")
    (project / "params.yaml").write_text(whole)
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("note: "))
    assert "upscalers.theirs: factor 4: " in line
    assert (
        "do not give an HR image of 16 x 16, the only size that it makes; set images.resize: 16, which reduces" in line
    )
    adapted = text.replace("crop: 64", "crop: 64, resize: 16").replace("\nsamples: 2", "\nadapted: {a: {}}\nsamples: 2")
    (project / "params.yaml").write_text(adapted)
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert "adapted: not with images.resize" in done.stderr
    for crop in ("null", "64"):
        (project / "params.yaml").write_text(text.replace("crop: 64", f"crop: {crop}, resize: 16"))
        done = stage_here("plan", cwd=project)
        assert done.returncode == 0, done.stderr
        recipe = json.loads((project / "data/plan/aggregate.json").read_text())
        assert recipe["images"]["resize"] == 16
        for known in recipe["upscalers"].values():
            assert "HR reduced to 16 x 16" in known["marks"]
        for stage in ("attributes", "balance"):
            done = stage_here(stage, cwd=project)
            assert done.returncode == 0, done.stderr
        sizes = {Image.open(path).size for path in (project / "data/hr").glob("*.png")}
        assert sizes == {(16, 16)}
