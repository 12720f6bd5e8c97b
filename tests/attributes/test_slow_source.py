"""A source of attributes that takes long: nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from conftest import stage
from PIL import Image

SLOW = '''
"""A source that takes long, and records each time that it is asked."""

from pathlib import Path

from ida_rd.core.methods import Parameters

BATCH = 3


def names(parameters):
    return ("mean", "mean:probability", "kind")


def measure(parameters, wanted):
    def ask(images):
        assert wanted == ["mean"] and len(images) <= BATCH
        with Path("asked").open("a") as file:
            file.write("x" * len(images))
        return [{"mean": float(image.mean()), "mean:probability": 0.5, "kind": "a"} for image in images]

    return ask
'''


def test_a_source_that_takes_long_is_asked_once_per_image(project: Path) -> None:
    """After a kill, and after an image was added, only what is new is measured."""
    (project / "ida_rd/attributes/slow.py").write_text(SLOW)
    text = (project / "params.yaml").read_text()
    text = text.replace("attributes: {source: image-statistics}", "attributes: {source: {mean: slow}}")
    (project / "params.yaml").write_text(text)
    for _ in range(2):
        for name in ("plan", "attributes"):
            done = stage(name, cwd=project)
            assert done.returncode == 0, done.stderr
        assert (project / "asked").read_text() == "x" * 4
        table = pd.read_csv(project / "data/attributes.csv")
        assert list(table.columns[-2:]) == ["mean", "mean:probability"]
        assert "kind" not in table, "what was not asked for"
        (project / "data/attributes.csv").unlink()
    image = Image.open(project / "photos/photo-0.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(project / "photos/photo-9.png")
    for name in ("plan", "attributes"):
        assert stage(name, cwd=project).returncode == 0
    assert (project / "asked").read_text() == "x" * 5
