"""Files of the user's own in a bundle: by the name of weights that ship, and as a network that nobody else has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, project, walk
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from ida_rd.bundle.derived import weights_of
from ida_rd.bundle.folder import Refused
from ida_rd.bundle.publish import publish
from ida_rd.bundle.rerun import rerun
from ida_rd.bundle.verify import verify
from ida_rd.bundle.versions import RELEASED_WEIGHTS
from ida_rd.core.files import sha256_file
from ida_rd.named import definition
from ida_rd.named.recognise import benchmark_of

KEY, FLOW = "irn-sigma.x4", "flow-compact.x4"
SHIPPED = ROOT / "ida_rd/upscale/irn/weights/irn-sigma_x4.safetensors"
SHIPPED_FLOW = ROOT / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors"
HERE = {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}


def _other(shipped: Path, target: Path) -> None:
    """The same network with another tensor."""
    with safe_open(shipped, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    first = min(key for key in tensors if key.endswith(".weight"))
    save_file(tensors | {first: tensors[first] * 1.01}, target, metadata=metadata)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, astronaut: NDArray[np.uint8]) -> Path:
    """A finished run of two networks that ship, and before each of another file: as that network, and as one's own."""
    folder = tmp_path_factory.mktemp("several")
    project.__wrapped__(folder, astronaut)  # type: ignore[attr-defined]
    _other(SHIPPED, folder / "other.safetensors")
    _other(SHIPPED_FLOW, folder / "own.safetensors")
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    irn, flow = {"method": "irn", "weights": "irn-sigma"}, {"method": "flow", "heat": 0.9}
    parameters["upscalers"] = {
        "another": irn | {"path": "other.safetensors"},
        "irn": irn,
        "mine": flow | {"path": "own.safetensors"},
        "flow-compact": flow,
    }
    parameters["downscalers"] = {"bicubic": {"method": "resample", "filter": "bicubic"}}
    parameters["distortions"] = {"psnr": {"method": "pixel"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for key, value in HERE.items():
            patch.setenv(key, value)
        walk(report=True)
    return folder


@pytest.fixture
def both(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    for key, value in HERE.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("ida_rd.bundle.publish._refuse_stale", lambda root: None)
    return made


def _accept(both: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if the other file had shipped once; its hash."""
    other = sha256_file(both / "other.safetensors")
    monkeypatch.setitem(RELEASED_WEIGHTS, KEY, (other,))
    return other


def _define(folder: Path, bundle: Path, sha: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark of the bundle's images by the shipped network, whose hash is said to be `sha`."""
    made = yaml.safe_load((definition.FOLDER / "idard-photo-x4@1.yaml").read_text())
    rows = [line.split(",") for line in (bundle / "subset.csv").read_text().splitlines()]
    at = rows[0].index("pixels_sha256")
    made["images"]["pixels_sha256"] = {row[rows[0].index("image_id")]: row[at] for row in rows[1:]}
    made |= {"upscalers": {"irn": {"method": "irn", "weights": "irn-sigma"}}, "weights": {KEY: sha}}
    made |= {"distortions": {"psnr": {"method": "pixel"}}, "beside": {}, "samples": 2, "resamples": 200}
    (folder / "named").mkdir(exist_ok=True)
    (folder / "named/two@1.yaml").write_text(yaml.safe_dump(made))
    monkeypatch.setattr(definition, "FOLDER", folder / "named")


@pytest.mark.slow
def test_every_file_under_an_id_is_kept_and_checked(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, flow = sha256_file(SHIPPED), sha256_file(SHIPPED_FLOW)
    with pytest.raises(Refused) as refusal:
        publish(both, tmp_path / "refused", images=False)
    other = _accept(both, monkeypatch)
    line = f"{KEY} has the hash {other[:12]}..., but the file of this version has {shipped[:12]}"
    assert f"recipes/aggregate.json: {line}" in str(refusal.value)

    bundle = tmp_path / "bundle"
    publish(both, bundle, images=False)
    checked = verify(bundle)
    assert weights_of(checked.recipe["recipes"]) == {KEY: (other, shipped), FLOW: (flow,)}
    assert checked.results.weights == {KEY: shipped, FLOW: flow}, "as the schema has it, and bundles had it before"
    terms = (bundle / "LICENCES.md").read_text()
    assert other in terms
    assert shipped in terms

    # A benchmark is told by the weights of its own decoder, not by those of an entry that comes later.
    _define(tmp_path, bundle, shipped, monkeypatch)
    assert benchmark_of(checked) == "two@1"
    recipes = checked.recipe["recipes"]
    recipes |= {path: recipe | {"weights": {KEY: other}} for path, recipe in recipes.items() if "x4/irn" in path}
    recipes["upscale/x4/later"] = recipes["upscale/x4/another"] | {"weights": {KEY: shipped}}
    assert benchmark_of(checked) is None


@pytest.mark.slow
def test_a_flow_of_the_users_own_is_published_and_computed_again(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a file of its recipe, of which nothing is said that holds for the weights that ship."""
    _accept(both, monkeypatch)
    bundle, own = tmp_path / "bundle", sha256_file(both / "own.safetensors")
    publish(both, bundle, images=False)
    checked = verify(bundle)
    recipe = checked.recipe["recipes"]["upscale/x4/mine"]
    assert recipe["files"] == {"own.safetensors": own}
    assert recipe["weights"] == {}
    terms = (bundle / "LICENCES.md").read_text()
    assert "* mine x4: the file's.\n" in terms
    assert own not in terms
    assert own not in (bundle / "results.json").read_text()

    alone = rerun(checked, 1, files={"images.path": both / "photos"})
    assert any("--file upscalers.mine.path=PATH" in why for why in alone.left_out.values())
    given = {"images.path": both / "photos", "upscalers.mine.path": both / "own.safetensors"}
    again = rerun(checked, 3, files=given)
    assert any(one.branch.startswith("mine") for one in again.branches)
