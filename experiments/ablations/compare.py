"""Set the ablations' figures as one table, ``table.md``: every variant beside the control."""

from __future__ import annotations

from pathlib import Path

from stages.core.errors import UserError, run_stage
from stages.core.files import read_json, write_text

HERE = Path(__file__).resolve().parent
CONTROL = "control"


def row(name: str, figures: dict) -> str:
    """A variant's figures."""
    heat = str(figures["preset_heat"])
    drawn, filters = figures["heats"][heat], figures["filters_at_preset"]
    variance = drawn["between"] / 2
    ratio = variance / (drawn["lpips"] - variance)
    order = " < ".join(sorted(filters, key=lambda key: filters[key]))
    noisy = next(value for key, value in figures["largest_pixel_at_preset"].items() if key != "bicubic")
    return (
        f"| {name} | {figures['parameters'] / 1e6:.2f} M | {figures['bits_per_dimension']['160']:.3f} |"
        f" {figures['heats']['0.0']['psnr']:.2f} | {drawn['lpips']:.4f} | {ratio:.2f} |"
        f" {noisy:.1f} | {order} |"
    )


def main() -> None:
    results = {
        path.stem: read_json(path, hint="run `dvc repro` here") for path in sorted((HERE / "results").glob("*.json"))
    }
    if CONTROL not in results:
        raise UserError(f"{HERE / 'results'}: {CONTROL}.json is missing: run `dvc repro` here")
    names = [CONTROL, *(name for name in results if name != CONTROL)]
    heat = results[CONTROL]["preset_heat"]
    head = f"| | parameters | bits/dim | PSNR, heat 0 | LPIPS, heat {heat} | variance / bias^2 |"
    head += " largest pixel, noise 0.2 | filters by LPIPS |"
    lines = [head, "|---" * 8 + "|", *(row(name, results[name]) for name in names)]
    write_text(HERE / "table.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    run_stage(main)
