"""Let a trained compact diffusion decoder ship: copy its weights, card, credits and figures into package and catalogue.

    python ship_diffusion.py --weights weights/diffusion-compact_x4.safetensors

From then on it is what the upscaler `edm` is without a word about weights.
"""

from __future__ import annotations

from pathlib import Path

from ida_rd.core.errors import exit_with_line
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.training.ship import ship_command, ship_weights

HOME = Path(__file__).resolve().parents[2] / "ida_rd" / "upscale" / "edm"
SHIPPED = "diffusion-compact"
LARGEST = 8_000_000  # bytes


def ship(weights: Path, home: Path = HOME) -> Path:
    """Copy what `weights` is, and write its entry of the catalogue; returns the entry's file."""
    key = f"{SHIPPED}.x{load_network(weights).config.factor}"
    return ship_weights(
        *(weights, key, home),
        largest=LARGEST,
        by="experiments/train-diffusion-compact/ship_diffusion.py",
        smaller="give smaller widths",
    )


def main() -> None:
    ship_command(ship, __doc__.split("\n")[0])


if __name__ == "__main__":
    exit_with_line(main)
