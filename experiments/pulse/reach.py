"""How often PULSE comes within eps of the LR image, and whether its last image or its best is nearer to the HR image.

    python reach.py --weights weights --resolution 64 --validation validation --factors 4 8 --out results

Two kinds of HR images: those that the generator made itself, which a search can reach, and crops of photographs that it
never saw. LR images are those of PULSE's own operator, in 8 bits. Every image is searched for once, with the upscaler's
own parts and the draws of its sample 0; the last image and that of least L2 are of the same search. Works for any
generator that ``method: pulse`` takes, the published one on faces included: ``return`` is what the verdict says.

Writes ``reach.csv`` (a row per image), ``reach.json`` (what follows from the rows, and the verdict), ``reach.md`` (the
same as tables) and ``sheet.png``. `document.py` writes the verdict into the documentation of the upscaler.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ida_rd.aggregate.statistics import mean_interval, sign_flip_p
from ida_rd.core.bar import follow
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_path, write_json, write_text
from ida_rd.core.images import ImageError, image_files, read_image
from ida_rd.core.methods import OpenedMethod, method_recipe, open_method
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.tables import write_table
from ida_rd.core.typeset import interval, markdown_table, p_value
from ida_rd.core.weights import read_weights
from ida_rd.models.stylegan.checkpoint import load_mapping
from ida_rd.upscale import pulse
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.eight_bit import to_samples
from ida_rd.upscale.pulse import MAPPING
from ida_rd.upscale.pulse.operators import bicubic
from ida_rd.upscale.pulse.sampler import PulseUpscaler
from ida_rd.upscale.pulse.search import Found, search, start_of

OWN, CROPS = "own", "held-out"
CONFIDENCE, RESAMPLES = 0.95, 10_000
SHOWN = 4  # images of each kind and factor on the sheet
GAP = 4  # pixels between its pictures
RESIDUALS = ("residual_last", "residual_best", "residual_8_bit")
LPIPS = '{"method": "lpips", "backbone": "alex"}'
Pixels = NDArray[np.uint8]


class Searched(NamedTuple):
    """What came of an image: 8-bit pictures (3, H, W), and a row of the table."""

    hr: Pixels
    lr: Pixels
    last: Pixels
    best: Pixels
    row: dict[str, Any]


def own_images(upscaler: PulseUpscaler, count: int, seed: int) -> dict[str, Pixels]:
    """What the generator makes of random latents, through its mapping network, and of noise."""
    net, found = upscaler.net, {}
    mapping = load_mapping(read_weights(MAPPING, upscaler.parameters.paths.get("mapping")), net.config.latent)
    for i in range(count):
        rng = generator("own image", seed, i)
        z = torch.from_numpy(rng.standard_normal((1, net.config.latent), dtype=np.float32))
        noise = []
        for layer in range(net.config.layers):
            side = net.config.side(layer)
            noise.append(torch.from_numpy(rng.standard_normal((1, 1, side, side), dtype=np.float32)))
        with torch.no_grad():
            image = (net(mapping(z)[:, None].expand(-1, net.config.layers, -1), noise) + 1) / 2
        found[f"own-{i:03d}"] = to_samples(image).sr[0]
    return found


def held_out_crops(folder: Path, side: int, scale: float, count: int) -> dict[str, Pixels]:
    """Centre squares of the first photographs of a folder, reduced by `scale`."""
    found: dict[str, Pixels] = {}
    for name, path in image_files(folder, what="validation images").items():
        if len(found) == count:
            break
        try:
            whole = Image.fromarray(read_image(path))
        except ImageError as error:
            raise UserError(f"{path}: {error}; or remove it") from None
        width, height = round(whole.width / scale), round(whole.height / scale)
        if min(width, height) < side:
            continue
        reduced = np.asarray(whole.resize((width, height), Image.Resampling.LANCZOS))
        y, x = (height - side) // 2, (width - side) // 2
        found[name] = np.ascontiguousarray(reduced[y : y + side, x : x + side].transpose(2, 0, 1))
    if len(found) < 2:
        raise UserError(f"{folder}: fewer than two images have {side} x {side} pixels when reduced: lower --scale")
    return found


def reduced_to_lr(hr: Pixels, factor: int) -> Pixels:
    """The LR image of an HR image (3, H, W), by PULSE's operator, rounded to 8 bits."""
    small = bicubic(factor)(torch.from_numpy(hr)[None].double() / 255)
    return to_samples(small.float()).sr[0]


