"""Files of SR3's networks: which one is, what ``plan`` reads of it, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.sr3.recipe import SMALL, TINY, hollow, network, saved, weights
from safetensors.torch import save_file

from ida_rd.core.errors import UserError
from ida_rd.core.tensors import read_tensors
from ida_rd.models.sr3.checkpoint import check_header, load_network
from ida_rd.models.sr3.config import NETWORKS, SR3Config, Trained


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_a_file_is_its_network(tmp_path: Path, name: str, prefix: str) -> None:
    path = saved(tmp_path / name, SMALL, prefix=prefix)
    loaded, expected = load_network(read_tensors(path), SMALL.config), network(SMALL.config, torch.float32)
    assert loaded.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in expected.state_dict().items())
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_half_precision_is_computed_with_in_float32(tmp_path: Path) -> None:
    loaded = load_network(
        read_tensors(saved(tmp_path / "net.safetensors", SMALL, dtype=torch.float16)), SMALL.config
    ).state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}


def test_a_file_of_training_says_which_network_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.safetensors", SMALL)
    assert check_header(path, None) == SMALL
    with pytest.raises(UserError, match="says that it is another network than x4_64_256: leave network out"):
        check_header(path, "x4_64_256")
    with pytest.raises(UserError, match=r"net\.pth does not say which network it is: set network: ffhq_16_128, "):
        check_header(saved(tmp_path / "net.pth", SMALL), None)


def test_a_public_file_is_known_by_the_names_in_it(tmp_path: Path) -> None:
    files = {
        "ffhq_16_128": hollow(tmp_path / "16.pth", "16_128"),
        "ffhq_64_512": hollow(tmp_path / "64.pth", "64_512"),
        "x4_64_256": hollow(tmp_path / "x4.pth", "x4_64_256_same_net"),
    }
    for name in files:
        for other, path in files.items():
            if name == other:
                assert check_header(path, name) == NETWORKS[name]
                continue
            with pytest.raises(UserError, match=f"{path.name} is not the network {name} of SR3: is missing") as error:
                check_header(path, name)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("mid.1.res_block.block1.block.0.bias"), "is missing: mid.1.res_block.block1.block.0.bias"),
        (lambda s: s.update({"ups.9.more": torch.zeros(1)}), "is unknown: ups.9.more"),
        (lambda s: s.update({"other": torch.zeros(1)}), "is unknown: other"),
        (
            lambda s: s.update({"final_conv.block.3.bias": torch.zeros(4)}),
            "has another shape: final_conv.block.3.bias (4,) for (3,)",
        ),
    ],
)
def test_every_tensor_of_a_file_is_accounted_for(tmp_path: Path, change: Any, message: str) -> None:
    """By the header, and once more when it is loaded."""
    path = tmp_path / "net.safetensors"
    state = {key.removeprefix("denoise_fn."): value for key, value in weights(SMALL.config).items()}
    change(state)
    save_file(state, path, metadata={"config": json.dumps(SMALL.as_dict())})
    for read in (lambda: check_header(path, None), lambda: load_network(read_tensors(path), SMALL.config)):
        with pytest.raises(UserError, match=re.escape(message)) as error:
            read()
        assert str(path) in str(error.value)
        assert len(str(error.value).splitlines()) == 1


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    for value, message in ((torch.tensor([1.0, float("nan"), 0]), "not finite"), (torch.ones(3).long(), "floating")):
        state = weights(SMALL.config) | {"denoise_fn.final_conv.block.3.bias": value}
        torch.save(state, tmp_path / "net.pth")
        with pytest.raises(UserError, match=message):
            load_network(read_tensors(tmp_path / "net.pth"), SMALL.config)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_what_is_no_file_of_tensors_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = saved(path, SMALL).read_bytes()
    for content in (b"", b"no weights", whole[: len(whole) // 2], bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            check_header(path, "x4_64_256")
        assert str(path) in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UserError, match="cannot be read"):
        check_header(tmp_path / f"none-{name}", None)


@pytest.mark.parametrize(
    "config", ["{", "[]", "{}", json.dumps(TINY.as_dict() | {"blocks": 10**9}), json.dumps({"steps": [6, 8]})]
)
def test_other_metadata_are_one_line(tmp_path: Path, config: str) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"config": config})
    with pytest.raises(UserError, match="its metadata are not those of a network of SR3") as error:
        check_header(path, None)
    assert len(str(error.value).splitlines()) == 1
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"is not a network of SR3: it has no tensor downs\.0\.weight"):
        check_header(path, "x4_64_256")


def test_groups_are_a_part_of_what_a_network_is(tmp_path: Path) -> None:
    """No tensor tells them."""
    other = Trained(SR3Config(8, (1, 2, 2), 1, 2), 3)
    assert check_header(saved(tmp_path / "net.safetensors", other), None) != SMALL
