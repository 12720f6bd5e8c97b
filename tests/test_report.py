"""What the report shows."""

from __future__ import annotations

import pandas as pd

from stages.report.figures import telling_images


def test_the_images_shown_are_those_on_which_the_downscalers_differ_most() -> None:
    scores = pd.DataFrame({"a": [0.1, 0.1, 0.1, 0.1], "b": [0.2, 0.9, 0.1, 0.5]}, index=["w", "x", "y", "z"])
    assert telling_images(scores, 1) == ["x"]
    assert telling_images(scores, 2) == ["x", "w"]
    assert telling_images(scores, 9) == ["x", "z", "w", "y"]