def _searched(
    upscaler: PulseUpscaler, lr: Sequence[Pixels], draws: Sequence[Draw]
) -> tuple[Found, Tensor, Tensor, NDArray[np.int64]]:
    """The search; beside it the image of least L2, that L2, and the first step within eps, -1: none."""
    images = torch.from_numpy(np.stack(lr)).float() / 255
    least = torch.full((len(lr),), torch.inf)
    best: Tensor | None = None
    first = np.full(len(lr), -1)

    def watch(step: int, found: dict[str, Tensor], _: object) -> None:
        nonlocal best, least
        better = found["residual"] < least
        best = found["images"] if best is None else torch.where(better[:, None, None, None], found["images"], best)
        least = torch.where(better, found["residual"], least)
        first[(first < 0) & (found["residual"] <= upscaler.parameters.eps).numpy()] = step

    start = start_of(draws, upscaler.net, upscaler.parameters)
    result = search(upscaler.net, upscaler.fit, upscaler.operator, images, start, upscaler.parameters, watch)
    assert best is not None
    return result, best, least, first


def searched(
    upscaler: PulseUpscaler, hr: dict[str, Pixels], kind: str, distance: Any, *, batch: int, seed: int
) -> Iterator[Searched]:
    """Search for each image of a kind, a few at a time, which share nothing but their computation."""
    factor, names = upscaler.factor, list(hr)
    starts = range(0, len(names), batch)
    for i in follow(starts, f"{kind} x{factor}", len(starts)):
        some = names[i : i + batch]
        lr = [reduced_to_lr(hr[name], factor) for name in some]
        result, best, least, first = _searched(upscaler, lr, [Draw(seed, name, 0) for name in some])
        last_8, best_8, finite = to_samples(result.images).sr, to_samples(best).sr, to_samples(result.images).finite
        for k, name in enumerate(some):
            both = distance.distance(distance.reference(hr[name]), np.stack([last_8[k], best_8[k]]))
            small = bicubic(factor)(torch.from_numpy(last_8[k])[None].double() / 255)
            row = {
                "kind": kind,
                "factor": factor,
                "image_id": name,
                "finite": bool(finite[k]),
                "converged": bool(result.converged[k]),
                "first_step": int(first[k]),
                "residual_last": float(result.residual[k]),
                "residual_best": float(least[k]),
                "residual_8_bit": float((small - torch.from_numpy(lr[k]).double() / 255).square().mean()),
                "distance_last": float(both[0]),
                "distance_best": float(both[1]),
            }
            yield Searched(hr[name], lr[k], last_8[k], best_8[k], row)


def numbers(rows: pd.DataFrame, better: str) -> list[dict[str, Any]]:
    """What follows from the rows, per kind and factor: plain values.

    An image whose search ended in numbers that are not finite is counted, and not compared.
    """
    found = []
    for (kind, factor), group in rows.groupby(["kind", "factor"], sort=False):
        steps, both = group.first_step[group.first_step >= 0], group[group.finite]
        if len(both) < 2:
            raise UserError(f"{kind} x{factor}: fewer than two searches ended in finite numbers: lower rate, by --set")
        difference = (both.distance_best - both.distance_last).to_numpy(np.float64)
        low, high = mean_interval(difference, CONFIDENCE)
        p = float(sign_flip_p(difference, resamples=RESAMPLES, seed=0))
        found.append(
            {
                "kind": str(kind),
                "factor": int(factor),
                "images": len(group),
                "finite": len(both),
                "converged": int(group.converged.sum()),
                "first_step": float(steps.median()) if len(steps) else None,
                **{column: float(both[column].median()) for column in RESIDUALS},
                "last": float(both.distance_last.mean()),
                "best": float(both.distance_best.mean()),
                "difference": float(difference.mean()),
                "low": low,
                "high": high,
                "p": p,
                "return": _nearer(float(difference.mean()), p, better),
            }
        )
    return found


