"""A training that this processor is slow at says so, where it is trained and by `ida-rd doctor`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from training_photos import TINY, write_photos

from ida_rd.engine.precision import SLOW, bfloat16_cost

# The library that computes convolutions does as if the processor had nothing newer; x86 alone knows of this.
WITHOUT = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
COST = "from ida_rd.engine.precision import bfloat16_cost; print(bfloat16_cost())"


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IDA_RD_OFFLINE": "1"} | variables
    return subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="no x86 processor with AVX2")
def test_an_adaptation_in_bfloat16_says_that_this_processor_lacks_it_and_one_in_float32_does_not(
    tmp_path: Path,
) -> None:
    photos = write_photos(tmp_path / "photos")
    notes = {}
    for precision in ("bfloat16", "float32"):
        options = TINY | {"patch": 16, "steps": 1, "precision": precision}
        flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
        out = tmp_path / f"{precision}.safetensors"
        head = ("-m", "ida_rd.commands", "adapt", "--downscaler", "box", "--images", str(photos), "--out", str(out))
        notes[precision] = [line for line in _run(*head, *flags, **WITHOUT).stderr.splitlines() if "bfloat16" in line]
    assert len(notes["bfloat16"]) == 1
    assert notes["bfloat16"][0].startswith("note: precision of adapt: convolutions in bfloat16 take ")
    assert not notes["float32"]
    doctor = _run("-m", "ida_rd.commands", "doctor", **WITHOUT).stdout
    (row,) = [line for line in doctor.splitlines() if line.split()[1] == "bfloat16"]
    assert row.startswith("missing")
    assert float(_run("-c", COST, **WITHOUT).stdout) > SLOW


def test_to_measure_it_moves_nothing_that_a_training_depends_on() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            assert bfloat16_cost.__wrapped__() > 0
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)
