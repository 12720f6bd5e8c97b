"""Inner loops of downscalers, compiled by numba on first use.

They are in a module of their own because importing numba takes most of a second, which a run without
them need not spend. All arithmetic is float64 (integer where the input is), without reordering.

What numba compiles it keeps as pickles, which run code when they are read: they lie in a folder of the user's,
``$XDG_CACHE_HOME/ida-rd/numba`` (``~/.cache``), that nobody else may write to, by the content of this file.
``NUMBA_CACHE_DIR`` takes its place. Where there is no such folder, each process compiles for itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import config as _config
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "block_moments",
    "coverage_means",
    "damped_quotient",
    "periodic_adjoint",
    "sparse_divergence",
    "ssim_optimal",
    "weighted_means",
]

Array = NDArray[Any]
config: Any = _config  # of which numba says too little to mypy


@cache
def _cache_folder() -> str | None:
    """Folder for compiled code, private to this user; None if there is none."""
    if config.CACHE_DIR:  # NUMBA_CACHE_DIR
        return str(config.CACHE_DIR)
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "ida-rd" / "numba"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022 or not os.access(folder, os.W_OK):
            return None
        # By content, since numba compares size and time alone, and those of an installed file may be any.
        folder /= hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
        folder.mkdir(exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return None
    return str(folder)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is called first, and keep the code in `_cache_folder`."""
    former, folder = config.CACHE_DIR, _cache_folder()
    config.CACHE_DIR = folder or former  # numba asks for it here, at once
    try:
        return njit(cache=folder is not None)(function)
    finally:
        config.CACHE_DIR = former


@compiled
def coverage_means(hr: Array, top: Array, rows: Array, left: Array, columns: Array) -> Array:
    """Means of (H, W, 3) over rectangles, weighted by outer products.

    `rows` are weights (h, k) of the k rows from `top` (h,) on, `columns` (w, m) likewise from `left`.
    """
    height, width = len(top), len(left)
    out = np.empty((height, width, 3))
    line = np.empty((hr.shape[1], 3))
    for oy in range(height):
        line[:] = 0
        for j in range(rows.shape[1]):
            weight = rows[oy, j]
            if weight == 0:
                continue
            row = hr[top[oy] + j]
            for x in range(row.shape[0]):
                for c in range(3):
                    line[x, c] += weight * row[x, c]
        for ox in range(width):
            red = green = blue = total = 0.0
            for i in range(columns.shape[1]):
                weight = columns[ox, i]
                if weight == 0:
                    continue
                x = left[ox] + i
                red += weight * line[x, 0]
                green += weight * line[x, 1]
                blue += weight * line[x, 2]
                total += weight
            total *= rows[oy].sum()
            out[oy, ox, 0] = red / total
            out[oy, ox, 1] = green / total
            out[oy, ox, 2] = blue / total
    return out


@compiled
def weighted_means(
    hr: Array, guide: Array, scale: float, power: float, top: Array, rows: Array, left: Array, columns: Array
) -> Array:
    """Means as in `coverage_means`, in which each pixel is also weighted by ``(|pixel - guide| * scale)^power``.

    Where all weights are zero, the result is `guide` (h, w, 3).
    """
    height, width = len(top), len(left)
    out = np.empty((height, width, 3))
    for oy in range(height):
        for ox in range(width):
            g0, g1, g2 = guide[oy, ox, 0], guide[oy, ox, 1], guide[oy, ox, 2]
            red = green = blue = total = 0.0
            for j in range(rows.shape[1]):
                y = top[oy] + j
                for i in range(columns.shape[1]):
                    x = left[ox] + i
                    h0, h1, h2 = np.float64(hr[y, x, 0]), np.float64(hr[y, x, 1]), np.float64(hr[y, x, 2])
                    square = ((h0 - g0) ** 2 + (h1 - g1) ** 2 + (h2 - g2) ** 2) * (scale * scale)
                    # Square roots are several times faster than a power.
                    if power == 1:
                        distance = np.sqrt(square)
                    elif power == 0.5:
                        distance = np.sqrt(np.sqrt(square))
                    else:
                        distance = square ** (0.5 * power)
                    weight = rows[oy, j] * columns[ox, i] * distance
                    red += weight * h0
                    green += weight * h1
                    blue += weight * h2
                    total += weight
            if total > 0:
                out[oy, ox, 0] = red / total
                out[oy, ox, 1] = green / total
                out[oy, ox, 2] = blue / total
            else:
                out[oy, ox, 0] = g0
                out[oy, ox, 1] = g1
                out[oy, ox, 2] = g2
    return out


@compiled
def block_moments(hr: Array, factor: int) -> tuple[Array, Array]:
    """Mean and variance of every factor x factor block of (H, W, 3): (H / factor, W / factor, 3) each.

    Two passes over each block, so that the variance of a nearly flat one is exact.
    """
    height, width = hr.shape[0] // factor, hr.shape[1] // factor
    mean, variance = np.empty((height, width, 3)), np.empty((height, width, 3))
    count = factor * factor
    for oy in range(height):
        for ox in range(width):
            red = green = blue = 0.0
            for y in range(oy * factor, (oy + 1) * factor):
                for x in range(ox * factor, (ox + 1) * factor):
                    red += hr[y, x, 0]
                    green += hr[y, x, 1]
                    blue += hr[y, x, 2]
            red /= count
            green /= count
            blue /= count
            v0 = v1 = v2 = 0.0
            for y in range(oy * factor, (oy + 1) * factor):
                for x in range(ox * factor, (ox + 1) * factor):
                    v0 += (hr[y, x, 0] - red) ** 2
                    v1 += (hr[y, x, 1] - green) ** 2
                    v2 += (hr[y, x, 2] - blue) ** 2
            mean[oy, ox, 0], mean[oy, ox, 1], mean[oy, ox, 2] = red, green, blue
            variance[oy, ox, 0], variance[oy, ox, 1], variance[oy, ox, 2] = v0 / count, v1 / count, v2 / count
    return mean, variance


