"""A run with PULSE: published with the hashes of its two networks, verified, and computed again by who has them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from conftest import walk
from golden.pulse.recipe import mapping, synthesis

from ida_rd.bundle.derived import licences, weights_of
from ida_rd.bundle.publish import publish, write_checksums
from ida_rd.bundle.rerun import rerun
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.project import Project
from ida_rd.plan.stage import make_recipes, read_parameters, write_recipes

NAMES = {"stylegan.mapping": "stylegan_mapping.pt", "stylegan.synthesis": "stylegan_synthesis.pt"}


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _drop_the_mapping(bundle: Path) -> None:
    """Weights that the method would have asked for are no longer named, anywhere."""
    for path in [bundle / "results.json", *bundle.glob("recipes/**/*.json")]:
        text = path.read_text()
        if "stylegan.mapping" in text:
            _edit(path, lambda data: _without(data, "stylegan.mapping"))


def _without(data: Any, key: str) -> None:
    for inner in data.values() if isinstance(data, dict) else data:
        if isinstance(inner, dict | list):
            _without(inner, key)
    if isinstance(data, dict):
        data.pop(key, None)


def _say_another_hash(bundle: Path) -> None:
    _edit(bundle / "results.json", lambda data: data["weights"].update({"stylegan.synthesis": "0" * 64}))


def _residuals(bundle: Path, value: float) -> None:
    table = pd.read_csv(bundle / "own_columns.csv")
    table.loc[table["column"] == "residual", "value"] = value
    table.to_csv(bundle / "own_columns.csv", index=False)


@pytest.mark.slow
def test_a_run_with_pulse_is_published_verified_and_computed_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    environment = {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1", "OMP_NUM_THREADS": "1"}
    for key, value in (environment | {"TORCH_HOME": str(tmp_path / "torch")}).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("ida_rd.bundle.publish._refuse_stale", lambda root: None)
    cache = tmp_path / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    net = synthesis(16, torch.float32, channels=(8, 6, 4), latent=8)
    torch.save(mapping(torch.float32, width=8).state_dict(), cache / NAMES["stylegan.mapping"])
    torch.save(net.state_dict(), cache / NAMES["stylegan.synthesis"])
    parameters = yaml.safe_load((project / "params.yaml").read_text())
    parameters["images"] |= {"resize": 16}
    parameters["downscalers"] = {"box": {"method": "resample", "filter": "box"}}
    parameters["upscalers"] = {"pulse": {"method": "pulse", "resolution": 16, "steps": 2}}
    parameters["distortions"] = {"psnr": {"method": "pixel"}}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    walk(report=True)
    bundle = tmp_path / "bundle"
    publish(project, bundle, images=False)

    checked = verify(bundle)
    hashes = {key: sha256_file(cache / name) for key, name in NAMES.items()}
    assert checked.results.weights == hashes
    provenance = json.loads((bundle / "provenance.json").read_text())
    assert all(sha256 in json.dumps(provenance) for sha256 in hashes.values())
    assert "weights stylegan.mapping, stylegan.synthesis: nobody has published their hash" in checked.unverified
    licences = (bundle / "LICENCES.md").read_text()
    assert all(f"{key}" in licences and sha256 in licences for key, sha256 in hashes.items())
    assert "CC BY-NC 4.0, non-commercial" in licences
    cited = (bundle / "CITATIONS.bib").read_text()
    assert "menon2020pulse" in cited
    assert "karras2019stylegan" in cited
    table = (bundle / "tables/own_columns.md").read_text()
    assert "non-commercial, HR reduced to 16 x 16" in table
    assert "reached eps" in table

    for change, message in (
        (_drop_the_mapping, r"its weights are not those of the method \(stylegan.mapping, stylegan.synthesis\)"),
        (_say_another_hash, "results.json: weights stylegan.synthesis: the hash differs from the recipes"),
        (lambda folder: _residuals(folder, 0.25), r"tables/own_columns.csv: line \d+, value is"),
        (lambda folder: _residuals(folder, float("inf")), "residual: a sample has none, or one that is not finite"),
    ):
        changed = tmp_path / "changed"
        shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(bundle, changed)
        change(changed)
        write_checksums(changed)
        with pytest.raises(UserError, match=message):
            verify(changed)

    images = {"images.path": project / "photos"}
    again = rerun(checked, 1, files=images)
    assert [(one.branch, one.largest, one.notes) for one in again.branches] == [("pulse x4 box", 0, [])]
    # Who has another generator under its name is told so, and does not take the publisher for a liar.
    net.torgb.weight.data.neg_()
    torch.save(net.state_dict(), cache / NAMES["stylegan.synthesis"])
    with pytest.raises(UserError, match=r"weights stylegan\.synthesis is another file here: put the publisher's there"):
        rerun(checked, 1, files=images)


def test_each_generator_is_named_with_its_own_terms(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries share an id of weights that no hash fixes: each may have a file of its own."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cache = tmp_path / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(mapping(torch.float32, width=8).state_dict(), cache / NAMES["stylegan.mapping"])
    net = synthesis(16, torch.float32, channels=(8, 6, 4), latent=8)
    files = {"of-ann": tmp_path / "ann.pt", "of-bob": tmp_path / "bob.pt", "published": cache / "stylegan_synthesis.pt"}
    for path in files.values():
        net.torgb.weight.data.add_(1)
        torch.save(net.state_dict(), path)
    search = {"method": "pulse", "resolution": 16, "steps": 2}
    own = {name: search | {"paths": {"synthesis": str(path)}} for name, path in files.items() if name != "published"}
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["images"] |= {"resize": 16}
    values["distortions"] = {"psnr": {"method": "pixel"}}  # the others need larger images
    values["upscalers"] = {
        "of-ann": own["of-ann"] | {"licence": "CC0"},
        "of-bob": own["of-bob"] | {"licence": "for research only"},
        "published": search,
    }
    (project / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    write_recipes(make_recipes(read_parameters(project / "params.yaml"), download=False), Project().plan)
    recipe = json.loads((Project().plan / "aggregate.json").read_text())
    text = licences(recipe, weights_of(recipe["recipes"]))
    styles = "CC BY-NC 4.0, non-commercial (StyleGAN); trained on FFHQ. Karras, Laine, Aila, "
    for name, terms in (("of-ann", "CC0.\n"), ("of-bob", "for research only.\n"), ("published", styles)):
        assert f"* stylegan.synthesis (sha256 `{sha256_file(files[name])}`; {name} x4): {terms}" in text
    assert text.count("* stylegan.synthesis ") == 3
    assert text.count("* stylegan.mapping ") == 1
    assert f"* stylegan.mapping (sha256 `{sha256_file(cache / NAMES['stylegan.mapping'])}`): {styles}" in text
