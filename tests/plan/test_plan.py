"""``plan``: what is wrong in params.yaml is said in one line, before anything runs."""

from __future__ import annotations

import datetime
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SMALL, run, stage, stage_here
from PIL import Image

from ida_rd.core.code import PLUMBING, code_hashes
from ida_rd.core.errors import UserError
from ida_rd.core.software import package_version


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
    ("downscalers/bicubic/method", "resampel", "downscalers.bicubic.method: no downscale method is called 'resampel'; did you mean 'resample'?"),
    ("downscalers/bicubic/method", None, "downscalers.bicubic.method: is missing"),
    ("downscalers/Bad Name", {"method": "resample", "filter": "box"}, "the name 'Bad Name' must consist of a-z"),
    ("downscalers/a.b", {"method": "resample", "filter": "box"}, "the name 'a.b' must consist of a-z"),
    ("downscalers/mine/function", "nowhere.at_all", "there is no module 'nowhere'"),
    ("downscalers/cmd", {"method": "command", "command": ["no-such-program", "{input}", "{output}"]}, "'no-such-program' is not on the PATH"),
    ("downscalers/cmd", {"method": "command", "command": ["python", "{input}"]}, "lack {output}"),
    ("downscalers/cmd", {"method": "command", "command": ["python", "{inptu}", "{output}"]}, "no placeholder is called {inptu}"),
    ("downscalers/lr", {"method": "folder", "path": "no/folder"}, "no/folder is not a folder"),
    ("upscalers/flow-compact/heat", -1, "upscalers.flow-compact.heat: input should be greater than or equal to 0"),
    ("upscalers/flow-compact/heat", float("nan"), "upscalers.flow-compact.heat"),
    ("upscalers/flow-compact/path", "no-file.safetensors", "no-file.safetensors"),
    ("factors", [1], "factors.0: input should be greater than or equal to 2"),
    ("factors", [4, 4], "factors: names a factor twice"),
    ("factors", [4, 3], "images.crop is 64, which factor 3 does not divide"),
    ("images", {"source": "folder", "path": "photos", "crop": 128}, "64 x 64 pixels, smaller than images.crop = 128"),
    ("factors", [48], "images.crop is 64, which factor 48 does not divide"),
    ("downscalers/bicubic/filter", "bicubik", "pillow has no such filter; did you mean 'bicubic'? (it is 'bicubik')"),
    ("downscalers/bicubic/backend", "opencv2", "downscalers.bicubic.backend: input should be 'pillow', 'opencv'"),
    ("downscalers/o", {"method": "resample", "backend": "opencv", "filter": "hamming"}, "downscalers.o.filter: opencv has no such filter; known names: area, bicubic"),
    ("downscalers/o", {"method": "resample", "filter": "box", "antialias": False}, "downscalers.o.antialias: pillow's box leaves no choice"),
    ("downscalers/bicubic/degrade", [{"gaussian_noise": {"sigma": -0.1}}], "downscalers.bicubic.degrade.0.gaussian_noise.sigma: input should be greater than or equal to 0"),
    ("downscalers/bicubic/degrade", [{"gaussian_blur": {"sigma": 1}}, {"quantization": {"n": 0}}], "downscalers.bicubic.degrade.1.quantization.n: input should be greater than or equal to 2"),
    ("downscalers/bicubic/degrade", [{"contrast": {"factor": float("nan")}}], "downscalers.bicubic.degrade.0.contrast.factor: input should be a finite number"),
    ("upscalers/s", {"method": "sr3", "network": "ffhq_16_128"}, "upscalers.s: factor 4: the network ffhq_16_128 was trained for 8 alone"),
    ("factors", [], "factors: "),
    ("samples", 0, "samples: input should be greater than or equal to 1"),
    ("samples", 2.5, "samples: give a whole number"),
    ("balance/size", 1, "balance.size: input should be greater than or equal to 2"),
    ("images/path", None, "images: source folder needs path"),
    ("images/path", "no-photos", "no-photos is not a folder"),
    ("images/pattern", "*_HR.png", "photos holds no image named *_HR.png"),
    ("images/source", "sample-photos", "images: path is for source folder"),
    ("attributes/source", "table", "attributes.table.path: is missing"),
    ("distortions/big", {"method": "structural", "metric": "ms-ssim"}, "big needs images of at least 161 pixels a side; the smallest here has 64"),
    ("seed", 2**32, "seed: input should be less than or equal to 4294967295"),
    ("samples", 1001, "samples: input should be less than or equal to 1000"),
    ("factors", [65], "factors.0: input should be less than or equal to 64"),
    ("images/photograph_before", "_s", "images.photograph_before: no file's name has '_s' after its first character"),
    ("images/photograph_before", "", "images.photograph_before: string should have at least 1 character"),
    ("images/photograph_before", "s" * 17, "images.photograph_before: string should have at most 16 characters"),
    ("images", {"source": "sample-photos", "photograph_before": "_s"}, "images: photograph_before is for source folder"),
    ("primary", "dsss", "primary: no distortion is called 'dsss'; did you mean 'dss'?"),
    ("images/crop", 65538, "images.crop: input should be less than or equal to 65536"),
    ("images/pattern", "/etc/*.png", "images.pattern: give a pattern below images.path"),
    ("images/pattern", "../*.png", "images.pattern: give a pattern below images.path"),
    ("images/pattern", "**/**/*.png", "images.pattern: give a pattern of at most 16 parts, at most one of them **"),
    ("images/pattern", "*/" * 16 + "*.png", "images.pattern: give a pattern of at most 16 parts"),
    ("images/pattern", "a" * 201, "images.pattern: string should have at most 200 characters"),
    ("images/path", "a\0b", "images.path: it has a NUL in it"),
    ("balance/size", 10**9, "balance.size: input should be less than or equal to 1000000"),
    ("balance/groups", 10**9, "balance.groups: input should be less than or equal to 10000"),
    ("balance/attributes", {"luminance": {"edges": [1, 1.00000001, 1.00000002]}}, "two are so close that their groups would have one name"),
    ("balance/attributes", {"luminance": {"edges": [1e300]}}, "edges.0: input should be less than or equal to 1000000000000"),
    ("balance/attributes", {"luminance": {"groups": {}}}, "groups: dictionary should have at least 1 item"),
    ("balance/attributes", {"luminance": {"groups": {"others": ["a"]}, "others": "keep"}}, "'others' is what others: keep makes"),
    ("balance/attributes", {"luminance": {"groups": {"=1+1": ["a"]}}}, "the label begins like a formula of a spreadsheet"),
    ("balance/attributes", {"luminance": {"edges": [1], "labels": ["low", "\x1b[2J"]}}, "the label has a character that cannot be printed"),
    ("balance/attributes", {"photograph": {}}, "'photograph' is the name of another column"),
    ("balance/attributes", {"width": {"edges": [1]}}, "'width' is the name of another column"),
    ("attributes/source", {}, "attributes.source"),
    ("aggregate/resamples", 10**9, "aggregate.resamples: input should be less than or equal to 100000"),
    ("aggregate/confidence", 1 - 1e-16, "aggregate.confidence: input should be less than or equal to 0.9999"),
    ("report/images", 101, "report.images: input should be less than or equal to 100"),
    ("downscalers/" + "a" * 101, {"method": "resample", "filter": "box"}, "has more than 100 characters"),
    ("downscalers/mine/arguments", {"x": float("inf")}, "downscalers.mine.arguments.x: inf is not a finite number"),
    ("downscalers/mine/arguments", {"x": datetime.date(2026, 1, 1)}, "downscalers.mine.arguments.x: '2026-01-01' is a date"),
    ("downscalers/mine/arguments", {"x": {1: 2}}, "downscalers.mine.arguments.x: the key 1 is not text"),
    ("downscalers/cmd", {"method": "command", "command": ["python", "{input}", "{output}"], "timeout_s": 1e300}, "timeout_s: input should be less than or equal to 604800"),
    ("distortions", {"lpips": {"method": "lpips"}}, "weights torchvision.alexnet are not at"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{key}={value}"[:40] for key, value, _ in BAD])
def test_a_mistake_gives_one_line_and_exit_code_2(
    project: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    _set(project, key, value)
    done = stage_here("plan", cwd=project, env={"TORCH_HOME": str(tmp_path / "none")})
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (project / "data").exists()


def test_all_mistakes_are_reported_at_once(project: Path) -> None:
    parameters = yaml.safe_load(SMALL)
    parameters["downscalers"]["bicubic"]["filter"] = "wrong"
    parameters["distortions"]["dss"]["metric"] = "wrong"
    (project / "params.yaml").write_text(yaml.safe_dump(parameters))
    text = stage_here("plan", cwd=project).stderr
    assert "downscalers.bicubic.filter" in text
    assert "distortions.dss.metric" in text


def test_two_branches_of_one_stage_name_are_refused(project: Path) -> None:
    parameters = yaml.safe_load(SMALL)
    parameters["upscalers"] = {name: {"method": "flow"} for name in ("a", "a-b")}
    parameters["downscalers"] = {name: {"method": "resample", "filter": "box"} for name in ("b-c", "c")}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert "upscaler a-b with downscaler c, and a with b-c" in done.stderr


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n- 2\n", "seed: !!python/object/apply:os.getcwd []\n"])
def test_what_is_no_parameters_file_is_refused(project: Path, text: str) -> None:
    (project / "params.yaml").write_text(text)
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "params.yaml" in done.stderr


def test_missing_weights_are_skipped_loudly_or_refused(project: Path, tmp_path: Path) -> None:
    none = {"TORCH_HOME": str(tmp_path / "none")}
    _set(project, "distortions/lpips", {"method": "lpips"})
    done = stage_here("plan", cwd=project, env=none)
    assert done.returncode == 2
    assert "alexnet-owt-7be5be79.pth" in done.stderr
    parameters = yaml.safe_load((project / "params.yaml").read_text()) | {"missing_weights": "skip"}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage_here("plan", cwd=project, env=none)
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
    assert stage_here("plan", cwd=project, env=env).returncode == 0
    assert "lpips" in json.loads((project / "data/plan/distort.json").read_text())["distortions"]
    cached.write_bytes(b"broken")
    done = stage_here("plan", cwd=project, env=env)
    assert done.returncode == 2
    assert "expected 7be5be79" in done.stderr


def test_check_sees_what_dvc_cannot(project: Path, tmp_path: Path) -> None:
    assert stage_here("plan", "--check", cwd=project).returncode == 3
    assert stage_here("plan", cwd=project).returncode == 0
    assert stage_here("plan", "--check", cwd=project).returncode == 0
    photo = project / "photos" / "photo-0.png"
    photo.write_bytes((project / "photos" / "photo-1.png").read_bytes())
    assert stage_here("plan", "--check", cwd=project).returncode == 3


@pytest.mark.parametrize("name", ["plan", "downscale"])
def test_plan_and_downscale_import_no_torch(project: Path, name: str) -> None:
    assert stage_here("plan", cwd=project).returncode == 0
    (project / "data" / "hr").mkdir()
    for photo in (project / "photos").iterdir():
        (project / "data" / "hr" / photo.name).write_bytes(photo.read_bytes())
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['x'] + ([] if {name!r} == 'plan' else ['bicubic', '4'])\n"
        f"runpy.run_path('stages/{name}.py', run_name='__main__')\n"
        "print('heavy:', sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'torchvision', 'sklearn', 'lpips'}))"
    )
    done = run("python", "-c", program, cwd=project, env={"IDA_RD_WORKERS": "1"})
    assert "heavy: []" in done.stdout


def test_the_shipped_parameters_are_valid() -> None:
    done = run("python", "stages/plan.py", "--check", cwd=ROOT, check=False)
    assert done.returncode in (0, 3), done.stderr


def test_code_hashes_follow_imports_and_leave_out_plumbing(project: Path) -> None:
    """Asked of a copy of the code, so that it can be edited; keys are the same wherever the package lies."""
    ask = "import json; from ida_rd.core.code import PLUMBING, code_hashes; print(json.dumps(code_hashes('ida_rd.downscale.work', 'ida_rd.downscale.dpid')))"

    def hashes() -> dict[str, str]:
        return json.loads(run("python", "-c", ask, cwd=project).stdout)

    before = hashes()
    assert before == code_hashes("ida_rd.downscale.work", "ida_rd.downscale.dpid")
    assert {"ida_rd/downscale/dpid.py", "ida_rd/downscale/kernels.py", "ida_rd/core/images.py"} <= set(before)
    assert not [name for name in before if name.startswith("ida_rd/engine") or "l0" in name or "torch" in name]
    for name in ("ida_rd/core/errors.py", "ida_rd/engine/local.py", "ida_rd/downscale/l0.py"):
        _append(project / name)
    assert hashes() == before
    _append(project / "ida_rd/downscale/kernels.py")
    assert [name for name, sha in hashes().items() if before[name] != sha] == ["ida_rd/downscale/kernels.py"]


def test_editing_plumbing_changes_no_recipe_and_editing_work_just_those_that_rest_on_it(project: Path) -> None:
    _set(project, "downscalers/dpid", {"method": "dpid"})

    def recipes() -> dict[str, bytes]:
        assert stage("plan", cwd=project).returncode == 0
        return {
            path.relative_to(project).as_posix(): path.read_bytes() for path in (project / "data/plan").rglob("*.json")
        }

    before = recipes()
    for name in PLUMBING:
        file = project.joinpath(*name.split("."))
        for path in file.rglob("*.py") if file.is_dir() else [file.with_suffix(".py")]:
            _append(path)
    for path in (project / "stages").glob("*.py"):
        _append(path)
    assert recipes() == before
    flow = {f"upscale/x4/flow-compact/{name}" for name in ("bicubic", "mine", "dpid")}
    for work, changed in (
        ("downscale/kernels.py", {"downscale/x4/dpid", "aggregate"}),
        ("distort/pixel.py", {"distort", "aggregate", "report"}),
        ("upscale/work.py", flow | {"aggregate"}),
        ("surprise/work.py", {"surprise"}),
        ("aggregate/statistics.py", {"aggregate"}),
        ("report/figures.py", {"report"}),
    ):
        _append(project / "ida_rd" / work)
        after = recipes()
        names = {name for name in before if before[name] != after[name]}
        assert names == {f"data/plan/{name}.json" for name in changed}, work
        before = after


def test_code_hashes_of_a_users_module_follow_its_own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name, text in {"__init__": "", "sr": "import numpy\nfrom . import net\n", "net": "", "other": ""}.items():
        (tmp_path / "mine" / f"{name}.py").write_text(text)
    assert list(code_hashes(tmp_path / "mine/sr.py")) == ["mine/__init__.py", "mine/net.py", "mine/sr.py"]


def _append(path: Path) -> None:
    path.write_text(path.read_text() + "\n# A remark.\n")


def test_images_smaller_than_the_factor_are_named(project: Path) -> None:
    parameters = yaml.safe_load(SMALL)
    parameters["images"]["crop"] = None
    parameters["factors"] = [64]
    Image.new("RGB", (60, 64)).save(project / "photos/photo-0.png")
    (project / "params.yaml").write_text(yaml.safe_dump(parameters))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert "images: photo-0.png: 60 x 64 pixels, smaller than the scale factor 64" in done.stderr


def test_missing_software_is_an_error_unless_told_otherwise(project: Path) -> None:
    parameters = yaml.safe_load(SMALL) | {"missing_software": "skip"}
    parameters["downscalers"]["gone"] = {"method": "command", "command": ["no-such-program", "{input}", "{output}"]}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "downscaler gone is SKIPPED" in done.stderr
    parameters["downscalers"] = {"gone": parameters["downscalers"]["gone"]}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert "downscalers: none can run, because their software is missing" in done.stderr


def test_the_version_of_a_package_is_part_of_the_recipe(project: Path) -> None:
    _set(project, "downscalers/sk", {"method": "resample", "backend": "skimage", "filter": "bicubic"})
    assert stage_here("plan", cwd=project).returncode == 0
    recipe = json.loads((project / "data/plan/downscale/x4/sk.json").read_text())
    assert recipe["packages"] == {"skimage": f"scikit-image {version('scikit-image')}"}
    with pytest.raises(UserError, match="the package no_such_package is not installed: do this"):
        package_version("no_such_package", install="do this")
