"""The invertible building blocks: they are undone, and bounded."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from ida_rd.models.bijections import ChannelMix, bound, squeeze, unsqueeze


def test_channel_mix_initialises_to_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    x = 3 + 5 * torch.randn(8, 6, 16, 16)
    mix = ChannelMix(6)
    mix.initialise(x)
    with torch.no_grad():
        mix.weight.copy_(torch.eye(6))
        y, logdet = mix.encode(x)
        assert torch.allclose(mix.decode(y), x, atol=1e-5)
    assert y.mean().abs() < 1e-5
    assert abs(float(y.var()) - 1) < 1e-3
    assert math.isclose(float(logdet), -6 * 256 * math.log(5), rel_tol=0.02)


@given(seed=st.integers(0, 1000))
def test_squeeze_is_undone_and_bound_is_bounded(seed: int) -> None:
    torch.manual_seed(seed)
    x = 100 * torch.randn(2, 3, 8, 4)
    assert torch.equal(unsqueeze(squeeze(x)), x)
    assert bound(x, 2.0).abs().max() <= 2
    assert torch.allclose(bound(1e-3 * x[:, :, :1], 2.0), 1e-3 * x[:, :, :1], atol=1e-2)
