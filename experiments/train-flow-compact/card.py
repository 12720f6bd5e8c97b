"""Write the model card of trained weights: nothing in it is typed by hand.

    python card.py --runs FIRST ... LAST --weights FILE --figures FIGURES.json
    python card.py --rewrite CARD.md --weights FILE --figures FIGURES.json

The runs are the trainings that led to the weights, in order; the figures are those of ``measure.py``. If
the folders of the first trainings are gone, ``--earlier`` takes their rows from the card of the weights that
the first of the runs started from. If all are gone, ``--rewrite`` takes the rows and the credits from the existing card
of the same weights, and writes everything else anew.
Writes ``FILE`` with the endings ``.md`` (the card), ``.webp`` (the heat curve, and samples of photographs
inside the scikit-image package) and ``.csv`` (the credits).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import sha256_file, write_text
from ida_rd.core.readers import read_json
from ida_rd.core.seeds import Draw
from ida_rd.core.typeset import markdown_table, number, p_value
from ida_rd.models.flow import FlowNet, load_network
from ida_rd.training.card import begun_from, credits, draw_heats, earlier_phases, kept_phases, licences, ran, shown_rows
from ida_rd.training.measure import lr_of
from ida_rd.training.patches import Pixels, pillow
from ida_rd.training.record import read_run
from ida_rd.upscale.eight_bit import to_samples

SHOWN_HEATS = (0.0, 0.7, 0.9, 1.0, 1.1)


def figure(network: FlowNet, figures: dict, path: Path) -> None:
    """Draw the heat curve, and samples at several heats."""

    def parts(name: str, hr: Pixels) -> list[torch.Tensor]:
        lr = lr_of(hr, network.config.factor, pillow("bicubic"), name)
        given = network.condition(lr)
        z = torch.from_numpy(Draw(0, name, 0).normal(network.latent_shape(*lr.shape[2:])))[None]
        return [given.base, *(network.decode(heat * z, given) for heat in SHOWN_HEATS)]

    heats = {float(key): row for key, row in figures["heats"].items() if key != "bicubic"}
    labels = {"lpips": "LPIPS (AlexNet), lower is better", "energy": "energy score, lower is better"}
    labels["psnr"] = "PSNR (dB)"
    columns = ["HR", "bicubic", *(f"heat {heat}" for heat in SHOWN_HEATS)]
    draw_heats(path, heats, labels, figures["preset_heat"], columns, shown_rows(parts, to_samples))


def phase(training: dict, log: list[dict]) -> str:
    """Return one training as a row of the card's table."""
    config = training["config"]
    steps = "" if training.get("initial") else f"{config['l1_steps']} of L1 loss, then "
    share, drawn = config.get("jpeg", 0), config.get("candidates", 1)
    extra = [f"{share:.0%} through JPEG"] if share else []
    extra += [f"the more detailed of {drawn} crops"] if drawn > 1 else []
    energy, precision = config.get("energy", 0), config.get("precision", "float32")
    loss = f"NLL + {energy:g} energy score" if energy else "NLL"
    bits = [e["validation_bits"] for e in log if "validation_bits" in e]
    return (
        f"| {begun_from(training)} | {steps}{config['nll_steps']} of {loss} | {config['nll_batch']} x {config['patch']}^2 |"
        f" {', '.join(extra) or 'none'} | {ran(training, log[-1], precision)} | {bits[-1]:.3f} |"
    )


