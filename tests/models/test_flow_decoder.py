"""The flow's decoder that walks step by step: the numbers of `FlowNet.decode`, in less memory."""

from __future__ import annotations

import pytest
import torch

from ida_rd.core.weights import locate
from ida_rd.models.flow import FlowConfig, FlowNet, load_network
from ida_rd.models.flow_decoder import decode_in_steps


def _net(factor: int, *, bounded: bool = True) -> FlowNet:
    """A small network of which no layer is zero."""
    torch.manual_seed(factor)
    levels = factor.bit_length() - 1
    net = FlowNet(FlowConfig(factor, 8, 2, 8, (3,) * levels, (8,) * levels, bounded))
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim != 2:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return net.requires_grad_(False)


def _shipped(factor: int) -> FlowNet:
    """What is sampled by default."""
    return load_network(locate(f"flow-compact.x{factor}").path)


@pytest.mark.parametrize(
    "net",
    [_shipped(2), _shipped(4), _shipped(8), _net(4), _net(4, bounded=False), _net(16)],
    ids=["shipped x2", "shipped x4", "shipped x8", "x4", "unbounded", "x16"],
)
@pytest.mark.parametrize("size", [(1, 1), (7, 11), pytest.param((24, 20), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("heat", [0.0, 1.1, 20.0])
def test_step_by_step_gives_the_very_bits_of_decode(net: FlowNet, size: tuple[int, int], heat: float) -> None:
    """At every heat, one where values run to their bounds included."""
    torch.set_num_threads(1)
    lr = torch.rand(1, 3, *size)
    z = heat * torch.randn(3, *net.latent_shape(*size))
    with torch.inference_mode():
        given = net.condition(lr)
        expected = [net.decode(z[k : k + 1], given) for k in range(3)]
        latents = [z[k : k + 1].clone() for k in range(3)]
        found = list(decode_in_steps(net, lr, latents))
    assert not latents
    assert torch.isfinite(expected[0]).all()
    assert [torch.equal(a, b) for a, b in zip(expected, found, strict=True)] == [True] * 3


def test_samples_that_go_together_are_those_that_go_alone() -> None:
    net, lr = _net(8), torch.rand(1, 3, 9, 14)
    z = torch.randn(3, *net.latent_shape(9, 14))
    together = next(decode_in_steps(net, lr, [z.clone()]))
    alone = torch.cat(list(decode_in_steps(net, lr, [part.clone() for part in z.split(1)])))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_what_depends_on_lr_alone_is_computed_once() -> None:
    net, counts = _net(4), {"features": 0, "conditioning": 0}

    def count(name: str) -> None:
        counts[name] += 1

    net.encoder.tail.register_forward_hook(lambda *_: count("features"))
    net.encoder.fine[0].register_forward_hook(lambda *_: count("features"))
    for step in [*net.steps(0), *net.steps(1)]:
        step.affine.register_forward_hook(lambda *_: count("conditioning"))
        step.from_features.register_forward_hook(lambda *_: count("conditioning"))
    latents = [torch.randn(1, *net.latent_shape(4, 4)) for _ in range(5)]
    assert len(list(decode_in_steps(net, torch.rand(1, 3, 4, 4), latents))) == 5
    assert counts == {"features": 2, "conditioning": 12}
