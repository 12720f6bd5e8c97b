"""Files of ResShift's networks: what ``plan`` reads of them, what is loaded, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.resshift.recipe import KEYS, SMALL, SMALL_AUTOENCODER, autoencoder, buffers, hollow, saved, unet, weights
from safetensors.torch import save_file
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.tensors import read_tensors
from ida_rd.models.resshift import checkpoint
from ida_rd.models.resshift.checkpoint import check_autoencoder, check_unet, load_autoencoder, load_unet
from ida_rd.models.resshift.config import AutoencoderConfig, UNetConfig


def one_line(error: pytest.ExceptionInfo[UserError], path: Path) -> bool:
    return str(path) in str(error.value) and len(str(error.value).splitlines()) == 1


def written(path: Path, state: dict[str, Tensor], config: UNetConfig | AutoencoderConfig = SMALL) -> Path:
    save_file(state, path, metadata={"config": json.dumps(config.as_dict())})
    return path


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("inside", [None, "state_dict"])
def test_published_files_are_known_by_the_names_in_them(tmp_path: Path, prefix: str, inside: str | None) -> None:
    """Whatever came before the names, and whatever training left beside them."""
    net = hollow(tmp_path / "net.pth", "unet", prefix, inside)
    coder = hollow(tmp_path / "coder.pth", "autoencoder", prefix, inside)
    assert check_unet(net) == UNetConfig()
    assert check_autoencoder(coder) == AutoencoderConfig()
    for check, path, what in (
        (check_unet, coder, "is not the U-Net of ResShift: it is the autoencoder: give the right file"),
        (check_autoencoder, net, "is not the autoencoder of ResShift: it is the U-Net: give the right file"),
    ):
        with pytest.raises(UserError, match=what) as error:
            check(path)
        assert one_line(error, path)


@pytest.mark.parametrize("inside", [None, "state_dict"])
def test_a_file_is_its_network(tmp_path: Path, inside: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With buffers, which are not read, and with what is called otherwise; or by a file that says its shape."""
    shapes = {"unet": SMALL, "autoencoder": SMALL_AUTOENCODER}  # which a .pth file does not say
    monkeypatch.setattr(checkpoint, "_stored", lambda path, metadata, role: shapes[role])
    for config, load, net in (
        (SMALL, load_unet, unet(SMALL, torch.float32)),
        (SMALL_AUTOENCODER, load_autoencoder, autoencoder(SMALL_AUTOENCODER, torch.float32)),
    ):
        state: dict[str, Any] = {f"module.{key}": value for key, value in weights(config).items()}
        state |= {f"module.{key}": value for key, value in buffers({
            "input_blocks.1.1.blocks.1.attn_mask": [4, 64, 64],
            "input_blocks.1.1.blocks.1.attn.relative_position_index": [64, 64],
        }).items()} | {"loss.logvar": torch.zeros(1)}  # fmt: skip
        torch.save(state if inside is None else {inside: state, "iters_start": 7}, tmp_path / "net.pth")
        loaded = load(read_tensors(tmp_path / "net.pth"))
        assert loaded.state_dict().keys() == net.state_dict().keys()
        assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in net.state_dict().items())
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_file_may_say_its_shape(tmp_path: Path) -> None:
    net, coder = tmp_path / "net.safetensors", tmp_path / "coder.safetensors"
    assert check_unet(saved(net, SMALL)) == load_unet(read_tensors(net)).config == SMALL
    assert check_autoencoder(saved(coder, SMALL_AUTOENCODER)) == SMALL_AUTOENCODER
    assert load_autoencoder(read_tensors(coder)).config == SMALL_AUTOENCODER


def test_half_precision_is_computed_with_in_float32(tmp_path: Path) -> None:
    loaded = load_unet(read_tensors(saved(tmp_path / "net.safetensors", SMALL, torch.float16))).state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("middle_block.1.blocks.0.norm1.bias"), "is missing: middle_block.1.blocks.0.norm1.bias"),
        (lambda s: s.update({"output_blocks.9.more": torch.zeros(1)}), "is unknown: output_blocks.9.more"),
        (lambda s: s.update({"out.2.bias": torch.zeros(4)}), "has another shape: out.2.bias (4,) for (3,)"),
        (lambda s: s.pop("time_embed.0.weight"), "it has no tensor time_embed.0.weight"),
    ],
)
def test_every_tensor_of_a_file_is_accounted_for(tmp_path: Path, change: Any, message: str) -> None:
    """By the header, and once more when it is loaded."""
    state = weights(SMALL)
    change(state)
    path = written(tmp_path / "net.safetensors", state)
    for read in (lambda: check_unet(path), lambda: load_unet(read_tensors(path))):
        with pytest.raises(UserError, match=re.escape(message)) as error:
            read()
        assert one_line(error, path)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    for value, message in (
        (torch.tensor([1.0, float("nan"), 0]), "not finite"),
        (torch.ones(3).long(), "not of floats"),
    ):
        path = written(tmp_path / "net.safetensors", weights(SMALL) | {"out.2.bias": value})
        with pytest.raises(UserError, match=message) as error:
            load_unet(read_tensors(path))
        assert one_line(error, path)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_what_is_no_file_of_tensors_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = (saved(path, SMALL) if name.endswith("safetensors") else hollow(path, "unet")).read_bytes()
    evil = b"cos\nsystem\n(S'touch ran'\ntR."
    for content in (b"", b"no weights", whole[: len(whole) // 2], bytes(1000), evil):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            check_unet(path)
        assert one_line(error, path)
    with pytest.raises(UserError, match="cannot be read"):
        check_autoencoder(tmp_path / f"none-{name}")


@pytest.mark.parametrize("config", ["{", "[1]", json.dumps({"steps": 4}), json.dumps({"blocks": 10**9})])
def test_other_metadata_are_one_line(tmp_path: Path, config: str) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"config": config})
    for check, what in ((check_unet, "the U-Net"), (check_autoencoder, "the autoencoder")):
        with pytest.raises(UserError, match=f"its metadata are not those of {what} of ResShift") as error:
            check(path)
        assert one_line(error, path)


def test_buffers_of_the_published_files_are_those_that_are_passed_over() -> None:
    assert len(buffers(KEYS["unet"])) == 24
    assert len(KEYS["unet"]) - 24 == 540
