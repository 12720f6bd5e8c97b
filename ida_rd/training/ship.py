"""Let trained weights ship: copy them, their card, credits and figures into the package, and into the catalogue."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file, write_text

__all__ = ["BESIDE", "CATALOGUE", "ship_command", "ship_weights"]

BESIDE = (".md", ".csv", ".json", ".webp")
CATALOGUE = "shipped.toml"
HEAD = "# Written by {by}. Fields: see `ida_rd.core.weights.Weight`.\n"
ENTRY = """
["{key}"]
file = "weights/{name}"
sha256 = ["{sha256}"]
size = {size}
licence = "Apache-2.0 (trained on photographs under free licences: see the model card)"
citation = "this project"
"""


def ship_weights(weights: Path, key: str, home: Path, *, largest: int, by: str, smaller: str) -> Path:
    """Copy what `weights` is into ``home/weights``, and write its entry of the catalogue; returns the entry's file.

    Parameters
    ----------
    weights : Path
        An exported .safetensors file, its card beside it.
    key : str
        Its id in the catalogue; the file must be called like it.
    home : Path
        The method's folder. Entries there of other ids stay.
    largest : int
        Bytes.
    by, smaller : str
        What writes the entry; what makes the file smaller.

    Raises
    ------
    UserError
        A file of another name, too large, without a card, or with the card of other weights.
    """
    name = f"{key.replace('.', '_')}.safetensors"
    if weights.name != name:
        raise UserError(f"{weights}: what ships is called {name}: --weights takes that file of a training")
    if weights.stat().st_size > largest:
        raise UserError(f"{weights}: has {weights.stat().st_size:,} bytes, more than {largest:,}: {smaller}")
    if absent := [path for ending in BESIDE if not (path := weights.with_suffix(ending)).is_file()]:
        raise UserError(f"{absent[0]}: is missing: run the stages measure and card first")
    card = weights.with_suffix(".md").read_text(encoding="utf-8")
    if f"sha256 `{sha256_file(weights)}`" not in card:
        raise UserError(f"{weights.with_suffix('.md')}: is not the card of these weights: run the stage card")
    (home / "weights").mkdir(parents=True, exist_ok=True)
    for path in (weights, *(weights.with_suffix(ending) for ending in BESIDE)):
        shutil.copyfile(path, home / "weights" / path.name)
    entry = home / CATALOGUE
    own = ENTRY.format(key=key, name=name, sha256=sha256_file(weights), size=weights.stat().st_size)
    write_text(entry, HEAD.format(by=by) + "".join(sorted([*_others(entry, key), own])))
    return entry


def ship_command(ship: Callable[[Path], Path], description: str) -> None:
    """Ship what a command line names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--weights", type=Path, required=True, help="the exported .safetensors file, its card beside it"
    )
    print(f"written: {ship(parser.parse_args().weights)}")


def _others(entry: Path, key: str) -> list[str]:
    """Entries of other ids in a file that this wrote."""
    if not entry.is_file():
        return []
    parts = entry.read_text(encoding="utf-8").split("\n[")[1:]
    return [f"\n[{part.rstrip()}\n" for part in parts if not part.startswith(f'"{key}"]')]
