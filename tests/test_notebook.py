"""``examples/quickstart.ipynb``: what it shows is what it computes, without the network and in little time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from conftest import ROOT

PATH = ROOT / "examples/quickstart.ipynb"
NOTEBOOK = json.loads(PATH.read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_outputs_and_its_links_lead_somewhere() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", "".join(cell["source"])):
            assert (PATH.parent / target).exists(), target


@pytest.mark.slow
def test_the_notebook_runs_and_finds_that_every_fourth_pixel_loses_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    matplotlib.use("agg")
    names: dict[str, Any] = {}
    for number, code in enumerate(CODE):
        exec(compile(code, f"cell {number}", "exec"), names)
    assert all(image.shape == (96, 96, 3) for image in names["photographs"].values())
    result = names["result"]
    assert result.skipped == {}
    losses = result.scores[result.scores.distortion == "fsim"].set_index("downscaler")["mean"]
    assert losses["mine"] > losses[["bicubic", "lanczos"]].max()
    pairs = result.differences.loc[result.differences.distortion == "fsim", names["columns"]]
    assert len(pairs) == 3
    assert names["losses"].shape == (3, 6)
    assert names["axes"].get_ylabel().startswith("1 - FSIM")
