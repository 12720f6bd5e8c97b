"""What upscalers say they take in memory, and what the flow takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from ida_rd.core.methods import method_recipe, open_method
from ida_rd.upscale.contract import memory_of
from ida_rd.upscale.need import need_of

MEGAPIXEL_MB = {2: 600, 4: 350, 8: 350}  # at most, for three samples


def _said(factor: int, samples: int, **entry: object) -> float | None:
    return memory_of(open_method(method_recipe("upscale", "u", entry)), factor, samples)


def _needed(factor: int, samples: int, side: int, **entry: object) -> float | None:
    return need_of(open_method(method_recipe("upscale", "u", entry)), factor, samples, side, side)


def _taken(factor: int, side: int) -> float:
    """MB for each HR megapixel, of a fresh process."""
    program = str(ROOT / "benchmarks" / "memory.py")
    done = subprocess.run(
        [sys.executable, program, "--side", str(side), "--one", str(factor), "steps"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])["mb_per_megapixel"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is reset as Linux does it")
@pytest.mark.parametrize(("factor", "side"), [(2, 512), (4, 512), (8, 512)])
def test_the_flow_takes_what_it_says_and_little(factor: int, side: int) -> None:
    said = _said(factor, 3, method="flow")
    assert said is not None
    # What the allocator keeps differs from process to process, by a tenth at times: the less of two is what is taken.
    found = min(_taken(factor, side) for _ in range(2))
    assert 50 < found < said * 1.1 < MEGAPIXEL_MB[factor] * 1.15
    assert found < MEGAPIXEL_MB[factor]


def test_a_chain_takes_what_its_hungriest_step_takes() -> None:
    one, srflow = _said(4, 1, method="flow"), _said(4, 1, method="srflow")
    assert one is not None
    assert srflow is not None
    assert one < srflow
    steps = [{"method": "flow", "factor": 4}, {"method": "flow", "factor": 4}]
    chain = _said(16, 1, method="cascade", steps=steps)
    assert chain == _said(16, 1, method="flow")
    assert chain is not None
    assert one < chain < 1.1 * one
    hungry_first = [{"method": "srflow", "factor": 4}, {"method": "flow", "factor": 4}]
    assert _said(16, 1, method="cascade", steps=hungry_first) == chain  # at a sixteenth of the pixels
    unknown = [{"method": "flow", "factor": 4}, {"method": "spandrel", "factor": 4, "path": "x.pth", "licence": "MIT"}]
    assert _said(16, 1, method="cascade", steps=unknown) is None
    assert _needed(16, 1, 512, method="cascade", steps=unknown) is None
    assert _needed(16, 1, 512, method="cascade", steps=steps) == pytest.approx(chain * 512**2)


@pytest.mark.parametrize(
    ("entry", "made"),
    [
        ({"method": "diffbir"}, 512),
        ({"method": "stablesr"}, 512),
        ({"method": "stablesr", "variant": "768v"}, 768),
        ({"method": "resshift"}, 256),
        ({"method": "srflow"}, 64),
    ],
)
def test_an_image_takes_what_it_takes_at_the_size_that_it_is_made_at(entry: dict[str, str], made: int) -> None:
    """One of 64 x 64, by itself and by a step of a chain; its LR image may be smaller than what is made."""
    taken = _said(4, 1, **entry)
    assert taken is not None
    assert _needed(4, 1, 64, **entry) == taken * made**2
    copies = 3 * 3 * 5 * 64**2  # of 5 samples, of 8 bits
    flow, step = {"method": "flow", "factor": 4}, entry | {"factor": 4}
    last = _needed(16, 5, 64, method="cascade", steps=[flow, step])
    assert last == taken * made**2 + copies, "one by one"
    within = {"method": "cascade", "factor": 16, "steps": [flow, step]}
    inside = _needed(64, 5, 64, method="cascade", steps=[flow, within])
    assert inside == taken * made**2 + 3 * 3 * 64**2 + copies


def test_the_first_step_of_a_chain_takes_its_samples_together() -> None:
    """The others have one each."""
    entry, flow = {"method": "diffbir", "batch": 3}, {"method": "flow", "factor": 4}
    copies, chains = 3 * 3 * 5 * 64**2, ([entry | {"factor": 4}, flow], [flow, entry | {"factor": 4}])
    for steps, together in zip(chains, (5, 1), strict=True):
        taken = _said(4, together, **entry)
        assert taken is not None
        assert _needed(16, 5, 64, method="cascade", steps=steps) == taken * 512**2 + copies
    assert _said(4, 5, **entry) != _said(4, 1, **entry)


def test_an_upscaler_that_says_nothing_limits_nothing() -> None:
    assert _said(4, 3, method="spandrel", path="x.pth", licence="MIT") is None
