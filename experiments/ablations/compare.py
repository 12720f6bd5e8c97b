"""Tables: ``table.md``, the variants beside the control; ``prototype.md``, what ships beside the first recipe;
``energy.md``, what ships beside the same network trained on with a proper score as the main loss.
"""

from __future__ import annotations

import math
from pathlib import Path

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_text
from ida_rd.core.readers import read_json
from ida_rd.core.typeset import markdown_table, number

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parents[1] / "ida_rd/upscale/flow/weights/flow-compact_x4.json"
CONTROL = "control"
CLAIMS = 3  # of measure.py
HEATS = ("0.9", "1.0", "1.1")  # of the rows of energy.md


def row(name: str, figures: dict) -> list[str]:
    """A variant's figures."""
    heat = str(figures["preset_heat"])
    drawn, filters = figures["heats"][heat], figures["filters_at_preset"]
    order = " < ".join(sorted(filters, key=lambda key: filters[key]))
    noisy = next(value for key, value in figures["largest_pixel_at_preset"].items() if key != "bicubic")
    return [
        name,
        f"{figures['parameters'] / 1e6:.2f} M",
        number(figures["bits_per_dimension"]["160"], 3),
        number(figures["heats"]["0.0"]["psnr"], 2),
        number(drawn["lpips"], 4),
        number(_ratio(drawn), 2),
        number(noisy, 1),
        order,
    ]


def prototype_table(prototype: dict, shipped: dict) -> list[str]:
    """The first recipe and what ships, on the same crops: one row per figure."""
    found, both = prototype["validation"], (prototype, shipped)
    heats = [heat for heat in prototype["heats"] if heat != "bicubic" and float(heat)]
    rows = [("parameters", [f"{f['parameters'] / 1e6:.2f} M" for f in both])]
    for side in shipped["bits_per_dimension"]:
        cells = [format(f["bits_per_dimension"].get(side, math.nan), ".3f").replace("nan", "-") for f in both]
        rows.append((f"bits per dimension, {'whole' if side == 'whole' else f'{side} x {side}'}", cells))
    for heat in heats:
        rows.append((f"LPIPS (AlexNet), heat {heat}", [f"{f['heats'][heat]['lpips']:.4f}" for f in both]))
    for heat in heats:
        rows.append(
            (
                f"spread of samples / squared error of their mean, heat {heat}",
                [f"{_ratio(f['heats'][heat]):.2f}" for f in both],
            )
        )
    rows.append(("PSNR, heat 0", [f"{f['heats']['0.0']['psnr']:.2f} dB" for f in both]))
    rows.append(
        (
            "the lowest of these heats at which the paper's order of Pillow's filters holds",
            [_first_heat(f) for f in both],
        )
    )
    rows.append(("largest pixel, noise of 0.2", [f"{max(f['largest_pixel_at_preset'].values()):.1f}" for f in both]))
    return [
        f"{found['images']} centre crops of {found['crop']} x {found['crop']} pixels, K = {found['samples']};"
        " LR images by Pillow's bicubic.",
        "",
        *markdown_table([None, "first recipe", "what ships"], ([name, *cells] for name, cells in rows)),
    ]


def energy_table(shipped: dict, trained: dict) -> list[str]:
    """What ships, and the same trained on by the energy score, on the same crops: one row per figure."""
    found, both = trained["validation"], (shipped, trained)
    rows = [("bits per dimension, 256 x 256", [f"{f['bits_per_dimension']['256']:.3f}" for f in both])]
    figures = {
        "energy score": lambda drawn: drawn["energy"],
        "LPIPS (AlexNet)": lambda drawn: drawn["lpips"],
        "squared error of the samples' mean": lambda drawn: drawn["lpips"] - drawn["between"] / 2,
        "spread of samples / squared error of their mean": _ratio,
    }
    for name, value in figures.items():
        rows += [(f"{name}, heat {heat}", [f"{value(f['heats'][heat]):.4f}" for f in both]) for heat in HEATS]
    rows.append(("preset heat, by the rule", [f"{f['preset_heat']:g}" for f in both]))
    rows.append(("largest pixel, noise of 0.2", [f"{max(f['largest_pixel_at_preset'].values()):.1f}" for f in both]))
    return [
        f"{found['images']} centre crops of {found['crop']} x {found['crop']} pixels, K = {found['samples']};"
        " LR images by Pillow's bicubic.",
        "",
        *markdown_table([None, "what ships", "trained on"], ([name, *cells] for name, cells in rows)),
    ]


def _ratio(drawn: dict) -> float:
    spread = drawn["between"] / 2
    return spread / (drawn["lpips"] - spread)


def _first_heat(figures: dict) -> str:
    return next((heat for heat, claims in figures["order_kept"].items() if len(claims) == CLAIMS), "none of these")


def main() -> None:
    results = {
        path.stem: read_json(path, hint="run `dvc repro` here") for path in sorted((HERE / "results").glob("*.json"))
    }
    if CONTROL not in results:
        raise UserError(f"{HERE / 'results'}: {CONTROL}.json is missing: run `dvc repro` here")
    names = [CONTROL, *(name for name in results if name != CONTROL)]
    heat = results[CONTROL]["preset_heat"]
    head = [None, "parameters", "bits/dim", "PSNR, heat 0", f"LPIPS, heat {heat}", "spread / squared error of the mean"]
    head += ["largest pixel, noise 0.2", "filters by LPIPS"]
    lines = markdown_table(head, (row(name, results[name]) for name in names))
    write_text(HERE / "table.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    test = [
        read_json(HERE / "results" / "test" / f"{name}.json", hint="run `dvc repro` here")
        for name in ("prototype", "shipped")
    ]
    write_text(HERE / "prototype.md", "\n".join(prototype_table(*test)) + "\n")
    energy = [
        read_json(path, hint="run `dvc repro` here")
        for path in (SHIPPED, HERE / "results" / "energy" / "energy-30.json")
    ]
    write_text(HERE / "energy.md", "\n".join(energy_table(*energy)) + "\n")


if __name__ == "__main__":
    exit_with_line(main)
