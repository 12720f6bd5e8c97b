"""Downscalers: the goldens, the contract, and the three ways to bring one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image, write_png
from ida_rd.core.seeds import generator
from ida_rd.downscale import command, folder, python, resample
from ida_rd.downscale.check import check_downscaler
from ida_rd.downscale.work import apply

FILTERS = ["box", "bilinear", "hamming", "bicubic", "lanczos", "nearest"]
GOLDEN = ROOT / "tests" / "golden" / "classic"
RNG = generator("test")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.png")), ids=lambda p: p.stem)
def test_resample_equals_the_golden_images_bit_for_bit(path: Path, astronaut: NDArray[np.uint8]) -> None:
    name, filter_name, size = path.stem.split("_")
    inputs = {"astronaut256": astronaut[0:256, 96:352], "astronaut203x170": astronaut[7:177, 107:310]}
    width, height = (int(n) for n in size.split("x"))
    hr = np.ascontiguousarray(inputs[name])
    lr = resample.downscale(hr, (height, width), rng=RNG, filter=filter_name)
    assert np.array_equal(lr, read_image(path))


def test_resample_equals_all_available_golden_images(shared: Path) -> None:
    goldens = sorted((shared / "golden" / "downscale" / "classic").glob("*.png"))
    assert goldens
    for path in goldens:
        name, filter_name, size = path.stem.split("_")
        width, height = (int(n) for n in size.split("x"))
        hr = read_image(shared / "golden" / "downscale" / "inputs" / f"{name}.png")
        lr = resample.downscale(hr, (height, width), rng=RNG, filter=filter_name)
        assert np.array_equal(lr, read_image(path)), path.name


@pytest.mark.parametrize("filter_name", FILTERS)
def test_resample_keeps_the_contract(filter_name: str) -> None:
    check_downscaler(resample, {"filter": filter_name})


@given(
    level=st.integers(0, 255),
    factor=st.integers(2, 16),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    filter_name=st.sampled_from(FILTERS),
)
def test_a_constant_image_stays_constant_at_any_factor(
    level: int, factor: int, height: int, width: int, filter_name: str
) -> None:
    hr = np.full((height * factor, width * factor, 3), level, np.uint8)
    lr = apply(resample, hr, factor, {"filter": filter_name}, image_id="x", seed=0)
    assert lr.shape == (height, width, 3)
    assert (lr == level).all()


@given(seed=st.integers(0, 2**32), filter_name=st.sampled_from(["box", "bilinear", "bicubic", "lanczos"]))
def test_resample_commutes_with_flips(seed: int, filter_name: str) -> None:
    hr = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    plain = resample.downscale(hr, (4, 6), rng=RNG, filter=filter_name)
    flipped = resample.downscale(np.ascontiguousarray(hr[::-1, ::-1]), (4, 6), rng=RNG, filter=filter_name)
    # Pillow's 8-bit sums run in the order of the pixels: a tie may round the other way.
    assert np.abs(flipped[::-1, ::-1].astype(int) - plain).max() <= 1


def _module(**members: object) -> ModuleType:
    module = ModuleType("mine")
    vars(module).update(members)
    return module


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda hr, size, *, rng: hr, "expected uint8"),
        (lambda hr, size, *, rng: hr[:: hr.shape[0] // size[0], :: hr.shape[1] // size[1]] / 255, "expected uint8"),
        (lambda hr, size, *, rng: rng.integers(0, 255, (*size, 3)).astype(np.uint8), "depends on the seed"),
        (lambda hr, size, *, rng: np.random.default_rng().integers(0, 255, (*size, 3), dtype=np.uint8), "two calls"),
    ],
)
def test_the_contract_catches_a_broken_method(function: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_downscaler(_module(downscale=function), {})


def test_the_contract_catches_a_method_that_changes_its_input() -> None:
    def downscale(hr: NDArray[np.uint8], size: tuple[int, int], *, rng: object) -> NDArray[np.uint8]:
        hr[0, 0] = 255 - hr[0, 0]
        return np.zeros((*size, 3), np.uint8)

    with pytest.raises(UserError, match="changes its input"):
        check_downscaler(_module(downscale=downscale), {})


def test_a_python_function_is_a_downscaler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    (tmp_path / "my_methods_a.py").write_text(
        "def pick(hr, size, *, rng, offset=0):\n"
        "    s = hr.shape[0] // size[0]\n"
        "    return hr[offset::s, offset::s].copy()\n"
        "def fail(hr, size, *, rng):\n"
        "    raise RuntimeError('no luck')\n"
    )
    monkeypatch.chdir(tmp_path)
    parameters = python.Parameters(function="my_methods_a.pick", arguments={"offset": 1})
    lr = apply(python, astronaut, 4, parameters.model_dump(), image_id="x", seed=0)
    assert np.array_equal(lr, astronaut[1::4, 1::4])
    assert python.files(parameters, 4) == [tmp_path / "my_methods_a.py"]
    with pytest.raises(UserError, match=r"raised RuntimeError: no luck .*my_methods_a\.py:5"):
        apply(python, astronaut, 4, {"function": "my_methods_a.fail", "arguments": {}}, image_id="x", seed=0)
    with pytest.raises(UserError, match="no module 'my_methods_b'"):
        python.files(python.Parameters(function="my_methods_b.pick"), 4)


PROGRAM = """
import sys
from PIL import Image
source, target, width, height = sys.argv[1:5]
Image.open(source).resize((int(width), int(height)), Image.Resampling.BOX).save(target)
"""


def _command(tmp_path: Path, program: str, **values: object) -> dict[str, object]:
    path = tmp_path / "program.py"
    path.write_text(program)
    arguments = [sys.executable, str(path), "{input}", "{output}", "{width}", "{height}"]
    return command.Parameters(command=arguments, **values).model_dump()  # type: ignore[arg-type]


def test_an_external_program_is_a_downscaler(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    lr = apply(command, astronaut, 4, _command(tmp_path, PROGRAM), image_id="x", seed=0)
    assert np.array_equal(lr, resample.downscale(astronaut, (128, 128), rng=RNG, filter="box"))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; print('out of luck', file=sys.stderr); sys.exit(7)", "exit code 7: out of luck"),
        ("import time; time.sleep(60)", "did not finish within 1 s"),
        ("pass", "wrote nothing"),
        ("import sys; open(sys.argv[2], 'w').write('text')", "cannot be used: not a readable image"),
        (PROGRAM.replace("int(width)", "7"), "wrote 7 x 128 pixels, expected 128 x 128"),
    ],
)
def test_a_program_that_fails_says_what_happened(
    tmp_path: Path, astronaut: NDArray[np.uint8], program: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        apply(command, astronaut, 4, _command(tmp_path, program, timeout_s=1), image_id="x", seed=0)


def test_a_program_that_hangs_is_stopped_with_its_children(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    program = (
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    with pytest.raises(UserError, match="did not finish"):
        apply(command, astronaut, 4, _command(tmp_path, program, timeout_s=2), image_id="x", seed=0)
    child = Path("/proc") / (tmp_path / "pid").read_text()
    assert not child.exists() or "(zombie)" in (child / "status").read_text()


def test_a_file_name_is_never_seen_by_a_shell(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    trap = tmp_path / "trap"
    parameters = _command(tmp_path, PROGRAM)
    parameters["command"] = [*parameters["command"], f"; touch {trap}", f"$(touch {trap})"]  # type: ignore[misc]
    apply(command, astronaut, 4, parameters, image_id="x", seed=0)
    assert not trap.exists()


def test_lr_images_made_elsewhere_are_paired_by_name(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    for factor in (2, 4):
        (tmp_path / f"x{factor}").mkdir()
        for name in ("a", "b"):
            write_png(tmp_path / f"x{factor}" / f"{name}.png", astronaut[::factor, ::factor].copy())
    path = str(tmp_path / "x{factor}")
    sizes = {"a": (128, 128), "b": (128, 128)}
    folder.check_inputs(sizes, 4, path)
    lr = apply(folder, astronaut, 4, {"path": path}, image_id="b", seed=0)
    assert np.array_equal(lr, astronaut[::4, ::4])
    write_png(tmp_path / "x4" / "extra.png", astronaut[::4, ::4].copy())
    Image.new("RGB", (127, 128)).save(tmp_path / "x4" / "b.png")
    with pytest.raises(UserError) as error:
        folder.check_inputs(sizes | {"c": (128, 128)}, 4, path)
    text = str(error.value)
    assert "1 LR images are missing (c)" in text
    assert "1 have no HR image (extra)" in text
    assert "b.png is 127 x 128, expected 128 x 128" in text


LIBRARIES = [
    (backend, name, antialias)
    for backend, library in resample.BACKENDS.items()
    for name in library.filters
    for antialias in ((True, False) if name in library.optional_antialias else (None,))
]
# Of those not antialiased by choice, what their libraries never antialias.
ALIASED = {("opencv", name) for name in ("bilinear", "bicubic", "lanczos")}


def needs(backend: str) -> None:
    package = resample.BACKENDS[backend].package
    pytest.importorskip(package, reason=f"needs the package {package}: pip install 'ida-rd[libraries]'")


@pytest.mark.parametrize(("backend", "name", "antialias"), LIBRARIES)
def test_every_librarys_filters_keep_the_contract(backend: str, name: str, antialias: bool | None) -> None:
    needs(backend)
    parameters = {"backend": backend, "filter": name, "antialias": antialias}
    check_downscaler(resample, parameters)
    for level in (0, 7, 255):
        lr = resample.downscale(np.full((24, 40, 3), level, np.uint8), (6, 10), rng=RNG, **parameters)  # type: ignore[arg-type]
        assert (lr == level).all()


@pytest.mark.parametrize(("backend", "name", "antialias"), LIBRARIES)
def test_only_antialiased_filters_see_every_pixel(backend: str, name: str, antialias: bool | None) -> None:
    """One bright row in eight makes an LR pixel that averages bright by an eighth, wherever the row lies."""
    needs(backend)
    means = []
    for row in range(8):
        hr = np.zeros((256, 256, 3), np.uint8)
        hr[row::8] = 255
        lr = resample.downscale(hr, (32, 32), rng=RNG, filter=name, backend=backend, antialias=antialias)
        means.append(float(lr[4:-4].mean()))
    aliased = antialias is False or name.startswith("nearest") or (backend, name) in ALIASED
    if aliased:
        assert min(means) == 0
        assert max(means) > 100
    else:
        assert min(means) > 25
        assert max(means) < 42


def _keys(a: float, x: float) -> float:
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def _lanczos(lobes: int, x: float) -> float:
    return float(np.sinc(x) * np.sinc(x / lobes)) if abs(x) < lobes else 0.0


KERNELS: dict[str, Callable[[float], float]] = {
    "tent": lambda x: max(0.0, 1 - abs(x)),
    "keys -0.5": partial(_keys, -0.5),
    "keys -0.75": partial(_keys, -0.75),
    "lanczos 3": partial(_lanczos, 3),
    "lanczos 4": partial(_lanczos, 4),
    "mitchell": lambda x: (
        (7 * abs(x) ** 3 - 12 * x**2 + 16 / 3) / 6
        if abs(x) < 1
        else max(0, abs(x) < 2) * (-7 * abs(x) ** 3 / 3 + 12 * x**2 - 20 * abs(x) + 32 / 3) / 6
    ),
}


@pytest.mark.parametrize(
    ("backend", "name", "antialias", "kernel", "scale"),
    [
        ("pillow", "bilinear", None, "tent", 2),
        ("pillow", "bicubic", None, "keys -0.5", 2),
        ("pillow", "lanczos", None, "lanczos 3", 2),
        ("opencv", "bilinear", None, "tent", 1),
        ("opencv", "bicubic", None, "keys -0.75", 1),
        ("opencv", "lanczos", None, "lanczos 4", 1),
        ("torch", "bilinear", False, "tent", 1),
        ("torch", "bicubic", False, "keys -0.75", 1),
        ("torch", "bilinear", True, "tent", 2),
        ("torch", "bicubic", True, "keys -0.5", 2),
        ("skimage", "bilinear", False, "tent", 1),
        ("pyvips", "bilinear", None, "tent", 2),
        ("pyvips", "bicubic", None, "keys -0.5", 2),
        ("pyvips", "mitchell", None, "mitchell", 2),
        ("pyvips", "lanczos", None, "lanczos 3", 2),
    ],
)
def test_a_librarys_filter_is_the_kernel_that_it_is_called(
    backend: str, name: str, antialias: bool | None, kernel: str, scale: int
) -> None:
    """Reduced by 2, a bright column leaves the kernel's values in the LR pixels about it."""
    needs(backend)
    hr = np.full((16, 32, 3), 100, np.uint8)
    hr[:, 16] = 200
    lr = resample.downscale(hr, (16, 16), rng=RNG, filter=name, backend=backend, antialias=antialias)
    columns = np.arange(hr.shape[1]) + 0.5
    for k in range(4, 13):
        weights = np.array([KERNELS[kernel]((column - (2 * k + 1)) / scale) for column in columns])
        assert lr[8, k, 0] - 100.0 == pytest.approx(100 * weights[16] / weights.sum(), abs=1.01)


def test_coverage_means_are_one_law_in_every_library(astronaut: NDArray[np.uint8]) -> None:
    box = resample.downscale(astronaut, (128, 128), rng=RNG, filter="box").astype(int)
    for backend in ("opencv", "torch"):
        needs(backend)
        area = resample.downscale(astronaut, (128, 128), rng=RNG, filter="area", backend=backend)
        assert np.abs(area - box).max() <= 1  # Pillow rounds twice
    wide = resample.downscale(astronaut, (128, 128), rng=RNG, filter="bicubic").astype(int)
    torch = resample.downscale(astronaut, (128, 128), rng=RNG, filter="bicubic", backend="torch", antialias=True)
    assert np.mean(np.abs(torch - wide) > 1) < 0.001, "Pillow clips between its passes"
