"""Checkpoints of IRN: which network one is, what ``plan`` reads of it without torch, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.irn.network import TINY, filled
from safetensors.torch import save_file

from ida_rd.core.errors import UserError
from ida_rd.core.headers import read_header
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.layout import blocks_of, check_factor
from ida_rd.models.irn.network import IRNNet

CONFIGS = [TINY, IRNConfig((1,), growth=3), IRNConfig((1, 2, 1), growth=2), IRNConfig((1, 1), subnet="distilled")]


def _save(net: IRNNet, path: Path, prefix: str = "", *, legacy: bool = False) -> Path:
    state = {prefix + key: value.float().contiguous() for key, value in net.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_checkpoint_says_which_network_it_is(tmp_path: Path, config: IRNConfig, kind: str, prefix: str) -> None:
    net = filled(config)
    path = _save(
        net, tmp_path / ("x.safetensors" if kind == "safetensors" else "x.pth"), prefix, legacy=kind == "legacy"
    )
    assert blocks_of(read_header(path).names) == config.blocks
    check_factor(path, config.factor)
    with pytest.raises(UserError, match=f"is an IRN network for factor {config.factor}, not 16: give one for 16"):
        check_factor(path, 16)
    loaded = load_network(path)
    assert loaded.config.blocks == config.blocks
    assert loaded.config.subnet == config.subnet
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in net.float().state_dict().items())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_weights_of_half_the_precision_are_computed_with_in_float32(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in filled(TINY).state_dict().items()}
    save_file(state, tmp_path / "x.safetensors")
    loaded = load_network(tmp_path / "x.safetensors").state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    assert all(torch.equal(value.float(), loaded[key]) for key, value in state.items())


def test_plan_reads_names_without_torch(tmp_path: Path) -> None:
    path = _save(filled(TINY), tmp_path / "x.pth")
    code = (
        "import sys; from pathlib import Path; from ida_rd.models.irn.layout import check_factor;"
        f"check_factor(Path({str(path)!r}), 4); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _drop(state: dict[str, Any], key: str) -> None:
    del state[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _drop(s, "operations.1.F.conv2.bias"), "is missing: operations.1.F.conv2.bias"),
        (lambda s: s.update({"operations.2.F.more": torch.zeros(1)}), "is unknown: operations.2.F.more"),
        (lambda s: s.update({"other": torch.zeros(1)}), "is unknown: other"),
        (
            lambda s: s.update({"operations.1.G.conv1.bias": torch.zeros(9)}),
            "has another shape: operations.1.G.conv1.bias (9,) for (4,)",
        ),
        (lambda s: _drop(s, "operations.0.haar_weights"), "it has no tensor operations.0.haar_weights"),
        (lambda s: s.update({"operations.9.haar_weights": torch.zeros(1)}), "some of its blocks are missing"),
        (lambda s: s["operations.3.haar_weights"].neg_(), "operations.3.haar_weights are not the signs of the Haar"),
        (lambda s: s.update({"operations.1.F.conv1.weight": torch.zeros(3)}), "of a convolution"),
        (lambda s: [s.pop(key) for key in list(s) if key.startswith("operations.4")], "Haar step is followed by one"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, change: Any, message: str) -> None:
    state = filled(TINY).state_dict()
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load_network(tmp_path / "x.pth")
    assert str(tmp_path / "x.pth") in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_what_is_no_weight_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = _save(filled(TINY), path).read_bytes()
    for content in (b"", b"no weights", whole[: len(whole) // 3], bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            check_factor(path, 4)
        assert str(path) in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UserError, match="cannot be read"):
        check_factor(tmp_path / f"none-{name}", 4)
