"""A stranger's bundle: what of it may run here, what may be opened, and what a second computation sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import run
from forger import change, change_rows, make_fit

from ida_rd.bundle import rerun as rerun_module
from ida_rd.bundle.compared import compare
from ida_rd.bundle.confine import is_own, objections, opens_nothing, with_own_files
from ida_rd.bundle.rerun import rerun
from ida_rd.bundle.verify import Verified, verify
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.methods import SECTION, find_method, known_methods
from ida_rd.core.methods import Parameters as Empty
from ida_rd.core.project import Branch, Project
from ida_rd.downscale.degrade import STEPS

BICUBIC = "flow-compact/x4/bicubic"
MINE = "flow-compact/x4/mine"


@pytest.fixture
def bundle(bundled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled, tmp_path / "bundle"))


# --- what may run -----------------------------------------------------------------------------------------------------

EVIL = ["python", "-c", "open('{output}'.replace('output.png', ''), 'w')", "{input}", "{output}"]


@pytest.mark.parametrize(
    ("stage", "entry", "allowed"),
    [
        ("upscale", {"method": "flow", "heat": 0.9}, True),
        ("upscale", {"method": "flow", "path": "/home/publisher/net.safetensors"}, False),
        ("upscale", {"method": "flow", "path": None}, True),
        ("upscale", {"method": "srflow", "paths": {"df2k_x4": "/home/publisher/net.pth"}}, False),
        ("upscale", {"method": "command", "command": EVIL, "factors": [4], "stochastic": True}, False),
        ("upscale", {"method": "pulse", "steps": 3, "operator": "own", "return": "best"}, True),
        ("upscale", {"method": "pulse", "paths": {"gaussian_fit": "/etc/passwd"}}, False),
        ("upscale", {"method": "evil.module"}, False),
        ("upscale", {"method": "spandrel", "path": "net.pth"}, False),
        (
            "upscale",
            {"method": "cascade", "steps": [{"method": "flow", "factor": 4}, {"method": "flow", "factor": 4}]},
            True,
        ),
        (
            "upscale",
            {"method": "cascade", "steps": [{"method": "flow", "factor": 4}, {"method": "evil.m", "factor": 4}]},
            False,
        ),
        (
            "upscale",
            {"method": "cascade", "steps": [{"method": "cascade", "steps": [{"method": "command", "command": EVIL}]}]},
            False,
        ),
        ("upscale", {"method": "cascade", "steps": [{"method": "flow", "factor": 4, "path": "x"}]}, False),
        ("downscale", {"method": "resample", "filter": "bicubic"}, True),
        ("downscale", {"method": "resample", "filter": "bicubic", "degrade": [{"jpeg": {"quality": 5}}]}, True),
        ("downscale", {"method": "resample", "filter": "bicubic", "degrade": [{"command": {"command": EVIL}}]}, False),
        ("downscale", {"method": "python", "function": "os.system"}, False),
        ("downscale", {"method": "folder", "path": "/etc"}, False),
        ("downscale", {"method": "command", "command": EVIL}, False),
        ("downscale", {"method": "command", "version": EVIL, "input": "jpeg"}, False),
        ("downscale", {"method": "convolve", "kernel": "mks2021", "light": "linear"}, True),
        ("downscale", {"method": "../../evil"}, False),
        ("distort", {"method": "lpips", "backbone": "alex"}, True),
        ("distort", {"method": "lpips", "path": "/etc/passwd"}, False),
        ("attributes", {"method": "table", "path": "/etc/passwd"}, False),
        ("attributes", {"method": "deepface", "detector": "skip"}, True),
    ],
)
def test_only_what_is_allowed_runs_at_any_depth(stage: str, entry: dict[str, Any], allowed: bool) -> None:
    assert (objections(stage, "x", entry, {}) == []) == allowed


def test_every_method_and_degradation_says_which_parameters_are_harmless() -> None:
    """A parameter that names a file, a program or code is never harmless, and what is not declared is not."""
    owners: list[tuple[str, Any, Any]] = [(name, step, step) for name, step in STEPS.items()]
    for stage in SECTION:
        for name in known_methods(stage):
            module = find_method(stage, name, where=name)
            owners.append((f"{stage}/{name}", module, getattr(module, "Parameters", Empty)))
    silent = []
    for name, owner, model in owners:
        fields = {field.alias or key for key, field in model.model_fields.items()}
        if getattr(owner, "HARMLESS", None) is None:
            silent.append(name)
            continue
        assert set(owner.HARMLESS) <= fields, name
        named = {
            "path",
            "paths",
            "file",
            "files",
            "command",
            "function",
            "arguments",
            "program",
            "swinir",
            "bsrnet",
            "cfw",
        }
        assert not named & set(owner.HARMLESS)
        for left in fields - set(owner.HARMLESS):
            assert left in {"path", "paths", "command", "version", "swinir", "control", "bsrnet", "cfw"}, (
                f"{name}: {left} is neither harmless nor a file or program"
            )
    assert silent == ["downscale/python"]


def test_what_a_method_says_of_itself_opens_no_file_of_the_publishers(tmp_path: Path) -> None:
    trap = tmp_path / "net.json"
    trap.write_text('{"preset_heat": 1.9}')
    entry = {"method": "cascade", "steps": [{"method": "flow", "factor": 4, "path": str(tmp_path / "net.safetensors")}]}
    assert opens_nothing("upscale", entry) == {"method": "cascade", "steps": [{"method": "flow", "factor": 4}]}
    assert is_own({"method": "a.b"})


def test_files_of_the_verifier_take_the_place_of_the_publishers(tmp_path: Path) -> None:
    parameters: dict[str, Any] = {
        "images": {"path": "theirs"},
        "upscalers": {"c": {"steps": [{"path": "theirs"}]}},
        "samples": 3,
    }
    changed, vouched = with_own_files(parameters, {"images.path": tmp_path, "upscalers.c.steps.0.path": tmp_path})
    assert changed["images"]["path"] == changed["upscalers"]["c"]["steps"][0]["path"] == str(tmp_path)
    assert set(vouched) == {"images.path", "upscalers.c.steps.0.path"}
    assert parameters["images"]["path"] == "theirs"
    for key, message in [
        ("images.paths", "no such key; did you mean 'path'"),
        ("samples", "is no path in this bundle"),
        ("images.path", "does not exist"),
    ]:
        with pytest.raises(UserError, match=message):
            with_own_files(parameters, {key: tmp_path / "nowhere" if "exist" in message else tmp_path})


def test_images_that_the_program_has_are_not_to_be_named(tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"images": {"source": "sample-photos", "path": None}}
    with pytest.raises(UserError, match=r"^--images: those of this bundle are sample-photos, which the program has"):
        with_own_files(parameters, {"images.path": tmp_path})


def _publish_parameters(bundle: Path, how: Callable[[dict[str, Any]], None]) -> Verified:
    """A bundle that `verify` accepts, with other parameters than were run: for what comes before anything runs."""
    checked = verify(bundle)
    parameters = checked.parameters.model_dump(mode="json")
    how(parameters)
    return replace(checked, parameters=type(checked.parameters).model_validate(parameters))


def test_a_program_in_a_chain_does_not_run(bundle: Path, tmp_path: Path, finished: Path) -> None:
    witness = tmp_path / "ran"
    command = ["touch", str(witness), "{input}", "{output}"]

    def chain(parameters: dict[str, Any]) -> None:
        step = {"method": "command", "factor": 2, "factors": [2], "stochastic": False, "command": command}
        parameters["upscalers"]["flow-compact"] = {"method": "cascade", "steps": [step, step]}

    checked = _publish_parameters(bundle, chain)
    with pytest.raises(
        UserError, match=r"no branch can be computed here: .*steps\.0\.command: is the publisher's choice"
    ):
        rerun(checked, 1, files={"images.path": finished / "photos"})
    assert not witness.exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda p: None, "the HR images were in a folder of the publisher's \\(photos\\): name yours by --images"),
        (
            lambda p: p.update(
                images={"source": "sample-photos", "crop": 64},
                attributes={"source": "table", "table": {"path": "/etc/passwd"}},
            ),
            r"attributes\.table\.path: is the publisher's choice of a file or program \(yours can be given by --file",
        ),
    ],
)
def test_no_path_of_the_publishers_is_opened(bundle: Path, how: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rerun(_publish_parameters(bundle, how), 1)


def test_the_draw_is_random_goes_through_all_sections_and_can_be_repeated() -> None:
    branches = [Branch(u, f, d) for u in "ab" for f in (4, 8) for d in "vwxyz"]
    draws = [rerun_module._draw(branches, 5, seed)[0] for seed in range(200)]
    assert {branch for drawn in draws for branch in drawn} == set(branches)
    for drawn in draws:
        assert len(set(drawn)) == 5
        assert len({(b.upscaler, b.factor) for b in drawn}) == 4
    assert rerun_module._draw(branches, 5, 7) == rerun_module._draw(branches, 5, 7)
    few, unseen = rerun_module._draw(branches, 1, 0)
    assert len(few) == 1
    assert len(unseen) == 3
    assert len(rerun_module._draw(branches, 99, 0)[0]) == len(branches)


def test_too_few_branches_fail_and_a_limit_ends_all(bundle: Path, finished: Path) -> None:
    photos = str(finished / "photos")
    done = run("ida-rd", "verify", str(bundle), "--rerun", "3", "--images", photos, cwd=bundle.parent, check=False)
    assert done.returncode == 2
    assert "flow-compact x4 bicubic: run again, the same to the last digit; same software and processor" in done.stdout
    assert "drawn with seed" in done.stdout
    assert "error: verify: 2 fewer than the 3 branches asked for can be run again here" in done.stderr
    for option, words in (("--time-limit", "took more than 0.5 s"), ("--memory-limit", "GiB of memory, more than 0.1")):
        value = "0.5" if option == "--time-limit" else "0.1"
        limited = ["--rerun", "1", "--images", photos, option, value]
        done = run("ida-rd", "verify", str(bundle), *limited, cwd=bundle.parent, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"{bundle}" not in listed


# --- what a second computation sees -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def again(bundled: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The branch that can be computed again, computed again once."""
    folder = tmp_path_factory.mktemp("again")
    parameters = yaml.safe_load((bundled / "params.yaml").read_text())
    parameters["images"]["path"] = str(finished / "photos")
    del parameters["downscalers"]["mine"]
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    write_json(folder / "branches.json", [Branch("flow-compact", 4, "bicubic").record()])
    write_json(folder / "version.json", 2)
    environment = os.environ | {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "ida_rd.bundle.again"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return Project(folder)


def _problems(bundle: Path, again: Project) -> str:
    found, problems = compare(verify(bundle), again, [Branch("flow-compact", 4, "bicubic")], ["dss", "psnr"])
    assert len(found) == 1
    return "; ".join(problems)


def _other_software(bundle: Path) -> None:
    change(bundle / f"rows/{BICUBIC}.json", lambda data: data["upscale"].update(numpy="1.0"))


def _one(rows: Any, column: str, more: float) -> Any:
    """Rows of which one has another value."""
    rows.loc[2, column] += more
    return rows


@pytest.mark.parametrize(
    ("how", "other", "reason"),
    [
        (lambda rows: rows, False, ""),
        (lambda rows: rows.assign(psnr=rows.psnr + 1e-3), False, "psnr of photo-0, sample 0 differs by 0.000372 of"),
        (lambda rows: rows.assign(psnr=rows.psnr + 0.01), True, "psnr is lower here by"),
        (lambda rows: rows.assign(dss=rows.dss * 0.998), True, "dss is higher here by"),
        (lambda rows: _one(rows, "dss", -1e-3), True, "dss of photo-1, sample 0 differs by"),
        (lambda rows: rows.assign(clipped=0.0), True, "clipped of photo-"),
        (lambda rows: _one(rows, "attempts", 1), True, "attempts differs for 12.5% of the samples"),
    ],
)  # fmt: skip
def test_rows_that_were_invented_do_not_come_out_again(
    bundle: Path, again: Project, how: Callable[[Any], Any], other: bool, reason: str
) -> None:
    change_rows(bundle, BICUBIC, how)
    if other:
        _other_software(bundle)
    make_fit(bundle)
    problems = _problems(bundle, again)
    assert reason in problems
    assert bool(problems) == bool(reason)


def test_a_forged_rate_does_not_come_out_again(bundle: Path, again: Project) -> None:
    path = bundle / "tables/images.csv"
    text = path.read_text().splitlines()
    cells = text[1].split(",")
    cells[text[0].split(",").index("rate_bpp")] = "0.5"
    path.write_text("\n".join([text[0], ",".join(cells), *text[2:]]) + "\n")
    make_fit(bundle)
    assert "rate_bpp of photo-0 is 0.5, here" in _problems(bundle, again)


def test_what_another_processor_may_do_passes_and_close_ranks_are_said(bundle: Path, again: Project) -> None:
    """Noise of either sign within the tolerance is no forgery; a rank that it could change has a word."""

    def noisy(rows: Any) -> Any:
        sign = [1, -1] * (len(rows) // 2)
        return rows.assign(psnr=rows.psnr + 1e-3 * rows.index.map(lambda i: sign[i]), dss=rows.dss)

    other = [Branch("flow-compact", 4, "bicubic")]
    change_rows(bundle, BICUBIC, noisy)
    _other_software(bundle)
    rows = bundle / f"rows/{BICUBIC}.csv"
    shutil.copyfile(rows, bundle / f"rows/{MINE}.csv")
    change_rows(bundle, MINE, lambda table: table.assign(dss=table.dss + 1e-6, psnr=table.psnr + 1e-6))
    make_fit(bundle)
    found, problems = compare(verify(bundle), again, other, ["dss", "psnr"])
    assert problems == []
    assert found[0].same_software is False
    assert "its rank next to mine by dss is closer than the tolerance" in found[0].notes


def test_changed_code_is_a_note(bundle: Path, again: Project) -> None:
    def edit(data: Any) -> None:
        data["recipes"]["downscale/x4/bicubic"]["code"]["ida_rd/downscale/resample.py"] = "0" * 64

    change(bundle / "recipes/aggregate.json", edit)
    make_fit(bundle)
    found, problems = compare(verify(bundle), again, [Branch("flow-compact", 4, "bicubic")], ["dss", "psnr"])
    assert problems == []
    assert found[0].notes == ["the code differs here: ida_rd/downscale/resample.py"]
