"""Train the embedded flow on, jointly on the LR images of all downscalers of ``params.yaml``: ``python train.py``.

One decoder that has met them all is blind, and yet at home on each. It gets what the adapted decoders got together: the
preset's steps for every downscaler, its patches, rate and losses (`ida_rd.adapt`), one downscaler drawn for each patch.
That none of the photographs is a test image is checked by the run, which adapts decoders on the same ones.
The same command resumes a training that was stopped. Writes ``flow-joint.safetensors`` and its record beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from ida_rd.adapt import flow
from ida_rd.adapt.contract import Adaptation
from ida_rd.adapt.photographs import choose, listed
from ida_rd.adapt.sources import downscaling, reach_of
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_path, write_json
from ida_rd.core.project import Project
from ida_rd.core.weights import read_weights
from ida_rd.downscale.recipe import downscale_recipe
from ida_rd.plan.stage import read_parameters
from ida_rd.training.export import exported
from ida_rd.training.patches import PatchSource
from ida_rd.upscale import flow as upscaler

OUT = Path("flow-joint.safetensors")
FACTOR = 4


def source_of(entries: dict[str, Any], adaptation: Adaptation) -> tuple[PatchSource, dict[str, Any]]:
    """Patches by all of some downscalers, and what decides them."""
    recipes = {name: downscale_recipe(name, entry, FACTOR, 0, download=False)[0] for name, entry in entries.items()}
    reaches = {name: reach_of(recipe) for name, recipe in recipes.items()}
    if unknown := [name for name, reach in reaches.items() if reach is None]:
        raise UserError(f"downscalers.{unknown[0]}: does not say how far it reaches: leave it out of a joint training")
    known = {name: reach for name, reach in reaches.items() if reach is not None}
    margin = max(known.values())
    patch = flow.preset(FACTOR)["patch"]
    files, _ = choose(listed(adaptation, where="adapt"), adaptation, patch + 2 * margin * FACTOR, where="adapt")
    folder = Path(adaptation.images).expanduser()
    source = PatchSource(
        [folder / name for name in files],
        FACTOR,
        patch,
        adaptation.seed,
        jpeg=adaptation.jpeg,
        candidates=adaptation.candidates,
        downscalings=[downscaling(recipe, known[name]) for name, recipe in recipes.items()],
    )
    decides = {name: {key: recipe[key] for key in ("method", "parameters", "code")} for name, recipe in recipes.items()}
    return source, {"downscalers": decides, "images": files}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", default="../photos", help="folder of training photographs (default: %(default)s)")
    parser.add_argument("--exclude-licence", default="CC-BY-SA", help="leave out photographs of this licence")
    parser.add_argument("--steps", type=int, help="steps in all (default: the preset's, for every downscaler)")
    options = parser.parse_args()
    entries = read_parameters(Project().parameters).downscalers
    each = Adaptation(images=options.images, exclude_licence=options.exclude_licence or None)
    steps = options.steps or each.steps * len(entries)
    adaptation = each.model_copy(update={"steps": steps})
    budget = adaptation.budget(flow.preset(FACTOR), where="adapt")
    source, decides = source_of(entries, adaptation)
    torch.set_num_threads(1)  # the same order of sums, whatever machine it is
    initial = read_weights(f"flow-compact.x{FACTOR}", None)
    state = OUT.with_suffix(".training")
    state.mkdir(exist_ok=True)
    flow.adapt({"budget": budget, **decides}, budget, initial, source, state)
    content = exported(state, {})
    with atomic_path(OUT) as temporary:
        temporary.write_bytes(content)
    heat = upscaler.preset_heat(upscaler.Parameters(), FACTOR)
    write_json(OUT.with_suffix(".json"), {"preset_heat": heat, "budget": budget, **decides})
    print(f"{OUT}: {len(content) / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    exit_with_line(main)
