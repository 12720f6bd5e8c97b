"""Write the model card of a trained compact diffusion decoder: nothing in it is typed by hand.

    python describe_diffusion.py --runs FIRST ... LAST --weights FILE --figures FIGURES.json

The runs are the trainings that led to the weights, in order; the figures are those of ``by_steps.py``. Writes ``FILE``
with the endings ``.md`` (the card), ``.webp`` (measures against steps, and samples of photographs inside the
scikit-image package) and ``.csv`` (the credits).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from PIL import Image

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import sha256_file, write_text
from ida_rd.core.images import read_image
from ida_rd.core.readers import read_json
from ida_rd.core.seeds import Draw
from ida_rd.core.typeset import markdown_table, number
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.network import EDMNet
from ida_rd.models.edm.solver import Solver, noise_levels
from ida_rd.training.card import credits, draw_heats, licences
from ida_rd.training.edm_watch import Sampled
from ida_rd.training.record import read_run
from ida_rd.upscale.eight_bit import to_samples

# Name, top and left of the crops shown of scikit-image's photographs (public domain or CC0).
SHOWN = (("astronaut", 30, 160), ("coffee", 150, 200), ("chelsea", 80, 120))
SHOWN_SIDE = 144
SAMPLES = 3


@torch.inference_mode()
def figure(net: EDMNet, figures: Mapping[str, Any], path: Path) -> None:
    """Draw measures against steps, and the enlarged LR image with some samples."""
    network, rows = Sampled(net, Solver(noise_levels(figures["preset"])), torch.float32), []
    for name, y, x in SHOWN:
        photo = read_image(Path(skimage.__file__).parent / "data" / f"{name}.png")
        hr = np.ascontiguousarray(photo[y : y + SHOWN_SIDE, x : x + SHOWN_SIDE])
        small = Image.fromarray(hr).resize((SHOWN_SIDE // net.config.factor,) * 2, Image.Resampling.BICUBIC)
        given = network.condition(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255)
        noise = np.stack([Draw(0, name, k).normal(given.shape) for k in range(SAMPLES)])
        parts = [given.base, *network.decode(torch.from_numpy(noise), given).split(1)]
        rows.append([hr, *(to_samples(part).sr[0].transpose(1, 2, 0) for part in parts)])
    by_steps = {float(steps): row for steps, row in figures["steps"].items()}
    columns = ["HR", "enlarged", *(f"sample {k + 1}" for k in range(SAMPLES))]
    draw_heats(path, by_steps, figures["labels"], figures["preset"], columns, rows, axis="steps")


def phase(training: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> str:
    """Return one training as a row of the card's table."""
    config, last = training["config"], log[-1]
    start = f"`{training['initial'][:12]}`" if training.get("initial") else "scratch"
    head = "kept" if training.get("initial") else f"{config['head_steps']} x {config['head_batch']}"
    watched = [entry for entry in log if "validation_lpips" in entry]
    seen = "-"
    if watched:
        end = watched[-1]
        gains = [value for key, value in end.items() if key.startswith("gain_")]
        seen = (
            f"{end['validation_lpips']:.4f}, {end['validation_bias2']:.4f}, {end['validation_ratio']:.2f},"
            f" {min(gains):.2f} to {max(gains):.2f}"
        )
    return (
        f"| {start} | {head} | {config['steps']} | {config['batch']} x {config['patch']}^2 |"
        f" {config['rate']:g} / {config['adam_rate']:g} | {config['sigma_mean']:g}, {config['sigma_spread']:g} |"
        f" {config['filters'].replace(',', ', ')} | {config['seed']} | {last['skipped']} | {last['seconds'] / 60:.0f} |"
        f" {training['device']}, {config['precision']}, torch {training['torch'].split('+')[0]} |"
        f" `{training['commit'][:12]}` | {seen} |"
    )


def measured(rows: Mapping[str, Mapping[str, float]], first: str, labels: Mapping[str, str]) -> str:
    """Measures by steps or by filter, in Markdown."""
    table = [[key, number(row["psnr"], 2), *(number(row[name], 4) for name in labels)] for key, row in rows.items()]
    return "\n".join(markdown_table([first, "PSNR (dB)", *labels.values()], table))


