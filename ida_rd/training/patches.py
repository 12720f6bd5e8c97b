"""Training patches: pairs of HR crop and LR crop, each a pure function of (seed, step).

What makes the LR crops is a `Downscaling`: a function, and how far it reaches. Pillow's filters are provided
(`pillow`); any other downscaler that commutes with shifts by whole LR pixels will do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.files import sha256_file
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.seeds import generator

__all__ = [
    "FILTERS",
    "Downscaling",
    "PairSource",
    "Pairs",
    "PatchSource",
    "photo_files",
    "pillow",
    "through_jpeg",
    "training_files",
]

FILTERS = ("bicubic", "bilinear", "lanczos", "box", "hamming", "nearest")
PILLOW_REACH = 3  # LR pixels: that of the widest kernel, lanczos
JPEG_BLOCK = 16  # pixels: the period of a JPEG with halved chroma
JPEG_QUALITY = (85, 98)
SHARPEN_RADIUS = (0.4, 1.0)  # pixels
SHARPEN_PERCENT = (20, 150)

Pixels = NDArray[np.uint8]


class MakesLR(Protocol):
    """A function that makes the LR image of a crop."""

    def __call__(self, hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
        """Downscale (H, W, 3), uint8, to (h, w, 3), uint8; its random numbers, if any, come from `rng`."""
        ...


class Pairs(Protocol):
    """Where training takes its patches from."""

    def batch(self, stage: str, step: int, size: int) -> tuple[Pixels, Pixels]:
        """Return HR (B, 3, patch, patch) and LR (B, 3, patch/factor, patch/factor), uint8, of a step of a stage."""
        ...


@dataclass(frozen=True)
class Downscaling:
    """What makes LR crops.

    Attributes
    ----------
    name : str
        Recorded with the run.
    reach : int
        HR pixels further than this many LR pixels from an LR pixel's centre do not affect it. With this
        margin around it, a crop's LR image equals the crop of the whole photograph's LR image.
    make : callable
        The signature is that of a downscaler.
    """

    name: str
    reach: int
    make: MakesLR


def pillow(name: str) -> Downscaling:
    """One of Pillow's filters."""
    if name not in FILTERS:
        raise UserError(f"--filters {name}: {did_you_mean(name, FILTERS)}")
    resampling = Image.Resampling[name.upper()]

    def make(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
        return np.asarray(Image.fromarray(hr).resize(size[::-1], resampling))

    return Downscaling(name, PILLOW_REACH, make)


def photo_files(folder: Path) -> list[Path]:
    """The JPEG and PNG files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})


def training_files(
    folder: Path, exclude_licence: str, sha256: Callable[[Path], str] = sha256_file
) -> list[tuple[Path, dict[str, str]]]:
    """List the images of `folder` with their rows of ``LICENSES.csv`` (empty where there is none).

    Parameters
    ----------
    folder : Path
        Folder of JPEG or PNG photographs.
    exclude_licence : str
        Leave out rows whose ``licence`` starts with this text; empty: none.
    sha256 : callable
        Hashes a photograph, where the table tells its hash.

    Raises
    ------
    UserError
        No folder, no image, or an image that ``LICENSES.csv`` does not list.
    """
    if not folder.is_dir():
        raise UserError(f"training images: {folder} is not a folder; give --images a folder of photographs")
    files = photo_files(folder)
    if not files:
        raise UserError(f"training images: {folder} holds no .jpg or .png file")
    table = folder / "LICENSES.csv"
    if not table.exists():
        if exclude_licence:
            raise UserError(f"{table} does not exist, so --exclude-licence {exclude_licence!r} cannot be obeyed")
        return [(path, {}) for path in files]
    with table.open(newline="", encoding="utf-8") as handle:
        rows = {row["file"]: row for row in csv.DictReader(handle)}
    missing = [path.name for path in files if path.name not in rows]
    if missing:
        raise UserError(f"{table} has no row for {', '.join(missing)}: add it or remove the file")
    kept = [(path, rows[path.name]) for path in files]
    if exclude_licence:
        kept = [(path, row) for path, row in kept if not row["licence"].startswith(exclude_licence)]
    for path, row in kept:
        if row.get("sha256") and row["sha256"] != sha256(path):
            raise UserError(f"{path}: its sha256 is not the one in {table.name}; fetch the file again")
    return kept


class PatchSource:
    """All training photographs in memory (8-bit), and batches cut from them.

    Parameters
    ----------
    files : list of Path
        Photographs, RGB.
    factor : int
        Scale factor.
    patch : int
        HR patch side in pixels, a multiple of `factor`.
    seed : int
        Seed of the crops.
    jpeg : float
        Share of the patches that go through a JPEG file of quality 85 to 98 with halved chroma, as most photographs in
        the world did; its block grid lies anywhere.
    candidates : int
        Crops drawn per patch, of which the one with the most detail *in its LR image* is kept. A choice
        by LR alone leaves the distribution of HR given LR, which the flow learns, as it is.
    scales : list of float
        The photographs are also shown reduced by these factors, each with the same probability.
    sharpen : float
        Share of the patches that are sharpened by an unsharp mask, as many cameras and editors do.
    downscalings : list of Downscaling
        What makes the LR images, one of them drawn for each patch; Pillow's bicubic filter if left out.
    """

    def __init__(
        self,
        files: list[Path],
        factor: int,
        patch: int,
        seed: int,
        *,
        jpeg: float = 0.0,
        candidates: int = 1,
        downscalings: Sequence[Downscaling] = (),
        scales: Sequence[float] = (1.0,),
        sharpen: float = 0.0,
    ) -> None:
        self.factor, self.patch, self.seed = factor, patch, seed
        self.jpeg, self.candidates, self.sharpen = jpeg, candidates, sharpen
        self.downscalings = list(downscalings) or [pillow("bicubic")]
        self.margin = max(one.reach for one in self.downscalings)  # LR pixels
        self.outer = patch + 2 * self.margin * factor
        if any(scale < 1 for scale in scales):
            raise UserError(f"--scales: {min(scales)} would enlarge the photographs; from 1 up")
        self.images = []
        self.weights = []
        for scale in scales:
            images = [_reduced(path, scale) for path in files]
            for path, image in zip(files, images, strict=True):
                if min(image.shape[:2]) < self.outer:
                    side = f"{self.outer} x {self.outer} pixels"
                    raise UserError(f"{path}: reduced by {scale:g} smaller than {side}, too small to train on")
            pixels = np.array([image.shape[0] * image.shape[1] for image in images], dtype=float)
            self.images.append(images)
            self.weights.append(pixels / pixels.sum())

    def batch(self, stage: str, step: int, size: int) -> tuple[Pixels, Pixels]:
        """Return HR (B, 3, patch, patch) and LR (B, 3, patch/factor, patch/factor), uint8.

        Any pixel offset (so every phase of the LR grid), eight flips and rotations.
        """
        rng = generator("patches", self.seed, stage, step)
        return _batch(lambda: self._pair(rng), size, self.candidates)

    def _pair(self, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        scale = rng.integers(len(self.images)) if len(self.images) > 1 else 0
        image = self.images[scale][rng.choice(len(self.weights[scale]), p=self.weights[scale])]
        # Room to place the JPEG's block grid, where the photograph has it.
        room = min(JPEG_BLOCK - 1, min(image.shape[:2]) - self.outer) if rng.random() < self.jpeg else -1
        outer = self.outer + max(room, 0)
        y, x = (int(rng.integers(side - outer + 1)) for side in image.shape[:2])
        crop = np.rot90(image[y : y + outer, x : x + outer], int(rng.integers(4)))
        if rng.integers(2):
            crop = crop[:, ::-1]
        crop = np.ascontiguousarray(crop)
        if self.sharpen and rng.random() < self.sharpen:
            crop = _sharpened(crop, rng.uniform(*SHARPEN_RADIUS), int(rng.integers(*SHARPEN_PERCENT)))
        if room >= 0:
            crop = through_jpeg(crop, int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))
            y, x = (int(n) for n in rng.integers(room + 1, size=2))
            crop = np.ascontiguousarray(crop[y : y + self.outer, x : x + self.outer])
        side, m = self.patch // self.factor, self.margin
        downscaling = self.downscalings[rng.integers(len(self.downscalings))]
        small = downscaling.make(crop, (side + 2 * m,) * 2, rng=rng)
        lr = small[m : m + side, m : m + side].transpose(2, 0, 1)
        m *= self.factor
        hr = crop[m : m + self.patch, m : m + self.patch].transpose(2, 0, 1)
        return hr, lr


class PairSource:
    """Photographs whose whole LR images are there, and patches cut from both at the same place.

    For LR images that no crop gives: of a downscaler that looks at the whole image, or made elsewhere. Every patch is a
    crop of the photograph at a multiple of the factor, as it is: neither flipped nor compressed, since its LR image
    would then be another.

    Parameters
    ----------
    pairs : sequence of tuple of ndarray
        HR (H, W, 3) and LR (H / factor, W / factor, 3), uint8.
    factor, patch, seed, candidates : int
        As for `PatchSource`.
    """

    def __init__(
        self, pairs: Sequence[tuple[Pixels, Pixels]], factor: int, patch: int, seed: int, *, candidates: int = 1
    ) -> None:
        self.pairs, self.factor, self.patch, self.seed = list(pairs), factor, patch, seed
        self.candidates = candidates
        for hr, lr in self.pairs:
            if hr.shape[:2] != (lr.shape[0] * factor, lr.shape[1] * factor) or min(hr.shape[:2]) < patch:
                raise ValueError(f"{hr.shape} and {lr.shape} are no pair for patches of {patch}")
        pixels = np.array([lr.shape[0] * lr.shape[1] for _, lr in self.pairs], dtype=float)
        self.weights = pixels / pixels.sum()

    def batch(self, stage: str, step: int, size: int) -> tuple[Pixels, Pixels]:
        """Return HR (B, 3, patch, patch) and LR (B, 3, patch/factor, patch/factor), uint8."""
        rng = generator("pairs", self.seed, stage, step)
        return _batch(lambda: self._pair(rng), size, self.candidates)

    def _pair(self, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        hr, lr = self.pairs[rng.choice(len(self.weights), p=self.weights)]
        side, factor = self.patch // self.factor, self.factor
        y, x = (int(rng.integers(length - side + 1)) for length in lr.shape[:2])
        big = hr[y * factor : y * factor + self.patch, x * factor : x * factor + self.patch]
        return big.transpose(2, 0, 1), lr[y : y + side, x : x + side].transpose(2, 0, 1)


def _batch(draw: Callable[[], tuple[Pixels, Pixels]], size: int, candidates: int) -> tuple[Pixels, Pixels]:
    """Draw `size` pairs, each the one with most detail in its LR image of so many."""
    pairs = [max((draw() for _ in range(candidates)), key=lambda pair: _detail(pair[1])) for _ in range(size)]
    hr, lr = (np.ascontiguousarray(np.stack(images)) for images in zip(*pairs, strict=True))
    return hr, lr


def _reduced(path: Path, scale: float) -> Pixels:
    try:
        pixels = read_image(path)
    except ImageError as error:
        raise UserError(f"training images: {path}: {error}; or remove it") from None
    if scale == 1:
        return pixels
    image = Image.fromarray(pixels)
    size = (round(image.width / scale), round(image.height / scale))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def _sharpened(image: Pixels, radius: float, percent: int) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.UnsharpMask(radius, percent, threshold=0)))


def through_jpeg(image: Pixels, quality: int) -> Pixels:
    """Write (H, W, 3), uint8, as JPEG with halved chroma, and read it back."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def _detail(lr: Pixels) -> float:
    """Total variation of an LR image."""
    levels = lr.astype(np.float32)
    return float(np.abs(np.diff(levels, axis=1)).sum() + np.abs(np.diff(levels, axis=2)).sum())
