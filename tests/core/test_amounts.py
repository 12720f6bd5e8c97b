"""What a score amounts to, in words."""

from __future__ import annotations

from ida_rd.core.amounts import amount_words, amounts_note


def test_nothing_is_less_than_none_by_rounding() -> None:
    row = {"percent": -0.2, "percent_low": -0.4, "percent_high": 2.1, "place": "within"}
    assert amount_words(row, None) == "0 % [0, 2]"


def test_the_share_begins_at_a_score_and_claims_no_loss() -> None:
    """A score is not only loss; and for PSNR the least of them is the worst."""
    for ladder in (True, False):
        said = amounts_note("95%", ladder=ladder)
        assert "from the best score here to nearest's" in said
        assert "least" not in said
    assert "nearest" not in amounts_note("95%", ladder=True, share=False)
