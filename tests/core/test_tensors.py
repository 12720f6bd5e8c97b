"""Weight files are tensors alone, and the ones that the catalogue names."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from ida_rd.core.errors import UserError
from ida_rd.core.weights import load_tensors, locate


class _Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


def test_a_pickle_posing_as_weights_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": _Bomb()}))
    torch.save({"a": _Bomb()}, tmp_path / "torch.pth")
    (tmp_path / "tensors.safetensors").write_bytes(pickle.dumps(_Bomb()))
    for name in ("plain.pth", "torch.pth", "tensors.safetensors"):
        with pytest.raises(UserError, match=name):
            load_tensors(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_a_weight_file_with_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"alexnet\.pth .*has sha256 .*expected 7be5be79"):
        locate("torchvision.alexnet", str(path))
