"""Score downscalers, or finished LR images, without a pipeline: the same functions, in one call."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.aggregate.own import own_rows, own_table
from ida_rd.aggregate.rate import rates
from ida_rd.aggregate.results import Results, aggregate, rows_in
from ida_rd.aggregate.statistics import summarise
from ida_rd.amounts import anchors, is_anchor, ladder_table, with_amounts
from ida_rd.balance.structure import has_structure
from ida_rd.core.candidates import photographs
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.foreign import decoding
from ida_rd.core.images import ImageError, image_files, read_image, write_png
from ida_rd.core.methods import NAME, known_methods, validate
from ida_rd.core.names import check_ids
from ida_rd.core.project import Branch, Project
from ida_rd.core.tables import read_table
from ida_rd.core.temporary import PROGRAM, temporary_folder
from ida_rd.core.weights import catalogue
from ida_rd.downscale.work import apply
from ida_rd.engine.script import store_of
from ida_rd.engine.store import Store
from ida_rd.pipeline import compute_branches
from ida_rd.plan.schema import LONGEST_NAME, RunParameters
from ida_rd.plan.stage import make_recipes, write_recipes
from ida_rd.scored import Result
from ida_rd.upscale.contract import Upscaler
from ida_rd.upscale.given import as_method

__all__ = ["DISTORTIONS", "Prepared", "default_upscaler", "known_downscalers", "named_distortion", "prepared", "score"]

Image = NDArray[np.uint8]
Downscaler = Callable[..., Image] | Mapping[str, Any] | Path | str
DISTORTIONS = ("lpips-alex", "fsim", "psnr")
SHIPPED = {"edm": "diffusion-compact", "flow": "flow-compact"}  # methods by the names of their weights, in tables
FILTERS = ("box", "bilinear", "hamming", "bicubic", "lanczos", "nearest")


def named_distortion(name: str) -> dict[str, Any]:
    """Parameters of a distortion by its usual name: ``lpips-alex``, ``st-lpips-alex``, ``fsim``, ``psnr``, ..."""
    if name == "dists":
        return {"method": "dists"}
    if name.startswith("st-lpips-"):
        return {"method": "st-lpips", "backbone": name.removeprefix("st-lpips-")}
    if name.startswith("lpips-"):
        return {"method": "lpips", "backbone": name.removeprefix("lpips-")}
    if name in ("psnr", "mse"):
        return {"method": "pixel", "metric": name}
    return {"method": "structural", "metric": name}


def default_upscaler(factor: int) -> str:
    """Method of the decoder where none is named: the diffusion decoder where its weights ship, or the flow."""
    return "edm" if f"{SHIPPED['edm']}.x{factor}" in catalogue() else "flow"


def score(
    downscale: Downscaler | Mapping[str, Downscaler],
    images: Path | str | Mapping[str, Image] | Sequence[Image],
    *,
    factor: int = 4,
    upscaler: Mapping[str, Any] | str | Upscaler | None = None,
    samples: int = 3,
    distortions: Sequence[str] | Mapping[str, Mapping[str, Any]] = DISTORTIONS,
    seed: int = 0,
    missing_weights: str = "skip",
    confidence: float = 0.95,
    resamples: int = 10000,
    photograph_before: str | None = None,
    blur_equivalent: bool = False,
) -> Result:
    """Measure how much is lost: downscale, reconstruct K times, compare.

    Parameters
    ----------
    downscale : callable, dict, str or path, or a mapping of names to those
        A function ``f(hr, size, *, rng)`` of uint8 (H, W, 3) and (h, w) to uint8 (h, w, 3); a method as in
        ``params.yaml`` (``{"method": "dpid"}``); the name of a method or of one of Pillow's filters; or a folder of
        finished LR images, named like the HR images.
    images : path, mapping of names to arrays, or sequence of arrays
        HR images, uint8 (H, W, 3) sRGB; at least two. A size that the factor does not divide is centre-cropped,
        or refused if an LR folder is given.
    factor : int
        Scale factor.
    upscaler : dict, str or object
        A method as in ``params.yaml``, or its name; or an object with ``sample(lr, draws)`` as
        `ida_rd.upscale.contract.Upscaler` has it, called in this process. None: `default_upscaler` of the factor.
    samples : int
        K, reconstructions per image.
    distortions : sequence of str, or mapping
        Names such as ``lpips-alex``, ``fsim``, ``psnr``; the first that can be computed leads.
    seed : int
        Of the latents, which are common to all downscalers, and of the tests.
    missing_weights : str
        ``skip`` distortions whose weights are not available (the result says so), or raise an ``error``.
    confidence, resamples : float, int
        Of the intervals; and random flips of signs in a test.
    photograph_before : str, optional
        Images whose names agree up to the last such text are tiles of one photograph, which then is the unit that
        intervals and tests are about; without it, every image is one.
    blur_equivalent : bool
        Say what each score amounts to: the Gaussian blur by which bicubic loses as much, and the share of the way to
        nearest. `ida_rd.amounts.anchors` are scored, too: a dozen downscalers more.

    Returns
    -------
    Result

    Raises
    ------
    UserError
        Whatever is wrong with the input, in one line.

    Notes
    -----
    Finished units are kept in ``.ida-rd`` of the working directory: a run that was interrupted resumes, and another
    sample, image or downscaler computes that one alone. `ida-rd gc` bounds its size.
    """
    with prepared(
        downscale,
        images,
        factor=factor,
        upscaler=default_upscaler(factor) if upscaler is None else upscaler,
        samples=samples,
        distortions=distortions,
        seed=seed,
        missing_weights=missing_weights,
        confidence=confidence,
        resamples=resamples,
        photograph_before=photograph_before,
        blur_equivalent=blur_equivalent,
    ) as run:
        tiles, project = run.tiles, run.project
        recipe, results, rows = _run(run.recipes, tiles, project, run.store)
        own = own_rows(project.sr, recipe)
        ladder = _anchor_means(run.recipes["aggregate"], tiles, project) if blur_equivalent else pd.DataFrame()
    told = own_table(own, tiles, recipe) if len(own) else pd.DataFrame()
    scores = results.scores
    if blur_equivalent:
        scores = with_amounts(scores, results.images, ladder, recipe)
        ladder = ladder_table(ladder, results.images, recipe)
    return Result(scores, results.differences, results.images, rows, recipe["skipped"], recipe, told, ladder)


@dataclass(frozen=True)
class Prepared:
    """A run in a temporary folder, checked, of which nothing is computed yet.

    Attributes
    ----------
    recipes : dict
    tiles : dict
        Image id to the photograph that it is a tile of.
    project : Project
    store : Store
    """

    recipes: dict[str, Any]
    tiles: dict[str, str]
    project: Project
    store: Store


@contextmanager
def prepared(
    downscale: Downscaler | Mapping[str, Downscaler],
    images: Path | str | Mapping[str, Image] | Sequence[Image],
    *,
    factor: int,
    upscaler: Mapping[str, Any] | str | Upscaler,
    samples: int,
    distortions: Sequence[str] | Mapping[str, Mapping[str, Any]],
    seed: int,
    missing_weights: str,
    confidence: float,
    resamples: int,
    photograph_before: str | None,
    blur_equivalent: bool = False,
) -> Iterator[Prepared]:
    """Write the HR images, check all parameters, make the recipes; see `score` for the parameters."""
    named = _named(downscale)
    factor = _factor(factor)
    with ExitStack() as stack:
        project = Project(stack.enter_context(temporary_folder(Path(tempfile.gettempdir()), PROGRAM)))
        store = Store(store_of(Project()).root)  # without its times: they are those of the project's own run
        if isinstance(upscaler, Mapping | str):
            upscalers = _upscaler(upscaler)
        else:
            upscalers = {_short(type(upscaler).__name__): {"method": stack.enter_context(as_method(upscaler, factor))}}
            store = store_of(project)  # nobody can say what its samples depend on: they are for this call only
        exact = any(_is_folder(d) for d in named.values())
        ids = _write_images(images, factor, project.hr, exact=exact)
        own = project.root / "own-lr"
        methods = {name: _entry(name, d, project.hr, own, factor, seed) for name, d in named.items()}
        if blur_equivalent:
            methods |= anchors(methods)
        parameters = {
            "seed": seed,
            "images": {"source": "folder", "path": str(project.hr), "photograph_before": photograph_before},
            "attributes": {"source": "image-statistics"},
            "balance": {"groups": 2, "size": len(ids)},
            "factors": [factor],
            "downscalers": methods,
            "upscalers": upscalers,
            "samples": samples,
            "distortions": _distortions(distortions),
            "missing_weights": missing_weights,
            "aggregate": {"confidence": confidence, "resamples": resamples},
        }
        recipes = make_recipes(validate(RunParameters, parameters, where=""), download=True)
        of = {f"{i}.png": i for i in ids}
        tiles = {of[file]: name for name, files in photographs(of, photograph_before).items() for file in files}
        yield Prepared(recipes, tiles, project, store)


def _factor(factor: Any) -> int:
    """Check it here: images are cut by it before ``plan`` sees it."""
    if isinstance(factor, bool) or not isinstance(factor, int | np.integer) or factor < 2:
        raise UserError(f"factor: give a whole number of at least 2 (it is {factor!r})")
    return int(factor)


def _distortions(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        return {name: dict(entry) if isinstance(entry, Mapping) else entry for name, entry in given.items()}
    if not isinstance(given, Iterable):
        raise UserError(f"distortions: give a list of names or a mapping, not {type(given).__name__}")
    return {name: named_distortion(str(name)) for name in given}


def _named(downscale: Any) -> dict[str, Downscaler]:
    if isinstance(downscale, Mapping) and "method" not in downscale:
        if not downscale:
            raise UserError("downscale: give at least one downscaler")
        for name in downscale:  # folders are named like it
            if not NAME.fullmatch(str(name)) or len(str(name)) > LONGEST_NAME:
                shown = repr(str(name)[:60])
                raise UserError(
                    f"downscale: the name {shown} must consist of a-z, 0-9, - and _, at most {LONGEST_NAME} of them"
                )
        return {str(name): value for name, value in downscale.items()}
    if isinstance(downscale, Mapping):
        return {_short(str(downscale["method"]).rpartition(".")[2]): downscale}
    if callable(downscale):
        return {_short(getattr(downscale, "__name__", "mine")): downscale}
    return {_short(Path(str(downscale)).name): downscale}


def _short(name: str) -> str:
    """A name for what was given none: its own, if it may be one."""
    return name.lower() if NAME.fullmatch(name.lower()) else "mine"


def known_downscalers() -> list[str]:
    """What a downscaler may be called: Pillow's filters, and the methods."""
    return [*FILTERS, *known_methods("downscale")]


