"""What rows of a run do not tell: reconstructions beside other images, and two tasks that nobody tuned for the score.

*Switch*: the distance of f(X) to X (``other`` 0), and to other images of the test set (from 1). *Keypoints*: the share
of the SIFT keypoints of X that is not found again in f(X), as ``external.py`` counts them. *Features*: one minus the
cosine between what a classifier, trained to name things, sees in X and in f(X): the mean over the image of its last
convolution's features. The first sample of each image is looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from variants import (
    Meta,
    branches_of,
    read_settings,
    sign_of,
)

from ida_rd.aggregate.results import photographs_in
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_json
from ida_rd.core.foreign import decoding
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.weights import MissingWeights, locate, read_weights
from ida_rd.distort.work import load_distortions
from ida_rd.engine.device import device_name
from ida_rd.engine.local import run_units

sys.path.append(str(Path(__file__).resolve().parents[1] / "external"))
from external import features, repeated  # type: ignore[import-not-found]

Pixels = NDArray[np.uint8]
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of ImageNet
KNOWN = "torchvision.alexnet"


class _Unit(NamedTuple):
    upscaler: str
    factor: int
    image_id: str
    others: tuple[str, ...]


def _read(path: Path) -> Pixels:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` on its stage again") from None


def _hr(image_id: str) -> Pixels:
    return _read(Path(f"data/hr/{image_id}.png"))


def _planes(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def partners(images: dict[str, str], sizes: dict[str, tuple[int, int]], others: int) -> dict[str, tuple[str, ...]]:
    """For each image, the next ones of other photographs, in turn; of the same size, else no distance is defined.

    Parameters
    ----------
    images, sizes : dict
        Image id to photograph, and to its size.
    others : int
        How many; fewer where there are not so many photographs with such an image.
    """
    first = {(images[one], sizes[one]): one for one in sorted(images, reverse=True)}
    names = sorted(set(images.values()))
    found = {}
    for image_id, photograph in images.items():
        start = names.index(photograph)
        turn = ((names[(start + k) % len(names)], sizes[image_id]) for k in range(1, len(names)))
        found[image_id] = tuple(first[one] for one in turn if one in first)[:others]
    return found


def classifier(device: str) -> Callable[[Pixels], NDArray[np.float64]]:
    """AlexNet's features of an image (H, W, 3) as one unit vector: the mean over the image of the last layer's."""
    import torch
    from torchvision.models import alexnet

    file = read_weights(KNOWN)
    network = alexnet(weights=None).features
    own = {k.removeprefix("features."): v for k, v in file.tensors().items() if k.startswith("features.")}
    with decoding(f"{file.path}: not torchvision's alexnet weights"):
        network.load_state_dict(own)
    network = network.to(device).eval()
    mean, spread = (torch.tensor(x, device=device)[:, None, None] for x in (MEAN, SPREAD))

    @torch.inference_mode()
    def seen(image: Pixels) -> NDArray[np.float64]:
        values = torch.from_numpy(_planes(image)).to(device).float() / 255
        found: NDArray[np.float64] = (
            network(((values - mean) / spread)[None])[0].mean(dim=(1, 2)).double().cpu().numpy()
        )
        return found / max(float(np.linalg.norm(found)), 1e-12)

    return seen


def _measure(
    meta: Meta, plan: dict[str, Any], distortions: dict[str, Any], seen: Callable[..., Any] | None, unit: _Unit
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All that is asked of one image's reconstructions by one upscaler: rows of switches, and of tasks."""
    hr = _hr(unit.image_id)
    place = {"upscaler": unit.upscaler, "factor": unit.factor, "image_id": unit.image_id}
    sr = {}
    for name in dict.fromkeys((*meta.switch.downscalers, *meta.ranked)):
        path = Path(f"data/sr/{unit.upscaler}/x{unit.factor}/{name}/{unit.image_id}/0.webp")
        if path.is_file():  # else the sample was not finite
            sr[name] = _read(path)
    switches: list[dict[str, Any]] = []
    looked_at = [name for name in meta.switch.downscalers if name in sr]
    if looked_at:
        stack = np.stack([_planes(sr[name]) for name in looked_at])
        for other, image_id in enumerate((unit.image_id, *unit.others)):
            image = _hr(image_id) if other else hr
            columns = {
                name: sign_of(plan, name) * np.asarray(d.distance(d.reference(_planes(image)), stack), float)
                for name, d in distortions.items()
            }
            switches += [
                place | {"downscaler": one, "other": other} | {name: float(v[i]) for name, v in columns.items()}
                for i, one in enumerate(looked_at)
            ]
    keypoints, sight = features(hr, "sift", 0), None if seen is None else seen(hr)
    tasks = []
    for name in meta.ranked:
        if name not in sr:
            continue
        found = repeated(keypoints, features(sr[name], "sift", 0), meta.tasks.radius, meta.tasks.ratio).found
        row = place | {"downscaler": name, "sift": None if found is None else 1 - found}
        tasks.append(row if seen is None else row | {"features": 1 - float(sight @ seen(sr[name]))})
    return switches, tasks


def _make_worker(meta: Meta, plan: dict[str, Any], device: str, with_classifier: bool) -> partial:
    if device == "cpu":
        import torch

        torch.set_num_threads(1)
    distortions = load_distortions(read_recipe(Project(), "distort"), device)
    return partial(_measure, meta, plan, distortions, classifier(device) if with_classifier else None)


def left_out(meta: Meta) -> dict[str, str]:
    """Tasks that cannot be measured here, and why."""
    if meta.tasks.classifier is None:
        return {"features": "meta.yaml: tasks.classifier is null"}
    if meta.tasks.classifier != KNOWN:
        raise UserError(f"meta.yaml: tasks.classifier: {meta.tasks.classifier} is not known: use {KNOWN}, or null")
    try:
        locate(KNOWN)
    except MissingWeights as error:
        print(f"left out: features: {error}", flush=True)  # names places of this machine: not for the results
        return {"features": f"the weights {KNOWN} are not at hand"}
    return {}


def main() -> None:
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    meta, subset = read_settings(plan), read_table("data/subset.csv", hint="run `dvc repro balance`")
    images = photographs_in(subset)
    sizes = dict(zip(subset.image_id, zip(subset.width, subset.height, strict=True), strict=True))
    if len(set(images.values())) < 2:
        raise UserError("data/subset.csv: one photograph has no other to be compared with: use two or more")
    missing, others = left_out(meta), partners(images, sizes, meta.switch.others)
    units = [_Unit(*branch, image_id, others[image_id]) for branch in branches_of(plan) for image_id in sorted(images)]
    device = device_name()
    make = partial(_make_worker, meta, plan, device, not missing)
    found = [part for _, part in run_units(make, units, label="switches and tasks", parallel=device == "cpu")]
    keys = ["upscaler", "factor", "downscaler", "image_id"]
    switches = pd.DataFrame([row for part, _ in found for row in part])
    tasks = pd.DataFrame([row for _, part in found for row in part])
    if not len(tasks) or not len(switches):
        raise UserError("data/sr: holds no reconstruction that is asked for: run `dvc repro upscale`")
    write_table(Path("data/switched.csv"), switches.sort_values([*keys, "other"], ignore_index=True))
    write_table(Path("data/tasks.csv"), tasks.sort_values(keys, ignore_index=True))
    write_json(Path("data/left_out.json"), missing)


if __name__ == "__main__":
    exit_with_line(main)
