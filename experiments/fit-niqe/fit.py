"""Fit NIQE's pristine model to photographs, and write its card and credits.

    python fit.py --images DIR [--exclude-licence CC-BY-SA] --out niqe-pristine.safetensors

Of each photograph only the patches nearly as sharp as its sharpest are fitted. The file holds their mean and
covariance, 36 and 36 x 36 numbers: statistics, and no image. Beside it are written the card (``.md``) and the credits
(``.csv``).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import sha256_file, write_bytes, write_text
from ida_rd.core.images import ImageError, read_image
from ida_rd.quality.niqe.model import SHARP, Pristine, constant, fit
from ida_rd.quality.niqe.patches import SIDE, tiles_of
from ida_rd.training.card import credits, licences
from ida_rd.training.patches import training_files

CARD = """\
# Model card: {name}

The pristine model of `niqe`: mean and covariance of 36 features of sharp patches of photographs, in float64.
Written by `experiments/fit-niqe/fit.py`.

* **Use**: what an image's patches are compared with by `ida-rd quality --measure niqe`. Its scores are not those of the
  released model or of MATLAB's, which were fitted to other photographs: every label says which model a score is by.
* **Licence of the model**: Apache-2.0. sha256 `{sha256}`.
* **Training data**: {photographs} photographs, {megapixels:.0f} megapixels, each credited in `{name}.csv`, with
  their licences as declared at the source: {licences}.
  {excluded}
* **What was fitted**: {kept} of {tiles} patches of {side} x {side} pixels: those whose sharpness is above {sharp} of
  that of the sharpest patch of their photograph. From {least} to {most} per photograph, median {median:g}.
* **Figures**: condition number of the covariance {condition:.1e}; the released program's constant for images of one
  patch, by this model, {constant:.3f} (docs/quality.md says why it is one).
* **Bias of the data**: wallpapers and stock portraits, stored as JPEG and reduced 1.5 to 5 times, which makes them
  sharper than what a camera delivers: fair to downscaled images, hard on camera originals.
"""


def photographs(files: Sequence[Path], sizes: list[tuple[int, int]]) -> Iterator[NDArray[np.uint8]]:
    """Read them one by one; their sizes are noted."""
    for path in files:
        try:
            image = read_image(path)
        except ImageError as error:
            raise UserError(f"{path}: {error}; replace it, or take it out of the folder") from None
        if not tiles_of(*image.shape[:2]):
            raise UserError(f"{path}: is smaller than a patch of {SIDE} x {SIDE} pixels; take it out of the folder")
        sizes.append(image.shape[:2])
        yield image


def content(model: Pristine) -> bytes:
    """The model as a safetensors file: the same numbers give the same bytes."""
    return save({"covariance": np.ascontiguousarray(model.covariance), "mean": model.mean})


def card(
    name: str,
    sha256: str,
    rows: Sequence[dict[str, str]],
    sizes: Sequence[tuple[int, int]],
    model: Pristine,
    kept: list[int],
    excluded: str,
) -> str:
    """The model card: nothing in it is typed by hand."""
    return CARD.format(
        name=name,
        sha256=sha256,
        photographs=len(rows),
        megapixels=sum(h * w for h, w in sizes) / 1e6,
        licences=licences(rows),
        excluded=f"Photographs whose licence begins with {excluded} were left out."
        if excluded
        else "None was left out.",
        kept=sum(kept),
        tiles=sum(tiles_of(*size) for size in sizes),
        side=SIDE,
        sharp=SHARP,
        least=min(kept),
        most=max(kept),
        median=float(np.median(kept)),
        condition=np.linalg.cond(model.covariance),
        constant=constant(model),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of photographs")
    parser.add_argument(
        "--exclude-licence", default="", metavar="TEXT", help="leave out rows of LICENSES.csv that begin with this"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .safetensors file")
    given = parser.parse_args(arguments)
    if given.out.suffix != ".safetensors":
        raise UserError(f"--out {given.out}: must end in .safetensors")
    files = training_files(given.images, given.exclude_licence)
    rows = [row | {"file": path.name} for path, row in files]
    sizes: list[tuple[int, int]] = []
    model, kept = fit(photographs([path for path, _ in files], sizes))
    text = credits({"images": rows})
    write_bytes(given.out, content(model))
    write_text(given.out.with_suffix(".csv"), text)
    write_text(
        given.out.with_suffix(".md"),
        card(given.out.stem, sha256_file(given.out), rows, sizes, model, kept, given.exclude_licence),
    )
    print(f"{given.out}: {sum(kept)} patches of {len(rows)} photographs")


if __name__ == "__main__":
    exit_with_line(main)
