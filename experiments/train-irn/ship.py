"""Let a trained IRN_sigma ship: copy its weights, card, credits and figures into the package, and into the catalogue.

    python ship.py --weights weights/irn-sigma_x4.safetensors

From then on it is what the downscaler and the upscaler `irn` are without a word about weights.
"""

from __future__ import annotations

from pathlib import Path

from ida_rd.core.errors import exit_with_line
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.files import SHIPPED
from ida_rd.training.ship import ship_command, ship_weights

HOME = Path(__file__).resolve().parents[2] / "ida_rd" / "upscale" / "irn"
LARGEST = 4_000_000  # bytes


def ship(weights: Path, home: Path = HOME) -> Path:
    """Copy what `weights` is, and write its entry of the catalogue; returns the entry's file."""
    key = f"{SHIPPED}.x{load_network(weights).config.factor}"
    return ship_weights(
        *(weights, key, home), largest=LARGEST, by="experiments/train-irn/ship.py", smaller="give fewer blocks"
    )


def main() -> None:
    ship_command(ship, __doc__.split("\n")[0])


if __name__ == "__main__":
    exit_with_line(main)
