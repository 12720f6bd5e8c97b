"""SR models and distances of the user's own, outside the repository: as a module, and as an object."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import SMALL, stage_here
from numpy.typing import NDArray
from PIL import Image

from ida_rd import Descriptor, Samples, score
from ida_rd.core.errors import UserError
from ida_rd.core.methods import open_method
from ida_rd.core.seeds import Draw
from ida_rd.upscale.contract import SizeRule

MODULE = '''
"""Pixels repeated, with noise."""

import numpy as np

from ida_rd.core.methods import Parameters as Base
from ida_rd.upscale.contract import Descriptor, Samples
from lab.noise import noise


class Parameters(Base):
    sigma: float = 5.0


def describe(parameters, factor):
    return Descriptor(factor=factor, stochastic=True, blind=False, licence="mine", weights={}, kind="other")


def load(parameters, problem, device):
    return Repeat(parameters.sigma, problem.factor)


class Repeat:
    def __init__(self, sigma, factor):
        self.sigma, self.factor = sigma, factor

    def sample(self, lr, draws):
        big = lr.repeat(self.factor, 1).repeat(self.factor, 2)
        sr = np.stack([noise(big, self.sigma, draw) for draw in draws])
        count = len(draws)
        steps = np.array([draw.sample + 1 for draw in draws])
        return Samples(sr, np.ones(count, bool), np.zeros(count), {"steps": steps})
'''
NOISE = """
import numpy as np


def noise(image, sigma, draw):
    return np.clip(image + sigma * draw.normal(image.shape), 0, 255).astype(np.uint8)
"""
DISTANCE = """
import numpy as np

from ida_rd.core.methods import Parameters
from ida_rd.distort.contract import Descriptor


def describe(parameters):
    return Descriptor(better="lower", perfect=0, low=0, high=255, minimum_side=1, label="mean error", kind="pixel")


def load(parameters, device):
    return Distance()


class Distance:
    def reference(self, hr):
        return hr.astype(float)

    def distance(self, reference, sr):
        return np.abs(sr - reference).mean(axis=(1, 2, 3))
"""


@pytest.fixture
def lab(project: Path) -> Path:
    """A project with a package of the user's own beside it."""
    (project / "lab").mkdir()
    for name, text in {"__init__": "", "sr": MODULE, "noise": NOISE, "far": DISTANCE}.items():
        (project / "lab" / f"{name}.py").write_text(text)
    parameters = yaml.safe_load(SMALL)
    parameters["upscalers"] = {"repeat": {"method": "lab.sr", "sigma": 3}}
    parameters["distortions"] = {"far": {"method": "lab.far"}}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    return project


def test_a_module_of_the_users_own_is_an_upscaler_or_a_distortion(lab: Path) -> None:
    import pandas as pd

    from ida_rd.core.readers import read_json

    for name, arguments in (
        ("plan", []),
        ("attributes", []),
        ("balance", []),
        ("downscale", ["bicubic", "4"]),
        ("downscale", ["mine", "4"]),
        *((n, ["repeat", "4", d]) for d in ("bicubic", "mine") for n in ("upscale", "distort")),
        ("surprise", []),
        ("aggregate", []),
        ("report", []),
    ):
        done = stage_here(name, *arguments, cwd=lab)
        assert done.returncode == 0, done.stderr
    recipe = read_json(lab / "data/plan/upscale/x4/repeat/bicubic.json", hint="")
    assert {"lab/sr.py", "lab/noise.py", "lab/__init__.py"} <= set(recipe["code"])
    assert "lab/far.py" not in recipe["code"]
    assert recipe["parameters"] == {"sigma": 3.0}
    samples = pd.read_csv(lab / "data/sr/repeat/x4/bicubic/samples.csv")
    assert list(samples.columns) == ["image_id", "sample", "finite", "attempts", "clipped", "steps"]
    assert samples.steps.tolist() == [1, 2] * 4
    assert "| repeat (not blind) | x4 |" in (lab / "metrics/tables/ida_rd.md").read_text()
    page = (lab / "metrics/report/index.html").read_text()
    assert "repeat, ×4 (not blind)" in page
    assert "blind, stochastic" not in page
    # Another line in what the model imports is another model.
    (lab / "lab/noise.py").write_text(NOISE + "# A remark.\n")
    assert stage_here("plan", "--check", cwd=lab).returncode == 3


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("lab.none", "upscalers.repeat.method: the module lab.none cannot be imported"),
        ("lab.noise", "upscalers.repeat.method: the module lab.noise has no function describe()"),
        ("lab.broken", "upscalers.repeat.method: the module lab.broken fails when it is imported (ValueError: no)"),
        ("lab.1", "is not the dotted name of a module"),
    ],
)
def test_a_module_that_is_no_method_is_one_line(lab: Path, method: str, message: str) -> None:
    (lab / "lab/broken.py").write_text("raise ValueError('no')\n")
    text = (lab / "params.yaml").read_text()
    (lab / "params.yaml").write_text(text.replace("method: lab.sr", f"method: {method}"))
    done = stage_here("plan", cwd=lab)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


