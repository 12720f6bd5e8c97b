"""Two upscalers with files of their own under one id of weights: a bundle keeps both hashes, and verify checks both."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import ROOT, walk
from safetensors import safe_open
from safetensors.torch import save_file

from ida_rd.bundle.derived import weights_of
from ida_rd.bundle.folder import Refused
from ida_rd.bundle.publish import publish
from ida_rd.bundle.verify import verify
from ida_rd.bundle.versions import RELEASED_WEIGHTS
from ida_rd.core.files import sha256_file
from ida_rd.named import definition
from ida_rd.named.recognise import benchmark_of

KEY = "flow-compact.x4"
SHIPPED = ROOT / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors"


@pytest.fixture
def both(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of the shipped flow and, before it, of one with other weights, `own.safetensors`."""
    monkeypatch.chdir(project)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("ida_rd.bundle.publish._refuse_stale", lambda root: None)
    with safe_open(SHIPPED, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    first = min(tensors)
    save_file(tensors | {first: tensors[first] * 1.01}, project / "own.safetensors", metadata=metadata)
    parameters = yaml.safe_load((project / "params.yaml").read_text())
    flow = parameters["upscalers"]["flow-compact"]
    parameters["upscalers"] = {"another": flow | {"path": "own.safetensors"}, "flow-compact": flow}
    parameters["downscalers"] = {"bicubic": {"method": "resample", "filter": "bicubic"}}
    parameters["distortions"] = {"psnr": {"method": "pixel"}}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    walk(report=True)
    return project


def _define(folder: Path, bundle: Path, sha: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark of the bundle's images by the shipped flow, whose hash is said to be `sha`."""
    made = yaml.safe_load((definition.FOLDER / "idard-photo-x4@1.yaml").read_text())
    rows = [line.split(",") for line in (bundle / "subset.csv").read_text().splitlines()]
    at = rows[0].index("pixels_sha256")
    made["images"]["pixels_sha256"] = {row[rows[0].index("image_id")]: row[at] for row in rows[1:]}
    made |= {"upscalers": {"flow-compact": {"method": "flow", "heat": 0.9}}, "weights": {KEY: sha}}
    made |= {"distortions": {"psnr": {"method": "pixel"}}, "beside": {}, "samples": 2, "resamples": 200}
    (folder / "named").mkdir(exist_ok=True)
    (folder / "named/two@1.yaml").write_text(yaml.safe_dump(made))
    monkeypatch.setattr(definition, "FOLDER", folder / "named")


@pytest.mark.slow
def test_every_file_under_an_id_is_kept_and_checked(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, shipped = sha256_file(both / "own.safetensors"), sha256_file(SHIPPED)
    with pytest.raises(Refused) as refusal:
        publish(both, tmp_path / "refused", images=False)
    line = f"recipes/aggregate.json: {KEY} has the hash {own[:12]}..., but the file of this version has {shipped[:12]}"
    assert line in str(refusal.value)

    monkeypatch.setitem(RELEASED_WEIGHTS, KEY, (*RELEASED_WEIGHTS[KEY], own))  # as if it had shipped once
    bundle = tmp_path / "bundle"
    publish(both, bundle, images=False)
    checked = verify(bundle)
    assert weights_of(checked.recipe["recipes"]) == {KEY: (own, shipped)}
    assert checked.results.weights == {KEY: shipped}, "as the schema has it, and bundles had it before"
    terms = (bundle / "LICENCES.md").read_text()
    assert own in terms
    assert shipped in terms

    # A benchmark is told by the weights of its own decoder, not by those of an entry that comes later.
    _define(tmp_path, bundle, shipped, monkeypatch)
    assert benchmark_of(checked) == "two@1"
    recipes = checked.recipe["recipes"]
    recipes |= {path: recipe | {"weights": {KEY: own}} for path, recipe in recipes.items() if "flow-compact" in path}
    recipes["upscale/x4/later"] = recipes["upscale/x4/another"] | {"weights": {KEY: shipped}}
    assert benchmark_of(checked) is None
