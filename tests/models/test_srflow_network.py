"""SRFlow's network: parity with the official ones, the fast decoder, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.srflow.fill_weights import fill
from golden.srflow.network import CONFIGS, HERE, TINY, UNUSED, filled, golden_folder, shapes_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator
from ida_rd.models.srflow import decoder as decoder_module
from ida_rd.models.srflow.checkpoint import load_encoder, load_network
from ida_rd.models.srflow.config import SRFlowConfig
from ida_rd.models.srflow.decoder import Decoder
from ida_rd.models.srflow.network import SRFlowNet

PARITY = pytest.mark.parity("ida_rd.models.srflow.network", "ida_rd.models.srflow.decoder")

# Largest allowed differences from the release's own float32 results, and from its float64 ones.
FLOAT32 = {
    "feat": 2e-5,
    "rrdb_out": 2e-5,
    "dec_h0_sr": 1e-4,
    "dec_h09_sr": 5e-4,
    "eps": 1e-4,
    "nll": 2e-5,
    "logdet": 0.1,
}
FLOAT64 = {
    "feat": 2e-5,
    "rrdb_out": 1e-5,
    "dec_h0_sr": 1e-5,
    "dec_h09_sr": 1e-5,
    "eps": 1e-4,
    "nll": 1e-7,
    "logdet": 1e-3,
}


def image(array: NDArray[np.uint8], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(array.astype(np.float32) / np.float32(255)).to(dtype)


def worst(golden: dict[str, NDArray[Any]], name: str, value: Tensor, dtype: torch.dtype) -> None:
    """Assert that a value is within tolerance of the golden one of its precision."""
    double = dtype == torch.float64
    key = name + "_f64" if double and name + "_f64" in golden else name
    kind = next(k for k in (FLOAT64 if double else FLOAT32) if k in name)
    limit = (FLOAT64 if double else FLOAT32)[kind]
    if double and key == name and kind not in ("feat", "eps", "rrdb_out"):
        limit = FLOAT32[kind]  # only a float32 result of the release is known
    difference = float(np.abs(value.double().numpy() - golden[key].astype(np.float64)).max())
    assert difference <= limit, f"{key}: {difference} > {limit}"


@pytest.mark.parametrize("name", CONFIGS)
def test_keys_and_shapes_are_the_official_ones(name: str, request: pytest.FixtureRequest) -> None:
    folder = HERE if name == "tiny" else golden_folder(name, request.getfixturevalue("shared"))
    expected = {key: shape for key, shape in shapes_of(name, folder).items() if UNUSED not in key}
    with torch.device("meta"):
        net = SRFlowNet(CONFIGS[name])
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == expected


@PARITY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGS)
def test_features_samples_latents_and_likelihood_equal_the_golden_ones(
    name: str, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    folder = HERE if name == "tiny" else golden_folder(name, request.getfixturevalue("shared"))
    path = folder / f"golden_{name}.npz"
    if not path.exists():
        pytest.skip(f"needs {path}, which does not exist")
    golden = dict(np.load(path))
    config = CONFIGS[name]
    net = filled(config, dtype)
    hr, lr = image(golden["hr_u8"], dtype), image(golden["lr_u8"], dtype)
    features = net.RRDB(lr)
    worst(golden, "rrdb_out", net.RRDB.image(lr), dtype)
    for level in range(config.levels):
        f = features.conditioning(level)
        worst(golden, f"feat_level{level + 1}_chan_mean", f.mean((2, 3)), dtype)
        worst(golden, f"feat_level{level + 1}_chan_std", f.std((2, 3), correction=0), dtype)
        worst(golden, f"feat_level{level + 1}_corner", f[:, :, -1, -1], dtype)
        worst(golden, f"feat_level{level + 1}_11", f[:, :, 1, 1], dtype)

    count = len(config.latent_shapes(2, 2))
    hot = [torch.from_numpy(golden[f"dec_h09_eps{i}"]).to(dtype) for i in range(count)]
    cold = [torch.zeros_like(latent) for latent in hot]
    fast = Decoder(net)
    for latents, heat in ((hot, "h09"), (cold, "h0")):
        sr, logdet = net.decode(latents, features)
        worst(golden, f"dec_{heat}_sr", sr, dtype)
        worst(golden, f"dec_{heat}_logdet", logdet, dtype)
        alone = [fast.decode([z[b : b + 1] for z in latents], net.RRDB(lr[b : b + 1])) for b in range(len(lr))]
        worst(golden, f"dec_{heat}_sr", torch.cat(alone), dtype)

    nll, latents, logdet = net.nll(hr, lr)
    worst(golden, "enc_nll", nll, dtype)
    worst(golden, "enc_logdet", logdet, dtype)
    for i, latent in enumerate(latents):
        worst(golden, f"enc_eps{i}", latent, dtype)
    back, undone = net.decode(latents, features)
    assert float((back - hr).abs().max()) < (1e-4 if dtype == torch.float32 else 1e-11)
    torch.testing.assert_close(undone, -logdet, rtol=1e-6, atol=0.05 if dtype == torch.float32 else 1e-7)

    nll, latents, logdet = net.nll(hr, lr, noise=torch.from_numpy(golden["noise_u"]).to(dtype))
    worst(golden, "encnoise_nll", nll, dtype)
    worst(golden, "encnoise_logdet", logdet, dtype)
    worst(golden, "encnoise_eps_last", latents[-1], dtype)


def test_a_seeded_official_sample(shared: Path) -> None:
    golden = np.load(shared / "golden" / "srflow" / "tiny_seeded.npz")
    heat = float(golden["heat"])
    net, lr = filled(TINY), image(golden["lr_u8"], torch.float32)
    torch.manual_seed(int(golden["seed"]))
    shapes = TINY.latent_shapes(*lr.shape[2:])
    # The release draws the last latent first, then those of the splits, deepest first.
    latents = [torch.randn(len(lr), *shape) * heat for shape in reversed(shapes)][::-1]
    assert np.array_equal(latents[-1].numpy(), golden["z"])
    np.testing.assert_allclose(net.decode(latents, net.RRDB(lr))[0], golden["sr"], atol=1e-5)


@pytest.fixture(scope="module")
def training() -> dict[str, NDArray[Any]]:
    return dict(np.load(HERE / "tiny_training.npz"))


@pytest.fixture(scope="module")
def tiny_images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    golden = np.load(HERE / "golden_tiny.npz")
    return golden["hr_u8"], golden["lr_u8"]


def _close(gradients: dict[str, Tensor], golden: dict[str, NDArray[Any]], prefix: str) -> int:
    compared = 0
    for key, value in golden.items():
        if key.startswith(prefix):
            mine = gradients[key.removeprefix(prefix)].double().numpy()
            assert np.abs(mine - value).max() <= 1e-4 * max(np.abs(value).max(), 1e-6), key
            compared += 1
    return compared


@PARITY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_gradients_equal_the_golden_ones(
    dtype: torch.dtype, training: dict[str, NDArray[Any]], tiny_images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    hr, lr = (torch.from_numpy(x).to(dtype) / 255 for x in tiny_images)
    net = filled(TINY, dtype).requires_grad_(True)
    loss = net.nll(hr, lr)[0].mean()
    suffix = "f64" if dtype == torch.float64 else "f32"
    assert float(loss.detach()) == pytest.approx(float(training[f"loss0_{suffix}"]), abs=1e-5)
    loss.backward()
    used = {key: p.grad for key, p in net.named_parameters() if p.grad is not None}
    assert _close(used, training, "grad/") == len(used) > 200

    net.zero_grad()
    features = net.RRDB(lr)
    zeros = [torch.zeros(len(lr), *shape, dtype=dtype) for shape in TINY.latent_shapes(*lr.shape[2:])]
    loss = (net.decode(zeros, features)[0] - hr).abs().mean()
    assert float(loss.detach()) == pytest.approx(float(training[f"l1_loss_{suffix}"]), abs=1e-5)
    loss.backward()
    assert _close({key: p.grad for key, p in net.named_parameters() if p.grad is not None}, training, "l1grad/")


@PARITY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_six_steps_of_adam_equal_the_golden_ones(
    dtype: torch.dtype, training: dict[str, NDArray[Any]], tiny_images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    hr, lr = (torch.from_numpy(x).to(dtype) / 255 for x in tiny_images)
    net = filled(TINY, dtype).requires_grad_(True)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
    losses = []
    for _ in range(6):
        optimiser.zero_grad()
        loss = net.nll(hr, lr)[0].mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    suffix = "f64" if dtype == torch.float64 else "f32"
    np.testing.assert_allclose(losses, training[f"adam_losses_{suffix}"], atol=1e-4)


@PARITY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_data_dependent_initialisation_equals_the_golden_one(
    dtype: torch.dtype, training: dict[str, NDArray[Any]], tiny_images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    hr, lr = (torch.from_numpy(x).to(dtype) / 255 for x in tiny_images)
    net = filled(TINY, dtype)
    for key, p in net.named_parameters():
        if ".actnorm." in key:
            p.zero_()
    nll = net.nll(hr, lr, initialise=True)[0]
    suffix = "f64" if dtype == torch.float64 else "f32"
    np.testing.assert_allclose(nll, training[f"init_nll_{suffix}"], atol=1e-5)
    state = net.state_dict()
    compared = 0
    for key, value in training.items():
        if key.startswith("init/"):
            np.testing.assert_allclose(state[key.removeprefix("init/")], value, atol=2e-5, err_msg=key)
            compared += 1
    assert compared == sum(".actnorm." in key for key in state)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.nll(hr.flip(2) ** 2, lr.flip(2) ** 2, initialise=True)  # what is set is not set again
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@settings(max_examples=12)
@given(
    factor=st.sampled_from([4, 8]),
    stacked=st.sampled_from([(0,), (1,), (0, 1)]),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    count=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_fast_decoder_is_the_literal_one(
    factor: int, stacked: tuple[int, ...], sides: tuple[int, int], count: int, seed: int
) -> None:
    config = SRFlowConfig(factor=factor, blocks=2, stacked=stacked, features=6, growth=3, steps=2, hidden=5)
    net = filled(config, torch.float64)
    random = generator("decoder", seed)
    lr = torch.from_numpy(random.random((1, 3, 2 * sides[0], 2 * sides[1])))
    latents = [torch.from_numpy(random.standard_normal((count, *s))) for s in config.latent_shapes(*lr.shape[2:])]
    literal = torch.cat([net.decode([z[k : k + 1] for z in latents], net.RRDB(lr))[0] for k in range(count)])
    fast = Decoder(net).decode(latents, net.RRDB(lr))
    torch.testing.assert_close(fast, literal, rtol=1e-9, atol=1e-9)
    back, _ = net.encode(literal, net.RRDB(lr.expand(count, -1, -1, -1)))
    for mine, drawn in zip(back, latents, strict=True):
        torch.testing.assert_close(mine, drawn, rtol=1e-7, atol=1e-7)


def test_a_sample_is_the_same_whichever_others_are_drawn_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    net = filled(TINY)
    lr = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    latents = [torch.randn(5, *s, generator=torch.Generator().manual_seed(1)) for s in TINY.latent_shapes(6, 8)]
    together = Decoder(net).decode(latents, net.RRDB(lr))
    for k in range(5):
        assert torch.equal(Decoder(net).decode([z[k : k + 1] for z in latents], net.RRDB(lr))[0], together[k])
    monkeypatch.setattr(decoder_module, "_group", lambda _: 2)  # as on a GPU
    torch.testing.assert_close(Decoder(net).decode(latents, net.RRDB(lr)), together, rtol=0, atol=1e-5)


# Checkpoints


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "SRFlow_tiny.pth"
    torch.save(filled(TINY).state_dict(), path)
    return path


def test_a_checkpoint_loads_with_module_prefix_and_unused_keys(tmp_path: Path) -> None:
    shapes = shapes_of("tiny", HERE)
    assert any(UNUSED in key for key in shapes)
    state = {f"module.{key}": torch.from_numpy(value) for key, value in fill(shapes).items()}
    torch.save(state, tmp_path / "x.pth")
    net = SRFlowNet(TINY)
    load_network(tmp_path / "x.pth", net)
    for key, value in filled(TINY).state_dict().items():
        assert torch.equal(net.state_dict()[key], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("RRDB.conv_first.bias"), "is missing: RRDB.conv_first.bias"),
        (lambda s: s.update({"RRDB.extra": torch.zeros(1)}), "is unknown: RRDB.extra"),
        (lambda s: s.update({"RRDB.conv_first.bias": torch.zeros(9)}), "RRDB.conv_first.bias (9,) for (8,)"),
    ],
)
def test_a_wrong_checkpoint_is_refused_by_key(tiny_file: Path, change: Any, message: str) -> None:
    state = torch.load(tiny_file, weights_only=True)
    change(state)
    torch.save(state, tiny_file)
    net = SRFlowNet(TINY)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_network(tiny_file, net)
    assert message in str(error.value)
    assert str(tiny_file) in str(error.value)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_many_missing_keys_are_counted_not_listed(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="and 215 more") as error:
        load_network(tmp_path / "x.pth", SRFlowNet(TINY))
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("prefix", ["", "RRDB.", "module.RRDB."])
def test_an_encoder_only_checkpoint_loads_into_the_encoder(tmp_path: Path, prefix: str) -> None:
    state = filled(TINY).RRDB.state_dict()
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "RRDB.pth")
    net = SRFlowNet(TINY)
    load_encoder(tmp_path / "RRDB.pth", net)
    assert all(torch.equal(net.RRDB.state_dict()[key], value) for key, value in state.items())
    torch.save({"upconv1.weight": state["upconv1.weight"]}, tmp_path / "RRDB.pth")
    with pytest.raises(UserError, match="is missing: conv_first"):
        load_encoder(tmp_path / "RRDB.pth", net)
