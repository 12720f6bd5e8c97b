"""Every test of a card holds its level for exact samples, and sees a decoder that is a fifth too narrow or too wide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from gaussian_decoders import DECODERS, card_of
from numpy.typing import NDArray

from ida_rd.calibration.card import LENGTHS, MEAN_RANK, OUTSIDE, RANKS, RATIO, REGIONS, Card, make_card
from ida_rd.calibration.measure import Measured
from ida_rd.calibration.ranks import rank_histogram
from ida_rd.calibration.resampling import Settings
from ida_rd.calibration.spread import mean_lengths, squared_parts

SEEDS, LEVEL = 200, 0.05
# Of 200 p-values below 0.05, 10 are expected; so few or many as these have a probability below 0.001.
FEW, MANY = 2, 22
IMAGES, SAMPLES, PLACES, COLOURS = 16, 5, 8, 8
TESTS = (RATIO, LENGTHS, RANKS, OUTSIDE, MEAN_RANK, REGIONS)


def vectors(seed: int, width: float, shift: float) -> Card:
    """A card of a Gaussian world without images: what depends on what within an image is much, and differs by image."""
    rng = np.random.default_rng([seed, 7])
    found = {}
    for image in range(IMAGES):
        scale = rng.gamma(16.0, 1 / 16)
        mixing = scale * (np.eye(PLACES * COLOURS) + 0.3 * rng.standard_normal((PLACES * COLOURS,) * 2) / 3)
        mean = rng.standard_normal(PLACES * COLOURS)

        def draw(count: int, mixing: NDArray = mixing) -> NDArray:
            return (rng.standard_normal((count, PLACES * COLOURS)) @ mixing.T).reshape(count, PLACES, COLOURS)

        plain = mean.reshape(PLACES, COLOURS)
        hr, sr = plain + draw(1)[0], plain + width * draw(SAMPLES) + shift * scale
        one = {"vectors": rank_histogram(hr, sr)}
        squares, lengths = {"vectors": squared_parts(hr, sr)}, {"vectors": mean_lengths(hr, sr)}
        found[f"i{image}"] = Measured(one, squares, lengths, hr, plain, sr)
    return make_card(found, {name: name for name in found}, Settings(resamples=399, seed=seed))


def rejections(cards: Iterator[Card]) -> Counter:
    """How often each test is below the level, by space and quantity; 0 where it never is."""
    counts: Counter = Counter()
    for card in cards:
        for row in card.rows[card.rows.p.notna()].itertuples():
            counts[row.space, row.quantity] += int(row.p < LEVEL)
    return counts


def test_every_test_holds_its_level_for_exact_samples() -> None:
    found = rejections(vectors(seed, 1.0, 0.0) for seed in range(SEEDS))
    assert {quantity for _, quantity in found} == set(TESTS)
    assert all(FEW <= count <= MANY for count in found.values()), found


@pytest.mark.parametrize(("width", "word"), [(0.8, "too narrow"), (1.2, "too wide")])
def test_a_fifth_too_narrow_or_too_wide_is_seen_by_every_test_of_width(width: float, word: str) -> None:
    cards = [vectors(seed, width, 0.0) for seed in range(20)]
    found = rejections(iter(cards))
    for quantity in set(TESTS) - {MEAN_RANK}:
        assert sum(count for (_, name), count in found.items() if name == quantity) >= 16, found
    assert sum(set(card.verdict) == {word} for card in cards) >= 18


def test_a_shift_is_seen_by_ranks() -> None:
    cards = [vectors(seed, 1.0, 0.5) for seed in range(20)]
    found = rejections(iter(cards))
    assert found["vectors", MEAN_RANK] == found["vectors", RANKS] == 20
    assert all("shifted" in card.verdict for card in cards)
    assert all(_value(card, "vectors", MEAN_RANK).value < 0.45 for card in cards), "samples are too bright"


def test_coverage_of_balls_falls_for_a_narrow_decoder_and_rises_for_a_wide_one() -> None:
    found = [
        np.mean([_value(vectors(s, w, 0.0), "balls", "coverage 90%").value for s in range(5)]) for w in (0.8, 1, 1.2)
    ]
    assert found[0] < 0.85 < found[1] < 0.95 < found[2]


def _value(card: Card, space: str, quantity: str) -> pd.Series:
    rows = card.rows[(card.rows.space == space) & (card.rows.quantity == quantity)]
    return rows.iloc[0]


EXPECTED = {"exact": set(), "narrow": {"too narrow"}, "wide": {"too wide"}}


@pytest.mark.parametrize("decoder", EXPECTED)
def test_the_decoder_whose_posterior_is_known_is_judged_as_it_is(decoder: str) -> None:
    card = card_of(0, decoder)
    assert set(card.verdict) == EXPECTED[decoder], card.rows.to_string()
    assert all({"pixels", "wavelets"} <= set(spaces) for spaces in card.verdict.values())
    width = DECODERS[decoder][0]
    for space in ("pixels", "wavelets 2 px", "wavelets 4 px"):
        assert _value(card, space, RATIO).value == pytest.approx(width**2, rel=0.05)
    assert _value(card, "LR", "misses LR").value == 0


def test_a_shifted_decoder_is_told_from_a_narrow_one_and_does_not_fit_its_lr() -> None:
    card = card_of(0, "shifted")
    assert {"shifted", "misses LR"} <= set(card.verdict)
    assert _value(card, "pixels", MEAN_RANK).value < 0.45
    assert _value(card, "wavelets 2 px", RATIO).p_holm > LEVEL, "detail is as it should be"
    assert _value(card, "LR", "misses LR").value == 1
    assert _value(card, "pixels", "energy score").value > _value(card_of(0, "exact"), "pixels", "energy score").high


@pytest.mark.slow
def test_images_of_a_known_posterior_hold_the_level_over_200_seeds() -> None:
    found = rejections(card_of(seed, "exact", side=64, images=12) for seed in range(SEEDS))
    assert all(FEW - 1 <= count <= MANY for count in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "word"), [("narrow", "too narrow"), ("wide", "too wide"), ("shifted", "shifted")])
def test_images_of_a_known_posterior_show_what_is_wrong_with_every_seed(decoder: str, word: str) -> None:
    cards = [card_of(seed, decoder, side=64, images=16) for seed in range(20)]
    assert all(word in card.verdict for card in cards)
    if decoder != "shifted":
        for quantity in (RATIO, LENGTHS, RANKS, OUTSIDE):
            assert all(_value(card, "pixels", quantity).p < LEVEL for card in cards)
            if quantity != LENGTHS:
                assert all(_value(card, "wavelets 2 px", quantity).p < LEVEL for card in cards)
        # Four cells of features an image tell less.
        by = [[_value(card, "features", quantity).p < LEVEL for card in cards] for quantity in (RATIO, LENGTHS)]
        assert np.mean(by) > 0.4