def quality(figures: dict) -> str:
    """Return what was measured, in Markdown."""
    shown, heats, chosen = figures["validation"], figures["heats"], str(figures["preset_heat"])
    at = heats[chosen]
    spread = at["between"] / 2
    rest = at["lpips"] - spread
    drawn = [heat for heat in heats if heat != "bicubic"]
    least = min(drawn, key=lambda heat: heats[heat]["lpips"])
    lowest = min(figures["energy_score"], key=lambda heat: figures["energy_score"][heat])
    rows = [
        [
            "bicubic enlargement" if key == "bicubic" else key,
            number(row["psnr"], 2),
            number(row["lpips"], 4),
            number(row["between"], 4) if "between" in row else "-",
            number(row["energy"], 4) if "energy" in row else "-",
            *_energy_test(figures["energy_tests"].get(key)),
        ]
        for key, row in sorted(heats.items(), key=lambda item: (item[0] != "bicubic", item[0]))
    ]
    head = [
        "heat",
        "PSNR (dB)",
        "LPIPS (AlexNet)",
        "LPIPS between samples",
        "energy score",
        "beyond heat 1",
        "p (Holm)",
    ]
    by_heat = "\n".join(markdown_table(head, rows))
    names = sorted(figures["filters_at_preset"], key=lambda name: figures["filters_at_preset"][name])
    rows = [
        [
            heat,
            *(number(means[name], 4) for name in names),
            "; ".join(figures["order_kept"][heat]) or "-",
            "; ".join(figures["order_reversed"][heat]) or "-",
        ]
        for heat, means in sorted(figures["order"].items())
    ]
    order = "\n".join(markdown_table(["heat", *names, "holds", "holds the other way round"], rows))
    largest = ", ".join(f"{key}: {value:.2f}" for key, value in figures["largest_pixel_at_preset"].items())
    bits = ", ".join(
        f"{value:.3f} on {'whole images' if crop == 'whole' else f'{crop} x {crop}'}"
        for crop, value in figures["bits_per_dimension"].items()
    )
    ratio = f"a ratio of {spread / rest:.2f}" if rest > 0 else "which is not positive, so that they have no ratio"
    return f"""On {shown["images"]} centre crops of {shown["crop"]} x {shown["crop"]} pixels of BSDS500 val (never trained on), LR by Pillow's bicubic filter, {shown["samples"]} samples.
Bits per dimension, by size of the centre crop: **{bits}**.
Samples that were not finite: {figures["not_finite"]:.4%}; clipped sub-pixels: {figures["clipped"]:.3%}. Largest absolute pixel at the preset heat, of
LR images as trained and of those with Gaussian noise, before clipping to [0, 1]: {largest}.

**The preset heat is {chosen}.** Its rule: {figures["preset_rule"]}
The energy score, E||f(X) - f(X^)|| - 1/2 E||f(X^) - f(X^')|| with ||.|| the root of LPIPS, is in expectation lowest for samples
that are distributed as the originals, in these features; here it is lowest at heat {lowest}. LPIPS itself, which rewards
too little spread, is lowest at heat {least} for this filter.

LPIPS is a squared distance of features, so half of that between two samples is how far samples spread, {spread:.4f} at the
preset heat; the rest of the LPIPS to the original, {rest:.4f}, is the squared error of their mean: {ratio}. The
original is distributed as a sample is if samples are of the true posterior, or of the prior: then it is 1. Below 1, samples
are too alike.

{by_heat}

![Heat curve, and samples at several heats](STEM.webp)

For information: LPIPS by the filter that made the LR image, and which parts of {{bilinear, bicubic}} < lanczos < nearest hold (sign
flips of the paired differences, Holm's correction over all heats and parts, at .05). The preset does not depend on it.

{order}
"""


def _energy_test(test: dict | None) -> tuple[str, str]:
    """Difference from the energy score at heat 1 with its interval, and p."""
    if test is None:
        return "-", "-"
    ends = (
        ""
        if test["low"] is None
        else f" [{number(test['low'], 4, signed=True)}, {number(test['high'], 4, signed=True)}]"
    )
    return number(test["difference"], 4, signed=True) + ends, p_value(test["p_holm"])


def card(figures: dict, images: Sequence[Mapping[str, str]], trainings: Sequence[str], weights: Path) -> str:
    """Return the model card in Markdown; `images` are credits, `trainings` rows of its table."""
    rows = "\n".join(trainings)
    measured = quality(figures).replace("STEM", weights.stem)
    return f"""# Model card: {weights.stem}

A compact conditional normalizing flow p(HR | LR), x{figures["factor"]}, {figures["parameters"] / 1e6:.2f} million parameters, stored as float16.
Written by `experiments/train-flow-compact/card.py`; the figures are in `{weights.stem}.json`.

* **Use**: the embedded upscaler of this project: it runs with no download and ranks downscalers. It is not a
  state-of-the-art super-resolution model, and its scores are not comparable with SRFlow's.
* **Licence of the weights**: Apache-2.0. sha256 `{sha256_file(weights)}`.
* **Training data**: {len(images)} photographs, each credited in `{weights.stem}.csv`, long side 1200 pixels at most, with their
  licences as declared at the source: {licences(images)}.
  CC BY-SA photographs were left out. Among them are images of the CLIC 2025 sets: do not evaluate on those.
  LR images by Pillow's bicubic filter alone; the model has seen no other downscaler.
* **Bias of the data**: wallpapers and stock portraits: landscapes, shallow depth of field, little fine texture or text.

## Training

| from | steps | batch, patches | augmentation | seed | skipped (gradient not finite) | minutes | on | code | validation, bits/dim at the end |
|---|---|---|---|---|---|---|---|---|---|
{rows}

## Quality

{measured}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--runs", type=Path, nargs="+", help="the --out of each training, in order")
    source.add_argument("--rewrite", type=Path, help="the card of these weights, to keep its trainings and credits")
    parser.add_argument("--earlier", type=Path, help="card of the weights that the first of the runs started from")
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--figures", type=Path, required=True, help="the JSON file that measure.py wrote")
    a = parser.parse_args()
    figures = read_json(a.figures, hint="measure.py writes it")
    if "preset_rule" not in figures:
        raise UserError(f"{a.figures}: has no preset_rule: it is of an older version; run measure.py again")
    if a.rewrite:
        trainings, images = kept_phases(a.rewrite, sha256_file(a.weights))
    else:
        phases = [read_run(run) for run in a.runs]
        trainings = [*(earlier_phases(a.earlier, phases[0][0]) if a.earlier else []), *(phase(*one) for one in phases)]
        images = phases[-1][0]["images"]
    write_text(a.weights.with_suffix(".md"), card(figures, images, trainings, a.weights))
    write_text(a.weights.with_suffix(".csv"), credits({"images": images}))
    figure(load_network(a.weights), figures, a.weights.with_suffix(".webp"))


if __name__ == "__main__":
    exit_with_line(main)
