"""Write the model card of a trained IRN: nothing in it is typed by hand.

    python describe.py --runs FIRST ... LAST --weights FILE --figures FIGURES.json

The runs are the trainings that led to the weights, in order; the figures are those of ``by_sigma.py``. Writes ``FILE``
with the endings ``.md`` (the card), ``.webp`` (the dial, and reconstructions of photographs inside the scikit-image
package) and ``.csv`` (the credits).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import sha256_file, write_text
from ida_rd.core.images import read_image
from ida_rd.core.readers import read_json
from ida_rd.core.seeds import Draw
from ida_rd.core.typeset import markdown_table, number
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.network import IRNNet, quantise
from ida_rd.training.card import credits, draw_heats, licences
from ida_rd.training.record import read_run
from ida_rd.upscale.eight_bit import to_samples

SHOWN_SIGMAS = (0.0, 0.5, 1.0)
# Name, top and left of the crops shown of scikit-image's photographs (public domain or CC0).
SHOWN = (("astronaut", 30, 160), ("coffee", 150, 200), ("chelsea", 80, 120))
SHOWN_SIDE = 144
NAMES = {"irn": "IRN", "irn-plus": "IRN+", "irn-sigma": "IRN_sigma"}
USES = {
    "irn": "Its latent was drawn at sigma 1 alone: other sigmas are no dial.",
    "irn-plus": "Its latent was drawn at sigma 1 alone: other sigmas are no dial.",
    "irn-sigma": "Sigma 0 was trained for the least distortion, 1 for the best perception; what lies between is measured below.",
}


@torch.inference_mode()
def figure(net: IRNNet, figures: Mapping[str, Any], path: Path) -> None:
    """Draw the dial, the LR image, and reconstructions at some sigmas."""
    rows = []
    for name, y, x in SHOWN:
        photo = read_image(Path(skimage.__file__).parent / "data" / f"{name}.png")
        hr = np.ascontiguousarray(photo[y : y + SHOWN_SIDE, x : x + SHOWN_SIDE])
        lr, latent, _ = net.encode(torch.from_numpy(hr.transpose(2, 0, 1).copy())[None].float() / 255)
        lr, noise = quantise(lr), torch.from_numpy(Draw(0, name, 0).normal(tuple(latent.shape[1:])))[None]
        parts = [lr, *(net.decode(lr, sigma * noise) for sigma in SHOWN_SIGMAS)]
        rows.append([hr, *(to_samples(part).sr[0].transpose(1, 2, 0) for part in parts)])
    dial = {float(sigma): row for sigma, row in figures["sigmas"].items()}
    columns = ["HR", "LR", *(f"sigma {sigma:g}" for sigma in SHOWN_SIGMAS)]
    draw_heats(path, dial, figures["labels"], 1.0, columns, rows, axis="sigma")


def phase(training: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> str:
    """Return one training as a row of the card's table."""
    config, last = training["config"], log[-1]
    start = f"`{training['initial'][:12]}`" if training.get("initial") else "scratch"
    adversarial = config["kind"] != "irn"
    weights = [f"L_r {config['reconstruction']:g}, L_g {config['guide']:g}"]
    weights += [] if adversarial else [f"latent {config['latent']:g}"]
    if adversarial:
        weights += [
            f"L_d {config['adversarial']:g} ({config['gan']}), L_p {config['perceptual']:g} ({config['features']})"
        ]
    sigmas = f"{config['sigmas']}, all as often" if config["kind"] == "irn-sigma" else "1"
    critic = "none"
    if adversarial:
        learns = "" if config["kind"] == "irn-plus" else f", learns from {config['critic_learns']} batches"
        critic = f"width {config['critic_width']}, {config['critic_ahead']} steps ahead{learns}"
    found = {key.removeprefix("validation_psnr_sigma_"): value for entry in log for key, value in entry.items() if key.startswith("validation_psnr_sigma_")}  # fmt: skip
    psnr = ", ".join(f"{value:.2f} at {sigma}" for sigma, value in sorted(found.items())) or "-"
    return (
        f"| {start} | {NAMES[config['kind']]} | {config['steps']} | {config['batch']} x {config['patch']}^2 |"
        f" {config['rate']:g}, halved at {config['halve_at']} | {'; '.join(weights)} | {sigmas} | {critic} |"
        f" {config['seed']} | {last['skipped']} | {last['seconds'] / 60:.0f} |"
        f" {training['device']}, torch {training['torch'].split('+')[0]} | `{training['commit'][:12]}` | {psnr} |"
    )


