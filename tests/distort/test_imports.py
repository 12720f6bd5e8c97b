"""What the scripts of stages import before they know what is to be done, and what the default distortions import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "torchvision", "lpips", "piq", "sklearn", "skimage", "numba", "cv2", "matplotlib", "scipy", "pandas"]
NEEDED = {
    "adapt": {"pandas"},
    "attributes": {"pandas"},
    "aggregate": {"pandas", "scipy"},
    "balance": {"pandas"},
    "plan": {"pandas"},
    "report": {"pandas", "matplotlib"},
}


def _imported(code: str) -> set[str]:
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("stage", sorted(path.stem for path in (ROOT / "stages").glob("*.py")))
def test_a_stage_imports_no_more_than_it_needs(stage: str) -> None:
    code = f"import sys; sys.path[:0] = ['.', 'stages']; import {stage}"
    assert _imported(code) <= NEEDED.get(stage, set())


def test_distances_without_weights_load_torch_alone() -> None:
    code = """
import sys; sys.path.insert(0, ".")
import numpy as np
from ida_rd.distort import pixel, structural
images = np.random.default_rng(0).integers(0, 256, (2, 3, 164, 164), dtype=np.uint8)
for metric in ("ssim", "ms-ssim", "vif", "fsim", "dss"):
    loaded = structural.load(structural.Parameters(metric=metric), "cpu")
    loaded.distance(loaded.reference(images[0]), images)
"""
    assert _imported(code) == {"torch"}
