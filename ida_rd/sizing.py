"""How many photographs and samples does it take for two downscalers to differ? From the rows of a pilot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ida_rd.aggregate.power import components, paired_rows, photographs_needed
from ida_rd.aggregate.results import check_rows, photographs_in, rows_in
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.core.typeset import counted, markdown_table
from ida_rd.engine.times import costs, read_times

__all__ = ["more_images", "plan_size", "sizing_markdown"]

MORE = 100  # images whose cost is told
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
    """Estimate, from a finished run, how many photographs are needed to show that downscaler `b` differs from `a`.

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
    photographs = photographs_in(read_table(root / "data/subset.csv", hint="run `make repro` first"))
    rows = []
    for name in (a, b):
        if name not in names:
            raise UserError(f"no downscaler of this run is called {name!r}; {did_you_mean(name, names)}")
        branch = Branch(upscaler, factor, name)
        found = rows_in(root / "data/distortion")(branch)
        check_rows(found, branch, list(photographs), [distortion])
        rows.append(found)
    parts = components(paired_rows(rows[0], rows[1], distortion), distortion, photographs)
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
        "pilot": {
            "photographs": parts.photographs,
            "images": parts.images,
            "images_each": parts.images_each,
            "samples": parts.samples,
        },
        "difference": parts.mean,
        "std_between_photographs": parts.between**0.5,
        "std_between_images": None if parts.tiles is None else parts.tiles**0.5,
        "std_between_samples": None if parts.within is None else parts.within**0.5,
        "design_effect": parts.design_effect(),
        "more_images": more_images(Project(root), [Branch.of(x) for x in branches]),
        "photographs_needed": {str(k): photographs_needed(parts, k, power=power, level=level) for k in counts},
    }


def more_images(project: Project, branches: list[Branch], count: int = MORE) -> dict[str, Any] | None:
    """Estimate what so many images more would take in all branches of a run, from what the last ones took.

    Attributes are left out, since the candidates are described already; so are weights that are adapted, of which more
    images adapt no more, and the tables and the page.

    Returns
    -------
    dict or None
        ``seconds`` for `images`, and of how many of the run's parts times are known; None where none of upscaling are.
    """
    found = costs(read_times(project.times))
    levels = dict.fromkeys((branch.downscaler, branch.factor) for branch in branches)
    wanted = [("downscale", f"x{factor}/{name}") for name, factor in levels]
    wanted += [(stage, branch.path) for branch in branches for stage in ("upscale", "distort")]
    known = [key for key in wanted if key in found]
    if not any(stage == "upscale" for stage, _ in known):
        return None
    seconds = sum(found[key].of(count) for key in known)
    for upscaler, factor in dict.fromkeys((branch.upscaler, branch.factor) for branch in branches):
        if surprise := found.get(("surprise", f"{upscaler}/x{factor}")):  # a unit of it is an LR image
            seconds += surprise.of(count * sum(of == factor for _, of in levels))
    last = [found[key].last for key in known]
    return {
        "images": count,
        "seconds": seconds,
        "samples": max(took.samples or 1 for took in last if took.stage == "upscale"),
        "workers": max(took.workers for took in last),
        "device": ", ".join(sorted({took.device for took in last})),
        "known": len(known),
        "of": len(wanted),
    }


def _cost(more: dict[str, Any]) -> str:
    """A sentence or two about `more_images`."""
    minutes = more["seconds"] / 60
    told = "less than a minute" if minutes < 1 else f"about {minutes:.2g} minutes"
    if minutes >= 99.5:
        told = f"about {minutes / 60:.2g} hours"
    text = (
        f"{more['images']} more images cost {told} in all branches of this run, with K = {more['samples']}, as fast as"
        f" it ran last ({more['device']}, at most {more['workers']} worker{'s' if more['workers'] > 1 else ''})."
    )
    if more["known"] < more["of"]:
        text += f" Times are known of {more['known']} of its {more['of']} parts alone, so it is more."
    return text


def _pick(option: str, value: Any, known: list[Any]) -> Any:
    if value is None:
        return known[0]
    if value not in known:
        raise UserError(f"{option} {value}: not in this run, which has {', '.join(map(str, known))}")
    return value


def sizing_markdown(plan: dict[str, Any]) -> str:
    """Return the answer as a table."""
    pilot, each = plan["pilot"], plan["pilot"]["images_each"]
    tiled = plan["std_between_images"] is not None
    spreads = [f"{plan['std_between_photographs']:.4g} between photographs"]
    if tiled:
        spreads.append(f"{plan['std_between_images']:.4g} between the images of one")
    if plan["std_between_samples"] is not None:
        spreads.append(f"{plan['std_between_samples']:.4g} between samples of an image")
    lines = [
        f"{plan['b']} minus {plan['a']}, {plan['upscaler']} x{plan['factor']}, {plan['label']}:"
        f" {plan['difference']:+.4g} in a pilot of {counted(pilot['photographs'], pilot['images'])} and"
        f" {pilot['samples']:.3g} samples.",
        f"Standard deviation of the paired difference: {', '.join(spreads)}"
        + (
            "." if plan["std_between_samples"] is not None else "; with one sample per image, that of samples is in it."
        ),
    ]
    if tiled:
        lines.append(
            f"{each:.3g} images of a photograph are alike: the variance is {plan['design_effect']:.2f} times that of as"
            " many images of different photographs."
        )
    head = f"photographs for {plan['power']:.0%} power at level {plan['level']:g}"
    rows = [
        [k, *(("over a million", "") if count is None else (str(count), f"{count * each * int(k):.0f}"))]
        for k, count in plan["photographs_needed"].items()
    ]
    lines += ["", *markdown_table(["samples K", head, "reconstructions"], rows)]
    if plan["more_images"]:
        lines += ["", _cost(plan["more_images"])]
    lines += [
        "",
        "If the true difference is as large as the pilot's, which is itself uncertain; for a single comparison, without"
        " correction for others. Latents are common to all downscalers, so a few samples are enough.",
    ]
    return "\n".join(lines) + "\n"
