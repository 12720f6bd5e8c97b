"""The upscaler ``resshift``: its contract and parameters, its files, and its place in the pipeline."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import stage_here
from golden.resshift.recipe import SMALL, SMALL_AUTOENCODER, hollow, saved

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import validate
from ida_rd.core.progress import listening
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import MissingWeights, catalogue
from ida_rd.upscale import resshift
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.recipe import upscale_recipe
from ida_rd.upscale.resshift import Parameters
from ida_rd.upscale.resshift.sampler import ResShiftUpscaler

DRAWS = [Draw(0, "image", k) for k in range(3)]
V3, VQ = "resshift_realsrx4_s4_v3.pth", "autoencoder_vq_f4.pth"


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, str]:
    """Files of small networks."""
    return {
        "unet": str(saved(tmp_path / "net.safetensors", SMALL)),
        "autoencoder": str(saved(tmp_path / "coder.safetensors", SMALL_AUTOENCODER)),
    }


def loaded(paths: dict[str, str], **changed: Any) -> Any:
    return resshift.load(Parameters.model_validate({"paths": paths} | changed), Problem(4), "cpu")


def an_image(height: int, width: int) -> Any:
    return generator("resshift", height).integers(0, 256, (3, height, width), dtype=np.uint8)


# What it is


def test_defaults_are_the_published_ones() -> None:
    p = Parameters()
    assert p.model_dump() == {
        "variant": "v3", "paths": {}, "tile": 512, "stride": None, "chop": "field", "batch": None, "licence": None
    }  # fmt: skip
    assert [Parameters(tile=side).apart() for side in (512, 256, 64)] == [448, 224, 48]
    assert Parameters(tile=64, stride=64).apart() == 64


@pytest.mark.parametrize(
    ("variant", "steps", "blind", "file"),
    [
        ("v1", 15, True, "resshift_realsrx4_s15_v1.pth"),
        ("v2", 15, True, "resshift_realsrx4_s15_v2.pth"),
        ("v3", 4, True, V3),
        ("bicsr", 4, False, "resshift_bicsrx4_s4.pth"),
    ],
)
def test_it_says_what_it_is(variant: str, steps: int, blind: bool, file: str) -> None:
    described = resshift.describe(Parameters.model_validate({"variant": variant}), 4)
    assert (described.kind, described.stochastic, described.blind) == ("diffusion", True, blind)
    assert described.marks() == ([] if blind else ["not blind"]) + ["non-commercial"]
    assert described.weights == {f"resshift.{variant}": None, "resshift.autoencoder": None}
    assert described.settings["steps"] == steps
    assert described.settings["stride"] == 448
    assert "S-Lab License 1.0, non-commercial" in described.licence
    url = str(catalogue()[f"resshift.{variant}"].url)
    assert url == f"https://github.com/zsyOAOA/ResShift/releases/download/v2.0/{file}"


def test_own_files_have_terms_of_their_own() -> None:
    given = Parameters(licence="CC0", paths={"unet": "a.pth"})
    described = resshift.describe(given, 4)
    assert (described.licence, described.marks()) == ("CC0", [])
    assert described.weights == {"resshift.v3": "a.pth", "resshift.autoencoder": None}


def test_sizes_are_what_reflection_allows() -> None:
    """Ours goes on reflecting; the published program stops at half of what it pads to."""
    ours, theirs = (
        resshift.describe(Parameters.model_validate({"chop": one}), 4).size for one in ("field", "official")
    )
    assert ours.problem(2, 900, 4) is None
    assert ours.problem(1, 16, 4) == "LR images of 16 x 1 pixels are smaller than 2 per side"
    assert theirs.problem(33, 33, 4) is None
    assert theirs.problem(64, 32, 4) == "LR images of 32 x 64 pixels are smaller than 33 per side"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variant": "v4"}, "u.variant: "),
        ({"tile": 64, "stride": 65}, "stride: tiles of 64 pixels, 65 apart, leave gaps"),
        ({"tile": 8}, "u.tile: "),
        ({"chop": 64}, "u.chop: "),
        ({"paths": {"vae": "x"}}, "u.paths"),
        ({"steps": 8}, "u.steps: "),
    ],
)
def test_impossible_settings_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(Parameters, wrong, where="u")
    assert "\n" not in str(error.value)


def test_it_has_one_factor() -> None:
    with pytest.raises(UserError, match="factor 8: ResShift is published for 4 alone"):
        resshift.describe(Parameters(), 8)


def test_memory_grows_with_what_is_computed_together_alone() -> None:
    assert resshift.memory(Parameters(), 4, 1) == resshift.memory(Parameters(), 4, 5) > 1000
    assert resshift.memory(Parameters(batch=4), 4, 5) == 4 * resshift.memory(Parameters(), 4, 1)
    assert resshift.memory(Parameters(batch=4), 4, 2) == 2 * resshift.memory(Parameters(), 4, 1)
    assert resshift.made_at(Parameters(), 256, 260) == (256, 512)


# What it does


@pytest.mark.parametrize("changed", [{}, {"batch": 2, "tile": 32, "chop": "official"}])
def test_it_keeps_the_contract(paths: dict[str, str], changed: dict[str, Any]) -> None:
    check_upscaler(resshift, {"paths": paths} | changed, 4)


@pytest.mark.parametrize("tile", [512, 16])
def test_a_sample_is_the_same_alone_in_a_batch_and_in_chunks(paths: dict[str, str], tile: int) -> None:
    """To the last bit, as long as `batch` is left alone; and within a grey level else."""
    lr = an_image(7, 20)
    default = loaded(paths, tile=tile, stride=12)
    together = default.sample(lr, DRAWS).sr
    assert together.shape == (3, 3, 28, 80)
    for k, draw in enumerate(DRAWS):
        assert np.array_equal(default.sample(lr, [draw]).sr[0], together[k])
    assert np.array_equal(np.concatenate([default.sample(lr, part).sr for part in (DRAWS[:2], DRAWS[2:])]), together)
    for batch in (2, 3):
        other = loaded(paths, tile=tile, stride=12, batch=batch).sample(lr, DRAWS).sr
        assert np.abs(other.astype(int) - together).max() <= 1


def test_samples_are_a_function_of_seed_image_and_sample(paths: dict[str, str]) -> None:
    upscaler, lr = loaded(paths), an_image(8, 8)
    torch.manual_seed(1)
    first = upscaler.sample(lr, [Draw(0, "image", 0)]).sr
    torch.manual_seed(2)
    assert np.array_equal(upscaler.sample(lr, [Draw(0, "image", 0)]).sr, first)
    for other in ((1, "image", 0), (0, "other", 0), (0, "image", 1), (0, "image", 0, 1)):
        assert not np.array_equal(upscaler.sample(lr, [Draw(*other)]).sr, first)


def test_variants_and_tiles_are_a_part_of_what_it_is(paths: dict[str, str]) -> None:
    lr = an_image(16, 52)
    found = [
        loaded(paths, **changed).sample(lr, DRAWS[:1]).sr
        for changed in (
            {},
            {"variant": "v1"},
            {"tile": 32},
            {"tile": 32, "stride": 24},
            {"tile": 32, "chop": "official"},
        )
    ]
    assert len({one.tobytes() for one in found}) == 5


def test_progress_is_told_at_every_step_of_every_tile(paths: dict[str, str]) -> None:
    """And the decoder's: it takes as long as some steps."""
    for tile, tiles in ((512, 1), (16, 2)):
        seen: list[float] = []
        with listening(seen.append):
            loaded(paths, tile=tile, stride=16).sample(an_image(16, 20), DRAWS[:2])
        assert len(set(seen)) == 2 * 5 * tiles
        assert seen == sorted(seen)


