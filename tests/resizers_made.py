"""Made rows of the study of resize functions."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from made import script

from ida_rd.core.files import write_json
from ida_rd.core.recipes import SCHEMA
from ida_rd.core.tables import write_table

GROUPS = {"photo": 12, "text": 8, "flat": 1}
KERNELS = ("box", "bilinear", "bicubic", "lanczos3", "mks2021")
BUDGET = {"steps": 400, "batch": 4, "patch": 80, "energy": 1.5}
SETTINGS = """
data: made
preset: flow
groups: {photo: photographs, face: faces, text: screenshots, flat: a flat image}
questions:
  magic:
    title: Is magic better?
    threads: [Pillow#8811]
    pairs: [[magic, lanczos], [bicubic, linear], [absent, lanczos], [unknown, unnamed]]
    kernels: [own-box, own-bilinear, own-bicubic, own-lanczos3, own-mks2021]
  video:
    title: Which at x2?
    threads: [mpv#12433]
    factor: 2
    pairs: [[bicubic, lanczos]]
"""


def load_resizers() -> ModuleType:
    """Import its scripts; the main one is returned, the others are in ``sys.modules``."""
    for name in ("aliasing", "questions", "drawn", "verdicts", "said"):
        script(f"resizers/{name}.py")
    return script("resizers/resizers.py")


def write_project(folder: Path, levels: dict[str, dict[str, float]], *, adapted: bool, sign: float) -> None:
    """A finished run. `levels` is what functions lose on each group; S* is half of what lies beyond bicubic."""
    rng = np.random.default_rng(0)
    ids = [f"{group}-{k:02}" for group, count in GROUPS.items() for k in range(count)]
    rows = []
    for image_id in ids:
        hard = 0.0 if image_id.startswith("flat") else rng.normal(0, 0.05)
        for order, (name, by_group) in enumerate(levels.items()):
            level = by_group.get(image_id.split("-")[0], by_group["photo"])
            turn = int(image_id.split("-")[1]) >> (order % 2)  # noise that is zero in the mean of every four images
            noise = 0.0 if image_id.startswith("flat") else 0.002 * (-1) ** turn
            row = {"image_id": image_id, "factor": 4, "downscaler": name}
            rows.append({**row, "upscaler": "flow", "lpips-alex": 0.2 + hard + level + noise})
            if adapted and not name.startswith("own"):
                star = level if name == "lanczos" else 0.0
                rows.append({**row, "upscaler": "tuned", "lpips-alex": 0.2 + hard + star + noise})
    for index, kernel in enumerate(KERNELS):  # box aliases most; its loss is largest where `sign` is 1
        for image_id in ids:
            level = 0.0 if image_id.startswith("flat") else sign * -0.01 * index
            value = 0.4 + level + rng.normal(0, 0.001) * (level != 0)
            rows.append(
                {
                    "image_id": image_id,
                    "factor": 4,
                    "downscaler": f"own-{kernel}",
                    "upscaler": "flow",
                    "lpips-alex": value,
                }
            )
    recipe: dict[str, Any] = {
        "schema": SCHEMA,
        "matched": [{"blind": "flow", "adapted": ["tuned"], "factor": 4, "budget": BUDGET}] if adapted else [],
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": {"better": "lower", "label": "LPIPS (AlexNet)"}},
        "confidence": 0.95,
        "resamples": 1000,
        "seed": 0,
        "skipped": {"absent": "the program 'magick' is not on the PATH"},
        "recipes": {f"downscale/x4/own-{k}": {"parameters": {"kernel": k, "light": "srgb"}} for k in KERNELS},
    }
    write_json(folder / "data/plan/aggregate.json", recipe)
    write_table(folder / "data/subset.csv", pd.DataFrame({"image_id": ids, "photograph": ids}))
    write_table(folder / "metrics/tables/images.csv", pd.DataFrame(rows))
    (folder / "resizers.yaml").write_text(SETTINGS)


LEVELS = {
    "bicubic": {"photo": 0.0},
    "lanczos": {"photo": 0.02, "text": 0.0},
    "magic": {"photo": 0.0},
    "linear": {"photo": 0.03, "text": 0.03},
}
