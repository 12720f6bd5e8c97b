"""How many images and samples does it take for two downscalers to differ significantly? From a pilot run's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ida_rd.aggregate.power import components, images_needed, paired_rows
from ida_rd.aggregate.results import check_rows, rows_in
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.project import Branch
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.core.typeset import markdown_table

__all__ = ["plan_size", "sizing_markdown"]

SAMPLES = (1, 2, 3, 5, 10)


def plan_size(
    root: Path,
    a: str,
    b: str,
    *,
    upscaler: str | None = None,
    factor: int | None = None,
    distortion: str | None = None,
    power: float = 0.8,
    level: float = 0.05,
) -> dict[str, Any]:
    """Estimate, from a finished run, how many images are needed to show that downscaler `b` differs from `a`.

    Parameters
    ----------
    root : Path
        Folder of the run (with ``data/``).
    a, b : str
        Names of two downscalers.
    upscaler, factor, distortion
        Which of those of the run; default: the first.
    power : float
        Probability with which the difference is to be seen.
    level : float
        Two-sided level of the paired t-test that the estimate assumes.
    """
    recipe = read_json(root / "data/plan/aggregate.json", hint="run `make repro` first, in the root of the repository")
    branches = recipe["branches"]
    upscaler = _pick("--upscaler", upscaler, list(dict.fromkeys(x["upscaler"] for x in branches)))
    factor = _pick("--factor", factor, list(dict.fromkeys(x["factor"] for x in branches)))
    distortion = _pick("--distortion", distortion, recipe["distortion_order"])
    names = [x["downscaler"] for x in branches if (x["upscaler"], x["factor"]) == (upscaler, factor)]
    images = list(read_table(root / "data/subset.csv", hint="run `make repro` first").image_id)
    rows = []
    for name in (a, b):
        if name not in names:
            raise UserError(f"no downscaler of this run is called {name!r}; {did_you_mean(name, names)}")
        branch = Branch(upscaler, factor, name)
        found = rows_in(root / "data/distortion")(branch)
        check_rows(found, branch, images, [distortion])
        rows.append(found)
    parts = components(paired_rows(rows[0], rows[1], distortion), distortion)
    counts = SAMPLES if parts.within is not None else (1,)
    return {
        "a": a,
        "b": b,
        "upscaler": upscaler,
        "factor": factor,
        "distortion": distortion,
        "label": recipe["distortions"][distortion]["label"],
        "power": power,
        "level": level,
        "pilot": {"images": parts.images, "samples": parts.samples},
        "difference": parts.mean,
        "std_between_images": parts.between**0.5,
        "std_between_samples": None if parts.within is None else parts.within**0.5,
        "images_needed": {str(k): images_needed(parts, k, power=power, level=level) for k in counts},
    }


def _pick(option: str, value: Any, known: list[Any]) -> Any:
    if value is None:
        return known[0]
    if value not in known:
        raise UserError(f"{option} {value}: not in this run, which has {', '.join(map(str, known))}")
    return value


def sizing_markdown(plan: dict[str, Any]) -> str:
    """Return the answer as a table."""
    pilot = plan["pilot"]
    lines = [
        f"{plan['b']} minus {plan['a']}, {plan['upscaler']} x{plan['factor']}, {plan['label']}:"
        f" {plan['difference']:+.4g} in a pilot of {pilot['images']} images and {pilot['samples']:.3g} samples.",
        f"Standard deviation of the paired difference: {plan['std_between_images']:.4g} between images"
        + (
            f", {plan['std_between_samples']:.4g} between samples of an image."
            if plan["std_between_samples"] is not None
            else "; with one sample per image, it includes the variation between samples."
        ),
        "",
    ]
    images = f"images N for {plan['power']:.0%} power at level {plan['level']:g}"
    rows = [
        [k, *(("over a million", "") if count is None else (str(count), str(count * int(k))))]
        for k, count in plan["images_needed"].items()
    ]
    lines += markdown_table(["samples K", images, "reconstructions N x K"], rows)
    lines += [
        "",
        "If the true difference is as large as the pilot's, which is itself uncertain; for a single comparison, without"
        " correction for others. Latents are common to all downscalers, so a few samples are enough.",
    ]
    return "\n".join(lines) + "\n"
