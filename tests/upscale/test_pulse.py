"""The upscaler ``pulse``: its contract, parameters, files, and its place in the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import stage_here
from golden.pulse.recipe import mapping, synthesis
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import validate
from ida_rd.core.progress import listening
from ida_rd.core.seeds import Draw, generator
from ida_rd.upscale import pulse
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.pulse import Parameters, fit, sampler
from ida_rd.upscale.pulse.search import start_of

SIDE, LATENT = 64, 12
PILLOW = {"method": "resample", "parameters": {"backend": "pillow", "filter": "lanczos", "antialias": None}}


@pytest.fixture(scope="module")
def generator_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small generator of 64 x 64 with random weights, and the fit of its styles."""
    folder = tmp_path_factory.mktemp("generator")
    net = synthesis(SIDE, torch.float32, channels=(8, 8, 8, 6, 4), latent=LATENT)
    torch.save({f"module.{key}": value for key, value in net.state_dict().items()}, folder / "synthesis.pth")
    torch.save(mapping(torch.float32, width=LATENT).state_dict(), folder / "mapping.pth")
    found = fit.compute_fit(mapping(torch.float32, width=LATENT), latents=500)
    torch.save({"mean": found.mean, "std": found.std}, folder / "gaussian_fit.pt")
    names = {"synthesis": "synthesis.pth", "mapping": "mapping.pth", "gaussian_fit": "gaussian_fit.pt"}
    return {name: str(folder / file) for name, file in names.items()}


@pytest.fixture
def entry(generator_files: dict[str, str]) -> dict[str, Any]:
    """Parameters of a short search of that generator."""
    return {"resolution": SIDE, "paths": generator_files, "steps": 6}


def parameters(entry: dict[str, Any], **changed: Any) -> Parameters:
    return Parameters.model_validate(entry | changed)


@pytest.fixture
def lr() -> NDArray[np.uint8]:
    return generator("pulse").integers(60, 200, (3, 16, 16), dtype=np.uint8)


DRAWS = [Draw(0, "image", k) for k in range(3)]


# What it is


def test_defaults_are_those_of_the_publications_program() -> None:
    p = Parameters()
    assert p.model_dump(by_alias=True) == {
        "resolution": 1024, "paths": {}, "licence": None, "loss": "100*L2+0.05*GEOCROSS", "eps": 2e-3,
        "noise": "trainable", "trained_noise": 5, "zero_noise": None, "tile_latent": False, "optimiser": "adam",
        "rate": 0.4, "steps": 100, "schedule": "linear1cycledrop", "operator": "blind", "return": "last",
        "batch": None,
    }  # fmt: skip
    assert p.layers == 18
    assert p.zero_layers() == [17]
    assert p.trained_layers() == [0, 1, 2, 3, 4]
    assert Parameters(zero_noise=[0, 3], trained_noise=6).trained_layers() == [1, 2, 4, 5]
    assert Parameters(noise="fixed").trained_layers() == Parameters(noise="zero").trained_layers() == []
    assert [tuple(term) for term in p.terms] == [(100, "L2"), (0.05, "GEOCROSS")]


def test_it_says_what_it_is() -> None:
    described = pulse.describe(Parameters(), 32)
    assert (described.kind, described.stochastic, described.blind, described.matched) == ("search", True, True, False)
    assert described.marks() == ["non-commercial"]
    assert described.weights == {"stylegan.mapping": None, "stylegan.synthesis": None}
    assert described.asks == ()
    assert described.size.problem(32, 32, 32) is None
    assert described.size.problem(32, 31, 32) == (
        "LR images of 31 x 32 pixels do not give an HR image of 1024 x 1024, the only size that it makes"
    )
    own = pulse.describe(Parameters(operator="own"), 8)
    assert own.marks() == ["not blind", "matched", "non-commercial"]
    assert own.asks == ("downscaler",)
    given = pulse.describe(Parameters(paths={"gaussian_fit": "x.pt"}, licence="CC0"), 8)
    assert given.weights == {"stylegan.synthesis": None}
    assert (given.licence, given.marks()) == ("CC0", [])
    assert pulse.describe(Parameters(), 8).settings == {
        "zero_noise": [17],
        "gaussian_fit": {"latents": 1_000_000, "seed": 0},
    }


