"""Adapted weights: the same bytes for the same command, after a kill too; what decides them; what lies beside them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from training_photos import TINY, kill_when, recipe_of, write_photos

from ida_rd.adapt import flow
from ida_rd.adapt.contract import LEAST_ENERGY_PATCH, Adaptation
from ida_rd.adapt.recipe import decides
from ida_rd.adapt.stage import adapt_to_file
from ida_rd.adapt.work import adapt_weights
from ida_rd.commands import main
from ida_rd.core.adapted import adapted_to
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.weights import load_tensors, locate
from ida_rd.training.losses import LEAST_SIDE
from ida_rd.upscale import flow as shipped
from ida_rd.upscale.recipe import stated, upscale_recipe
from ida_rd.upscale.work import load_upscaler

DPID = {"method": "dpid"}


def _command(photos: Path, out: Path, **more: Any) -> list[str]:
    options = TINY | {"patch": 16} | more
    flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    head = [sys.executable, "-m", "ida_rd.commands", "adapt", "--downscaler", "box"]
    return [*head, "--images", str(photos), "--out", str(out), *flags]


@pytest.mark.slow
def test_a_killed_adaptation_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    variables = os.environ | {"PYTHONPATH": str(ROOT), "IDA_RD_OFFLINE": "1"}
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    subprocess.run(_command(photos, whole, steps=34), env=variables, check=True, capture_output=True)
    log = tmp_path / "killed.training" / "log.jsonl"
    reached = lambda: log.exists() and '"step": 28' in log.read_text()  # noqa: E731
    kill_when(reached, _command(photos, killed, steps=34), variables)
    assert not killed.exists()
    before = len(log.read_text().splitlines())
    subprocess.run(_command(photos, killed, steps=34), env=variables, check=True, capture_output=True)
    assert before >= 28
    assert whole.read_bytes() == killed.read_bytes()
    assert whole.with_suffix(".json").read_bytes() == killed.with_suffix(".json").read_bytes()
    assert not list(tmp_path.glob("*.training"))
    start, end = (json.loads(whole.with_suffix(".json").read_text())["losses"][i]["step"] for i in (0, -1))
    assert (start, end) == (1, 34)


def test_what_was_finished_steps_are_not_done_again(tmp_path: Path) -> None:
    """A kill loses what came after the last checkpoint, and no more. One thread trains: sums have one order."""
    recipe, steps = recipe_of(write_photos(tmp_path / "photos"), DPID, steps=30, patch=16), []
    from ida_rd.training.loop import Loop

    original = Loop.descend

    def descend(loop: Any, *given: Any) -> float:
        steps.append(loop.step)
        assert torch.get_num_threads() == 1
        if len(steps) == 28:
            raise KeyboardInterrupt
        return original(loop, *given)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "descend", descend)
        with pytest.raises(KeyboardInterrupt):
            adapt_weights(recipe, tmp_path / "state")
        adapt_weights(recipe, tmp_path / "state")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert steps == [*range(28), *range(25, 30)]


def test_adapting_moves_every_part_of_the_network_and_a_downscaler_makes_its_own(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    found = {}
    for name in ("box", "nearest"):
        path = tmp_path / f"{name}.safetensors"
        downscaler = {"method": "resample", "filter": name}
        adapt_to_file(recipe_of(photos, downscaler, steps=2, rate=1e-2, final_rate=1e-2, ema=0), path, None)
        found[name] = load_tensors(path)
    shipped = load_tensors(locate("flow-compact.x4").path)
    for part in ("levels.0.0.last.weight", "levels.1.3.affine.weight", "encoder.head.weight", "log_scale.weight"):
        assert not torch.equal(found["box"][part], shipped[part]), part
        assert not torch.equal(found["box"][part], found["nearest"][part]), part


def test_the_budget_and_the_photographs_decide_the_weights_and_nothing_else_does(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    first = decides(recipe_of(photos, DPID))
    assert first["budget"]["steps"] == 3
    for change in (
        {"steps": 4},
        {"seed": 1},
        {"energy": 1.5},
        {"precision": "bfloat16"},
        {"rate": 1e-3},
        {"fold": "1/2"},
    ):
        assert decides(recipe_of(photos, DPID, **change)) != first, change
    assert decides(recipe_of(photos, {"method": "dpid", "lambda": 0.5})) != first
    elsewhere = photos.rename(tmp_path / "moved")
    assert decides(recipe_of(elsewhere, DPID)) == first
    write_photos(elsewhere, count=3)
    assert decides(recipe_of(elsewhere, DPID)) != first


def test_the_preset_keeps_the_energy_score_that_the_shipped_weights_had(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", side=220)
    assert recipe_of(photos, DPID, energy=None)["budget"]["energy"] == 1.5
    assert recipe_of(photos, DPID, 8, energy=None)["budget"]["energy"] == 0
    preset = {"steps": 400, "batch": 4, "patch": 80, "rate": 3e-4, "final_rate": 1e-5, "clip_norm": 1, "ema": 0.999}
    assert preset.items() <= Adaptation(images="x").budget(flow.preset(4), where="").items()
    assert LEAST_ENERGY_PATCH == LEAST_SIDE
    with pytest.raises(UserError, match=re.escape("adapted.a.adapt.patch: is 16; the energy score needs 28 pixels")):
        recipe_of(photos, DPID, energy=None, patch=16)
    recipe = recipe_of(photos, DPID, energy=1.5, steps=1)
    assert "energy" in adapt_weights(recipe, tmp_path / "state")[1]["losses"][0]


def test_the_presets_weight_is_that_of_the_cards() -> None:
    weights = Path(str(shipped.__file__)).with_name("weights")
    cards = {int(path.stem.rsplit("_x")[-1]): path.read_text() for path in weights.glob("flow-compact_x*.md")}
    assert set(cards) == set(flow.ENERGY)
    for factor, card in cards.items():
        last = [line for line in card.split("## Quality")[0].splitlines() if " of NLL" in line][-1]
        found = re.search(r"of NLL \+ ([\d.]+) energy score", last)
        assert flow.ENERGY[factor] == (float(found[1]) if found else 0.0), f"x{factor}: {last}"


def test_folds_part_the_photographs_by_content(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=3)
    halves = [set(recipe_of(photos, DPID, fold=f"{i}/2")["images"]["files"].values()) for i in (1, 2)]
    every = set(recipe_of(photos, DPID)["images"]["files"].values())
    assert halves[0] | halves[1] == every
    assert not halves[0] & halves[1]
    thirds = [set(recipe_of(photos, DPID, fold=f"{i}/3")["images"]["files"].values()) for i in (1, 2, 3)]
    assert [len(third) for third in thirds] == [2, 2, 2]
    assert set.intersection(*thirds) == set()


def test_adapted_weights_are_an_upscaler_and_marked_as_matched(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "mine.safetensors"
    (photos / "LICENSES.csv").write_text("file,author,licence\nt0.png,Ann,CC0\nt1.png,Bob,CC BY\n")
    main(_command(photos, out)[3:])
    about = adapted_to(out)
    assert about is not None
    assert about["downscaler"]["parameters"]["filter"] == "box"
    assert about["budget"]["steps"] == 3
    entry = {"method": "flow", "path": str(out)}
    _, descriptor, _ = stated("mine", entry, 4, 0, 2)
    assert (descriptor.blind, descriptor.matched, descriptor.asks) == (False, True, ())
    assert descriptor.marks() == ["not blind", "matched"]
    chain = {"method": "cascade", "steps": [{"method": "flow", "factor": 4}, entry | {"factor": 4}]}
    with pytest.raises(UserError, match="two paths"):
        stated("chain", chain, 16, 0, 2)
    _, plain, _ = stated("plain", {"method": "flow", "path": str(locate("flow-compact.x4").path)}, 4, 0, 2)
    assert (plain.blind, plain.matched) == (True, False)
    recipe, _ = upscale_recipe("mine", entry, 4, 0, 1, size=None, download=False)
    assert recipe["settings"] == {"heat": json.loads(out.with_suffix(".json").read_text())["preset_heat"]}
    lr = np.full((3, 8, 8), 99, np.uint8)
    from ida_rd.core.seeds import Draw

    assert load_upscaler(recipe, "cpu").sample(lr, [Draw(0, "i", 0)]).sr.shape == (1, 3, 32, 32)
    record, card = json.loads(out.with_suffix(".json").read_text()), out.with_suffix(".md").read_text()
    assert record["sha256"] == sha256_file(out)
    assert record["images"][1] == {"file": "t1.png", "sha256": sha256_file(photos / "t1.png"), "author": "Bob",
                                   "licence": "CC BY"}  # fmt: skip
    assert "cost" not in record
    for text in ("3 steps of 1 patches of 16", "CC BY (1)", "s of one core", "GB at most", "not blind"):
        assert text in card
    assert "use it as {method: flow, path:" in capsys.readouterr().out
    main(_command(photos, out)[3:])
    assert "is finished" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(_command(photos, out, steps=4)[3:])
    assert end.value.code == 2
    assert "exists, and was made of something else" in capsys.readouterr().err


def test_a_damaged_weight_file_is_one_line(tmp_path: Path) -> None:
    for content in (b"", b"\xff" * 30, (20).to_bytes(8, "little") + b"no json at all......"):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="not a safetensors file"):
            adapted_to(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="a header of 1,099,511,627,776 bytes, more than"):
        adapted_to(tmp_path / "x.safetensors")
    assert adapted_to(tmp_path / "x.pth") is None


def test_every_key_of_adapt_is_an_option_of_the_command() -> None:
    from ida_rd.commands.adapt import BUDGET

    assert {*BUDGET, "images", "lr"} == set(Adaptation.model_fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x.pth", "--downscaler", "box"], "--out x.pth: give a name that ends in .safetensors"),
        (["--out", "x.safetensors", "--downscaler", "bax"], "--downscaler bax: no such downscaler; did you mean 'box'"),
        (["--out", "x.safetensors", "--downscaler", "box", "--steps", "0"], "adapt.steps: input should be greater"),
        (["--out", "x.safetensors", "--downscaler", "box", "--factor", "16"], "factor 16: one network is adapted"),
        (["--out", "x.safetensors", "--downscaler", "folder"], "give those of the photographs by --lr"),
        (["--out", "x.safetensors", "--lr", "nowhere"], "nowhere"),
        (["--out", "x.safetensors", "--downscaler", "box", "--test", "photos"], "t0.png is the test image t0 (and 1"),
    ],
)
def test_mistakes_of_the_command_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(Path("photos"))
    with pytest.raises(SystemExit) as end:
        main(["adapt", "--images", "photos", "--patch", "32", *options])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("x.*"))


def test_a_damaged_photograph_is_a_line_and_nothing_is_written(tmp_path: Path) -> None:
    photos = tmp_path / "my photos"
    write_photos(photos)
    damaged = sorted(photos.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    out = tmp_path / "w.safetensors"
    done = subprocess.run(_command(photos, out, steps=2), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert damaged.name in last
    assert "mend it or take it out, then run again" in last
    for downscaler in (
        {"method": "resample", "filter": "box"},
        DPID | {"degrade": [{"gaussian_noise": {"sigma": 0.1}}]},
    ):
        with pytest.raises(UserError, match="mend it or take it out, then run again"):
            adapt_to_file(recipe_of(photos, downscaler), out, None)
        assert [path.name for path in tmp_path.iterdir()] == ["my photos"]
