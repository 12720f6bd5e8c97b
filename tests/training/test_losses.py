"""The energy score is a proper one."""

from __future__ import annotations

import torch

from ida_rd.training.losses import LEAST_SIDE, OrientedFeatures, energy_score


def test_the_energy_score_is_least_for_samples_of_the_images_own_distribution() -> None:
    torch.manual_seed(0)
    features, n = OrientedFeatures(), 64
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 5), size=(32, 32), mode="bicubic")

    def drawn(spread: float, centre: torch.Tensor = smooth) -> torch.Tensor:
        return centre + spread * torch.randn(n, 3, 32, 32)

    def score(spread: float, centre: torch.Tensor = smooth) -> float:
        return float(energy_score(features, drawn(0.05), drawn(spread, centre), drawn(spread, centre)).mean())

    right = score(0.05)
    assert all(score(spread) > 1.05 * right for spread in (0.0, 0.02, 0.15))
    assert score(0.05, smooth.flip(3)) > 1.05 * right
    same = drawn(0.05)
    assert energy_score(features, same, same, same).abs().max() < 1e-4
    flat = features(torch.full((1, 3, LEAST_SIDE, LEAST_SIDE), 0.7))
    assert max(float(f.abs().max()) for f in flat) < 0.01  # brightness alone is no feature