# Its files, and the pipeline


def recipe_of(entry: dict[str, Any], factor: int = 4, size: tuple[int, int] = (256, 256)) -> dict[str, Any]:
    return upscale_recipe("u", {"method": "resshift"} | entry, factor, 0, 2, size=size, download=False)[0]


def test_wrong_files_are_found_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what ``plan`` asks of an entry, in one line each."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache/hub/checkpoints"
    cache.mkdir(parents=True)
    net, coder = hollow(tmp_path / "net.pth", "unet", "module."), hollow(tmp_path / "coder.pth", "autoencoder")
    v1 = hollow(tmp_path / "resshift_realsrx4_s15_v1.pth", "unet", inside="state_dict")
    half = tmp_path / "half.pth"
    half.write_bytes(coder.read_bytes()[:-5000])
    evil = tmp_path / "evil.pth"
    evil.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    small = saved(tmp_path / "small.safetensors", SMALL)
    both = {"unet": str(net), "autoencoder": str(coder)}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"paths": both | {"unet": str(tmp_path / "no.pth")}}, "no.pth (weights resshift.v3): no such file"),
        ({"paths": {"unet": str(net)}}, f"weights resshift.autoencoder are not at {cache / VQ}: put a copy of https:"),
        (
            {"paths": {"unet": str(net)}},
            f"{VQ} there (S-Lab License 1.0, non-commercial (ResShift, which publishes it;",
        ),
        ({"paths": {"autoencoder": str(coder)}}, f"{V3} there (S-Lab License 1.0, non-commercial (ResShift); trained"),
        ({}, f"{V3} there (S-Lab License 1.0, non-commercial (ResShift); trained on ImageNet and FFHQ); weights ressh"),
        ({"paths": {"unet": str(coder)}}, "coder.pth is not the U-Net of ResShift: it is the autoencoder: give"),
        ({"paths": both | {"autoencoder": str(net)}}, "net.pth is not the autoencoder of ResShift: it is the U-Net"),
        ({"paths": both | {"autoencoder": str(half)}}, "half.pth: not a file of tensors"),
        ({"paths": both | {"unet": str(evil)}}, "evil.pth is not the U-Net of ResShift: it has no tensor time_embed"),
        (
            {"paths": both | {"unet": str(v1)}},
            f"{v1} is the file of the variant v1: set variant: v1, or give that of v3",
        ),
        ({"paths": both, "tile": 100}, "tile: 100 is not a multiple of 64, as this network needs it"),
        ({"paths": both | {"unet": str(small)}, "tile": 40}, "tile: 40 is not a multiple of 16, as this network needs"),
    ]
    for entry, message in cases:
        with pytest.raises(UserError, match=re.escape(message)) as error:
            recipe_of(entry)
        assert "\n" not in str(error.value)
    with pytest.raises(MissingWeights):
        resshift.files(Parameters(), 4)
    found = recipe_of({"paths": both, "variant": "bicsr"})
    assert found["weights"] == {"resshift.bicsr": sha256_file(net), "resshift.autoencoder": sha256_file(coder)}
    for variant in ("v1", "v2"):  # whose networks are sampled alike
        assert recipe_of({"paths": both | {"unet": str(v1)}, "variant": variant})["settings"]["steps"] == 15
    (cache / V3).write_bytes(net.read_bytes())
    (cache / VQ).write_bytes(coder.read_bytes())
    assert recipe_of({})["weights"] == {"resshift.v3": sha256_file(net), "resshift.autoencoder": sha256_file(coder)}
    assert (recipe_of({})["files"], tmp_path / "ran" in list(tmp_path.iterdir())) == ({}, False)


