"""A card as rows, words, tables and figure."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gaussian_decoders import measured
from PIL import Image

from ida_rd.calibration.card import Card, make_card, tarp_of
from ida_rd.calibration.glance import glance_figure
from ida_rd.calibration.measure import Measured, wavelet_name
from ida_rd.calibration.resampling import Settings
from ida_rd.calibration.run import check_new, records, write_cards
from ida_rd.calibration.text import CLEAR, cards_latex, cards_markdown, verdict_of
from ida_rd.core.errors import UserError
from ida_rd.core.project import Branch

SETTINGS = Settings(resamples=400)


@cache
def images(decoder: str) -> dict[str, Measured]:
    return measured(3, decoder, images=8)


def card_of(decoder: str, tiles: int = 1) -> Card:
    found = images(decoder)
    names = {name: f"p{i // tiles}" for i, name in enumerate(sorted(found))}
    return make_card(found, names, SETTINGS)


@pytest.fixture(scope="module")
def cards() -> dict[Branch, Card]:
    return {Branch("ours", 4, "box"): card_of("exact"), Branch("ours", 4, "nearest"): card_of("narrow")}


def test_a_card_says_what_exact_samples_have_and_of_how_many_it_is() -> None:
    card = card_of("exact")
    by = card.rows.set_index(["space", "quantity"])
    assert (card.samples, card.images, card.photographs) == (5, 8, 8)
    assert by.exact["pixels", "outside all samples"] == pytest.approx(1 / 3)
    assert set(card.rows.space) == {"pixels", "wavelets 2 px", "wavelets 4 px", "features", "balls", "LR"}
    assert wavelet_name(0) == "wavelets 2 px"
    told = by[by.p.notna()]
    assert (told.p_holm >= told.p).all()
    assert told.p_holm.max() == 1
    assert math.isnan(by.exact["pixels", "energy score"]), "how low it could be is not known"
    shown = by.loc[[("pixels", "variance : bias²"), ("pixels", "mean rank"), ("balls", "coverage 50%")]]
    assert ((shown.low < shown.value) & (shown.value < shown.high)).all()


def test_tiles_of_a_photograph_are_one_and_no_reference_is_of_its_own() -> None:
    with pytest.raises(UserError, match="calibrate: 4 photographs: give at least 5"):
        card_of("exact", tiles=2)
    # A second tile that is the same as the first says nothing new: not one interval is narrower.
    found = images("exact")
    twice = found | {f"{name}-again": one for name, one in found.items()}
    tiles = make_card(twice, {name: name.removesuffix("-again") for name in twice}, SETTINGS)
    assert (tiles.images, tiles.photographs) == (16, 8)
    rows = [card.rows[card.rows.space != "balls"].drop(columns="p_holm") for card in (card_of("exact"), tiles)]
    pd.testing.assert_frame_equal(*rows)
    # Only one other photograph, whose features lack nothing: every reference is the enlargement itself.
    one, two, three = sorted(found)[:3]
    few = {one: found[one], two: found[one], three: found[two]}
    few[three] = Measured(**{**vars(found[two]), "hr": found[two].plain})
    histogram = tarp_of(one, few, {one: "a", two: "a", three: "b"}, seed=0)
    distance = ((found[one].hr - found[one].plain) ** 2).sum(axis=-1)
    below = [((sample - found[one].plain) ** 2).sum(axis=-1) < distance for sample in found[one].sr]
    assert histogram @ np.arange(6) == pytest.approx(float(np.sum(below)) / distance.size)


def test_verdicts_say_what_and_where(cards: dict[Branch, Card]) -> None:
    exact, narrow = cards.values()
    assert verdict_of(exact) == CLEAR
    assert "too narrow (pixels, wavelets" in verdict_of(narrow)
    text = cards_markdown(cards, "A title", ("left out",))
    assert text.startswith("# A title\n")
    assert f"| box | {CLEAR} |" in text
    assert "8 photographs, K = 5" in text
    assert text.endswith("left out\n")
    assert "too narrow (pixels, wavelets" in cards_latex(cards)
    row = next(line for line in text.splitlines() if line.startswith("| nearest"))
    assert row.count("**0.6") >= 1, "variance : bias² of 0.64 is bold"


def test_what_is_written_is_the_card(cards: dict[Branch, Card], tmp_path: Path) -> None:
    folder = tmp_path / "card"
    check_new(folder)
    write_cards(cards, folder, "A title")
    table = pd.read_csv(folder / "calibration.csv")
    assert list(table.columns[:3]) == ["upscaler", "factor", "downscaler"]
    assert len(table) == sum(len(card.rows) for card in cards.values())
    assert set(table.photographs) == {8}
    found = json.loads((folder / "calibration.json").read_text())
    assert found == json.loads(json.dumps(records(cards)))
    assert found[1]["verdict"]["too narrow"][0] == "pixels"
    assert any(row["exact"] is None for row in found[0]["rows"])
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".json", ".md", ".tex", ".png", ".svg", ".pdf"}
    drawn = (folder / "calibration.svg").read_text()
    for text in ("box", "nearest", CLEAR, "coverage of balls", "spread : skill", "8 photographs, K = 5"):
        assert text in drawn, text
    width, height = Image.open(folder / "calibration.png").size
    assert width > 800
    assert height > 800
    with pytest.raises(UserError, match="card is there already: name a new folder"):
        check_new(folder)


def test_several_decoders_have_a_figure_of_what_one_compares(cards: dict[Branch, Card], tmp_path: Path) -> None:
    write_cards(cards, tmp_path / "one", "A title")
    assert not (tmp_path / "one/glance.svg").exists(), "of one decoder there is nothing to compare"
    assert "glance" not in (tmp_path / "one/calibration.md").read_text()
    both = {**cards, **{Branch("other", b.factor, b.downscaler): card for b, card in cards.items()}}
    write_cards(both, tmp_path / "two", "A title")
    drawn = (tmp_path / "two/glance.svg").read_text()
    upscalers = {branch.upscaler for branch in both}
    assert len(upscalers) == 2
    for text in (*(f"{name}, x4" for name in upscalers), "box", "nearest", "90% balls", "energy score of features"):
        assert text in drawn, text
    assert (tmp_path / "two/calibration.md").read_text().count("![glance](glance.png)") == 1

    # What a card lacks is left out, and an interval need not hold its value.
    rows = next(iter(both.values())).rows.copy()
    rows.loc[rows.space == "pixels", "low"] = 2 * rows.value.abs()
    rows = rows[rows.space != "features"]
    assert glance_figure({branch: replace(card, rows=rows) for branch, card in both.items()}, "A title").axes
