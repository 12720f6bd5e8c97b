"""What a score amounts to, in words."""

from __future__ import annotations

from ida_rd.core.amounts import amount_words


def test_nothing_is_less_than_none_by_rounding() -> None:
    row = {"percent": -0.2, "percent_low": -0.4, "percent_high": 2.1, "place": "within"}
    assert amount_words(row, None) == "0 % [0, 2]"
