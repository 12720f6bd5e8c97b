"""Tables and numbers as text."""

from __future__ import annotations

import pytest

from ida_rd.core.typeset import interval, latex_tabular, latex_text, markdown_table, number, p_value


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.1235"), (9.99999, "10.0000"), (10.0, "10.00"), (-31.416, "-31.42")]
)
def test_a_number_has_two_decimals_from_ten_up_and_four_below(value: float, text: str) -> None:
    assert number(value) == text


def test_an_interval_has_the_decimals_of_its_value() -> None:
    assert interval(9.5, 8.0, 11.0) == "9.5000 [8.0000, 11.0000]"
    assert interval(10.5, 9.0, 12.0) == "10.50 [9.00, 12.00]"
    assert interval(0.5, -0.25, 12.0, places=1, signed=True) == "+0.5 [-0.2, +12.0]"
    assert interval(0.5, 0.0, 1.0, places=1, bold=True) == "**0.5** [0.0, 1.0]"


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