def _nearer(difference: float, p: float, better: str) -> str | None:
    """Which of the two is clearly nearer to the HR image; None: neither."""
    if p >= 1 - CONFIDENCE or difference == 0:
        return None
    return "best" if (difference < 0) == (better == "lower") else "last"


def choice(groups: Sequence[dict[str, Any]]) -> str:
    """What ``return`` should be by the held-out images: as published, unless the best is clearly nearer at some factor,
    and the last at none.
    """
    found = {group["return"] for group in groups if group["kind"] == CROPS}
    return "best" if "best" in found and "last" not in found else "last"


def verdict(groups: Sequence[dict[str, Any]], label: str, better: str) -> str:
    """The choice as one sentence, with its numbers."""
    held_out = [group for group in groups if group["kind"] == CROPS]
    each = "; ".join(
        f"x{group['factor']}: {group['last']:.4f} and {group['best']:.4f}, best - last {_difference(group)},"
        f" p = {p_value(group['p'])}, {group['finite']} images"
        for group in held_out
    )
    told = {group["return"] for group in held_out}
    why = "the two do not differ clearly" if told == {None} else "it is nearer to HR"
    if len(told - {None}) > 1:
        why = "which is nearer depends on the factor"
    elif told != {None} and None in told:
        why += " at some factor, and clearly farther at none"
    what = f"{label} of the last image and of the best, {better} is better"
    return f"`return: {choice(groups)}`, since {why} ({what}; {each})."


def _difference(group: dict[str, Any]) -> str:
    return interval(group["difference"], group["low"], group["high"], places=4, signed=True)


def summary(groups: Sequence[dict[str, Any]], label: str, eps: float, better: str) -> str:
    """Two tables and a verdict, as Markdown."""
    reached, compared = [], []
    for group in groups:
        names = [group["kind"], f"x{group['factor']}"]
        share = f"{group['converged']} of {group['images']} ({group['converged'] / group['images']:.0%})"
        median = "" if group["first_step"] is None else f"{group['first_step']:.0f}"
        reached.append([*names, share, median, *(f"{group[column]:.2e}" for column in RESIDUALS)])
        means = (f"{group['last']:.4f}", f"{group['best']:.4f}")
        clear = "" if group["return"] is None else group["return"]
        compared.append([*names, *means, _difference(group), p_value(group["p"]), clear])
    head = ["HR images", "factor", "reached eps", "first step", "L2 of the last", "of the best", "of the last, 8 bits"]
    lost = sum(group["images"] - group["finite"] for group in groups)
    lines = [
        f"# What the search reached (eps = {eps:g})",
        "",
        *markdown_table(head, reached),
        "",
        "Reached: within eps of the LR image at some step; the first such step and L2, of values in [0, 1], as"
        f" medians. {OWN}: images that the generator made; {CROPS}: crops of photographs that it never saw.",
        *([f"{lost} searches ended in numbers that are not finite, and are left out below."] if lost else []),
        "",
        f"# The last image, or the best? ({label}, {better} is better)",
        "",
        *markdown_table(["HR images", "factor", "last", "best", "best - last", "p", "clearly nearer"], compared),
        "",
        f"Means over images, and the paired difference [{CONFIDENCE:.0%} interval]; p by sign flips, not corrected."
        " Last and best are of the same search.",
        "",
        f"By the {CROPS} images: {verdict(groups, label, better)}",
        "",
    ]
    return "\n".join(lines)


def sheet(shown: Sequence[Searched], path: Path) -> None:
    """HR, LR (each pixel enlarged), last and best, a row per image."""
    side = shown[0].hr.shape[1]
    step = side + GAP
    page = np.full((len(shown) * step + GAP, 4 * step + GAP, 3), 255, np.uint8)
    for i, one in enumerate(shown):
        times = side // one.lr.shape[1]
        for j, picture in enumerate((one.hr, one.lr.repeat(times, 1).repeat(times, 2), one.last, one.best)):
            y, x = GAP + i * step, GAP + j * step
            page[y : y + side, x : x + side] = picture.transpose(1, 2, 0)
    with atomic_path(path) as temporary:
        Image.fromarray(page).save(temporary)