def _is_folder(downscale: Any) -> bool:
    if isinstance(downscale, Path):
        return True
    if not isinstance(downscale, str) or downscale in (known := known_downscalers()):
        return False
    if NAME.fullmatch(downscale.lower()) and not os.path.lexists(downscale):
        remedy = did_you_mean(downscale.lower(), known)
        raise UserError(f"downscale: {downscale!r} is neither a downscaler nor a folder; {remedy}")
    return True


def _write_images(images: Any, factor: int, target: Path, *, exact: bool) -> list[str]:
    """Write HR images as PNG, cropped to multiples of the factor; return their names."""
    arrays: list[tuple[str, Path | Image]]
    if isinstance(images, Path | str):
        arrays = list(image_files(Path(images).expanduser(), what="HR images").items())
    elif isinstance(images, Mapping):
        arrays = [(unicodedata.normalize("NFC", str(name)), image) for name, image in images.items()]
    elif not isinstance(images, Sequence | np.ndarray):
        raise UserError(
            f"HR images: give a folder, a mapping of names to arrays or a list, not {type(images).__name__}"
        )
    else:
        arrays = [(f"image-{i:04d}", image) for i, image in enumerate(images)]
    if len(arrays) < 2:
        raise UserError(f"HR images: {len(arrays)} given; an interval over images needs at least two")
    check_ids((name for name, _ in arrays), "HR images")
    if len({name for name, _ in arrays}) != len(arrays):
        raise UserError("HR images: two have the same name (as text, in Unicode's form NFC): rename one of them")
    for name, source in arrays:
        if isinstance(source, Path):
            try:
                image = read_image(source)
            except ImageError as error:
                raise UserError(f"{source}: {error}") from None
        else:
            with decoding(f"HR image {name}: is no array"):
                image = np.asarray(source)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UserError(f"HR image {name}: is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
        height, width = (side - side % factor for side in image.shape[:2])
        if min(height, width) == 0:
            raise UserError(f"HR image {name}: {image.shape[1]} x {image.shape[0]} is less than the factor {factor}")
        if exact and (height, width) != image.shape[:2]:
            raise UserError(
                f"HR image {name}: {image.shape[1]} x {image.shape[0]} pixels are not divisible by the factor {factor},"
                " so no LR image fits it; crop both"
            )
        y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        write_png(target / f"{name}.png", np.ascontiguousarray(image[y : y + height, x : x + width]))
    return sorted(name for name, _ in arrays)


class _Function:
    """A function as a downscaler's module."""

    RANDOM = True

    def __init__(self, function: Callable[..., Image]) -> None:
        self.downscale = function


def _entry(name: str, downscale: Downscaler, hr: Path, lr: Path, factor: int, seed: int) -> dict[str, Any]:
    """Parameters of a downscaler as in ``params.yaml``; a function is called here, its LR images become a folder."""
    if isinstance(downscale, Mapping):
        return dict(downscale)
    if callable(downscale):
        for image_id, path in image_files(hr, what="HR images").items():
            try:
                small = apply(_Function(downscale), read_image(path), factor, {}, image_id=image_id, seed=seed)  # type: ignore[arg-type]
            except UserError as error:
                raise UserError(f"downscaler {name}, {error}") from None
            write_png(lr / name / f"{image_id}.png", small)
        return {"method": "folder", "path": str(lr / name)}
    if _is_folder(downscale):
        return {"method": "folder", "path": str(downscale)}
    if downscale in FILTERS:
        return {"method": "resample", "filter": downscale}
    return {"method": str(downscale)}


def _upscaler(upscaler: Mapping[str, Any] | str) -> dict[str, dict[str, Any]]:
    entry = {"method": upscaler} if isinstance(upscaler, str) else dict(upscaler)
    name = str(entry.get("method")).rpartition(".")[2].lower()
    return {SHIPPED.get(name, name): entry}


def _run(
    recipes: dict[str, Any], tiles: Mapping[str, str], project: Project, store: Store
) -> tuple[dict[str, Any], Results, pd.DataFrame]:
    """Compute every branch, and score those that were asked for; `tiles`: the images, and of which photographs.

    What scores are held against is no part of the recipe that is returned: it takes part in no test.
    """
    whole, ids = recipes["aggregate"], list(tiles)
    branches = [Branch.of(record) for record in whole["branches"]]
    write_recipes(recipes, project.plan)
    compute_branches(project, branches, store)
    recipe = whole | {"branches": [x for x in whole["branches"] if not is_anchor(x["downscaler"])]}
    branches = [Branch.of(record) for record in recipe["branches"]]
    names = list(dict.fromkeys((branch.downscaler, branch.factor) for branch in branches))
    flat = [i for i in ids if not has_structure(read_image(project.hr / f"{i}.png"))]
    results = aggregate(recipe, tiles, rows_in(project.distortion), rates(project.lr, names, ids), flat)
    tables = []
    for branch in branches:
        rows = read_table(project.rows_of(branch), hint="")
        tables.append(pd.DataFrame([asdict(branch)] * len(rows)).join(rows))
    return recipe, results, pd.concat(tables, ignore_index=True)


def _anchor_means(recipe: dict[str, Any], tiles: Mapping[str, str], project: Project) -> pd.DataFrame:
    """Image means of what scores are held against, one row per branch and image."""
    read, tables = rows_in(project.distortion), []
    for branch in (Branch.of(record) for record in recipe["branches"] if is_anchor(record["downscaler"])):
        rows = read(branch)
        means = {
            name: summarise(rows, name, tiles, confidence=recipe["confidence"])[1]
            for name in recipe["distortion_order"]
        }
        tables.append(pd.DataFrame(means).rename_axis("image_id").reset_index().assign(**asdict(branch)))
    return pd.concat(tables, ignore_index=True)