class Repeat:
    """An SR model as an object; it counts how often it is asked, so that it cannot be in another process."""

    def __init__(self, descriptor: Descriptor | None = None) -> None:
        self.asked = 0
        if descriptor is not None:
            self.descriptor = descriptor

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        self.asked += 1
        big = lr.repeat(4, 1).repeat(4, 2)
        noisy = [np.clip(big + 4 * draw.normal(big.shape), 0, 255).astype(np.uint8) for draw in draws]
        return Samples(np.stack(noisy), np.ones(len(draws), bool), np.zeros(len(draws)))


@pytest.fixture
def photos(astronaut: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    return {f"photo-{i}": np.ascontiguousarray(astronaut[i * 80 :][:64, 100:164]) for i in range(3)}


def test_an_object_is_an_upscaler_of_score(
    photos: dict[str, NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    mine = Repeat()
    result = score({"box": "box", "nearest": "nearest"}, photos, upscaler=mine, samples=2, distortions=["psnr", "dss"])
    assert mine.asked == 6
    assert result.scores.upscaler.unique().tolist() == ["repeat"]
    assert (result.scores.marks == "").all()
    again = Repeat()
    other = score({"box": "box", "nearest": "nearest"}, photos, upscaler=again, samples=2, distortions=["psnr", "dss"])
    assert again.asked == 6, "another object may be another model: nothing is taken from the store"
    assert other.scores.equals(result.scores)
    assert not (tmp_path / ".ida-rd/store").exists()
    assert not [name for name in set(sys.modules) - before if "given_" in name]
    lr = np.asarray(Image.fromarray(photos["photo-0"]).resize((16, 16), Image.Resampling.BOX)).transpose(2, 0, 1)
    wanted = Repeat().sample(lr, [Draw(0, "photo-0", 0)]).sr[0].transpose(1, 2, 0)
    mse = np.square((wanted.astype(float) - photos["photo-0"]) / 255).mean()
    row = result.rows[(result.rows.downscaler == "box") & (result.rows.image_id == "photo-0")].iloc[0]
    assert row.psnr == pytest.approx(-10 * np.log10(mse + 1e-8))


def test_what_an_object_says_of_itself_is_obeyed(photos: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    known = Descriptor(factor=4, stochastic=False, blind=False, licence="CC BY-NC, non-commercial", weights={})
    result = score({"box": "box"}, photos, upscaler=Repeat(known), samples=3, distortions=["psnr"])
    assert (result.scores.samples == 1).all()
    assert result.scores.marks.unique().tolist() == ["deterministic, not blind, non-commercial"]
    assert "repeat (deterministic, not blind, non-commercial)" in result.markdown()
    strict = dataclasses.replace(known, size=SizeRule(multiple=5))
    with pytest.raises(UserError, match="16 x 16 pixels have a side that is not a multiple of 5"):
        score({"box": "box"}, photos, upscaler=Repeat(strict), distortions=["psnr"])
    with pytest.raises(UserError, match="int has no method sample"):
        score({"box": "box"}, photos, upscaler=3, distortions=["psnr"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is for factor 2, not 4"):
        score({"box": "box"}, photos, upscaler=Repeat(dataclasses.replace(known, factor=2)), distortions=["psnr"])


def test_there_is_one_way_to_open_a_method() -> None:
    """By the names of params.yaml, aliases too, from there or from a recipe."""
    recipe = {"stage": "downscale", "name": "d", "method": "dpid", "parameters": {"lambda": 0.5}}
    method = open_method(recipe)
    assert method.parameters.lam == 0.5
    assert open_method(recipe | {"parameters": method.dump()}).parameters == method.parameters
    with pytest.raises(UserError, match=r"^downscalers\.d\.lam: unknown key; did you mean 'lambda'"):
        open_method(recipe | {"parameters": {"lam": 1}})
