"""IRN's network: parity with the published one and with real weights of a variant, and laws of its mathematics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.irn.network import HERE, META, PUBLISHED, TINY, TRAINING, filled, tensor, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.seeds import generator
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.network import IRNNet, quantise

PARITY = pytest.mark.parity("ida_rd.models.irn.network")
SIGMAS = (0.0, 0.5, 1.0)
# Largest differences of float32 results: of what is encoded, and of reconstructions by sigma.
ENCODED = 4.4e-7
DECODED = {"x2": 6.1e-6, "x4": 6.1e-6, "x8": 4.3e-5}
SUBNETS = st.sampled_from(["dense", "distilled"])


def _same(found: Tensor, golden: NDArray[np.float32], limit: float | None, what: str) -> None:
    """As the golden one, in float64 to the last digit of the float32 that it is stored in."""
    if limit is None:
        np.testing.assert_array_max_ulp(found.float().numpy(), golden, 1)
    else:
        difference = float(np.abs(found.double().numpy() - golden).max())
        assert difference <= limit, f"{what}: {difference} > {limit}"


def _compare(net: IRNNet, golden: Any, prefix: str, image: Any, z: Any, limits: tuple[float, float] | None) -> None:
    dtype = next(net.parameters()).dtype
    hr = tensor(image, dtype)
    with torch.no_grad():
        lr, latent, _ = net.encode(hr)
        eight = quantise(lr)
        _same(torch.cat([lr, latent], 1), golden[prefix + "forward"], limits and limits[0], "forward")
        assert np.array_equal((eight * 255).round().numpy(), golden[prefix + "lr_uint8"])
        for sigma in SIGMAS:
            key = f"{prefix}hr_sigma{sigma:g}"
            _same(net.decode(eight, sigma * torch.from_numpy(z).to(dtype)), golden[key], limits and limits[1], key)


def _random_net(config: IRNConfig, seed: int, dtype: torch.dtype) -> IRNNet:
    """A network whose every weight is drawn, at the size of trained ones."""
    random = generator("irn", seed)
    net = IRNNet(config)
    with torch.no_grad():
        for parameter in net.parameters():
            gain = 0.5 / max(float(np.prod(parameter.shape[1:])), 1.0) ** 0.5
            parameter.copy_(gain * torch.from_numpy(random.standard_normal(tuple(parameter.shape))))
    return net.to(dtype)


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_shapes_and_counts_are_the_published_ones(name: str) -> None:
    net = IRNNet(PUBLISHED[name])
    state = net.state_dict()
    assert {key: [*value.shape] for key, value in state.items()} == json.loads((HERE / "keys.json").read_text())[name]
    counts = META["counts"][name]
    assert len(state) == counts["state_dict_entries"]
    assert sum(value.numel() for value in state.values()) == counts["total_incl_haar"]
    assert sum(value.numel() for value in net.parameters()) == counts["trainable"]


def test_keys_and_shapes_of_the_variant_are_its_own() -> None:
    state = IRNNet(IRNConfig((8, 8), subnet="distilled")).state_dict()
    assert {key: [*value.shape] for key, value in state.items()} == json.loads((HERE / "firn_keys.json").read_text())


@PARITY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_give_the_golden_values(name: str, dtype: torch.dtype, shared: Path) -> None:
    golden = np.load(shared / "golden" / "irn" / f"golden_{name}.npz")
    net = filled(PUBLISHED[name], dtype)
    limits = (ENCODED, DECODED[name]) if dtype == torch.float32 else None
    _compare(net, golden, "", golden["img"], golden["z"], limits)
    if limits is None:
        with torch.no_grad():
            logdet = net.encode(tensor(golden["img"]))[2]
        assert float(logdet) == pytest.approx(META[name]["logdet_total"], rel=1e-12)
    else:  # as a network is laid out when its file is loaded: sums in another order
        _compare(
            net.to(memory_format=torch.channels_last), golden, "", golden["img"], golden["z"], (1e-6, 2 * limits[1])
        )


@PARITY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("file", "prefix"), [("FIRN_x4.pth", "FIRN_"), ("FIRNplus_x4.pth", "FIRNp_")])
def test_real_weights_of_the_variant_give_the_golden_values(
    file: str, prefix: str, dtype: torch.dtype, shared: Path
) -> None:
    folder = shared / "golden" / "irn"
    given = np.load(folder / "golden_x4.npz")
    net = load_network(shared / "weights" / "irn" / file).to(dtype)
    limits = None if dtype == torch.float64 else (1e-5, 1e-5)  # of FIRN+ the latent is long
    _compare(net, np.load(folder / "firn_x4.npz"), prefix, given["img"], given["z"], limits)


@PARITY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_small_network_gives_the_golden_values(dtype: torch.dtype) -> None:
    golden = dict(np.load(HERE / "tiny_x4_gc4.npz"))
    net = tiny(golden, dtype)
    hr = tensor(golden["imgs"], dtype)
    limits = (None, None) if dtype == torch.float64 else (ENCODED, DECODED["x4"])
    with torch.no_grad():
        lr, latent, _ = net.encode(hr)
        eight = quantise(lr)
        sr = net.decode(eight, torch.from_numpy(golden["z"]).to(dtype))
    _same(torch.cat([lr, latent], 1), golden["forward"], limits[0], "forward")
    assert np.array_equal((eight * 255).round().numpy(), golden["lr_uint8"])
    _same(sr, golden["hr_rec"], limits[1], "hr_rec")


def test_a_real_photograph_is_read_back_as_the_variants_authors_trained_it_to(
    shared: Path, astronaut: NDArray[np.uint8]
) -> None:
    """Without joint training sigma is no dial: FIRN breaks down below 1, and FIRN+ does not look at its latent."""
    hr = tensor(astronaut.transpose(2, 0, 1), torch.float32)
    found: dict[str, dict[float, float]] = {}
    for name in ("FIRN_x4", "FIRNplus_x4"):
        net = load_network(shared / "weights" / "irn" / f"{name}.pth")
        with torch.no_grad():
            lr, latent, _ = net.encode(hr)
            noise = torch.from_numpy(generator("z").standard_normal(tuple(latent.shape), dtype=np.float32))
            found[name] = {}
            for sigma in SIGMAS:
                sr = quantise(net.decode(quantise(lr), sigma * noise))
                found[name][sigma] = -10 * float((sr - hr)[..., 4:-4, 4:-4].square().mean().log10())
    firn, plus = found["FIRN_x4"], found["FIRNplus_x4"]
    assert firn[1.0] > firn[0.5] + 3 > firn[0.0] + 6
    assert max(plus.values()) - min(plus.values()) < 0.05
    # As on the photograph of which figures are known: 18.90, 24.38 and 29.79 dB, and 27.76.
    assert [firn[sigma] for sigma in SIGMAS] == pytest.approx([19.85, 24.80, 29.76], abs=0.05)
    assert plus[1.0] == pytest.approx(27.71, abs=0.05)


@settings(max_examples=20)
@given(
    subnet=SUBNETS,
    blocks=st.sampled_from([(2,), (1, 2), (1, 1, 1)]),
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    batch=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_the_inverse_gives_the_image_back(
    subnet: Any, blocks: tuple[int, ...], sides: tuple[int, int], batch: int, seed: int
) -> None:
    net = _random_net(IRNConfig(blocks, growth=4, subnet=subnet), seed, torch.float32)
    factor = net.config.factor
    hr = torch.from_numpy(generator("hr", seed).random((batch, 3, factor * sides[0], factor * sides[1]))).float()
    with torch.no_grad():
        lr, latent, _ = net.encode(hr)
        assert lr.shape == (batch, 3, *sides)
        assert latent.shape == (batch, net.config.latent_channels, *sides)
        assert float((net.decode(lr, latent) - hr).abs().max()) <= 1e-5
        # And it is no trifle that was undone: the blocks move what the pyramid gives.
        assert float((lr - _means(hr, factor)).abs().max()) > 1e-4


def _means(hr: Tensor, factor: int) -> Tensor:
    return torch.nn.functional.avg_pool2d(hr, factor)


@given(subnet=SUBNETS, blocks=st.sampled_from([(2,), (1, 1), (1, 1, 1)]), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_untrained_it_is_the_haar_pyramid(subnet: Any, blocks: tuple[int, ...], seed: int) -> None:
    net = IRNNet(IRNConfig(blocks, subnet=subnet)).double()
    factor = net.config.factor
    hr = torch.from_numpy(generator("hr", seed).random((1, 3, 2 * factor, 3 * factor)))
    with torch.no_grad():
        lr, latent, logdet = net.encode(hr)
        torch.testing.assert_close(lr, _means(hr, factor))
        torch.testing.assert_close(net.decode(lr, latent), hr)
        flat = net.encode(torch.full_like(hr, 0.25))[1]
    assert float(flat.abs().max()) == 0, "a flat image has no detail"
    assert float(logdet) < 0


def test_it_begins_as_published() -> None:
    stated = TRAINING["init"]
    state = IRNNet(PUBLISHED["x4"]).state_dict()
    for key, value in stated["conv1_std"].items():
        assert float(state[key].std()) == pytest.approx(value, rel=0.1)
    assert all(not value.any() for key, value in state.items() if key.endswith(".bias") or "conv5" in key)


@pytest.mark.parametrize("subnet", ["dense", "distilled"])
def test_the_log_determinant_is_autograds(subnet: Any) -> None:
    net = _random_net(IRNConfig((1, 1), growth=3, subnet=subnet), 5, torch.float64)
    hr = torch.from_numpy(generator("logdet").random((1, 3, 4, 8)))

    def flat(pixels: Tensor) -> Tensor:
        return torch.cat(net.encode(pixels.view_as(hr))[:2], 1).flatten()

    jacobian = torch.autograd.functional.jacobian(flat, hr.flatten())
    expected = torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(net.encode(hr)[2][0], expected, rtol=1e-10, atol=1e-10)


def test_rounding_to_8_bits_and_its_gradient_are_the_golden_ones() -> None:
    golden = TRAINING["quant"]
    x = torch.tensor(golden["inp"], dtype=torch.float64, requires_grad=True)
    found = quantise(x)
    assert (found * 255).round().tolist() == golden["out_times255"]
    torch.testing.assert_close(found * 255, (found * 255).round(), rtol=0, atol=1e-12)
    (found * torch.arange(1.0, len(x) + 1, dtype=torch.float64)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == golden["grad"]


def test_a_configuration_that_is_no_network_is_refused() -> None:
    for wrong in ({"blocks": ()}, {"blocks": (1, 1, 1, 1)}, {"blocks": (0, 1)}, {"growth": 0}):
        with pytest.raises(ValueError, match=r"Haar step"):
            IRNConfig(**wrong)
    assert IRNConfig(**TINY.as_dict() | {"blocks": (2, 1)}) == TINY
