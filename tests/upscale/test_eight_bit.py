"""Float images to 8-bit samples."""

from __future__ import annotations

import math

import pytest
import torch

from ida_rd.upscale.eight_bit import to_samples


def test_samples_that_are_not_finite_are_flagged_and_never_rounded_into_images() -> None:
    sr = torch.full((3, 3, 4, 4), 0.5)
    sr[1, 0, 0, 0] = math.nan
    sr[2, 0, 0, 0] = math.inf
    samples = to_samples(sr)
    assert samples.finite.tolist() == [True, False, False]
    assert (samples.sr[0] == 128).all()  # 127.5 is rounded (to even), not truncated


def test_clipped_pixels_are_counted() -> None:
    sr = torch.full((1, 3, 2, 2), 0.5)
    sr[0, 0, 0, 0], sr[0, 0, 0, 1], sr[0, 0, 1, 0] = -0.1, 1.1, 1.001
    assert to_samples(sr).clipped[0] == pytest.approx(2 / 12)
