"""Tables and numbers as text."""

from __future__ import annotations

import pytest

from ida_rd.core.typeset import counted, interval, latex_tabular, latex_text, markdown_table, number, p_value, share


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (9.99999, "10.000"), (10.0, "10.00"), (-31.416, "-31.42")]
)
def test_a_number_has_two_decimals_from_ten_up_and_three_below(value: float, text: str) -> None:
    assert number(value) == text


def test_an_interval_has_the_decimals_that_its_width_is_worth() -> None:
    assert interval(0.12345, 0.1134, 0.1335) == "0.123 [0.113, 0.134]"
    assert interval(0.12345, 0.1214, 0.1255) == "0.1235 [0.1214, 0.1255]"
    assert interval(0.123456, 0.123455, 0.123457) == "0.1235 [0.1235, 0.1235]", "never more than four"
    assert interval(9.5, 8.0, 11.0) == "9.500 [8.000, 11.000]"
    assert interval(10.5, 9.0, 12.0) == "10.5 [9.0, 12.0]"
    assert interval(30.123, 30.1, 30.146) == "30.12 [30.10, 30.15]"
    assert interval(0.5, 0.5, 0.5) == "0.500 [0.500, 0.500]"
    assert interval(0.5, -0.25, 12.0, places=1, signed=True) == "+0.5 [-0.2, +12.0]"
    assert interval(0.5, 0.0, 1.0, places=1, bold=True) == "**0.5** [0.0, 1.0]"


def test_a_value_without_an_interval_stands_alone() -> None:
    assert interval(0.12345, None, None, bold=True) == "**0.123**"
    assert interval(0.12345, float("nan"), float("nan"), places=2) == "0.12"


def test_photographs_and_their_tiles_are_counted() -> None:
    assert counted(13, 13) == "13 photographs"
    assert counted(1, 4) == "4 tiles of 1 photograph"
    assert counted(8, 24) == "24 tiles of 8 photographs"


def test_a_share_has_the_digits_that_it_has() -> None:
    assert [share(x) for x in (0.0, 0.0004, 0.0123, 0.125, 1.0)] == ["0", "0.04 %", "1.2 %", "12 %", "100 %"]


def test_a_small_p_keeps_two_figures() -> None:
    assert [p_value(p) for p in (1.0, 0.001, 0.00099)] == ["1.000", "0.001", "9.9e-04"]


def test_a_markdown_table_has_a_rule_below_its_head() -> None:
    assert markdown_table([None, "a", ""], [["x", "1", ""], ["y", "2", "3"]]) == [
        "| | a |  |",
        "|---|---|---|",
        "| x | 1 |  |",
        "| y | 2 | 3 |",
    ]
    assert markdown_table(["a"], []) == ["| a |", "|---|"]


def test_a_latex_table_has_a_rule_above_each_block() -> None:
    text = latex_tabular("ll", ["a", "b"], [[["1", "2"]], [["3", "4"], [r"\multicolumn{2}{l}{5}"]]], note=["Of x."])
    assert text.splitlines() == [
        "% Of x.",
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"a & b \\",
        r"\midrule",
        r"1 & 2 \\",
        r"\midrule",
        r"3 & 4 \\",
        r"\multicolumn{2}{l}{5} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_what_latex_takes_for_itself_is_escaped() -> None:
    assert latex_text(r"50% of a_b & {c} \d ~^#$") == (
        r"50\% of a\_b \& \{c\} \textbackslash{}d \textasciitilde{}\textasciicircum{}\#\$"
    )