def test_a_tile_that_a_network_cannot_fill_is_refused_when_it_is_loaded(paths: dict[str, str]) -> None:
    with pytest.raises(UserError, match="tile: 40 is not a multiple of 16"):
        ResShiftUpscaler(Parameters.model_validate({"paths": paths, "tile": 40}), "cpu")


def _with(project: Path, text: str, entry: dict[str, Any]) -> None:
    theirs = json.dumps({"method": "resshift"} | entry)
    (project / "params.yaml").write_text(text.replace("\nsamples: 2", f"\n  theirs: {theirs}\nsamples: 2"))


def test_small_images_and_wrong_files_stop_the_plan(project: Path, tmp_path: Path) -> None:
    net, coder = hollow(tmp_path / "net.pth", "unet"), hollow(tmp_path / "coder.pth", "autoencoder")
    right, swapped = ({"unet": str(a), "autoencoder": str(b)} for a, b in ((net, coder), (coder, net)))
    text = (project / "params.yaml").read_text()
    for entry, message in (
        ({"paths": right, "chop": "official"}, "LR images of 16 x 16 pixels are smaller than 33 per side; see images"),
        ({"paths": swapped}, "coder.pth is not the U-Net of ResShift: it is the autoencoder: give the right file"),
        ({"paths": {"unet": str(net)}}, "weights resshift.autoencoder are not at "),
    ):
        _with(project, text, entry)
        done = stage_here("plan", cwd=project, env={"TORCH_HOME": str(tmp_path / "cache")})
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_it_runs_in_the_pipeline(project: Path, paths: dict[str, str]) -> None:
    _with(project, (project / "params.yaml").read_text(), {"paths": paths, "licence": "CC0"})
    for stage, *arguments in [
        ("plan",), ("attributes",), ("balance",), ("downscale", "bicubic", "4"), ("downscale", "mine", "4"),
        ("upscale", "theirs", "4", "bicubic"),
    ]:  # fmt: skip
        done = stage_here(stage, *arguments, cwd=project)
        assert done.returncode == 0, done.stderr
    recipe = json.loads((project / "data/plan/upscale/x4/theirs/bicubic.json").read_text())
    hashes = {name: sha256_file(Path(path)) for name, path in paths.items()}
    assert recipe["weights"] == {"resshift.v3": hashes["unet"], "resshift.autoencoder": hashes["autoencoder"]}
    assert recipe["settings"] == {"steps": 4, "least": 0.2, "kappa": 2.0, "stride": 448}
    assert {"ida_rd/models/resshift/swin.py", "ida_rd/upscale/diffusion/chain.py"} <= recipe["code"].keys()
    rows = (project / "data/sr/theirs/x4/bicubic/samples.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 2
    saved(Path(paths["autoencoder"]), SMALL_AUTOENCODER, torch.float16)
    done = stage_here("upscale", "theirs", "4", "mine", cwd=project)
    assert done.returncode == 2
    assert "changed since plan ran" in done.stderr
