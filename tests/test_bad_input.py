"""The user with bad luck: one clear line, exit code 2, nothing half-written, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import run, stage_here, walk
from PIL import Image


def _one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in lines[0]


def test_an_empty_folder(project: Path) -> None:
    shutil.rmtree(project / "photos")
    (project / "photos").mkdir()
    _one_line(stage_here("plan", cwd=project), "photos holds no image")


def test_files_of_one_stem(project: Path) -> None:
    Image.new("RGB", (64, 64)).save(project / "photos" / "photo-0.jpg")
    _one_line(stage_here("plan", cwd=project), "photo-0.jpg and photo-0.png")


def test_bad_images_stop_the_run_before_anything_is_written(project: Path) -> None:
    data = (project / "photos" / "photo-0.png").read_bytes()
    (project / "photos" / "photo-1.png").write_bytes(data[:300])
    assert stage_here("plan", cwd=project).returncode == 0
    _one_line(stage_here("attributes", cwd=project), "1 of 4 images", "photo-1.png: cannot be decoded")
    assert not (project / "data" / "attributes.csv").exists()
    done = run("git", "init", "--quiet", cwd=project)
    done = run("dvc", "repro", cwd=project, check=False)
    assert done.returncode != 0
    assert "photo-1.png: cannot be decoded" in done.stderr
    assert not (project / "data" / "hr").exists()


def test_names_with_spaces_and_beyond_ascii_go_through_the_whole_pipeline(walked: Path) -> None:
    photos = walked / "photos"
    for i, name in enumerate(["mit Leerzeichen", "grün", "nan", "it's 100% {odd}, 日本"]):
        (photos / f"photo-{i}.png").rename(photos / f"{name}.png")
    assert stage_here("plan", "--check", cwd=walked).returncode == 3
    walk(report=True)
    assert "日本" in (walked / "data/distortion/flow-compact/x4/bicubic.csv").read_text()


def _folder_downscaler(repository: Path) -> Path:
    parameters = yaml.safe_load((repository / "params.yaml").read_text())
    parameters["downscalers"]["theirs"] = {"method": "folder", "path": "theirs"}
    (repository / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    shutil.copytree(repository / "data/lr/x4/bicubic", repository / "theirs")
    return repository / "theirs"


def test_lr_images_that_do_not_fit_their_hr_images(repository: Path) -> None:
    theirs = _folder_downscaler(repository)
    (theirs / "photo-0.png").rename(theirs / "extra.png")
    Image.new("RGB", (15, 16)).save(theirs / "photo-1.png")
    assert stage_here("plan", cwd=repository).returncode == 0
    done = stage_here("downscale", "theirs", "4", cwd=repository)
    _one_line(done, "missing (photo-0)", "no HR image (extra)", "photo-1.png is 15 x 16, expected 16 x 16")
    assert not (repository / "data/lr/x4/theirs").exists()
    assert not list((repository / "data/lr").rglob(".partial-*"))


def test_a_factor_that_does_not_divide_an_hr_image(repository: Path) -> None:
    Image.new("RGB", (66, 64)).save(repository / "data/hr/photo-0.png")
    _one_line(
        stage_here("downscale", "bicubic", "4", cwd=repository), "photo-0.png: 66 x 64 pixels is not divisible by"
    )


def test_a_failing_program_leaves_nothing_half_written(repository: Path) -> None:
    parameters = yaml.safe_load((repository / "params.yaml").read_text())
    (repository / "broken.py").write_text("import sys; sys.exit('cannot do photo')")
    command = ["python", "broken.py", "{input}", "{output}"]
    parameters["downscalers"]["broken"] = {"method": "command", "command": command}
    (repository / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    assert stage_here("plan", cwd=repository).returncode == 0
    for workers in ("1", "2"):
        done = stage_here("downscale", "broken", "4", cwd=repository, env={"IDA_RD_WORKERS": workers})
        _one_line(done, "downscaler broken", "photo-", "exit code 1: cannot do photo")
    assert not (repository / "data/lr/x4/broken").exists()


def test_a_damaged_sr_image_and_a_missing_one(repository: Path) -> None:
    folder = repository / "data/sr/flow-compact/x4/mine/photo-2"
    (folder / "1.webp").write_bytes(b"RIFF")
    before = (repository / "data/distortion/flow-compact/x4/mine.csv").read_bytes()
    _one_line(stage_here("distort", "flow-compact", "4", "mine", cwd=repository), "photo-2/1.webp")
    (folder / "1.webp").unlink()
    _one_line(stage_here("distort", "flow-compact", "4", "mine", cwd=repository), "photo-2/1.webp: no such file")
    shutil.rmtree(repository / "data/hr")
    shutil.copytree(repository / "data/lr/x4/mine", repository / "data/hr")
    _one_line(
        stage_here("distort", "flow-compact", "4", "bicubic", cwd=repository), "SR images are 64 x 64, HR is 16 x 16"
    )
    (repository / "data/hr/photo-2.png").rename(repository / "data/hr/other.png")
    _one_line(
        stage_here("distort", "flow-compact", "4", "bicubic", cwd=repository), "hold different images: other, photo-2"
    )
    assert (repository / "data/distortion/flow-compact/x4/mine.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("IDA_RD_DEVICE", "gpu", "use auto, cpu, cuda"),
        ("IDA_RD_DEVICE", "cuda:99", "no such device"),
        ("IDA_RD_WORKERS", "none", "give a whole number"),
        ("IDA_RD_WORKERS", "0", "give a whole number"),
    ],
)
def test_wrong_environment_settings(repository: Path, variable: str, value: str, message: str) -> None:
    shutil.rmtree(repository / ".ida-rd")
    _one_line(
        stage_here("upscale", "flow-compact", "4", "bicubic", cwd=repository, env={variable: value}), variable, message
    )


def test_a_stage_before_its_recipe(project: Path) -> None:
    for name, arguments in (("attributes", []), ("balance", []), ("aggregate", []), ("upscale", ["a", "4", "b"])):
        _one_line(stage_here(name, *arguments, cwd=project), "data/plan", "dvc repro plan")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk(small_disk: Path, project: Path) -> None:
    assert stage_here("plan", cwd=project).returncode == 0
    assert stage_here("attributes", cwd=project).returncode == 0
    shutil.copytree(project / "data", small_disk / "data")
    for name in ("ida_rd", "stages", "photos"):
        (small_disk / name).symlink_to(project / name)
    filler = small_disk / "filler"
    filler.write_bytes(b"\1" * (shutil.disk_usage(small_disk).free - 12_288))  # three pages are left
    _one_line(stage_here("balance", cwd=small_disk), "No space left on device", "run again")
    assert not (small_disk / "data/hr").exists()
    assert not (small_disk / "data/subset.csv").exists()
    assert not (small_disk / "metrics").exists()
    assert not list(small_disk.rglob(".partial-*"))
    filler.unlink()
    assert stage_here("balance", cwd=small_disk).returncode == 0
    assert len(list((small_disk / "data/hr").glob("*.png"))) == 4


@pytest.mark.parametrize("name", ["downscale", "upscale", "distort"])
def test_a_stage_called_without_its_arguments_says_which(project: Path, name: str) -> None:
    done = stage_here(name, cwd=project)
    assert done.returncode == 2
    assert "the following arguments are required" in done.stderr
    assert "Traceback" not in done.stderr
