"""Programs as downscalers: the version that they state, and JPEG files for those that shrink while they decode."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator
from ida_rd.core.software import MissingSoftware
from ida_rd.downscale import command, resample
from ida_rd.downscale.recipe import downscale_recipe
from ida_rd.downscale.work import apply

# Reduces what it is given, whole, or by what the decoder skips (libjpeg's scaled decoding, as `djpeg -scale` has it).
PROGRAM = """
import sys
from PIL import Image
source, target, width, height, how = sys.argv[1:6]
image = Image.open(source)
assert image.format == "JPEG", image.format
if how == "fast":
    image.draft("RGB", (int(width), int(height)))
image.convert("RGB").resize((int(width), int(height)), Image.Resampling.BOX).save(target)
"""


def _program(folder: Path, how: str, **values: Any) -> dict[str, Any]:
    (folder / "shrink.py").write_text(PROGRAM)
    arguments = [sys.executable, str(folder / "shrink.py"), "{input}", "{output}", "{width}", "{height}", how]
    return command.Parameters(command=arguments, **values).model_dump()


def _jpeg(image: NDArray[np.uint8], **settings: Any) -> NDArray[np.uint8]:
    coded = io.BytesIO()
    Image.fromarray(image).save(coded, "JPEG", **settings)
    return np.asarray(Image.open(coded))


def test_a_program_is_given_the_jpeg_file_that_was_asked_for(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    hr = np.ascontiguousarray(astronaut[:256, :256])
    for given, settings in (
        ({}, {"quality": 90, "subsampling": "4:2:0"}),
        ({"quality": 30, "subsampling": "4:4:4"}, {"quality": 30, "subsampling": "4:4:4"}),
    ):
        parameters = _program(tmp_path, "whole", input="jpeg", **given)
        lr = apply(command, hr, 4, parameters, image_id="x", seed=0)
        box = resample.downscale(_jpeg(hr, **settings), (64, 64), rng=generator("test"), filter="box")
        assert np.array_equal(lr, box)


def test_shrinking_on_load_is_another_function(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    hr = np.ascontiguousarray(astronaut[:128, :128])
    whole, fast = (
        apply(command, hr, 4, _program(tmp_path, how, input="jpeg"), image_id="x", seed=0) for how in ("whole", "fast")
    )
    off = np.abs(whole.astype(int) - fast)
    assert 0.1 < off.mean() < 8


def test_the_first_line_of_a_programs_version_is_in_its_recipe() -> None:
    entry: dict[str, Any] = {
        "method": "command",
        "command": ["python", "-c", "pass", "{input}", "{output}"],
        "version": ["python", "-c", "print(); print('shrink 1.2'); print('built yesterday')"],
    }

    def packages(entry: dict[str, Any]) -> Any:
        recipe, _ = downscale_recipe("mine", entry, 4, 0, download=False)
        return recipe["packages"]

    assert packages(entry) == {"python": "shrink 1.2"}
    on_stderr = ["python", "-c", "import sys; print('shrink 1.3', file=sys.stderr)"]
    assert packages(entry | {"version": on_stderr}) == {"python": "shrink 1.3"}
    assert packages({key: value for key, value in entry.items() if key != "version"}) == {}
    assert packages(entry | {"input": "jpeg"}).keys() == {"python", "PIL"}


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (["no-such-program", "-v"], MissingSoftware, "the program 'no-such-program' is not on the PATH"),
        (["python", "-c", "pass"], UserError, r"version: `python -c pass` printed nothing"),
        (
            ["python", "-c", "import sys; print('no foo', file=sys.stderr); sys.exit(127)"],
            MissingSoftware,
            r"says that something is not installed: no foo$",
        ),
        (["python", "-c", "raise SystemExit('odd')"], UserError, r"failed with exit code 1 \(odd\): correct it"),
    ],
)
def test_a_version_that_cannot_be_had_is_one_line(version: list[str], error: type[UserError], message: str) -> None:
    entry = {"method": "command", "command": ["python", "{input}", "{output}"], "version": version}
    with pytest.raises(error, match=message) as caught:
        downscale_recipe("mine", entry, 4, 0, download=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [{"quality": 80}, {"subsampling": "4:4:4"}])
def test_a_png_file_has_no_quality(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a PNG file has none; leave the key out, or set `input: jpeg`"):
        command.Parameters(command=["x", "{input}", "{output}"], **given)


def _has_imagemagick() -> bool:
    """Whether `convert` is ImageMagick's, which draws an image from nothing: other programs have that name, too."""
    if shutil.which("convert") is None:
        return False
    drawn = subprocess.run(["convert", "-size", "1x1", "xc:red", "png:-"], capture_output=True, check=False)
    return drawn.returncode == 0 and drawn.stdout.startswith(b"\x89PNG")


@pytest.mark.skipif(not _has_imagemagick(), reason="needs ImageMagick's convert")
def test_imagemagick_shrinks_on_load_where_it_is_asked_to(astronaut: NDArray[np.uint8]) -> None:
    hr = np.ascontiguousarray(astronaut[:256, :256])
    whole, fast = (
        apply(
            command,
            hr,
            4,
            command.Parameters(
                command=["convert", *hint, "{input}", "-resize", "{width}x{height}!", "-depth", "8", "{output}"],
                version=["convert", "--version"],
                input="jpeg",
                quality=95,
            ).model_dump(),
            image_id="x",
            seed=0,
        )
        for hint in ([], ["-define", "jpeg:size={width}x{height}"])
    )
    assert not np.array_equal(whole, fast)
    assert np.abs(whole.astype(int) - fast).mean() < 8
