"""What long work says where there is no terminal."""

from __future__ import annotations

import pytest

from ida_rd.core import bar


def test_what_is_followed_is_told_in_lines_and_to_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar, "LINE_S", 0.0)
    assert list(bar.follow(iter("abc"), "noise", 3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in lines] == ["noise: 1/3", "noise: 2/3", "noise: 3/3"]


def test_lines_are_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in bar.follow(range(1000), "noise", 1000):
        pass
    assert len(capsys.readouterr().err.splitlines()) == 1