def test_a_factor_divides_the_generators_side_and_leaves_room_to_reflect() -> None:
    for factor in (2, 4, 8, 32, 512):
        assert pulse.describe(Parameters(), factor).factor == factor
    for factor in (3, 1024, 2048):
        with pytest.raises(UserError, match=f"factor {factor}: .* 1024 x 1024 supports factors 2, 4, .*, 512$"):
            pulse.describe(Parameters(), factor)
    with pytest.raises(UserError, match=r"supports factors 2, 4$"):
        pulse.describe(Parameters(resolution=8), 8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "100*L3"}, "u.loss: no term is called 'L3'; did you mean"),
        ({"loss": "L2"}, "u.loss: 'L2' is no term such as 100"),
        ({"loss": "x*L2"}, "u.loss: the weight 'x' of L2 is not a number of 0 or more"),
        ({"loss": "-1*L2"}, "weight '-1' of L2"),
        ({"loss": "nan*L2"}, "weight 'nan' of L2"),
        ({"loss": "1*L2+2*L2"}, "L2 is there twice"),
        ({"zero_noise": [18]}, "u.zero_noise: there is no noise map 18: 1024 x 1024 has 0 to 17"),
        ({"zero_noise": [10], "resolution": 64}, "u.zero_noise: there is no noise map 10: 64 x 64 has 0 to 9"),
        ({"resolution": 100}, "u.resolution: "),
        ({"optimiser": "lbfgs"}, "u.optimiser: "),
        ({"return": "first"}, "u.return: "),
        ({"steps": 0}, "u.steps: "),
        ({"paths": {"network": "x"}}, "u.paths"),
    ],
)
def test_impossible_settings_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(Parameters, wrong, where="u")
    assert "\n" not in str(error.value)


# What it does


@pytest.mark.parametrize("changed", [{}, {"batch": 3, "tile_latent": True}, {"noise": "zero", "return": "best"}])
def test_it_keeps_the_contract(entry: dict[str, Any], changed: dict[str, Any]) -> None:
    check_upscaler(pulse, entry | changed, 4)
    check_upscaler(pulse, entry | changed, 8)


def test_its_own_operator_is_another_search(entry: dict[str, Any], lr: NDArray[np.uint8]) -> None:
    with pytest.raises(UserError, match="asks for downscaler"):
        check_upscaler(pulse, entry | {"operator": "own"}, 4)
    blind = pulse.load(parameters(entry), Problem(4), "cpu").sample(lr, DRAWS[:1])
    own = pulse.load(parameters(entry, operator="own"), Problem(4, PILLOW), "cpu").sample(lr, DRAWS[:1])
    assert not np.array_equal(blind.sr, own.sr)
    with pytest.raises(UserError, match="use `operator: blind`"):
        pulse.load(parameters(entry, operator="own"), Problem(4, {"method": "dpid"}), "cpu")


def test_samples_together_are_samples_one_by_one(entry: dict[str, Any], lr: NDArray[np.uint8]) -> None:
    """With a batch too large, one that divides unevenly, and one at a time; the last to the last bit."""
    found = {
        batch: pulse.load(parameters(entry, batch=batch), Problem(4), "cpu").sample(lr, DRAWS) for batch in (1, 2, 8)
    }
    for batch in (2, 8):
        assert np.abs(found[batch].sr.astype(int) - found[1].sr).max() <= 1
        np.testing.assert_allclose(found[batch].columns["residual"], found[1].columns["residual"], rtol=1e-3)
        np.testing.assert_array_equal(found[batch].columns["converged"], found[1].columns["converged"])
    default = pulse.load(parameters(entry), Problem(4), "cpu")
    assert np.array_equal(default.sample(lr, DRAWS).sr, found[1].sr)
    assert np.array_equal(default.sample(lr, DRAWS[2:]).sr[0], found[1].sr[2])


def test_samples_are_a_function_of_seed_image_and_sample(entry: dict[str, Any], lr: NDArray[np.uint8]) -> None:
    """And a seed of 0 is a seed as any other."""
    upscaler = pulse.load(parameters(entry), Problem(4), "cpu")

    def sample(*draw: Any) -> NDArray[np.uint8]:
        return upscaler.sample(lr, [Draw(*draw)]).sr

    torch.manual_seed(1)
    first = sample(0, "image", 0)
    torch.manual_seed(2)
    assert np.array_equal(sample(0, "image", 0), first)
    for other in ((1, "image", 0), (0, "other", 0), (0, "image", 1), (0, "image", 0, 1)):
        assert not np.array_equal(sample(*other), first)


