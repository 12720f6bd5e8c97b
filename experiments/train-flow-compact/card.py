"""Measure trained weights and write their model card: nothing in it is typed by hand.

    python experiments/train-flow-compact/card.py --run RUN --weights FILE --validation BSDS500/val --lpips ALEXNET

Writes ``FILE`` with the endings ``.md`` (the card), ``.json`` (its figures), ``.webp`` (the heat curve,
and samples of photographs inside the scikit-image package) and ``.csv`` (the credits).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from stages.core.errors import UserError, run_stage
from stages.core.files import atomic_path, read_json, sha256_file, write_json, write_text
from stages.core.images import image_files, read_image
from stages.core.seeds import Draw
from stages.distort import lpips, pixel
from stages.upscale.eight_bit import to_samples
from stages.upscale.flow.model import FlowNet
from stages.upscale.flow.sampler import load_network
from stages.upscale.flow.train import validation_bits

HEATS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
CROP = 256
SHOWN_HEATS = (0.0, 0.7, 0.9, 1.0, 1.1)
# Name, top and left of what is shown of scikit-image's photographs (public domain or CC0).
SHOWN = (("astronaut", 30, 160), ("coffee", 150, 200), ("chelsea", 80, 120))
SHOWN_SIDE = 144
CREDIT = ("file", "title", "author", "licence", "source")


def _crops(folder: Path, count: int) -> dict[str, NDArray[np.uint8]]:
    """Centre crops (256, 256, 3), uint8, of the first `count` images."""
    crops = {}
    for image_id, path in list(image_files(folder, what="--validation").items())[:count]:
        image = read_image(path)
        y, x = (image.shape[0] - CROP) // 2, (image.shape[1] - CROP) // 2
        if min(y, x) < 0:
            raise UserError(f"{path}: smaller than {CROP} x {CROP} pixels")
        crops[image_id] = np.ascontiguousarray(image[y : y + CROP, x : x + CROP])
    return crops


def measure(weights: Path, validation: Path, backbone: Path, count: int, samples: int) -> dict:
    """Measure bits per dimension, PSNR and LPIPS against heat, beside plain bicubic enlargement."""
    net = load_network(weights)
    factor = net.config.factor
    crops = _crops(validation, count)
    distances = {
        "psnr": pixel.load(pixel.Parameters(), "cpu"),
        "lpips": lpips.load(lpips.Parameters(path=str(backbone)), "cpu"),
    }
    rows: dict[str, dict[str, list[float]]] = {}
    lost = clipped = total = 0.0
    with torch.inference_mode():
        for image_id, crop in tqdm(crops.items(), disable=None):
            hr = np.ascontiguousarray(crop.transpose(2, 0, 1))
            small = Image.fromarray(crop).resize((CROP // factor,) * 2, Image.Resampling.BICUBIC)
            lr = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255
            given = net.condition(lr)
            z = np.stack([Draw(0, image_id, k).normal(net.latent_shape(*lr.shape[2:])) for k in range(samples)])
            images = {"bicubic": to_samples(given.base).sr}
            for heat in HEATS:
                result = to_samples(net.decode(heat * torch.from_numpy(z[: 1 if heat == 0 else samples]), given))
                images[str(heat)] = result.sr
                lost, clipped, total = lost + (~result.finite).sum(), clipped + result.clipped.sum(), total + len(z)
            for name, distance in distances.items():
                reference = distance.reference(hr)  # type: ignore[attr-defined]
                for key, sr in images.items():
                    value = distance.distance(reference, sr).mean()  # type: ignore[attr-defined]
                    rows.setdefault(key, {}).setdefault(name, []).append(float(value))
    means = {key: {name: float(np.mean(values)) for name, values in columns.items()} for key, columns in rows.items()}
    return {
        "factor": factor,
        "validation": {"images": len(crops), "crop": CROP, "samples": samples},
        "bits_per_dimension": validation_bits(net, validation, crop=160, count=count),
        "heats": means,
        "preset_heat": min((h for h in HEATS if h), key=lambda heat: means[str(heat)]["lpips"]),
        "not_finite": lost / total,
        "clipped": clipped / total,
        "parameters": sum(p.numel() for p in net.parameters()),
    }


def figure(net: FlowNet, figures: dict, path: Path) -> None:
    """Draw the heat curve and samples at several heats."""
    columns = ["HR", "bicubic", *(f"heat {heat}" for heat in SHOWN_HEATS)]
    plot = plt.figure(figsize=(12, 8))
    parts = plot.subfigures(2, 1, height_ratios=(1, 2), squeeze=False)[:, 0]
    axes = parts[0].subplots(1, 2)
    for ax, name, label in zip(axes, ("lpips", "psnr"), ("LPIPS (AlexNet), lower is better", "PSNR (dB)"), strict=True):
        ax.plot(HEATS, [figures["heats"][str(heat)][name] for heat in HEATS], marker="o")
        ax.axvline(figures["preset_heat"], color="grey", linestyle=":")
        ax.set(xlabel="heat", ylabel=label)
    grid = parts[1].subplots(len(SHOWN), len(columns))
    for row, (name, y, x) in zip(grid, SHOWN, strict=True):
        photo = read_image(Path(skimage.__file__).parent / "data" / f"{name}.png")
        hr = np.ascontiguousarray(photo[y : y + SHOWN_SIDE, x : x + SHOWN_SIDE])
        small = Image.fromarray(hr).resize((SHOWN_SIDE // net.config.factor,) * 2, Image.Resampling.BICUBIC)
        lr = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            given = net.condition(lr)
            z = torch.from_numpy(Draw(0, name, 0).normal(net.latent_shape(*lr.shape[2:])))[None]
            samples = [net.decode(heat * z, given) for heat in SHOWN_HEATS]
        images = [hr, *(to_samples(sr).sr[0].transpose(1, 2, 0) for sr in (given.base, *samples))]
        for ax, image, title in zip(row, images, columns, strict=True):
            ax.imshow(image)
            ax.set_axis_off()
            if name == SHOWN[0][0]:
                ax.set_title(title, fontsize=9)
    with atomic_path(path) as temporary:
        plot.savefig(temporary, format="webp", dpi=110, pil_kwargs={"quality": 90})
    plt.close(plot)


def card(figures: dict, training: dict, log: list[dict], weights: Path) -> str:
    """Set the model card as Markdown."""
    config, last = training["config"], log[-1]
    licences = Counter(row.get("licence", "not stated") for row in training["images"])
    heats = "\n".join(
        f"| {'bicubic enlargement' if key == 'bicubic' else key} | {row['psnr']:.2f} | {row['lpips']:.4f} |"
        for key, row in figures["heats"].items()
    )
    curve = "\n".join(f"| {e['step']} | {e['validation_bits']:.3f} |" for e in log if "validation_bits" in e)
    shown = figures["validation"]
    start = f"weights with sha256 `{training['initial']}`" if training.get("initial") else "scratch"
    share, drawn = config.get("jpeg", 0), config.get("candidates", 1)
    jpeg = f"{share:.0%} of the patches went through JPEG (quality 85 to 98, halved chroma). " if share else ""
    jpeg += f"Of {drawn} crops, the one with most detail in LR was taken. " if drawn > 1 else ""
    l1 = "" if training.get("initial") else f"{config['l1_steps']} of L1 loss, batch {config['l1_batch']}; "
    return f"""# Model card: {weights.stem}

