"""A decoder's own likelihood of an image: what it reads, of which pixels, and what is said of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from golden.srflow.network import CONFIGS, HERE, filled
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ida_rd.aggregate.surprise import surprise_markdown, surprise_table
from ida_rd.core.methods import open_method
from ida_rd.surprise import flow, srflow
from ida_rd.surprise.contract import Network, adapter_of
from ida_rd.surprise.recipe import model_recipe
from ida_rd.surprise.work import middle, read_pair

Pixels = NDArray[np.uint8]
FLOW = Network("flow-compact.x4", None)


def reduced(hr: Pixels, filter: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(hr).resize((hr.shape[1] // 4, hr.shape[0] // 4), filter))


@pytest.fixture(scope="module")
def read() -> Any:
    reader = flow.load(FLOW, 4, "cpu")

    def values(hr: Pixels, lr: Pixels, **settings: Any) -> dict[str, float | None]:
        return read_pair(reader, hr, lr, "one", **({"factor": 4, "side": 80, "seed": 0} | settings))

    return values


def test_the_flow_is_at_home_on_bicubic_and_on_nothing_that_is_unlike_it(read: Any, astronaut: Pixels) -> None:
    hr = astronaut[100:356, 100:356]
    home, box, nearest = (
        read(hr, reduced(hr, f)) for f in (Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.NEAREST)
    )
    assert abs(home["z2"] - 1) < 0.15
    assert home["bits"] < box["bits"] < nearest["bits"]
    assert home["z2"] < box["z2"] < nearest["z2"]
    assert nearest["z2"] > 1.8


def test_the_middle_is_read_as_a_part_of_the_whole(read: Any, astronaut: Pixels) -> None:
    """What lies outside the middle does not count, and the LR pixels are those of the same place."""
    hr = astronaut[:260, :196]
    lr = reduced(hr, Image.Resampling.BICUBIC)
    y, x = middle(260, 196, 4, 80) or (slice(0), slice(0))
    assert (y.stop - y.start, x.stop - x.start) == (80, 80)
    changed, small = 255 - hr, 255 - lr
    changed[y, x] = hr[y, x]
    small[y.start // 4 : y.stop // 4, x.start // 4 : x.stop // 4] = lr[
        y.start // 4 : y.stop // 4, x.start // 4 : x.stop // 4
    ]
    assert read(hr, lr) == read(changed, small)
    assert read(hr, np.roll(lr, 1, axis=0))["bits"] > read(hr, lr)["bits"]


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([2, 3, 4, 8]), st.sampled_from([16, 128]))
def test_the_middle_lies_on_the_grid_and_in_the_image(height: int, width: int, factor: int, side: int) -> None:
    found = middle(height, width, factor, side)
    if found is None:
        assert min(height, width, side) < 2 * factor
        return
    for part, length in zip(found, (height, width), strict=True):
        size = part.stop - part.start
        assert 0 <= part.start < part.stop <= length
        assert size <= side
        assert size % (2 * factor) == part.start % factor == 0
        assert size > min(side, length) - 2 * factor


def test_an_image_that_is_too_small_has_no_value(read: Any) -> None:
    tiny = np.zeros((4, 4, 3), np.uint8)
    assert read(tiny, tiny[:1, :1]) == {"bits": None, "z2": None}


def test_the_noise_is_common_to_all_downscalers(astronaut: Pixels) -> None:
    hr = astronaut[:64, :64]
    seen: list[NDArray[np.float32]] = []

    def keep(image: NDArray[np.float32], lr: Pixels) -> tuple[float, float]:
        seen.append(image)
        return 1.0, 1.0

    for lr in (hr[::4, ::4], hr[1::4, 1::4]):
        read_pair(keep, hr, lr, "one", factor=4, side=128, seed=0)
    read_pair(keep, hr, hr[::4, ::4], "two", factor=4, side=128, seed=0)
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    level = seen[0].transpose(1, 2, 0) * 255 - hr
    assert np.abs(level).max() <= 0.5001
    assert np.abs(level).mean() > 0.2


def test_srflows_likelihood_is_the_official_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden nll is in bits per pixel of [0, 1], without noise."""
    golden = np.load(HERE / "golden_tiny.npz")
    path = tmp_path / "tiny.pth"
    torch.save(filled(CONFIGS["tiny"], torch.float32).state_dict(), path)
    monkeypatch.setitem(srflow.CONFIGS, "df2k_x4", CONFIGS["tiny"])
    reader = srflow.load(Network("srflow.df2k_x4", str(path)), 4, "cpu")
    bits, z2 = reader(golden["hr_u8"][0].astype(np.float32) / 255, golden["lr_u8"][0])
    assert math.isclose(bits, float(golden["enc_nll"][0]) / 3 + math.log2(255), abs_tol=2e-5)
    latents = np.concatenate(
        [golden[k][0].ravel() for k in sorted(golden) if k.startswith("enc_eps") and "f64" not in k]
    )
    assert math.isclose(z2, float(np.square(latents.astype(np.float64)).mean()), rel_tol=1e-4)


def test_heat_does_not_matter_and_a_chain_has_no_likelihood() -> None:
    def recipe(entry: dict[str, Any], factor: int) -> dict[str, Any] | None:
        begun = {"stage": "upscale", "name": "a", "method": "flow", "parameters": entry}
        return model_recipe(open_method(begun), "a", factor, 0)

    assert recipe({}, 4) == recipe({"heat": 0.5}, 4) != recipe({}, 8)
    assert recipe({}, 16) is None
    assert adapter_of("spandrel") is None
    assert adapter_of("work") is None
    assert adapter_of("my.flow") is None


def test_the_table_has_the_excess_over_bicubic_by_photograph() -> None:
    rows = [
        {"upscaler": "flow", "factor": 4, "downscaler": name, "image_id": f"i{k}", "bits": level + k, "z2": z2}
        for name, level, z2 in (("bicubic", 2.0, 1.0), ("nearest", 5.0, 3.0))
        for k in range(12)
    ]
    table = surprise_table(pd.DataFrame(rows), {f"i{k}": f"p{k // 2}" for k in range(12)}, 0.95)
    near = table.set_index("downscaler").loc["nearest"]
    assert (near.photographs, near.excess, near.z2) == (6, 3.0, 3.0)
    assert near.low == near.high == 3.0
    text = surprise_markdown(table, {"x4/flow": {"marks": []}}, 0.95)
    assert text.index("nearest") < text.index("| bicubic")  # furthest from home first
    assert "no ranking" in text
    alone = surprise_table(
        pd.DataFrame(rows).query("downscaler == 'nearest'"), {f"i{k}": f"i{k}" for k in range(12)}, 0.95
    )
    assert alone.excess.isna().all()