def dial(figures: Mapping[str, Any]) -> str:
    """In words: from which sigma to which each measure changes beyond its interval, and which way."""
    lines = []
    for name, label in figures["labels"].items():
        rows = figures["steps"][name]
        falls = [row for row in rows if row["high"] is not None and row["high"] < 0]
        rises = [row for row in rows if row["low"] is not None and row["low"] > 0]
        lines.append(f"* **{label}** falls in {len(falls)} and rises in {len(rises)} of {len(rows)} steps.")
    return "\n".join(lines)


def flattered(config: Mapping[str, Any]) -> str:
    """What a reader must know of the LPIPS of a network that was trained on LPIPS' own features."""
    if config["kind"] == "irn" or config["features"] != "alexnet":
        return ""
    return "\nIts perceptual loss was of AlexNet's features, which LPIPS uses too: its LPIPS flatters it.\n"


def card(figures: Mapping[str, Any], training: Mapping[str, Any], rows: Sequence[str], weights: Path) -> str:
    """Return the model card in Markdown; `training` is the last run's record, `rows` are of all."""
    kind, images = training["config"]["kind"], training["images"]
    shown, config = figures["validation"], figures["config"]
    labels = figures["labels"]
    table = [
        ["bicubic down and up", *(number(figures["bicubic"][name], 4) for name in labels)],
        *([f"sigma {sigma}", *(number(row[name], 4) for name in labels)] for sigma, row in figures["sigmas"].items()),
    ]
    measured = "\n".join(markdown_table(["", *labels.values()], table))
    blocks, trainings = " + ".join(map(str, config["blocks"])), "\n".join(rows)
    free = "" if any("SA" in str(row.get("licence")) for row in images) else "None is under a share-alike licence."
    return f"""# Model card: {weights.stem}

{NAMES[kind]} x{figures["factor"]}: an invertible rescaling network, {blocks} blocks of growth {config["growth"]}, {figures["parameters"] / 1e6:.2f} million parameters, stored as float16.
Written by `experiments/train-irn/describe.py`; the figures are in `{weights.stem}.json`.

* **Use**: the downscaler `irn` and its own decoder, the upscaler `irn`. The decoder is not blind. {USES[kind]}
* **Licence of the weights**: Apache-2.0. sha256 `{sha256_file(weights)}`.
* **Training data**: {len(images)} photographs, each credited in `{weights.stem}.csv`, with their licences as declared at the
  source: {licences(images)}. {free}
* **Not the published network**: smaller, and trained for far fewer steps on fewer photographs. Its scores say nothing of it.

## Training

What the papers leave open is in the table: the start, how often each sigma is drawn, what the critic learns from.
The LR image is guided by {training["config"].get("guide_image", "bicubic")}.

| from | as | steps | batch, patches | rate | weights of the terms | sigma | critic | seed | skipped (gradient not finite) | minutes | on | code | validation PSNR (RGB, dB) at sigma |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
{trainings}

## Quality

On {shown["images"]} centre crops of {shown["crop"]} x {shown["crop"]} pixels of the validation images (never trained on), {shown["samples"]} samples at sigma above 0.
PSNR and SSIM are of Y without a border of {figures["factor"]} pixels. LR images are {figures["lr_psnr"]:.2f} dB from bicubic's; what the encoder leaves in
the latent has a standard deviation of {figures["latent"]:.3f}. Samples that were not finite: {figures["not_finite"]}.

{measured}
{flattered(training["config"])}
From one sigma to the next, beyond a 95 % interval over the images:

{dial(figures)}

![The dial, and reconstructions at some sigmas]({weights.stem}.webp)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="the --out of each training, in order")
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--figures", type=Path, required=True, help="the JSON file that by_sigma.py wrote")
    a = parser.parse_args()
    figures = read_json(a.figures, hint="by_sigma.py writes it")
    runs = [read_run(run) for run in a.runs]
    for run, (training, log) in zip(a.runs, runs, strict=True):
        if training["config"].get("kind") not in NAMES or not log:
            raise UserError(f"{run}: is not a training of IRN: --runs takes the --out of python -m ida_rd.training.irn")
    last = runs[-1][0]
    write_text(a.weights.with_suffix(".md"), card(figures, last, [phase(*one) for one in runs], a.weights))
    write_text(a.weights.with_suffix(".csv"), credits(last))
    figure(load_network(a.weights), figures, a.weights.with_suffix(".webp"))


if __name__ == "__main__":
    exit_with_line(main)
