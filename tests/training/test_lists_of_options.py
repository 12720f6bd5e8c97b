"""Lists among the options of a training: what is no list of numbers, or of names, is one line."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from training_photos import held_out, write_photos

from ida_rd.core.errors import UserError
from ida_rd.training import edm, flow, irn, sr3
from ida_rd.training.options import names, numbers

SCALES = ("1,x", "", "nan", "1,inf", "0.5", "1,,2")


def test_lists_are_read() -> None:
    assert numbers("scales", "1,2.5", 1) == [1, 2.5]
    assert names("filters", "box,bicubic", ("bicubic", "box")) == ["box", "bicubic"]
    with pytest.raises(UserError, match="--watch-filters bx: did you mean 'box'"):
        names("watch-filters", "bx", ("bicubic", "box"))


@pytest.mark.parametrize(
    ("training", "option", "text"),
    [
        *((one, "scales", text) for one in (flow, sr3, edm, irn) for text in SCALES),
        *((one, "filters", text) for one in (flow, sr3, edm) for text in ("", "box,", "bicubi")),
        *((edm, "watch_filters", text) for text in ("", "bicubi")),
        *((irn, "halve_at", text) for text in ("x", "0.5,", "2")),
    ],
)
def test_a_list_that_is_none_is_one_line_and_nothing_is_written(
    tmp_path: Path, training: ModuleType, option: str, text: str
) -> None:
    module: Any = training
    photos = write_photos(tmp_path / "photos", side=160)
    with pytest.raises(UserError, match=re.escape(f"--{option.replace('_', '-')} {text}: ")) as error:
        module.train(module.TrainConfig(**{option: text}), photos, held_out(photos), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