@compiled
def ssim_optimal(mean: Array, variance: Array, patch: int, floor: float) -> Array:
    """Mean over all windows of patch x patch LR pixels of ``M + R (L - M)``; see `ida_rd.downscale.perceptual`.

    `mean` and `variance` are of the blocks, (h, w, 3); `floor` is the smallest variance that counts.
    """
    height, width, channels = mean.shape
    py, px = min(patch, height), min(patch, width)
    out = np.zeros((height, width, channels))
    count = 1.0 / (py * px)
    for y in range(height - py + 1):
        for x in range(width - px + 1):
            for c in range(channels):
                m = within = 0.0
                for j in range(py):
                    for i in range(px):
                        m += mean[y + j, x + i, c]
                        within += variance[y + j, x + i, c]
                m *= count
                between = 0.0
                for j in range(py):
                    for i in range(px):
                        between += (mean[y + j, x + i, c] - m) ** 2
                between *= count
                gain = np.sqrt(1 + within * count / between) if between >= floor else 0.0
                for j in range(py):
                    for i in range(px):
                        out[y + j, x + i, c] += m + gain * (mean[y + j, x + i, c] - m)
    for y in range(height):
        for x in range(width):
            windows = (min(y, height - py) - max(0, y - py + 1) + 1) * (min(x, width - px) - max(0, x - px + 1) + 1)
            for c in range(channels):
                out[y, x, c] /= windows
    return out


@compiled
def sparse_divergence(d: Array, threshold: float, gx: Array, gy: Array) -> Array:
    """Transposed gradient of the gradient of (C, h, w), without the pixels where that is small.

    Forward differences, periodic. Small: its square, summed over channels and both directions, is
    below `threshold`. `gx` and `gy`, like `d`, receive what is left of the gradient.
    """
    channels, height, width = d.shape
    square = np.empty(width)
    for y in range(height):
        below = y + 1 if y + 1 < height else 0
        square[:] = 0
        for c in range(channels):
            here, under, across, down = d[c, y], d[c, below], gx[c, y], gy[c, y]
            for x in range(width - 1):
                across[x] = here[x + 1] - here[x]
            across[width - 1] = here[0] - here[width - 1]
            for x in range(width):
                down[x] = under[x] - here[x]
                square[x] += across[x] * across[x] + down[x] * down[x]
        for c in range(channels):
            across, down = gx[c, y], gy[c, y]
            for x in range(width):
                keep = 0.0 if square[x] < threshold else 1.0
                across[x] *= keep
                down[x] *= keep
    out = np.empty_like(d)
    for c in range(channels):
        for y in range(height):
            across, down, above, line = gx[c, y], gy[c, y], gy[c, y - 1], out[c, y]  # -1 is the last row: periodic
            line[0] = across[width - 1] - across[0] + above[0] - down[0]
            for x in range(1, width):
                line[x] = across[x - 1] - across[x] + above[x] - down[x]
    return out


@compiled
def periodic_adjoint(hr: Array, taps: Array, first: int, factor: int, scale: float) -> Array:
    """Weighted sums of (H, W, 3) about every LR pixel, times `scale`: (3, H / factor, W / factor).

    Along both axes LR pixel k sums the HR pixels from ``factor k + first`` on, periodic, weighted by `taps`.
    """
    rows, columns = hr.shape[0], hr.shape[1]
    height, width = rows // factor, columns // factor
    out = np.empty((3, height, width))
    flat, line = hr.reshape(rows, 3 * columns), np.empty(3 * columns)
    for oy in range(height):
        line[:] = 0
        for j in range(len(taps)):
            weight = taps[j] * scale
            if weight == 0:
                continue
            row = flat[(oy * factor + first + j) % rows]
            for x in range(3 * columns):
                line[x] += weight * row[x]
        for ox in range(width):
            red = green = blue = 0.0
            x = 3 * ((ox * factor + first) % columns)
            for i in range(len(taps)):
                red += taps[i] * line[x]
                green += taps[i] * line[x + 1]
                blue += taps[i] * line[x + 2]
                x = x + 3 if x + 3 < 3 * columns else 0
            out[0, oy, ox], out[1, oy, ox], out[2, oy, ox] = red, green, blue
    return out


@compiled
def damped_quotient(spectrum: Array, change: Array, system: Array, laplacian: Array, beta: float) -> Array:
    """``(spectrum + beta change) / (system + beta laplacian)``; the first two (C, h, w) complex, the others (h, w).

    The result takes the place of `change`.
    """
    channels, height, width = spectrum.shape
    for y in range(height):
        for x in range(width):
            inverse = 1 / (system[y, x] + beta * laplacian[y, x])
            for c in range(channels):
                change[c, y, x] = (spectrum[c, y, x] + beta * change[c, y, x]) * inverse
    return change
