"""What IRN, IRN+ and IRN_sigma are trained by: losses, critic, features and steps are the published ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.irn.network import HERE, TRAINING, by_key, normal, picture, tensor, tiny
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.models.irn.network import quantise
from ida_rd.training.discriminator import Discriminator
from ida_rd.training.irn_features import LayerFeatures, features_of
from ida_rd.training.irn_losses import (
    Weights,
    absolute,
    critic_loss,
    fooling_loss,
    joint_loss,
    latent_loss,
    perceptual_loss,
    rescaling_loss,
    squared,
)
from ida_rd.training.loop import Loop, Product

CLOSE = 1e-14  # relative: what float64 leaves of a sum in another order, and of the root in a norm


def _close(value: float, rel: float = CLOSE) -> Any:
    return pytest.approx(value, rel=rel, abs=0)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(np.load(HERE / "tiny_x4_gc4.npz"))


@pytest.fixture(scope="module")
def hr() -> Tensor:
    return tensor(np.stack([picture(32, 40, seed) for seed in TRAINING["tiny_train_IRN"]["image_seeds"]]))


def _norm(parameters: Any) -> float:
    return float(torch.stack([p.grad.square().sum() for p in parameters if p.grad is not None]).sum().sqrt())


def test_the_images_of_the_golden_steps_are_those_of_the_golden_network(golden: dict[str, Any], hr: Tensor) -> None:
    assert torch.equal(tensor(golden["imgs"]), hr)


def test_losses_equal_the_golden_ones() -> None:
    stated = TRAINING["losses"]
    a, b = normal(41, (2, 3, 8, 8)), normal(42, (2, 3, 8, 8))
    real, fake = normal(43, (4, 1)), normal(44, (4, 1))
    assert squared(a, b).item() == _close(stated["l2"])
    assert absolute(a, b).item() == _close(stated["l1"])
    assert perceptual_loss([a, a], [b, b]).item() == _close(2 * stated["l1"])
    assert fooling_loss(real).item() == _close(stated["gan_real"])
    assert critic_loss(real, fake).item() == _close(stated["gan_real"] + stated["gan_fake"])
    assert fooling_loss(fake, real, "ragan").item() == _close(stated["ragan_g"])
    assert critic_loss(real, fake, "ragan").item() == _close(stated["ragan_d"])


def test_three_steps_of_irn_equal_the_golden_ones(golden: dict[str, Any], hr: Tensor, tmp_path: Path) -> None:
    stated = TRAINING["tiny_train_IRN"]
    net = tiny(golden)
    optimiser = torch.optim.Adam(net.parameters(), lr=stated["lr"], weight_decay=stated["weight_decay"])
    loop = Loop(
        *(tmp_path, {"net": net}, {"net": optimiser}, Product("net", "irn", {}), {}),
        averaged=[],
        decay=0.0,
        clip_norm=stated["clip"],
    )
    weights = Weights(stated["lambda_rec"], stated["lambda_fit"], stated["lambda_ce"])
    guide = F.avg_pool2d(hr, 4)
    for step in stated["steps"]:
        lr, latent, _ = net.encode(hr)
        sr = net.decode(quantise(lr), normal(step["z_seed"], (2, 45, 8, 10)))
        terms = {"guide": squared(lr, guide), "reconstruction": absolute(sr, hr), "latent": latent_loss(latent)}
        assert weights.guide * terms["guide"].item() == _close(step["l_forw_fit"])
        assert terms["reconstruction"].item() == _close(step["l_back_rec"])
        assert terms["latent"].item() == _close(step["l_forw_ce"])
        loss = rescaling_loss(terms, weights)
        assert loss.item() == _close(step["total"])
        assert loop.descend("net", loss, stated["lr"]) == _close(step["grad_norm_before_clip"], rel=1e-12)
        clipped = net.get_parameter("operations.1.H.conv5.weight").grad
        assert clipped is not None
        assert clipped.sum().item() == _close(step["clipped_grad_sum_H1conv5"], rel=1e-12)
    values = [value.double() for value in net.state_dict().values()]
    assert float(torch.stack([value.sum() for value in values]).sum()) == _close(stated["after3"]["sum"], rel=1e-11)
    assert float(torch.stack([value.square().sum() for value in values]).sum()) == _close(
        stated["after3"]["sumsq"], rel=1e-11
    )


@pytest.mark.parametrize("case", TRAINING["joint_sigma_toy"]["cases"], ids=lambda case: f"sigma {case['sigma']}")
def test_the_joint_loss_equals_the_golden_one(golden: dict[str, Any], hr: Tensor, case: dict[str, Any]) -> None:
    net = tiny(golden)
    lr, _, _ = net.encode(hr)
    sigma = case["sigma"]
    sr = net.decode(quantise(lr), sigma * normal(case["z_seed"], (2, 45, 8, 10)))
    terms = {
        "reconstruction": absolute(sr, hr),
        "guide": squared(lr, F.avg_pool2d(hr, 4)),
        "adversarial": fooling_loss(sr.mean((1, 2, 3))[:, None]),
        "perceptual": perceptual_loss([F.avg_pool2d(sr, 2)], [F.avg_pool2d(hr, 2)]),
    }
    for name, key in zip(terms, ("Lr", "Lg", "Ld", "Lp"), strict=True):
        assert terms[name].item() == _close(case[key])
    loss = joint_loss(terms, Weights(*[TRAINING["joint_sigma_toy"]["lambdas"][i] for i in (0, 1)]), sigma)
    assert loss.item() == _close(case["L"])
    loss.backward()
    assert _norm(net.parameters()) == _close(case["grad_norm"], rel=1e-12)
    without = {name: term for name, term in terms.items() if sigma or name in ("reconstruction", "guide")}
    assert joint_loss(without, Weights(), sigma).item() == loss.item(), "at 0 the critic need not be asked"


def test_the_critic_is_the_published_one() -> None:
    stated = TRAINING["disc"]
    critic = Discriminator(stated["size"])
    state = critic.state_dict()
    assert {key: [*value.shape] for key, value in state.items()} == stated["keys"]
    assert sum(p.numel() for p in critic.parameters()) == stated["params"]
    assert {key: value.shape for key, value in Discriminator(128).state_dict().items()} == {
        key: value.shape for key, value in state.items()
    }
    for key, value in state.items():
        if key.endswith("tracked"):
            continue
        drawn = by_key(key, tuple(value.shape))
        if key.endswith("running_var"):
            drawn = 1 + 0.1 * np.abs(drawn)
        elif key.endswith("running_mean"):
            drawn = 0.1 * drawn
        elif key.startswith("bn") and key.endswith("weight"):
            drawn = 1 + 0.1 * drawn
        elif key.endswith("bias"):
            drawn = 0.02 * drawn
        else:
            drawn = drawn * np.sqrt(2 / np.prod(value.shape[1:]))
        state[key] = torch.from_numpy(np.asarray(drawn)).float()
    critic.load_state_dict(state)
    critic = critic.double()
    images = tensor(np.stack([picture(stated["size"], stated["size"], seed) for seed in stated["image_seeds"]]))
    with torch.no_grad():
        for mode, key in ((False, "eval_logits"), (True, "train_logits")):
            assert critic.train(mode)(images).flatten().tolist() == [_close(x, rel=1e-11) for x in stated[key]]


def test_a_critic_of_any_patch_gives_a_logit_each_and_too_small_ones_are_refused() -> None:
    for patch in (32, 80, 150):
        assert Discriminator(patch, width=2)(torch.rand(2, 3, patch, patch)).shape == (2, 1)
    with pytest.raises(ValueError, match="needs 32 or more"):
        Discriminator(31)


# Features


def test_the_layer_of_vgg19_is_the_last_convolution_without_its_relu() -> None:
    layers = list(LayerFeatures("vgg19").features)
    assert isinstance(layers[-1], torch.nn.Conv2d)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in layers) == 16
    assert sum(isinstance(layer, torch.nn.MaxPool2d) for layer in layers) == 4


def test_features_of_real_weights_see_what_differs(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "alexnet-owt-7be5be79.pth").symlink_to(shared / "weights" / "lpips" / "alexnet_features.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    hr = tensor(picture(64, 64, 1), torch.float32)
    off = hr.flip(3).requires_grad_(True)
    for name in ("alexnet", "filters"):
        features = features_of(name, 64)
        loss = perceptual_loss(features(off), features(hr))
        assert loss.item() > 10 * perceptual_loss(features(hr), features(hr)).item() > 0
        (gradient,) = torch.autograd.grad(loss, off)
        assert bool(gradient.any())
    assert not any(p.requires_grad for p in features_of("alexnet", 64).parameters())


def test_features_that_cannot_be_had_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, patch, message in (
        ("vgg", 64, "--features vgg: did you mean 'vgg19'"),
        ("filters", 24, "--patch 24: the filters need patches of 28 pixels or more"),
        ("vgg19", 64, "vgg19-dcbb9e9d.pth: put a copy there"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            features_of(name, patch)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth")
    with pytest.raises(UserError, match="not the weights of torchvision's vgg19"):
        features_of("vgg19", 64)