def test_a_map_that_is_zero_leaves_the_others_as_they_are(entry: dict[str, Any]) -> None:
    net = synthesis(SIDE, torch.float32, channels=(8, 8, 8, 6, 4), latent=LATENT)
    most, fewer = (start_of(DRAWS, net, parameters(entry, zero_noise=zero)) for zero in ([], [2, 5]))
    assert [i for i, one in enumerate(fewer.noise) if one is None] == [2, 5]
    assert torch.equal(most.latent, fewer.latent)
    for a, b in zip(most.noise, fewer.noise, strict=True):
        assert a is not None
        assert b is None or torch.equal(a, b)
    drawn = [one.ravel()[:16] for one in most.noise if one is not None] + [most.latent.ravel()[:16]]
    assert len({tuple(one.tolist()) for one in drawn}) == 11
    tiled = start_of(DRAWS, net, parameters(entry, tile_latent=True, noise="zero"))
    assert tiled.latent.shape == (3, 1, LATENT)
    assert tiled.noise == [None] * 10


def test_what_never_came_close_is_returned_and_counted(entry: dict[str, Any], lr: NDArray[np.uint8]) -> None:
    """`residual` is that of the image that comes back, before 8 bits; `converged` that of any step."""
    from ida_rd.upscale.pulse.operators import bicubic

    for keep in ("last", "best"):
        found = pulse.load(parameters(entry, **{"return": keep}), Problem(4), "cpu").sample(lr, DRAWS)
        assert found.finite.all()
        assert found.columns["converged"].tolist() == [False] * 3
        inside = found.clipped < 1e-3
        small = bicubic(4)(torch.from_numpy(found.sr / 255))
        again = (small - torch.from_numpy(lr / 255)).square().mean(dim=(1, 2, 3)).numpy()
        np.testing.assert_allclose(found.columns["residual"][inside], again[inside], rtol=0.05)
    easy = pulse.load(parameters(entry, eps=10.0), Problem(4), "cpu").sample(lr, DRAWS)
    assert easy.columns["converged"].tolist() == [True] * 3


def test_a_sample_that_is_not_finite_says_so(entry: dict[str, Any], lr: NDArray[np.uint8]) -> None:
    upscaler = pulse.load(parameters(entry, batch=3), Problem(4), "cpu")

    class Broken(Draw):
        def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
            return np.full(shape, np.nan, np.float32)

    found = upscaler.sample(lr, [DRAWS[0], Broken(0, "image", 1), DRAWS[2]])
    assert found.finite.tolist() == [True, False, True]
    assert found.columns["residual"][1] == sampler.LOST
    assert not found.columns["converged"][1]
    good = upscaler.sample(lr, [DRAWS[0], DRAWS[2]])
    assert np.abs(found.sr[[0, 2]].astype(int) - good.sr).max() <= 1


def test_progress_is_that_of_all_samples(entry: dict[str, Any], lr: NDArray[np.uint8]) -> None:
    seen: list[float] = []
    upscaler = pulse.load(parameters(entry, steps=2), Problem(4), "cpu")
    with listening(seen.append):
        upscaler.sample(lr, DRAWS[:2])
    assert seen == [0.25, 0.5, 0.5, 0.75, 1.0, 1.0]


def test_an_lr_image_of_another_size_is_one_line(entry: dict[str, Any]) -> None:
    upscaler = pulse.load(parameters(entry), Problem(4), "cpu")
    with pytest.raises(UserError, match="LR images of 20 x 16 pixels, not 16 x 16"):
        upscaler.sample(np.zeros((3, 16, 20), np.uint8), DRAWS)


