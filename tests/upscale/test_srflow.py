"""The upscaler ``srflow``: presets, weights, 8 bits, and its place in the pipeline."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import run, stage_here
from golden.srflow.network import OFFICIAL, TINY, filled

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.seeds import Draw, generator
from ida_rd.models.srflow.config import DF2K_X4
from ida_rd.upscale import srflow
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.eight_bit import to_samples, to_samples_official


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "SRFlow_tiny.pth"
    torch.save(filled(TINY).state_dict(), path)
    return path


def weights_in_cache(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Put files with the golden weights where the official ones would lie."""
    cache = folder / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    for name in names:
        torch.save({f"module.{k}": v for k, v in filled(OFFICIAL[name]).state_dict().items()}, cache / f"{name}.pth")
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setenv("IDA_RD_OFFLINE", "1")


def test_presets_are_the_official_ones() -> None:
    p = srflow.Parameters()
    assert srflow._steps(p, 4) == [("df2k_x4", 1.1)]
    assert srflow._steps(p, 8) == [("celeba_x8", 1.0)]
    assert srflow._steps(p, 32) == [("celeba_x8", 1.0), ("df2k_x4", 0.1)]
    assert srflow._steps(srflow.Parameters(weights="df2k_x8"), 8) == [("df2k_x8", 0.9)]
    assert srflow._steps(srflow.Parameters(heat=0.8), 4) == [("df2k_x4", 0.8)]
    described = srflow.describe(p, 32)
    assert (described.factor, described.stochastic, described.blind) == (32, True, True)
    assert set(described.weights) == {"srflow.celeba_x8", "srflow.df2k_x4"}
    assert "non-commercial" in described.licence
    assert not srflow.describe(srflow.Parameters(heat=0), 4).stochastic


@pytest.mark.parametrize(
    ("parameters", "factor", "message"),
    [
        ({}, 16, "presets for factors 4, 8, 32"),
        ({"weights": "df2k_x4"}, 8, "df2k_x4 is for factor 4"),
        ({"heat": 0.9}, 32, "heat per step"),
    ],
)
def test_impossible_settings_are_refused(parameters: dict[str, Any], factor: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        srflow.describe(srflow.Parameters(**parameters), factor)


def test_the_official_network_keeps_the_contract_and_samples_as_the_literal_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_in_cache(tmp_path, monkeypatch, "SRFlow_DF2K_4X")
    check_upscaler(srflow, {}, 4)
    upscaler = srflow.load(srflow.Parameters(heat=0.3), Problem(4), "cpu")
    lr = generator("lr").integers(0, 256, (3, 9, 12), dtype=np.uint8)
    draws = [Draw(0, "image", k) for k in range(2)]
    result = upscaler.sample(lr, draws)
    assert result.sr.shape == (2, 3, 36, 48)
    # The literal network, on the odd side mirrored without repeating the edge, cropped after.
    net = filled(DF2K_X4)
    even = np.concatenate([lr, lr[:, -2:-1]], axis=1)
    z = [np.stack([d.normal(s, f"latent {i}") for d in draws]) for i, s in enumerate(DF2K_X4.latent_shapes(10, 12))]
    features = net.RRDB((torch.from_numpy(even)[None].float() / 255).expand(2, -1, -1, -1))
    sr = net.decode([0.3 * torch.from_numpy(x) for x in z], features)[0][:, :, :36]
    expected = to_samples(sr)
    assert np.abs(result.sr.astype(int) - expected.sr.astype(int)).max() <= 1
    np.testing.assert_allclose(result.clipped, expected.clipped, atol=1e-3)


def test_compat_truncates_and_blackens() -> None:
    sr = torch.tensor([0.999, math.nan, math.inf, -math.inf, 1.7, 0.5]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    official = to_samples_official(sr)
    assert official.sr[0, 0, 0].tolist() == [254, 0, 255, 0, 255, 127]
    assert official.finite.all()
    assert official.clipped[0] == pytest.approx(4 / 6)
    ours = to_samples(sr)
    assert not ours.finite.any()
    assert ours.sr[0, 0, 0, [0, 5]].tolist() == [255, 128]


def test_compat_is_off_by_default_and_reaches_the_samples(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert srflow.Parameters().compat == "none"
    monkeypatch.setitem(srflow.NETWORKS, "df2k_x4", TINY)
    lr = generator("lr").integers(0, 256, (3, 8, 8), dtype=np.uint8)
    draws = [Draw(0, "image", 0)]
    paths: Any = {"df2k_x4": str(tiny_file)}
    ours = srflow.load(srflow.Parameters(paths=paths), Problem(4), "cpu").sample(lr, draws).sr.astype(int)
    theirs = (
        srflow.load(srflow.Parameters(paths=paths, compat="official"), Problem(4), "cpu")
        .sample(lr, draws)
        .sr.astype(int)
    )
    assert set(np.unique(ours - theirs)) == {0, 1}


# In the pipeline


def test_a_file_of_unknown_hash_is_taken_and_its_hash_is_in_the_recipe(project: Path, tiny_file: Path) -> None:
    params = (project / "params.yaml").read_text()
    entry = f"  theirs: {{method: srflow, paths: {{df2k_x4: {tiny_file}}}}}\n"
    (project / "params.yaml").write_text(params.replace("\nsamples: 2", f"\n{entry}samples: 2"))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "note: upscaler theirs x4 uses weights under CC BY-NC-SA 4.0, non-commercial" in done.stderr
    recipe = json.loads((project / "data/plan/upscale/x4/theirs/bicubic.json").read_text())
    assert recipe["weights"] == {"srflow.df2k_x4": sha256_file(tiny_file)}
    # The tiny network is not the official one: the stage says so in one line, and writes nothing.
    run("git", "init", "--quiet", cwd=project)
    failed = run("dvc", "repro", "upscale@theirs-bicubic-4", cwd=project, check=False)
    assert "is not this SRFlow network: is missing: RRDB.RRDB_trunk.2" in failed.stderr + failed.stdout
    assert not (project / "data/sr/theirs/x4/bicubic").exists()


def test_absent_files_stop_the_plan_and_say_where_to_put_them(project: Path, tmp_path: Path) -> None:
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("\nsamples: 2", "\n  theirs: {method: srflow}\nsamples: 2"))
    done = stage_here("plan", cwd=project, env={"TORCH_HOME": str(tmp_path / "none")})
    assert done.returncode == 2
    assert "SRFlow_DF2K_4X.pth: put a copy there" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
