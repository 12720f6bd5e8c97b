"""How much of what an LR image cannot hold a kernel lets through."""

from __future__ import annotations

import numpy as np

from ida_rd.downscale.convolve import weights

FINE = 4096  # samples of a kernel's spectrum


def aliasing(kernel: str, factor: int) -> float:
    """Root of the share of power that a kernel lets through from above the LR grid's frequency, of a 1/f^2 spectrum."""
    index, share = weights(kernel, 64 * factor, 64)
    taps = np.zeros(64 * factor)
    np.add.at(taps, index[32], share[32])
    passed = np.abs(np.fft.rfft(taps, FINE)) ** 2
    frequency = np.fft.rfftfreq(FINE) * factor  # in cycles per LR pixel
    power = passed[1:] / frequency[1:] ** 2
    return float(np.sqrt(power[frequency[1:] > 0.5].sum() / power.sum()))
