"""Write the model card of a trained IRN: nothing in it is typed by hand.

    python describe.py --runs FIRST ... LAST --weights FILE --figures FIGURES.json

The runs are the trainings that led to the weights, in order; the figures are those of ``by_sigma.py``. Writes ``FILE``
with the endings ``.md`` (the card), ``.webp`` (the dial, and reconstructions of photographs inside the scikit-image
package) and ``.csv`` (the credits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ida_rd.core.errors import exit_with_line
from ida_rd.core.seeds import Draw
from ida_rd.core.typeset import markdown_table, number
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.network import quantise
from ida_rd.training.card import begun_from, card_command, draw_heats, provenance, ran, shown_rows
from ida_rd.training.patches import Pixels
from ida_rd.upscale.eight_bit import to_samples

SHOWN_SIGMAS = (0.0, 0.5, 1.0)
NAMES = {"irn": "IRN", "irn-plus": "IRN+", "irn-sigma": "IRN_sigma"}
USES = {
    "irn": "Its latent was drawn at sigma 1 alone: other sigmas are no dial.",
    "irn-plus": "Its latent was drawn at sigma 1 alone: other sigmas are no dial.",
    "irn-sigma": "Sigma 0 was trained for the least distortion, 1 for the best perception; what lies between is measured below.",
}


def figure(weights: Path, figures: Mapping[str, Any]) -> None:
    """Draw the dial, the LR image, and reconstructions at some sigmas."""
    net = load_network(weights)

    def parts(name: str, hr: Pixels) -> list[torch.Tensor]:
        lr, latent, _ = net.encode(torch.from_numpy(hr.transpose(2, 0, 1).copy())[None].float() / 255)
        lr, noise = quantise(lr), torch.from_numpy(Draw(0, name, 0).normal(tuple(latent.shape[1:])))[None]
        return [lr, *(net.decode(lr, sigma * noise) for sigma in SHOWN_SIGMAS)]

    dial = {float(sigma): row for sigma, row in figures["sigmas"].items()}
    columns = ["HR", "LR", *(f"sigma {sigma:g}" for sigma in SHOWN_SIGMAS)]
    rows = shown_rows(parts, to_samples)
    draw_heats(weights.with_suffix(".webp"), dial, figures["labels"], 1.0, columns, rows, axis="sigma")


def phase(training: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> str:
    """Return one training as a row of the card's table."""
    config = training["config"]
    adversarial = config["kind"] != "irn"
    weights = [f"L_r {config['reconstruction']:g}, L_g {config['guide']:g}"]
    fooling = f"L_d {config['adversarial']:g} ({config['gan']}), L_p {config['perceptual']:g} ({config['features']})"
    weights += [fooling if adversarial else f"latent {config['latent']:g}"]
    sigmas = f"{config['sigmas']}, all as often" if config["kind"] == "irn-sigma" else "1"
    critic = "none"
    if adversarial:
        learns = "" if config["kind"] == "irn-plus" else f", learns from {config['critic_learns']} batches"
        critic = f"width {config['critic_width']}, {config['critic_ahead']} steps ahead{learns}"
    found = {key.removeprefix("validation_psnr_sigma_"): value for entry in log for key, value in entry.items() if key.startswith("validation_psnr_sigma_")}  # fmt: skip
    psnr = ", ".join(f"{value:.2f} at {sigma}" for sigma, value in sorted(found.items())) or "-"
    return (
        f"| {begun_from(training)} | {NAMES[config['kind']]} | {config['steps']} | {config['batch']} x {config['patch']}^2, {config['precision']} |"
        f" {config['rate']:g}, halved at {config['halve_at']} | {'; '.join(weights)} | {sigmas} | {critic} |"
        f" {ran(training, log[-1])} | {psnr} |"
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
    kind = training["config"]["kind"]
    shown, config = figures["validation"], figures["config"]
    labels = figures["labels"]
    table = [
        ["bicubic down and up", *(number(figures["bicubic"][name], 4) for name in labels)],
        *([f"sigma {sigma}", *(number(row[name], 4) for name in labels)] for sigma, row in figures["sigmas"].items()),
    ]
    measured = "\n".join(markdown_table(["", *labels.values()], table))
    blocks, trainings = " + ".join(map(str, config["blocks"])), "\n".join(rows)
    return f"""# Model card: {weights.stem}

{NAMES[kind]} x{figures["factor"]}: an invertible rescaling network, {blocks} blocks of growth {config["growth"]}, {figures["parameters"] / 1e6:.2f} million parameters, stored as float16.
Written by `experiments/train-irn/describe.py`; the figures are in `{weights.stem}.json`.

* **Use**: the downscaler `irn` and its own decoder, the upscaler `irn`. The decoder is not blind. {USES[kind]}
{provenance(training["images"], weights)}
* **Not the published network**: smaller, and trained for far fewer steps on fewer photographs. Its scores say nothing of it.

## Training

What the papers leave open is in the table: the start, how often each sigma is drawn, what the critic learns from.
The LR image is guided by {training["config"].get("guide_image", "bicubic")}.

| from | as | steps | batch, patches, convolutions | rate | weights of the terms | sigma | critic | seed | skipped (gradient not finite) | minutes | on | code | validation PSNR (RGB, dB) at sigma |
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
    other = "a training of IRN: --runs takes the --out of python -m ida_rd.training.irn"
    own = lambda config: config.get("kind") in NAMES  # noqa: E731
    card_command(__doc__.split("\n")[0], "by_sigma.py", own, other, phase, card, figure)


if __name__ == "__main__":
    exit_with_line(main)
