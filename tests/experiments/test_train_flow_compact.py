"""The small flow: its figures are measured, and its card says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from made import script
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file


def test_weights_are_measured_and_their_card_says_so(
    shared: Path, tmp_path: Path, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, card = script("train-flow-compact/measure.py"), script("train-flow-compact/card.py")
    (tmp_path / "validation").mkdir()
    for i in range(2):
        Image.fromarray(astronaut[200 * i : 300 + 200 * i, :280]).save(tmp_path / "validation" / f"{i}.png")
    weights = tmp_path / "w.safetensors"
    shutil.copyfile(ROOT / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors", weights)
    monkeypatch.setattr(measure, "FILTERS", ("bicubic", "nearest"))
    monkeypatch.setattr(measure, "ORDER", (("bicubic", "nearest"), ("nearest", "bicubic")))
    backbone = shared / "weights/lpips/alexnet_features.pth"
    figures = measure.measure(weights, tmp_path / "validation", backbone, count=5, samples=2, heats=(0.0, 0.9))
    assert figures["validation"] == {"images": 2, "crop": 256, "samples": 2}
    assert figures["heats"]["0.9"]["lpips"] < figures["heats"]["bicubic"]["lpips"]
    assert figures["heats"]["0.0"]["psnr"] > figures["heats"]["0.9"]["psnr"]
    assert "between" not in figures["heats"]["0.0"], "one sample at heat 0"
    assert figures["heats"]["0.9"]["between"] > 0.01
    assert figures["preset_heat"] == 0.9, "the only heat that draws"
    assert figures["order_kept"]["0.9"] == ["bicubic < nearest"], "one of two claims, and it holds"
    assert figures["filters_at_preset"]["bicubic"] == pytest.approx(figures["heats"]["0.9"]["lpips"])
    assert figures["filters_at_preset"]["bicubic"] < figures["filters_at_preset"]["nearest"]
    assert figures["largest_pixel_at_preset"]["noise 0.2"] > figures["largest_pixel_at_preset"]["bicubic"] > 0.5
    assert figures["not_finite"] == 0
    assert 0 < figures["bits_per_dimension"]["256"] < 8

    credit = {"file": "a.jpg", "title": "A", "author": "B", "licence": "CC0-1.0", "source": "here"}
    config = {"nll_steps": 20, "nll_batch": 3, "patch": 80, "seed": 4, "l1_steps": 10}
    training = {"config": config, "images": [credit], "commit": "c" * 40, "device": "cpu", "torch": "2.15.0+x"}
    later = training | {"initial": "d" * 64, "config": config | {"jpeg": 0.75, "candidates": 2}}
    last = training | {"initial": "e" * 64, "config": config | {"energy": 2.0, "precision": "bfloat16"}}
    log = [{"validation_bits": 3.21, "skipped": 0, "seconds": 60}]
    text = card.card(figures, [(training, log), (later, log), (last, log)], weights)
    assert "| scratch | 10 of L1 loss, then 20 of NLL | 3 x 80^2 | none | 4 | 0 | 1 |" in text
    assert "| `dddddddddddd` | 20 of NLL | 3 x 80^2 | 75% through JPEG, the more detailed of 2 crops | 4 |" in text
    assert (
        "| `eeeeeeeeeeee` | 20 of NLL + 2 energy score | 3 x 80^2 | none | 4 | 0 | 1 | cpu, bfloat16, torch 2.15"
        in text
    )
    assert f"**{figures['bits_per_dimension']['160']:.3f} on 160 x 160" in text
    assert f"{figures['bits_per_dimension']['whole']:.3f} on whole images" in text
    assert figures["bits_per_dimension"]["whole"] != figures["bits_per_dimension"]["256"]
    (tmp_path / "w.md").write_text(text)
    rows = card.earlier_phases(tmp_path / "w.md", training | {"initial": sha256_file(weights)})
    assert len(rows) == 3
    assert all(row in card.card(figures, [(last, log)], weights, rows) for row in rows)
    for other in (tmp_path / "w.md", tmp_path / "none.md"):
        with pytest.raises(UserError, match="is not the card of the weights"):
            card.earlier_phases(other, training | {"initial": "d" * 64})
    assert card.credits(training) == "file,title,author,licence,source\na.jpg,A,B,CC0-1.0,here\n"
