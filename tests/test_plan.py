"""``plan``: what is wrong in params.yaml is said in one line, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SMALL, run, stage

from stages.plan.code import code_hashes


def _set(project: Path, key: str, value: object) -> None:
    parameters = yaml.safe_load(SMALL)
    target = parameters
    *path, last = key.split("/")
    for part in path:
        target = target[part]
    if value is None:
        del target[last]
    else:
        target[last] = value
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))


BAD = [
    ("sampels", 3, "sampels: unknown key; did you mean 'samples'?"),
    ("images/corp", 64, "images.corp: unknown key; did you mean 'crop'?"),
    ("downscalers/bicubic/fliter", "box", "downscalers.bicubic.fliter: unknown key; did you mean 'filter'?"),
    ("downscalers/bicubic/filter", "bicubik", "downscalers.bicubic.filter"),
    ("downscalers/bicubic/method", "resampel", "downscalers.bicubic.method: no downscale method is called 'resampel'; did you mean 'resample'?"),
    ("downscalers/bicubic/method", None, "downscalers.bicubic.method: is missing"),
    ("downscalers/Bad Name", {"method": "resample", "filter": "box"}, "the name 'Bad Name' must be of a-z"),
    ("downscalers/a.b", {"method": "resample", "filter": "box"}, "the name 'a.b' must be of a-z"),
    ("downscalers/mine/function", "nowhere.at_all", "there is no module 'nowhere'"),
    ("downscalers/cmd", {"method": "command", "command": ["no-such-program", "{input}", "{output}"]}, "'no-such-program' is not on the PATH"),
    ("downscalers/cmd", {"method": "command", "command": ["python", "{input}"]}, "never say {output}"),
    ("downscalers/cmd", {"method": "command", "command": ["python", "{inptu}", "{output}"]}, "no placeholder is called {inptu}"),
    ("downscalers/lr", {"method": "folder", "path": "no/folder"}, "no/folder is not a folder"),
    ("upscalers/flow-compact/heat", -1, "upscalers.flow-compact.heat: input should be greater than or equal to 0"),
    ("upscalers/flow-compact/heat", float("nan"), "upscalers.flow-compact.heat"),
    ("upscalers/flow-compact/path", "no-file.safetensors", "no-file.safetensors"),
    ("factors", [1], "factors.0: input should be greater than or equal to 2"),
    ("factors", [4, 4], "factors: names a factor twice"),
    ("factors", [4, 3], "images.crop is 64, which factor 3 does not divide"),
    ("factors", [2], "factor 2: flow-compact does factors 4, 8, 16, 32, 64"),
    ("factors", [], "factors: "),
    ("samples", 0, "samples: input should be greater than or equal to 1"),
    ("samples", 2.5, "samples: give a whole number"),
    ("balance/size", 1, "balance.size: input should be greater than or equal to 2"),
    ("images/path", None, "images: source folder needs path"),
    ("images/path", "no-photos", "no-photos is not a folder"),
    ("images/source", "sample-photos", "images: path is for source folder"),
    ("attributes/source", "table", "attributes: source table needs path"),
    ("distortions/big", {"method": "structural", "metric": "ms-ssim"}, "big needs images of at least 161 pixels"),
    ("distortions", {"lpips": {"method": "lpips"}}, "weights torchvision.alexnet are not at"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{key}={value}"[:40] for key, value, _ in BAD])
def test_a_mistake_gives_one_line_and_exit_code_2(
    project: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    _set(project, key, value)
    done = stage("plan", cwd=project, env={"TORCH_HOME": str(tmp_path / "none")})
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (project / "data").exists()


def test_all_mistakes_are_told_at_once(project: Path) -> None:
    parameters = yaml.safe_load(SMALL)
    parameters["downscalers"]["bicubic"]["filter"] = "wrong"
    parameters["distortions"]["dss"]["metric"] = "wrong"
    (project / "params.yaml").write_text(yaml.safe_dump(parameters))
    text = stage("plan", cwd=project).stderr
    assert "downscalers.bicubic.filter" in text
    assert "distortions.dss.metric" in text


def test_two_branches_of_one_stage_name_are_refused(project: Path) -> None:
    parameters = yaml.safe_load(SMALL)
    parameters["upscalers"] = {name: {"method": "flow"} for name in ("a", "a-b")}
    parameters["downscalers"] = {name: {"method": "resample", "filter": "box"} for name in ("b-c", "c")}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage("plan", cwd=project)
    assert done.returncode == 2
    assert "upscaler a-b with downscaler c, and a with b-c" in done.stderr


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n- 2\n", "seed: !!python/object/apply:os.getcwd []\n"])
def test_what_is_no_parameters_file_is_refused(project: Path, text: str) -> None:
    (project / "params.yaml").write_text(text)
    done = stage("plan", cwd=project)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "params.yaml" in done.stderr


def test_missing_weights_are_skipped_loudly_or_refused(project: Path, tmp_path: Path) -> None:
    none = {"TORCH_HOME": str(tmp_path / "none")}
    _set(project, "distortions/lpips", {"method": "lpips"})
    done = stage("plan", cwd=project, env=none)
    assert done.returncode == 2
    assert "alexnet-owt-7be5be79.pth" in done.stderr
    parameters = yaml.safe_load((project / "params.yaml").read_text()) | {"missing_weights": "skip"}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage("plan", cwd=project, env=none)
    assert done.returncode == 0
    assert "lpips is SKIPPED" in done.stderr
    recipe = json.loads((project / "data/plan/aggregate.json").read_text())
    assert recipe["distortion_order"] == ["dss", "psnr"]
    assert "lpips" in recipe["skipped"]


def test_weights_are_found_in_torchs_cache_and_a_wrong_file_there_is_refused(
    project: Path, tmp_path: Path, shared: Path
) -> None:
    _set(project, "distortions/lpips", {"method": "lpips"})
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes((shared / "weights" / "lpips" / "alexnet_features.pth").read_bytes())
    env = {"TORCH_HOME": str(tmp_path / "torch")}
    assert stage("plan", cwd=project, env=env).returncode == 0
    assert "lpips" in json.loads((project / "data/plan/distort.json").read_text())["distortions"]
    cached.write_bytes(b"broken")
    done = stage("plan", cwd=project, env=env)
    assert done.returncode == 2
    assert "expected 7be5be79" in done.stderr


def test_check_sees_what_dvc_cannot(project: Path, tmp_path: Path) -> None:
    assert stage("plan", "--check", cwd=project).returncode == 3
    assert stage("plan", cwd=project).returncode == 0
    assert stage("plan", "--check", cwd=project).returncode == 0
    photo = project / "photos" / "photo-0.png"
    photo.write_bytes((project / "photos" / "photo-1.png").read_bytes())
    assert stage("plan", "--check", cwd=project).returncode == 3


@pytest.mark.parametrize("name", ["stages.plan", "stages.downscale"])
def test_plan_and_downscale_import_no_torch(project: Path, name: str) -> None:
    assert stage("plan", cwd=project).returncode == 0
    (project / "data" / "hr").mkdir()
    for photo in (project / "photos").iterdir():
        (project / "data" / "hr" / photo.name).write_bytes(photo.read_bytes())
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['x'] + ([] if {name!r} == 'stages.plan' else ['bicubic', '4'])\n"
        f"runpy.run_module({name!r}, run_name='__main__')\n"
        "print('heavy:', sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'torchvision', 'sklearn', 'lpips'}))"
    )
    done = run("python", "-c", program, cwd=project, env={"IDA_RD_WORKERS": "1"})
    assert "heavy: []" in done.stdout


def test_the_shipped_parameters_are_valid() -> None:
    done = run("python", "-m", "stages.plan", "--check", cwd=ROOT, check=False)
    assert done.returncode in (0, 3), done.stderr


def test_code_hashes_follow_imports_and_nothing_else(tmp_path: Path) -> None:
    files = {
        "stages/__init__.py": "",
        "stages/a/__init__.py": "",
        "stages/a/method.py": "import numpy\nfrom stages.core import one\ndef f():\n    from .helper import g\n",
        "stages/a/helper.py": "",
        "stages/a/other.py": "",
        "stages/core/__init__.py": "",
        "stages/core/one.py": "import stages.core.two\n",
        "stages/core/two.py": "from stages.core.one import x\n",
        "stages/core/three.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    hashes = code_hashes(tmp_path, tmp_path / "stages/a/method.py")
    assert list(hashes) == [
        "stages/__init__.py",
        "stages/a/__init__.py",
        "stages/a/helper.py",
        "stages/a/method.py",
        "stages/core/__init__.py",
        "stages/core/one.py",
        "stages/core/two.py",
    ]
    (tmp_path / "stages/core/two.py").write_text("# changed\n")
    changed = code_hashes(tmp_path, tmp_path / "stages/a/method.py")
    assert [name for name in hashes if hashes[name] != changed[name]] == ["stages/core/two.py"]
