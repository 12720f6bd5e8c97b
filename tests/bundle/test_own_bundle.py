"""A bundle whose methods are the publisher's own: published, verified as far as that goes, and never run elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import run

from ida_rd.bundle.rerun import rerun
from ida_rd.bundle.verify import verify

REPEAT = '''
"""Pixels repeated, with noise."""

import numpy as np

from ida_rd.core.methods import Parameters as Base
from ida_rd.upscale.contract import Descriptor, Samples


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
        noisy = [np.clip(big + self.sigma * draw.normal(big.shape), 0, 255).astype(np.uint8) for draw in draws]
        return Samples(np.stack(noisy), np.ones(len(draws), bool), np.zeros(len(draws)))
'''
PICK = '''
"""Keep one pixel of each block."""

from ida_rd.core.methods import Parameters as Base


class Parameters(Base):
    offset: int = 0


def downscale(hr, size, *, rng, offset):
    step = hr.shape[0] // size[0]
    return hr[offset::step, offset::step].copy()
'''
FURTHEST = '''
"""The largest difference of two samples."""

import numpy as np

from ida_rd.core.methods import Parameters
from ida_rd.distort.contract import Descriptor


def describe(parameters):
    return Descriptor(better="lower", perfect=0.0, low=0.0, high=255.0, minimum_side=1, label="Max", kind="pixel")


def load(parameters, device):
    return Furthest()


class Furthest:
    def reference(self, hr):
        return hr.astype(np.int64)

    def distance(self, reference, sr):
        return np.abs(sr.astype(np.int64) - reference).max(axis=(1, 2, 3)).astype(np.float64)
'''


@pytest.mark.slow
def test_methods_of_the_publishers_own_are_published_listed_and_not_run(repository: Path, tmp_path: Path) -> None:
    lab = repository / "lab"
    lab.mkdir()
    for name, text in (("__init__", ""), ("repeat", REPEAT), ("pick", PICK), ("furthest", FURTHEST)):
        (lab / f"{name}.py").write_text(text)
    parameters = yaml.safe_load((repository / "params.yaml").read_text())
    step = {"method": "lab.repeat", "factor": 2}
    parameters["upscalers"] |= {"own": {"method": "lab.repeat"}, "chain": {"method": "cascade", "steps": [step, step]}}
    parameters["downscalers"] |= {"pick": {"method": "lab.pick", "offset": 1}}
    parameters["distortions"] |= {"own": {"method": "lab.furthest"}}
    parameters["primary"] = "own"  # which nobody else can compute
    (repository / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    run("dvc", "repro", cwd=repository)
    run("ida-rd", "publish", str(tmp_path / "bundle"), cwd=repository)
    checked = verify(tmp_path / "bundle")
    for key in ("downscalers.pick", "upscalers.own", "upscalers.chain", "distortions.own"):
        assert any(what.startswith(f"{key}: a module of the publisher's own") for what in checked.unverified)
    again = rerun(checked, 1, files={"images.path": repository / "photos"})
    assert [one.branch for one in again.branches] == ["flow-compact x4 bicubic"]
    assert again.branches[0].largest == 0
    assert checked.results.distortion_order[0] == "own"
    assert len(again.left_out) == len(checked.results.branches) - 1 + 1  # branches, and the distortion