def reach(
    entry: dict[str, Any],
    validation: Path,
    out: Path,
    *,
    factors: Sequence[int],
    count: int,
    scale: float,
    distortion: dict[str, Any],
    batch: int = 8,
    seed: int = 0,
) -> pd.DataFrame:
    """Search, and write the results into `out`.

    Parameters
    ----------
    entry : dict
        Parameters of ``method: pulse``.
    validation, out : Path
    factors : sequence of int
    count : int
        Images of each kind.
    scale : float
        By which the photographs are reduced before they are cut.
    distortion : dict
        An entry of ``distortions``.
    batch, seed : int
    """
    if count < 2 or batch < 1:
        raise UserError("--count is at least 2, and --batch at least 1")
    parameters = open_method(method_recipe("upscale", "pulse", {"method": "pulse", **entry})).parameters
    for factor in factors:  # before anything takes hours
        pulse.describe(parameters, factor)
    told: OpenedMethod = open_method(method_recipe("distort", "distortion", distortion))
    described, distance = told.module.describe(told.parameters), told.module.load(told.parameters, "cpu")
    if parameters.resolution < described.minimum_side:
        raise UserError(f"{described.label} takes images from {described.minimum_side} pixels up: give --distortion")
    crops = held_out_crops(validation, parameters.resolution, scale, count)
    found: list[Searched] = []
    for factor in factors:
        upscaler = PulseUpscaler(parameters, Problem(factor), "cpu")
        for kind, images in ((OWN, own_images(upscaler, count, seed)), (CROPS, crops)):
            found += searched(upscaler, images, kind, distance, batch=batch, seed=seed)
    rows = pd.DataFrame([one.row for one in found])
    some = [one for _, group in rows.groupby(["kind", "factor"], sort=False) for one in group.index[:SHOWN]]
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "reach.csv", rows)
    groups, words = numbers(rows, described.better), (described.label, described.better)
    written: dict[str, Any] = {
        "distortion": words[0],
        "better": words[1],
        "eps": parameters.eps,
        "steps": parameters.steps,
    }
    written |= {"groups": groups, "return": choice(groups), "verdict": verdict(groups, *words)}
    write_json(out / "reach.json", written)
    write_text(out / "reach.md", summary(groups, words[0], parameters.eps, words[1]))
    sheet([found[i] for i in some], out / "sheet.png")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python reach.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="folder of mapping and synthesis .safetensors")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--validation", type=Path, required=True, help="folder of images that training never saw")
    parser.add_argument("--factors", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--count", type=int, default=50, help="images of each kind and factor")
    parser.add_argument("--scale", type=float, default=4, help="photographs are reduced by this before they are cut")
    parser.add_argument("--steps", type=int, default=100, help="steps of a search")
    parser.add_argument("--batch", type=int, default=8, help="images that are searched for together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", default="{}", metavar="JSON", help="further parameters of the search, such as eps")
    parser.add_argument("--distortion", default=LPIPS, metavar="JSON", help="by what last and best are compared")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    given = parser.parse_args()
    try:
        more, distortion = json.loads(given.set), json.loads(given.distortion)
    except json.JSONDecodeError as error:
        raise UserError(f"--set and --distortion are JSON objects: {error}") from None
    if not isinstance(more, dict) or not isinstance(distortion, dict):
        raise UserError('--set and --distortion are JSON objects, such as {"eps": 0.001}')
    if given.scale < 1:
        raise UserError(f"--scale {given.scale:g}: from 1 up, since photographs are not enlarged")
    paths = {name: str(given.weights / f"{name}.safetensors") for name in ("mapping", "synthesis")}
    entry = {"resolution": given.resolution, "paths": paths, "steps": given.steps, "licence": "your own weights"}
    torch.set_num_threads(1)
    reach(
        entry | more,
        given.validation,
        given.out,
        factors=given.factors,
        count=given.count,
        scale=given.scale,
        distortion=distortion,
        batch=given.batch,
        seed=given.seed,
    )


if __name__ == "__main__":
    exit_with_line(main)
