"""The small flow: its figures are measured, and its card says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from made import script
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.training.measure import energy_score


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
    monkeypatch.setattr(measure, "LEVEL", 1.01)  # two images show nothing at a lower one
    backbone = shared / "weights/lpips/alexnet_features.pth"
    settings: dict[str, Any] = {"count": 5, "samples": 2, "heats": (0.0, 0.9, 1.0)}
    figures = measure.measure(weights, tmp_path / "validation", backbone, **settings)
    assert figures["validation"] == {"images": 2, "crop": 256, "samples": 2}
    assert figures["heats"]["0.9"]["lpips"] < figures["heats"]["bicubic"]["lpips"]
    assert figures["heats"]["0.0"]["psnr"] > figures["heats"]["0.9"]["psnr"]
    assert "between" not in figures["heats"]["0.0"], "one sample at heat 0"
    assert figures["heats"]["0.9"]["between"] > 0.01
    assert figures["energy_score"]["0.9"] == figures["heats"]["0.9"]["energy"]
    assert figures["energy_score"]["0.9"] < figures["heats"]["0.9"]["lpips"] ** 0.5 < 2 * figures["energy_score"]["0.9"]
    assert figures["energy_score"]["0.0"] < 1.05 * figures["heats"]["0.0"]["lpips"] ** 0.5, "a mean of roots"
    assert set(figures["energy_tests"]) == {"0.9"}
    assert str(figures["preset_heat"]) == min(("0.9", "1.0"), key=figures["energy_score"].__getitem__)
    assert "No order of downscalers" in figures["preset_rule"]
    for found in (figures["order_kept"], figures["order_reversed"]):
        assert found["0.9"] == ["bicubic < nearest"], "one claim is the other, turned round"
    chosen = str(figures["preset_heat"])
    assert figures["filters_at_preset"]["bicubic"] == pytest.approx(figures["heats"][chosen]["lpips"])
    assert figures["filters_at_preset"]["bicubic"] < figures["filters_at_preset"]["nearest"]
    assert figures["largest_pixel_at_preset"]["noise 0.2"] > figures["largest_pixel_at_preset"]["bicubic"] > 0.5
    assert figures["not_finite"] == 0
    assert 0 < figures["bits_per_dimension"]["256"] < 8
    for wrong, message in (({"heats": (0.0, 0.9)}, "1 must be among them"), ({"samples": 1}, "takes 2 or more")):
        with pytest.raises(UserError, match=message):
            measure.measure(weights, tmp_path / "validation", backbone, **(settings | wrong))

    credit = {"file": "a.jpg", "title": "007", "author": "B", "licence": "CC0-1.0", "source": "here"}
    config = {"nll_steps": 20, "nll_batch": 3, "patch": 80, "seed": 4, "l1_steps": 10}
    training = {"config": config, "images": [credit], "commit": "c" * 40, "device": "cpu", "torch": "2.15.0+x"}
    later = training | {"initial": "d" * 64, "config": config | {"jpeg": 0.75, "candidates": 2}}
    last = training | {"initial": "e" * 64, "config": config | {"energy": 2.0, "precision": "bfloat16"}}
    log = [{"validation_bits": 3.21, "skipped": 0, "seconds": 60}]
    text = card.card(figures, [credit], [card.phase(one, log) for one in (training, later, last)], weights)
    assert "| scratch | 10 of L1 loss, then 20 of NLL | 3 x 80^2 | none | 4 | 0 | 1 |" in text
    assert "| `dddddddddddd` | 20 of NLL | 3 x 80^2 | 75% through JPEG, the more detailed of 2 crops | 4 |" in text
    assert (
        "| `eeeeeeeeeeee` | 20 of NLL + 2 energy score | 3 x 80^2 | none | 4 | 0 | 1 | cpu, bfloat16, torch 2.15"
        in text
    )
    assert f"**{figures['bits_per_dimension']['160']:.3f} on 160 x 160" in text
    assert f"{figures['bits_per_dimension']['whole']:.3f} on whole images" in text
    assert figures["bits_per_dimension"]["whole"] != figures["bits_per_dimension"]["256"]
    assert f"**The preset heat is {chosen}.** Its rule: {figures['preset_rule']}" in text
    (tmp_path / "w.md").write_text(text)
    rows = card.earlier_phases(tmp_path / "w.md", training | {"initial": sha256_file(weights)})
    assert len(rows) == 3
    for other in (tmp_path / "w.md", tmp_path / "none.md"):
        with pytest.raises(UserError, match="is not the card of the weights"):
            card.earlier_phases(other, training | {"initial": "d" * 64})
    assert card.credits(training) == "file,title,author,licence,source\na.jpg,007,B,CC0-1.0,here\n"
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    (tmp_path / "w.csv").write_text(card.credits(training))
    command = ["card.py", "--weights", str(weights), "--figures", str(tmp_path / "figures.json"), "--rewrite"]
    monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "w.md")])
    card.main()
    assert (tmp_path / "w.md").read_text() == text, "trainings and credits are kept"
    assert (tmp_path / "w.csv").read_text() == card.credits(training)
    assert (tmp_path / "w.webp").is_file()
    monkeypatch.setattr("sys.argv", [*command, str(ROOT / "ida_rd/upscale/flow/weights/flow-compact_x8.md")])
    with pytest.raises(UserError, match="is not the card of these weights"):
        card.main()


def test_the_preset_heat_is_blind_to_what_is_not_shown() -> None:
    """Heat 1 stays unless another has a lower energy score beyond chance; then the lowest of these."""
    measure = script("train-flow-compact/measure.py")
    random = np.random.default_rng(0)
    images = random.uniform(0.2, 0.4, 50)
    noise = {heat: random.normal(0, 0.01, 50) for heat in (0.0, 0.8, 0.9, 1.0, 1.1)}

    def preset(**shift: float) -> float:
        shifts = {float(key[1:]) / 10: value for key, value in shift.items()}
        energy = {heat: images + values + shifts.get(heat, 0) for heat, values in noise.items()}
        return float(measure.preset(energy)[0])

    assert preset() == 1
    assert preset(h9=-0.001) == 1, "a little lower, by chance"
    assert preset(h9=0.05, h11=0.05) == 1, "significantly higher is not lower"
    assert preset(h9=-0.02, h8=-0.03) == 0.8, "the lowest of two"
    assert preset(h0=-0.1) == 1, "heat 0 draws nothing"


def test_the_energy_score_is_least_for_samples_of_the_distribution_itself() -> None:
    random = np.random.default_rng(0)

    def mean(spread: float) -> float:
        scores = []
        for _ in range(400):
            original, first, second = random.normal(size=8), *spread * random.normal(size=(2, 8))
            squared = np.array([np.square(original - sample).sum() for sample in (first, second)])
            scores.append(energy_score(squared, np.array([np.square(first - second).sum()])))
        return float(np.mean(scores))

    assert mean(1.0) < min(mean(0.5), mean(1.6))
    assert energy_score(np.array([4.0]), np.empty(0)) == 2, "one sample has no spread"
