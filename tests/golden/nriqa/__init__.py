"""Inputs of the goldens of NIQE and BRISQUE: some lie here, the others with the shared images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from numpy.typing import NDArray
from PIL import Image, ImageFilter

HERE = Path(__file__).parent
ELSEWHERE = SHARED / "golden/nriqa/inputs"


def image(name: str) -> NDArray[np.uint8]:
    """An input by its name (``kitten_192``, ``kitten_192_pilblur2``, ``spices_512_sat2``); skips where it is absent."""
    base, _, derived = name.partition("_pilblur")
    base = base.removesuffix("_sat2")
    path = next((p for p in (HERE / f"inputs/{base}.png", ELSEWHERE / f"{base}.png") if p.is_file()), None)
    if path is None:
        pytest.skip(f"needs {base}.png of the shared goldens")
    picture = Image.open(path).convert("RGB")
    if derived:
        picture = picture.filter(ImageFilter.GaussianBlur(int(derived)))
    found = np.asarray(picture)
    return np.minimum(2 * found.astype(int), 255).astype(np.uint8) if name.endswith("_sat2") else found
