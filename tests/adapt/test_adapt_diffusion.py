"""The diffusion decoder is adapted as a whole, reproducibly, and the result is a matched upscaler."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, SMALL, walk
from PIL import Image
from torch import Tensor
from training_photos import TINY, dying, recipe_of, write_photos

from ida_rd.adapt import edm
from ida_rd.adapt.stage import adapt_to_file
from ida_rd.adapt.work import adapt_weights
from ida_rd.bundle.publish import publish
from ida_rd.bundle.verify import verify
from ida_rd.commands import main
from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import load_tensors, locate
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.config import EDMConfig
from ida_rd.models.edm.network import EDMNet
from ida_rd.training.edm_adapt import _Adapting
from ida_rd.training.edm_losses import denoising_loss, likelihood_loss
from ida_rd.training.edm_ring import Windows, normal
from ida_rd.upscale.recipe import stated, upscale_recipe
from ida_rd.upscale.work import load_upscaler

DIFFUSION = {"method": "edm"}


def _recipe(photos: Path, filter: str = "box", **budget: Any) -> dict[str, Any]:
    return recipe_of(photos, {"method": "resample", "filter": filter}, upscaler=DIFFUSION, **budget)


def test_every_part_of_the_network_is_adapted_and_a_downscaler_makes_its_own(tmp_path: Path) -> None:
    photos, found = write_photos(tmp_path / "photos"), {}
    for name in ("box", "nearest"):
        adapt_to_file(_recipe(photos, name, steps=2, rate=1e-2, ema=0), tmp_path / f"{name}.safetensors", None)
        found[name] = load_tensors(tmp_path / f"{name}.safetensors")
    shipped = load_tensors(locate("diffusion-compact.x4").path)
    assert found["box"].keys() == shipped.keys()
    for part in ("encoder.", "prior.", "head.", "denoiser."):
        names = [name for name in shipped if name.startswith(part) and name.endswith("weight")]
        assert names, part
        for name in names:
            assert not torch.equal(found["box"][name], shipped[name]), name
            assert not torch.equal(found["box"][name], found["nearest"][name]), name


def test_a_killed_adaptation_ends_with_the_same_bytes(tmp_path: Path) -> None:
    recipe = _recipe(write_photos(tmp_path / "photos"), steps=28)
    whole, _ = adapt_weights(recipe, tmp_path / "whole")
    with dying(_Adapting, "step", 27):
        adapt_weights(recipe, tmp_path / "killed")
    again, value = adapt_weights(recipe, tmp_path / "killed")
    assert again == whole
    assert value["losses"][-1]["step"] == 28


def _losses(net: EDMNet, hr: Tensor, lr: Tensor) -> dict[str, float]:
    """Both losses of images, in the space of this network, by noise of four levels that is always the same."""
    with torch.no_grad():
        features = net.features(lr)
        space = net.whitening(lr, features)
        y = space.whitened(hr).clamp(-40, 40)
        noise, total = normal(y.shape, "noise"), 0.0
        for log_sigma in (-1.0, 0.0, 1.0, 2.0):
            levels = torch.full((len(hr),), log_sigma)
            windows = Windows(y, space.scale, features)
            total += float(denoising_loss(net, net.denoiser, windows, levels, noise, torch.float32).mean())
        return {"likelihood": float(likelihood_loss(hr, space)), "denoising": total}


def test_lr_images_that_the_weights_never_saw_are_soon_read_better(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    recipe = _recipe(photos, "nearest", steps=40, batch=4, ema=0.9)
    (tmp_path / "adapted.safetensors").write_bytes(adapt_weights(recipe, tmp_path / "state")[0])
    hr = np.stack([read_image(path)[:136, :136] for path in sorted(photos.glob("*.png"))])
    lr = np.stack([np.asarray(Image.fromarray(image).resize((34, 34), Image.Resampling.NEAREST)) for image in hr])
    images = [torch.from_numpy(one).permute(0, 3, 1, 2).float() / 255 for one in (hr, lr)]
    before = _losses(load_network(locate("diffusion-compact.x4").path), *images)
    after = _losses(load_network(tmp_path / "adapted.safetensors"), *images)
    for key, loss in before.items():
        assert after[key] < loss, key


def test_adapted_weights_are_a_matched_upscaler(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "mine.safetensors"
    options = ["--steps", "2", "--batch", "1", "--patch", "32", "--warmup", "1"]
    main(["adapt", "--upscaler", "edm", "--downscaler", "box", "--images", str(photos), "--out", str(out), *options])
    said = capsys.readouterr().out
    assert re.search(r"of the head's likelihood .*, [\d.]+ to [\d.]+ of the denoiser; use it as \{method: edm,", said)
    assert "energy score" not in (card := out.with_suffix(".md").read_text())
    assert "of the denoiser; 0 steps left out" in card
    entry = {"method": "edm", "path": str(out)}
    _, descriptor, _ = stated("mine", entry, 4, 0, 2)
    assert (descriptor.blind, descriptor.matched) == (False, True)
    recipe, _ = upscale_recipe("mine", entry, 4, 0, 1, size=None, download=False)
    lr = np.full((3, 8, 8), 99, np.uint8)
    assert load_upscaler(recipe, "cpu").sample(lr, [Draw(0, "i", 0)]).sr.shape == (1, 3, 32, 32)
    _, shipped, _ = stated("plain", {"method": "edm", "path": str(locate("diffusion-compact.x4").path)}, 4, 0, 2)
    assert (shipped.blind, shipped.matched) == (True, False)
    again = tmp_path / "again.safetensors"
    where = ["--images", str(photos), "--downscaler", "bilinear", "--out", str(again), *options]
    main(["adapt", "--upscaler", f"{{method: edm, path: '{out}'}}", *where])
    assert again.is_file()
    with pytest.raises(SystemExit) as end:
        main(["adapt", "--upscaler", f"{{method: edm, path: '{out}'}}", "--path", "other", *where])
    assert end.value.code == 2
    assert "--path: --upscaler names another" in capsys.readouterr().err


def test_what_this_training_does_not_have_is_refused(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    assert "energy" not in _recipe(photos)["budget"]
    with pytest.raises(UserError, match=re.escape("adapt.energy: the training of this method has no such thing")):
        _recipe(photos, energy=1.0)
    with pytest.raises(UserError, match=re.escape("adapt.patch: is 44; this network takes multiples of 8")):
        _recipe(photos, patch=44)
    for factor in (4, 8):
        assert edm.MULTIPLE % (EDMConfig(factor=factor).multiple * factor) == 0


def test_it_is_measured_published_and_verified(walked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blind, adapted to each downscaler, and by a file of the user's own, in one run."""
    monkeypatch.setattr("ida_rd.bundle.publish._refuse_stale", lambda root: None)  # here is no DVC that would tell
    write_photos(walked / "training")
    shutil.copyfile(locate("diffusion-compact.x4").path, walked / "own.safetensors")
    tiny = {key: value for key, value in TINY.items() if key != "energy"}
    changed = yaml.safe_load(SMALL) | {
        "upscalers": {"edm": DIFFUSION, "own": DIFFUSION | {"path": "own.safetensors", "steps": 6}},
        "adapted": {"tuned": DIFFUSION | {"adapt": {"images": "training", **tiny}}},
        "samples": 1,
    }
    (walked / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    walk()
    table = pd.read_csv("metrics/tables/matched.csv")
    assert set(zip(table.blind, table.adapted, strict=True)) == {("edm", "tuned")}
    scores = json.loads(Path("metrics/tables/ida_rd.json").read_text())
    of = {name: scores[name]["x4"]["mine"]["dss"]["mean"] for name in ("edm", "own", "tuned")}
    assert len({*of.values()}) == 3
    walk(report=True)
    publish(Path(), tmp_path / "bundle", images=False)
    checked = verify(tmp_path / "bundle")
    assert any(what.startswith("adapted.tuned: its weights") for what in checked.unverified)
    assert "upscalers.own: a file of the publisher's own, and all that is said of it" in checked.unverified

    adapt_to_file(_recipe(walked / "training"), walked / "own.safetensors.new", None)
    (walked / "own.safetensors.new").rename(walked / "own.safetensors")
    walk(report=True)
    with pytest.raises(UserError, match="own has weights of `ida-rd adapt`, and a bundle does not hold those"):
        publish(Path(), tmp_path / "another", images=False)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """Files may not grow beyond 4 MB here, which is less than a checkpoint."""
    photos = write_photos(tmp_path / "photos")
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))\n"
    code += "from ida_rd.commands import main; import sys; main(sys.argv[1:])"
    options = ["--images", str(photos), "--steps", "1", "--batch", "1", "--patch", "32", "--warmup", "1"]
    command = ["adapt", "--upscaler", "edm", "--downscaler", "box", "--out", str(tmp_path / "x.safetensors"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *command], env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"^error: .*checkpoint.pt cannot be written \(File too large\)", done.stderr, re.MULTILINE)
    assert not list(tmp_path.glob("x.s*"))
