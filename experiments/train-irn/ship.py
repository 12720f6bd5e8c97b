"""Let a trained IRN_sigma ship: copy its weights, card, credits and figures into the package, and into the catalogue.

    python ship.py --weights weights/irn-sigma_x4.safetensors

From then on it is what the downscaler and the upscaler `irn` are without a word about weights.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import sha256_file, write_text
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.files import SHIPPED

HOME = Path(__file__).resolve().parents[2] / "ida_rd" / "upscale" / "irn"
LARGEST = 4_000_000  # bytes
BESIDE = (".md", ".csv", ".json", ".webp")
ENTRY = """\
# Written by experiments/train-irn/ship.py. Fields: see `ida_rd.core.weights.Weight`.

["{key}"]
file = "weights/{name}"
sha256 = ["{sha256}"]
size = {size}
licence = "Apache-2.0 (trained on photographs under free licences: see the model card)"
citation = "this project"
"""


def ship(weights: Path, home: Path = HOME) -> Path:
    """Copy what `weights` is, and write its entry of the catalogue; returns the entry's file."""
    key = f"{SHIPPED}.x{load_network(weights).config.factor}"
    name = f"{key.replace('.', '_')}.safetensors"
    if weights.name != name:
        raise UserError(f"{weights}: what ships is called {name}: --weights takes that file of a training")
    if weights.stat().st_size > LARGEST:
        raise UserError(f"{weights}: has {weights.stat().st_size:,} bytes, more than {LARGEST:,}: give fewer blocks")
    if absent := [path for ending in BESIDE if not (path := weights.with_suffix(ending)).is_file()]:
        raise UserError(f"{absent[0]}: is missing: run the stages measure and card first")
    card = weights.with_suffix(".md").read_text(encoding="utf-8")
    if f"sha256 `{sha256_file(weights)}`" not in card:
        raise UserError(f"{weights.with_suffix('.md')}: is not the card of these weights: run the stage card")
    (home / "weights").mkdir(parents=True, exist_ok=True)
    for path in (weights, *(weights.with_suffix(ending) for ending in BESIDE)):
        shutil.copyfile(path, home / "weights" / path.name)
    entry = home / "shipped.toml"
    write_text(entry, ENTRY.format(key=key, name=name, sha256=sha256_file(weights), size=weights.stat().st_size))
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--weights", type=Path, required=True, help="the exported .safetensors file, its card beside it"
    )
    print(f"written: {ship(parser.parse_args().weights)}")


if __name__ == "__main__":
    exit_with_line(main)
