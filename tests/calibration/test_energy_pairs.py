"""Energy scores of two decoders, paired by photograph."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gaussian_decoders import measured

from ida_rd.aggregate.comparisons import holm
from ida_rd.calibration.card import Card, make_card
from ida_rd.calibration.energy import energy_differences, energy_markdown
from ida_rd.calibration.resampling import Settings
from ida_rd.calibration.run import write_cards
from ida_rd.core.project import Branch

SETTINGS = Settings(resamples=400)


@cache
def card_of(decoder: str, images: int = 12, tiles: int = 1) -> Card:
    found = measured(3, decoder, images=images)
    return make_card(found, {name: f"p{i // tiles}" for i, name in enumerate(sorted(found))}, SETTINGS)


@pytest.fixture(scope="module")
def cards() -> dict[Branch, Card]:
    """Two decoders on two downscalers, one of them on a third as well; one for another factor."""
    return {
        Branch("exact", 4, "box"): card_of("exact"),
        Branch("exact", 4, "nearest"): card_of("exact"),
        Branch("shifted", 4, "box"): card_of("shifted"),
        Branch("shifted", 4, "nearest"): card_of("exact"),
        Branch("shifted", 4, "dpid"): card_of("exact"),
        Branch("shifted", 8, "box"): card_of("shifted"),
    }


def test_the_exact_decoder_has_the_lower_score_photograph_by_photograph(cards: dict[Branch, Card]) -> None:
    table = energy_differences(cards)
    assert set(zip(table.factor, table.downscaler, strict=True)) == {(4, "box"), (4, "nearest")}
    assert set(table["first"]) == {"exact"}
    by = table.set_index(["downscaler", "space"])
    one = by.loc[("box", "pixels")]
    scores = [
        card.rows.set_index(["space", "quantity"]).loc[("pixels", "energy score")]
        for card in (card_of("exact"), card_of("shifted"))
    ]
    assert one.difference == pytest.approx(scores[0].value - scores[1].value)
    assert one.low < one.difference < one.high < 0
    assert one.high - one.low < min(score.high - score.low for score in scores), "photographs are not alike"
    assert one.p_holm < 0.05
    assert one.photographs == 12
    assert list(table.p_holm) == holm(list(table.p)), "over all rows of a factor"
    assert (table.p_holm > table.p).any()
    same = by.loc[("nearest", "pixels")]
    assert (same.difference, same.p) == (0, 1)


def test_the_text_says_which_is_lower_and_where_that_is_not_shown(cards: dict[Branch, Card], tmp_path: Path) -> None:
    lines = energy_markdown(energy_differences(cards), 0.05)
    assert any(line.startswith("| exact | shifted | pixels | box | none | nearest |") for line in lines)
    turned = {branch: cards[branch] for branch in reversed(cards)}
    lines = energy_markdown(energy_differences(turned), 0.05)
    assert any(line.startswith("| shifted | exact | pixels | none | box | nearest |") for line in lines)
    write_cards(cards, tmp_path / "several", "A title")
    assert "## Energy scores, x4: paired differences" in (tmp_path / "several/calibration.md").read_text()
    assert len(pd.read_csv(tmp_path / "several/energy.csv")) == len(energy_differences(cards))
    write_cards({Branch("exact", 4, "box"): card_of("exact")}, tmp_path / "one", "A title")
    assert not (tmp_path / "one/energy.csv").exists()
    assert "Energy scores" not in (tmp_path / "one/calibration.md").read_text()


def test_tiles_of_a_photograph_are_one_and_too_few_photographs_are_not_compared() -> None:
    tiled = {Branch(name, 4, "box"): card_of(name, tiles=2) for name in ("exact", "shifted")}
    whole = energy_differences({Branch(name, 4, "box"): card_of(name) for name in ("exact", "shifted")})
    table = energy_differences(tiled)
    assert set(table.photographs) == {6}
    np.testing.assert_allclose(table.difference, whole.difference, rtol=1e-9)
    other = card_of("shifted")
    apart = pd.DataFrame({"pixels": np.ones(4)}, index=[f"p{i}" for i in range(4)])
    few = Card(other.rows, other.curves, other.verdict, 5, 4, 4, apart, SETTINGS)
    assert energy_differences({Branch("exact", 4, "box"): card_of("exact"), Branch("few", 4, "box"): few}).empty
    assert energy_markdown(pd.DataFrame(), 0.05) == []
