"""Write the model card of a trained compact diffusion decoder: nothing in it is typed by hand.

    python describe_diffusion.py --runs FIRST ... LAST --weights FILE --figures FIGURES.json

The runs are the trainings that led to the weights, in order; the figures are those of ``by_steps.py``. Writes ``FILE``
with the endings ``.md`` (the card), ``.webp`` (measures against steps, and samples of photographs inside the
scikit-image package) and ``.csv`` (the credits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ida_rd.core.errors import exit_with_line
from ida_rd.core.seeds import Draw
from ida_rd.core.typeset import markdown_table, number
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.solver import Solver, noise_levels
from ida_rd.training.card import begun_from, card_command, draw_heats, provenance, ran, shown_rows
from ida_rd.training.edm_watch import Sampled
from ida_rd.training.measure import lr_of
from ida_rd.training.patches import Pixels, pillow
from ida_rd.upscale.eight_bit import to_samples

SAMPLES = 3


def figure(weights: Path, figures: Mapping[str, Any]) -> None:
    """Draw measures against steps, and the enlarged LR image with some samples."""
    net = load_network(weights)
    network = Sampled(net, Solver(noise_levels(figures["preset"])), torch.float32)

    def parts(name: str, hr: Pixels) -> list[torch.Tensor]:
        given = network.condition(lr_of(hr, net.config.factor, pillow("bicubic"), name))
        noise = np.stack([Draw(0, name, k).normal(given.shape) for k in range(SAMPLES)])
        return [given.base, *network.decode(torch.from_numpy(noise), given).split(1)]

    by_steps = {float(steps): row for steps, row in figures["steps"].items()}
    columns = ["HR", "enlarged", *(f"sample {k + 1}" for k in range(SAMPLES))]
    rows = shown_rows(parts, to_samples)
    draw_heats(
        weights.with_suffix(".webp"), by_steps, figures["labels"], figures["preset"], columns, rows, axis="steps"
    )


def phase(training: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> str:
    """Return one training as a row of the card's table."""
    config = training["config"]
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
        f"| {begun_from(training)} | {head} | {config['steps']} | {config['batch']} x {config['patch']}^2 |"
        f" {config['rate']:g} / {config['adam_rate']:g} | {config['sigma_mean']:g}, {config['sigma_spread']:g} |"
        f" {config['filters'].replace(',', ', ')} | {ran(training, log[-1], config['precision'])} | {seen} |"
    )


def measured(rows: Mapping[str, Mapping[str, float]], first: str, labels: Mapping[str, str]) -> str:
    """Measures by steps or by filter, in Markdown."""
    ordered = sorted(rows.items(), key=lambda item: (0, int(item[0])) if item[0].isdigit() else (1, 0))
    table = [[key, number(row["psnr"], 2), *(number(row[name], 4) for name in labels)] for key, row in ordered]
    return "\n".join(markdown_table([first, "PSNR (dB)", *labels.values()], table))


def card(figures: Mapping[str, Any], training: Mapping[str, Any], rows: Sequence[str], weights: Path) -> str:
    """Return the model card in Markdown; `training` is the last run's record, `rows` are of all."""
    shown, labels = figures["validation"], figures["labels"]
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
* **Weights**: those of the last step, after the rates have fallen to 0; validation below, and its gains, are of their average.
{provenance(training["images"], weights)} LR images by Pillow's {filters}.

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
    other = "a training of this model: give the --out of python -m ida_rd.training.edm"
    own = lambda config: "ring_every" in config  # noqa: E731
    card_command(__doc__.split("\n")[0], "by_steps.py", own, other, phase, card, figure)


if __name__ == "__main__":
    exit_with_line(main)
