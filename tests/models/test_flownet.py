"""The flow's network: its laws, and its weights."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from ida_rd.core.errors import UserError
from ida_rd.models.flow import RESIDUAL_SCALE, FlowConfig, FlowNet, bits_per_dimension, load_network

SMALL = FlowConfig(4, 8, 1, 8, (2, 2), (8, 8))


def _random_net(config: FlowConfig, seed: int, scale: float = 0.05) -> FlowNet:
    """A network whose zero-initialised layers are not zero: else the flow is linear and proves little."""
    torch.manual_seed(seed)
    net = FlowNet(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim != 2:
                parameter.add_(scale * torch.randn_like(parameter))
    return net.requires_grad_(False)


@given(
    seed=st.integers(0, 1000),
    factor=st.sampled_from([2, 4, 8]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    batch=st.integers(1, 3),
)
def test_decode_undoes_encode(seed: int, factor: int, height: int, width: int, batch: int) -> None:
    levels = int(math.log2(factor))
    net = _random_net(FlowConfig(factor, 8, 1, 6, (2,) * levels, (8,) * levels), seed).double()
    lr = torch.rand(batch, 3, height, width, dtype=torch.float64)
    hr = torch.rand(batch, 3, height * factor, width * factor, dtype=torch.float64)
    given_lr = net.condition(lr)
    z, _ = net.encode(hr, given_lr)
    assert z.shape == (batch, *net.latent_shape(height, width))
    assert torch.allclose(net.decode(z, given_lr), hr, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_log_determinant_is_autograds(seed: int) -> None:
    net = _random_net(SMALL, seed).double()
    lr = torch.rand(1, 3, 2, 2, dtype=torch.float64)
    hr = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    condition = net.condition(lr)
    _, logdet = net.encode(hr, condition)
    jacobian = torch.autograd.functional.jacobian(lambda x: net.encode(x, condition)[0].flatten(), hr)
    expected = torch.linalg.slogdet(jacobian.reshape(hr.numel(), hr.numel()))[1]
    # The flow's log-determinant is taken from the residual in units of RESIDUAL_SCALE.
    expected += hr.numel() * math.log(RESIDUAL_SCALE)
    assert math.isclose(float(logdet), float(expected), rel_tol=1e-10, abs_tol=1e-8)


def test_bits_per_dimension_of_a_standard_normal_is_its_entropy() -> None:
    # A residual that is N(0, RESIDUAL_SCALE^2) per sub-pixel, coded by an identity flow: the entropy
    # of a Gaussian with a standard deviation of 12.75 grey levels.
    generator_ = torch.Generator().manual_seed(0)
    z = torch.randn(4, 48, 64, 64, generator=generator_, dtype=torch.float64)
    expected = 0.5 * math.log2(2 * math.pi * math.e * (255 * RESIDUAL_SCALE) ** 2)
    assert abs(float(bits_per_dimension(z, torch.zeros(4, dtype=torch.float64)).mean()) - expected) < 0.01


def test_a_network_grows_without_changing_its_function() -> None:
    torch.manual_seed(0)
    small = _random_net(FlowConfig(4, encoder_blocks=1, steps=(1, 2), hidden=(8, 8)), 0)
    large = FlowNet(FlowConfig(4, encoder_blocks=3, steps=(2, 4), hidden=(8, 8)))
    large.grow_from(small)
    hr, lr = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 4, 6)
    mine, theirs = (net.encode(hr, net.condition(lr)) for net in (large, small))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)
    loss = bits_per_dimension(*mine).mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for n, p in large.named_parameters() if n.endswith("last.weight"))
    with pytest.raises(ValueError, match="more than"):
        small.grow_from(large)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="no flow configuration"):
        load_network(tmp_path / "a.safetensors")
    metadata = {"config": json.dumps(SMALL.as_dict())}
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="not this network's"):
        load_network(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        "[" * 100_000,
        "{}",
        "[1]",
        json.dumps(SMALL.as_dict() | {"steps": [10**9, 10**9]}),
        json.dumps(SMALL.as_dict() | {"encoder_blocks": 10**9}),
        json.dumps(SMALL.as_dict() | {"encoder_width": 10**9}),
        json.dumps(SMALL.as_dict() | {"encoder_width": 10**30}),
        json.dumps(SMALL.as_dict() | {"factor": 2**60, "steps": [0] * 60, "hidden": [8] * 60}),
        json.dumps(SMALL.as_dict() | {"factor": 0}),
        json.dumps(SMALL.as_dict() | {"fine_width": "8"}),
        json.dumps(SMALL.as_dict() | {"novel": 1}),
    ],
)
def test_a_configuration_that_is_not_the_files_is_refused_before_it_costs_anything(tmp_path: Path, config: str) -> None:
    path = tmp_path / "a.safetensors"
    tensors = FlowNet(SMALL).state_dict()
    save_file(tensors, path, metadata={"config": json.dumps(SMALL.as_dict())})
    assert load_network(path).config == SMALL
    save_file(tensors, path, metadata={"config": config})
    with pytest.raises(UserError, match=r"a\.safetensors: its (tensors|metadata) are no") as error:
        load_network(path)
    assert "\n" not in str(error.value)


def test_a_wide_configuration_costs_no_memory(tmp_path: Path) -> None:
    config = json.dumps(SMALL.as_dict() | {"encoder_width": 4000})  # 600 MB for each layer
    save_file(FlowNet(SMALL).state_dict(), tmp_path / "a.safetensors", metadata={"config": config})
    code = f"""
from pathlib import Path
from ida_rd.core.errors import UserError
from ida_rd.models.flow import load_network
peak = lambda: int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = peak()
try:
    load_network(Path({str(tmp_path / "a.safetensors")!r}))
except UserError as error:
    print("its tensors are not this network's" in str(error), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    refused, grown = done.stdout.split()
    assert refused == "True"
    assert int(grown) * 1024 < 100e6


def test_the_flow_is_exact_in_bfloat16() -> None:
    net = _random_net(FlowConfig(4, 8, 1, 8, (4, 4), (8, 8)), 0)
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)
    whole, _ = net.encode(hr, net.condition(lr))
    with torch.autocast("cpu", torch.bfloat16):
        given_lr = net.condition(lr)
        z, logdet = net.encode(hr, given_lr)
        back = net.decode(z, given_lr)
    assert z.dtype == logdet.dtype == back.dtype == torch.float32
    assert (back - hr).abs().median() < 1e-5  # most couplings see the same rounded values both ways
    assert not torch.equal(z, whole)