def card(figures: Mapping[str, Any], training: Mapping[str, Any], rows: Sequence[str], weights: Path) -> str:
    """Return the model card in Markdown; `training` is the last run's record, `rows` are of all."""
    images, shown, labels = training["images"], figures["validation"], figures["labels"]
    free = "" if any("SA" in str(row.get("licence")) for row in images) else "None is under a share-alike licence."
    trainings, filters = "\n".join(rows), ", ".join(figures["filters_trained"])
    gains = "\n".join(
        markdown_table(
            ["noise level", *figures["gains"]], [["gain", *(number(g, 3) for g in figures["gains"].values())]]
        )
    )
    largest = ", ".join(f"{key}: {value:.2f}" for key, value in figures["largest_pixel"].items())
    return f"""# Model card: {weights.stem}

A compact diffusion decoder x{figures["factor"]}, {figures["parameters"] / 1e6:.2f} million parameters with the encoder of the flow, stored as float16.
Written by `experiments/train-diffusion-compact/describe_diffusion.py`; the figures are in `{weights.stem}.json`.

* **Use**: the upscaler `edm`, {figures["preset"]} steps. It is stochastic and blind, and has no knob.
* **Licence of the weights**: Apache-2.0. sha256 `{sha256_file(weights)}`.
* **Training data**: {len(images)} photographs, each credited in `{weights.stem}.csv`, with their licences as declared at the
  source: {licences(images)}. {free} LR images by Pillow's {filters}.

## Training

The encoder is that of `{training["config"]["encoder"][:12]}` (sha256), frozen; each step's windows are of {training["config"]["ring"]} encoded crops, one of which is
replaced every {training["config"]["ring_every"]} steps.

| from | head: steps x crops | steps | batch, windows | rates (Muon / Adam) | log sigma | filters | seed | skipped (outlying gradient) | minutes | on | code | validation: LPIPS, bias^2, variance : bias^2, gains |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
{trainings}

## Quality

On {shown["images"]} centre crops of {shown["crop"]} x {shown["crop"]} pixels of the validation images (never trained on), {shown["samples"]} samples. LPIPS is a squared
distance of features: half of it between two samples is their variance, the rest of it to the original is the squared error of
their mean (bias^2). For samples of the true posterior the two are equal; below 1, samples are too alike. The energy score is lowest, in
expectation, for samples that are distributed as the originals, in these features.
{figures["samples"]} samples drawn, {figures["not_finite"]} of them not finite; clipped sub-pixels: {figures["clipped"]:.3%}. Largest absolute pixel, before rounding: {largest}.

By steps of the solver, LR images by {next(iter(figures["filters"]))}:

{measured(figures["steps"], "steps", labels)}

By filter, at {figures["preset"]} steps:

{measured(figures["filters"], "filter", labels)}

The plain enlargement has LPIPS {figures["enlarged"]["lpips"]:.4f} and PSNR {figures["enlarged"]["psnr"]:.2f} dB. The slope of y on the denoiser's estimate, by noise level, 1 if
it is neither too small nor too large:

{gains}

![Measures against steps, and samples]({weights.stem}.webp)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="the --out of each training, in order")
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--figures", type=Path, required=True, help="the JSON file that by_steps.py wrote")
    a = parser.parse_args()
    figures = read_json(a.figures, hint="by_steps.py writes it")
    runs = [read_run(run) for run in a.runs]
    for run, (training, log) in zip(a.runs, runs, strict=True):
        if "ring_every" not in training["config"] or not log:
            raise UserError(f"{run}: is not a training of this model: give the --out of python -m ida_rd.training.edm")
    last = runs[-1][0]
    write_text(a.weights.with_suffix(".md"), card(figures, last, [phase(*one) for one in runs], a.weights))
    write_text(a.weights.with_suffix(".csv"), credits(last))
    figure(load_network(a.weights), figures, a.weights.with_suffix(".webp"))


if __name__ == "__main__":
    exit_with_line(main)