A compact conditional normalizing flow p(HR | LR), x{figures["factor"]}, {figures["parameters"] / 1e6:.2f} million parameters, stored as float16.
Written by `experiments/train-flow-compact/card.py`; the figures are in `{weights.stem}.json`.

* **Use**: the embedded upscaler of this project: it runs with no download and ranks downscalers. It is not a
  state-of-the-art super-resolution model, and its scores are not comparable with SRFlow's.
* **Licence of the weights**: Apache-2.0. sha256 `{sha256_file(weights)}`.
* **Training data**: {len(training["images"])} photographs, each credited in `{weights.stem}.csv`, long side 1200 pixels at most, with their
  licences as declared at the source: {", ".join(f"{name} ({n})" for name, n in licences.most_common())}.
  CC BY-SA photographs were left out. Among them are images of the CLIC 2025 sets: do not evaluate on those.
  {jpeg}LR images by Pillow's bicubic filter alone; the model has seen no other downscaler.
* **Bias of the data**: wallpapers and stock portraits: landscapes, shallow depth of field, little fine texture or text.

## Training

| | |
|---|---|
| steps | {l1}{config["nll_steps"]} of negative log-likelihood, batch {config["nll_batch"]}; patches of {config["patch"]} pixels |
| began from | {start} |
| seed | {config["seed"]} |
| code | commit `{training["commit"]}` |
| torch, device | {training["torch"]}, {training["device"]} |
| time | {last["seconds"] / 60:.0f} minutes; {last["skipped"]} steps skipped for a gradient that was not finite |

| step | bits per dimension, validation |
|---|---|
{curve}

## Quality

On {shown["images"]} centre crops of {shown["crop"]} x {shown["crop"]} pixels of BSDS500 val (never trained on), LR by Pillow's bicubic filter, {shown["samples"]} samples:
**{figures["bits_per_dimension"]:.3f} bits per dimension** (160 x 160 crops). Samples that were not finite: {figures["not_finite"]:.4%}; clipped sub-pixels: {figures["clipped"]:.3%}.
The preset heat, **{figures["preset_heat"]}**, is that of lowest LPIPS here.

| heat | PSNR (dB) | LPIPS (AlexNet) |
|---|---|---|
{heats}

![Heat curve, and samples at several heats]({weights.stem}.webp)
"""


def credits(training: dict) -> str:
    """Set the credits of the training photographs as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CREDIT, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(training["images"])
    return text.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="the --out of the training run")
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--validation", type=Path, required=True, help="folder of images never trained on")
    parser.add_argument("--lpips", type=Path, required=True, help="torchvision's AlexNet weights")
    parser.add_argument("--count", type=int, default=50, help="validation images")
    parser.add_argument("--samples", type=int, default=2, help="samples an image")
    a = parser.parse_args()
    training = read_json(a.run / "training.json", hint="--run takes the --out of a training run")
    log = [json.loads(line) for line in (a.run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    figures = measure(a.weights, a.validation, a.lpips, a.count, a.samples)
    write_json(a.weights.with_suffix(".json"), figures)
    write_text(a.weights.with_suffix(".md"), card(figures, training, log, a.weights))
    write_text(a.weights.with_suffix(".csv"), credits(training))
    figure(load_network(a.weights), figures, a.weights.with_suffix(".webp"))
    print(json.dumps(figures))


if __name__ == "__main__":
    run_stage(main)
