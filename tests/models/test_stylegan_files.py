"""Files of a StyleGAN generator: the published layout is read, and whatever else is refused in one line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.pulse.recipe import KEYS, mapping, normal, synthesis, weights
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.tensors import TensorFile, read_tensors
from ida_rd.models.stylegan.checkpoint import load_mapping, load_synthesis
from ida_rd.models.stylegan.config import official_channels

State = dict[str, Tensor]
KERNEL = "blocks.16x16.conv0_up.intermediate.kernel"


@pytest.fixture
def small() -> State:
    """A network of 16 x 16, narrower than the published ones."""
    return synthesis(16, torch.float32, channels=(6, 5, 4), latent=8).state_dict()


def read(state: Any, folder: Path, load: Callable[..., Any], *arguments: Any) -> Any:
    torch.save(state, folder / "net.pth")
    return load(read_tensors(folder / "net.pth"), *arguments)


def test_files_of_the_published_layout_are_read(tmp_path: Path) -> None:
    state = weights(KEYS["G_synthesis_64"])
    # As the reader gives them: a file of this size takes long to write.
    published = TensorFile(tmp_path / "net.pth", "", {f"module.{key}": value for key, value in state.items()}, {})
    net = load_synthesis(published, 64)
    assert net.config.channels == official_channels(64) == (512, 512, 512, 512, 256)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in state.items())
    assert not any(p.requires_grad for p in net.parameters())
    made = read(mapping(torch.float32).state_dict(), tmp_path, load_mapping)
    assert (made.width, made.depth) == (512, 8)


def test_a_network_of_other_widths_makes_what_it_made(tmp_path: Path, small: State) -> None:
    styles = normal(1, 1, 6, 8, dtype=torch.float32)
    made = synthesis(16, torch.float32, channels=(6, 5, 4), latent=8)(styles, [None] * 6)
    assert torch.equal(read(small, tmp_path, load_synthesis, 16)(styles, [None] * 6), made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("torgb.bias"), "is missing: torgb.bias: give the right file"),
        (lambda s: s.update({"noise_0": torch.zeros(1)}), "is unknown: noise_0"),
        (lambda s: s.update({"torgb.bias": torch.zeros(4)}), "torgb.bias (4,) for (3,)"),
        (lambda s: s.update({"torgb.bias": torch.zeros(3).int()}), "is not of floating point: torgb.bias"),
        (lambda s: s.update({"torgb.bias": torch.full((3,), torch.nan)}), "torgb.bias holds numbers that are not"),
        (lambda s: s.update({KERNEL: s[KERNEL].roll(1, 3)}), f"{KERNEL} is another filter"),
        (lambda s: s.pop(KERNEL), f"is missing: {KERNEL}"),
        (lambda s: s.pop("blocks.4x4.epi1.noise.weight"), "it has no blocks.4x4; it looks like the synthesis"),
        (lambda s: [s.pop(k) for k in list(s) if "8x8" in k], "makes images of 4 x 4, not of 16 x 16"),
        (lambda s: [s.pop(k) for k in list(s) if "16x16" in k], "not of 16 x 16: give another file, or set resol"),
        (lambda s: [s.pop(k) for k in list(s) if ".epi2." in k], "epi2.noise.weight, blocks.4x4.epi2.*and 6 more"),
        (lambda s: s.clear(), "is not a StyleGAN synthesis network: it has no blocks.4x4"),
    ],
)
def test_a_wrong_synthesis_network_is_refused_by_key(
    tmp_path: Path, small: State, change: Callable[[State], Any], message: str
) -> None:
    change(small)
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")) as error:
        read(small, tmp_path, load_synthesis, 16)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_swapped_files_are_told_apart(tmp_path: Path, small: State) -> None:
    with pytest.raises(UserError, match=r"not a StyleGAN mapping network: .*looks like the synthesis network: give"):
        read(small, tmp_path, load_mapping)
    with pytest.raises(UserError, match=r"not a StyleGAN synthesis network: .*looks like the mapping network: give"):
        read(mapping(torch.float32, width=8).state_dict(), tmp_path, load_synthesis, 16)


def test_a_mapping_network_with_a_gap_or_of_no_square_layers_is_refused(tmp_path: Path) -> None:
    state = mapping(torch.float32, width=8).state_dict()
    del state["dense3.weight"], state["dense3.bias"]
    with pytest.raises(UserError, match=r"is missing: dense3.weight, dense3.bias; is unknown: dense7"):
        read(state, tmp_path, load_mapping)
    state = mapping(torch.float32, width=8).state_dict()
    state["dense2.weight"] = torch.zeros(9, 8)
    with pytest.raises(UserError, match=r"dense2.weight \(9, 8\) for \(8, 8\)"):
        read(state, tmp_path, load_mapping)


def test_a_pickle_and_half_a_file_are_refused_and_nothing_is_run(tmp_path: Path, small: State) -> None:
    torch.save(small, tmp_path / "net.pth")
    whole = (tmp_path / "net.pth").read_bytes()

    class Evil:
        def __reduce__(self) -> Any:
            return (tmp_path / "ran").touch, ()

    for content in (whole[: len(whole) // 2], pickle.dumps(Evil()), b""):
        (tmp_path / "net.pth").write_bytes(content)
        with pytest.raises(UserError, match="not a file of plain tensors") as error:
            load_synthesis(read_tensors(tmp_path / "net.pth"), 16)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