def test_without_a_fit_it_is_computed_from_the_mapping_network(
    entry: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lr: NDArray[np.uint8]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    paths = {key: value for key, value in entry["paths"].items() if key != "gaussian_fit"}
    compute = fit.compute_fit
    monkeypatch.setattr(fit, "compute_fit", lambda net: compute(net, 500))
    computed = pulse.load(parameters(entry, paths=paths), Problem(4), "cpu").sample(lr, DRAWS)
    given = pulse.load(parameters(entry), Problem(4), "cpu").sample(lr, DRAWS)
    assert np.array_equal(computed.sr, given.sr)
    assert list(tmp_path.rglob("stylegan_fit_*"))


def test_memory_grows_with_what_is_searched_together_alone() -> None:
    one = pulse.memory(Parameters(), 8, 1)
    assert pulse.memory(Parameters(), 8, 5) == one
    assert pulse.memory(Parameters(batch=4), 8, 5) == 4 * one
    assert pulse.memory(Parameters(batch=4), 8, 2) == 2 * one


# Its files


def test_wrong_files_are_found_by_plan_in_one_line(
    project: Path, generator_files: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(Path(generator_files["synthesis"]).read_bytes()[:5000])
    pickled = tmp_path / "evil.pth"
    pickled.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    other = tmp_path / "other.pth"
    torch.save(mapping(torch.float32, width=8).state_dict(), other)
    text = (project / "params.yaml").read_text()
    files = generator_files
    for changed, more, message in [
        ({"synthesis": files["mapping"]}, {}, "looks like the mapping network: give the right file"),
        ({"mapping": files["synthesis"]}, {}, "looks like the synthesis network: give the right file"),
        ({"mapping": str(other)}, {}, "give the two networks of one generator"),
        ({"synthesis": str(broken)}, {}, "broken.pth: not a file of plain tensors"),
        ({"synthesis": str(pickled)}, {}, "evil.pth: not a file of plain tensors"),
        ({"synthesis": str(tmp_path / "none.pth")}, {}, "none.pth (weights stylegan.synthesis): no such file"),
        ({"gaussian_fit": files["mapping"]}, {}, "has no tensor mean"),
        ({}, {"resolution": 128}, "only size that it makes; set images.resize: 128, which reduces larger images"),
        ({}, {"resolution": 32}, "HR image of 32 x 32, the only size"),
    ]:
        paths = {key: value for key, value in files.items() if key != "gaussian_fit"} | changed
        theirs = json.dumps({"method": "pulse", "resolution": SIDE, "paths": paths} | more)
        (project / "params.yaml").write_text(text.replace("\nsamples: 2", f"\n  theirs: {theirs}\nsamples: 2"))
        done = stage_here("plan", cwd=project)
        assert done.returncode == 2, message
        assert message in done.stderr, done.stderr
        assert len([line for line in done.stderr.splitlines() if not line.startswith("note: ")]) == 1
    assert not (project / "ran").exists()
    # Images of 64 x 64 and a generator of another size, whose files are right.
    (project / "params.yaml").write_text(
        text.replace("crop: 64", "crop: null").replace(
            "\nsamples: 2",
            f"\n  theirs: {json.dumps({'method': 'pulse', 'resolution': 32, 'paths': files})}\nsamples: 2",
        )
    )
    done = stage_here("plan", cwd=project)
    assert "makes images of 64 x 64, not of 32 x 32: give another file, or set resolution: 64" in done.stderr


def test_absent_files_stop_the_plan_and_say_where_to_put_them(project: Path, tmp_path: Path) -> None:
    text = (project / "params.yaml").read_text()
    theirs = "\n  theirs: {method: pulse, resolution: 64}\nsamples: 2"
    (project / "params.yaml").write_text(text.replace("\nsamples: 2", theirs))
    done = stage_here("plan", cwd=project, env={"TORCH_HOME": str(tmp_path / "none")})
    assert done.returncode == 2
    assert "stylegan_synthesis.pt: put a copy there" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_it_runs_in_the_pipeline(project: Path, generator_files: dict[str, str]) -> None:
    text = (project / "params.yaml").read_text()
    theirs = json.dumps({"method": "pulse", "resolution": SIDE, "paths": generator_files, "steps": 3})
    own = json.dumps({"method": "pulse", "resolution": SIDE, "paths": generator_files, "steps": 3, "operator": "own"})
    (project / "params.yaml").write_text(
        text.replace("\nsamples: 2", f"\n  theirs: {theirs}\n  own: {own}\nsamples: 2")
    )
    done = stage_here("plan", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "note: upscaler theirs x4 uses weights under CC BY-NC 4.0, non-commercial" in done.stderr
    recipe = json.loads((project / "data/plan/upscale/x4/theirs/bicubic.json").read_text())
    assert recipe["weights"] == {"stylegan.synthesis": sha256_file(Path(generator_files["synthesis"]))}
    assert recipe["files"] == {"gaussian_fit.pt": sha256_file(Path(generator_files["gaussian_fit"]))}
    assert "downscaler" not in recipe
    assert "ida_rd/models/stylegan/layers.py" in recipe["code"]
    for stage, *arguments in [
        ("attributes",), ("balance",), ("downscale", "bicubic", "4"), ("upscale", "theirs", "4", "bicubic"),
        ("upscale", "own", "4", "bicubic"),
    ]:  # fmt: skip
        done = stage_here(stage, *arguments, cwd=project)
        assert done.returncode == 0, done.stderr
    rows = (project / "data/sr/theirs/x4/bicubic/samples.csv").read_text().splitlines()
    assert rows[0] == "image_id,sample,finite,attempts,clipped,converged,residual"
    assert len(rows) == 1 + 4 * 2
    others = (project / "data/sr/own/x4/bicubic/samples.csv").read_text().splitlines()
    assert len(others) == len(rows)
    assert others[1:] != rows[1:]
