"""A stranger's bundle: it runs nothing, is believed in nothing that can be checked, and costs little to refuse."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import run
from forger import change, change_rows, make_fit

from ida_rd.bundle.folder import Refused
from ida_rd.bundle.publish import write_checksums
from ida_rd.bundle.verify import verify
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file, write_json

BICUBIC = "flow-compact/x4/bicubic"
MINE = "flow-compact/x4/mine"


@pytest.fixture
def bundle(bundled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled, tmp_path / "bundle"))


def _refused(bundle: Path, *reasons: str) -> None:
    with pytest.raises(Refused) as error:
        verify(bundle)
    message = str(error.value)
    assert "checksum" not in message
    for reason in reasons:
        assert reason in message


def test_the_forgers_tool_makes_a_bundle_that_fits(bundle: Path) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    make_fit(bundle)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    verify(bundle)


# --- every value, one at a time ---------------------------------------------------------------------------------------


def _leaves(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        for key in value:
            yield from _leaves(value[key], *path, key)
    elif isinstance(value, list) and value:
        yield from _leaves(value[0], *path, 0)
    else:
        yield path


def _another(value: Any) -> Any:
    """A value of the same form that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.01 + 1e-4
    if isinstance(value, str):
        digits = len(value) in (40, 64) and all(c in "0123456789abcdef" for c in value)
        return ("0" if value[0] != "0" else "1") + value[1:] if digits else value + "x"
    return {"x": 1} if isinstance(value, dict) else ["x"] if isinstance(value, list) else "x"


def _set(data: Any, path: tuple[Any, ...], new: Callable[[Any], Any]) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = new(data[path[-1]])


# Every so many of their values: those that repeat another file are compared whole.
JSON_FILES = {
    "results.json": 1,
    "recipes/aggregate.json": 1,
    "recipes/attributes.json": 1,
    "recipes/balance.json": 1,
    "recipes/report.json": 2,
    "recipes/distort.json": 3,
    "recipes/downscale/x4/bicubic.json": 3,
    "recipes/upscale/x4/flow-compact/mine.json": 3,
    "tables/ida_rd.json": 3,
    f"rows/{MINE}.json": 3,
    "results.schema.json": 20,
    "provenance.json": 10,
    "page/provenance.json": 20,
}


EVERY = [pytest.param(4, id="a quarter"), pytest.param(1, id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("step", EVERY)
def test_no_value_of_a_json_file_can_be_changed_unnoticed(bundle: Path, step: int) -> None:
    """Whoever changes one file, and makes the checksums fit, is refused: for every key of every file."""
    accepted, count = set(), 0
    for name, every in JSON_FILES.items():
        original = (bundle / name).read_text()
        data = json.loads(original)
        paths = [p for p in _leaves(data) if not {"code", "looking"} & set(p)]
        for path in paths[:: every * step]:
            forged = copy.deepcopy(data)
            _set(forged, path, _another)
            write_json(bundle / name, forged)
            write_checksums(bundle)
            count += 1
            with suppress(UserError):
                verify(bundle)
                accepted.add(f"{name}: {'.'.join(map(str, path))}")
        (bundle / name).write_text(original)
    assert count > 200 / step
    # What nothing else in the bundle could contradict.
    files = {f"recipes/attributes.json: images.files.photo-{i}.png" for i in range(4)}
    assert accepted <= {"results.json: program"} | files
    assert step > 1 or accepted == {"results.json: program"} | files


@pytest.mark.parametrize("step", EVERY)
def test_no_value_of_the_recipes_can_be_changed_everywhere(bundle: Path, step: int) -> None:
    """Whoever changes a recipe and all that derives from it contradicts params.yaml, or the methods of the program."""
    path = bundle / "recipes/aggregate.json"
    original = json.loads(path.read_text())
    accepted, count = set(), 0
    for leaf in list(_leaves(original))[::step]:
        if {"code", "looking", "files", "packages"} & set(leaf) or leaf[0] in ("branches", "distortion_order"):
            continue
        forged = copy.deepcopy(original)
        _set(forged, leaf, _another)
        write_json(path, forged)
        count += 1
        try:
            make_fit(bundle)
        except Exception:  # the forger's own tool cannot use it
            continue
        with suppress(UserError):
            verify(bundle)
            accepted.add(".".join(map(str, leaf)))
    assert count > 60 / step
    assert not accepted


# --- the findings of the review ---------------------------------------------------------------------------------------


def _forge_tolerance(bundle: Path) -> None:
    change(
        bundle / "results.json", lambda data: data.update(tolerance={"same_software": 1e300, "other_software": 1e300})
    )


def _rows_elsewhere(bundle: Path) -> None:
    change(bundle / "results.json", lambda data: data["branches"][0].update(rows="../../outside.csv"))


def _name_lanczos_nearest(bundle: Path) -> None:
    """The recipes say lanczos, params.yaml goes on saying bicubic."""

    def lanczos(data: Any) -> None:
        data["recipes"]["downscale/x4/bicubic"]["parameters"]["filter"] = "lanczos"

    change(bundle / "recipes/aggregate.json", lanczos)
    make_fit(bundle)


def _report_says_otherwise(bundle: Path) -> None:
    change(
        bundle / "recipes/report.json",
        lambda data: data["parameters"]["downscalers"]["bicubic"].update(filter="lanczos"),
    )


def _worst_half_not_finite(bundle: Path) -> None:
    def worse(rows: Any) -> Any:
        rows.loc[:3, "finite"] = False
        rows.loc[:3, "attempts"] = 3
        return rows

    change_rows(bundle, MINE, worse)
    make_fit(bundle)


def _never_drawn(bundle: Path) -> None:
    def worse(rows: Any) -> Any:
        rows.loc[0, "finite"] = False
        rows.loc[0, ["dss", "psnr"]] = float("nan")
        return rows

    change_rows(bundle, MINE, worse)
    make_fit(bundle)


def _clipped_below_nothing(bundle: Path) -> None:
    change_rows(bundle, MINE, lambda rows: rows.assign(clipped=rows.clipped.where(rows.index != 0, -0.01)))
    make_fit(bundle)


def _out_of_range(bundle: Path) -> None:
    change_rows(bundle, MINE, lambda rows: rows.assign(dss=rows.dss - 1))
    make_fit(bundle)


def _seed(bundle: Path) -> None:
    change(bundle / "recipes/aggregate.json", lambda data: data.update(seed=7))
    make_fit(bundle)


def _samples(bundle: Path) -> None:
    for name in (BICUBIC, MINE):
        change_rows(bundle, name, lambda rows: rows[rows["sample"] == 0])
    change(bundle / "results.json", lambda data: [b.update(samples=1) for b in data["branches"]])
    make_fit(bundle)


def _label(bundle: Path) -> None:
    change(bundle / "recipes/aggregate.json", lambda data: data["distortions"]["dss"].update(label="LPIPS (AlexNet)"))
    make_fit(bundle)


def _direction(bundle: Path) -> None:
    change(bundle / "recipes/aggregate.json", lambda data: data["distortions"]["psnr"].update(better="lower"))
    make_fit(bundle)


def _invented_score(bundle: Path) -> None:
    def add(data: Any) -> None:
        data["distortions"]["lpips"] = data["distortions"]["dss"] | {"label": "LPIPS"}
        data["distortion_order"].append("lpips")
        data["recipes"]["distort"]["distortions"]["lpips"] = data["recipes"]["distort"]["distortions"]["dss"]

    for name in (BICUBIC, MINE):
        change_rows(bundle, name, lambda rows: rows.assign(lpips=rows.dss / 2))
    change(bundle / "recipes/aggregate.json", add)
    make_fit(bundle)


def _extra_column(bundle: Path) -> None:
    change_rows(bundle, MINE, lambda rows: rows.assign(best=1.0))
    make_fit(bundle)


def _no_weights(bundle: Path) -> None:
    def drop(data: Any) -> None:
        for recipe in data["recipes"].values():
            if "weights" in recipe:
                recipe["weights"] = {}

    change(bundle / "recipes/aggregate.json", drop)
    make_fit(bundle)


def _readme(bundle: Path) -> None:
    path = bundle / "README.md"
    path.write_text(path.read_text().replace("0.", "0.0", 1))


def _page_table(bundle: Path) -> None:
    path = bundle / "page/ida_rd.csv"
    path.write_text(path.read_text().replace("0.", "0.0", 1))


def _page_figure(bundle: Path) -> None:
    shutil.copyfile(bundle / "page/balance.png", bundle / "page/scores.png")


def _another_file(bundle: Path) -> None:
    (bundle / "figures/evil.exe").write_bytes(b"MZ")


def _hidden_file(bundle: Path) -> None:
    (bundle / ".dvc").mkdir()
    (bundle / ".dvc/config").write_text("[core]\n")


def _skip_the_leading(bundle: Path) -> None:
    for name in ("recipes/aggregate.json", "results.json"):
        change(bundle / name, lambda data: data["skipped"].update(dss="its weights are missing"))


def _more_resamples(bundle: Path) -> None:
    change(bundle / "results.json", lambda data: data.update(resamples=10**9))


def _duplicate_image(bundle: Path) -> None:
    path = bundle / "subset.csv"
    path.write_text(path.read_text().replace("photo-1,", "photo-0,", 1))
    change(bundle / "results.json", lambda data: data.update(dataset_sha256=sha256_file(path)))


def _tiles_as_photographs(bundle: Path) -> None:
    """As if two images were of one photograph, or had been: N counts photographs."""
    path = bundle / "subset.csv"
    path.write_text(path.read_text().replace("photo-1,photo-1,", "photo-1,photo-0,", 1))
    change(bundle / "results.json", lambda data: data.update(dataset_sha256=sha256_file(path)))


def _bundle_of_the_future(bundle: Path) -> None:
    """Says that another version wrote it, whose texts are not compared: its numbers are."""
    change(bundle / "results.json", lambda data: data.update(program="ida-rd 9.9"))
    change(bundle / "recipes/aggregate.json", lambda data: data["distortions"]["psnr"].update(better="lower"))
    make_fit(bundle)


FORGED: list[tuple[Callable[[Path], None], str]] = [
    (_forge_tolerance, "results.json: tolerance: Extra inputs are not permitted"),
    (_rows_elsewhere, "results.json: branches.0.rows: Extra inputs are not permitted"),
    (
        _name_lanczos_nearest,
        "recipes/downscale/x4/bicubic.json.parameters.filter: is 'lanczos', params.yaml says 'bicubic'",
    ),
    (_report_says_otherwise, "recipes/report.json: parameters.downscalers.bicubic.filter: is 'lanczos'"),
    (_worst_half_not_finite, "a sample that is not finite has a distance (dss)"),
    (_never_drawn, "a sample was given up before it was drawn 3 times"),
    (_clipped_below_nothing, "clipped is no share, from 0 to 1"),
    (_out_of_range, "dss leaves its range, from 0.0 to 1.0"),
    (_seed, "seed: is 7, params.yaml says 0"),
    (_samples, "has 1 samples of each image, expected 2"),
    (_label, "distortions.dss.label: is 'LPIPS (AlexNet)'"),
    (_direction, "distortions.psnr.better: is 'lower'"),
    (_invented_score, "distortion_order is ['dss', 'psnr', 'lpips'], params.yaml says ['dss', 'psnr']"),
    (_extra_column, "has an unknown column best"),
    (_no_weights, "its weights are not those of the method (flow-compact.x4)"),
    (_readme, "README.md: is not what the program writes"),
    (_page_table, "page/ida_rd.csv: is no copy of tables/ida_rd.csv"),
    (_page_figure, "page/scores.png: is no copy of figures/scores.png"),
    (_another_file, "figures/evil.exe: is no file of a bundle"),
    (_hidden_file, ".dvc/config: is no file of a bundle"),
    (_skip_the_leading, "skipped: params.yaml does not allow that dss is skipped"),
    (_more_resamples, "results.json: resamples: Input should be less than or equal to 100000"),
    (_duplicate_image, "subset.csv: an image is in it twice"),
    (_tiles_as_photographs, "subset.csv: photograph is not what the files' names and images.photograph_before say"),
    (_bundle_of_the_future, "distortions.psnr.better: is 'lower'"),
]


@pytest.mark.parametrize(("forge", "reason"), FORGED, ids=[f[0].__name__[1:] for f in FORGED])
def test_what_is_forged_is_refused_though_all_fits(bundle: Path, forge: Callable[[Path], None], reason: str) -> None:
    forge(bundle)
    write_checksums(bundle)
    _refused(bundle, reason)


def test_links_devices_and_names_that_draw_are_refused(bundle: Path, tmp_path: Path) -> None:
    rows = bundle / f"rows/{MINE}.csv"
    shutil.move(rows, tmp_path / "outside.csv")
    rows.symlink_to(tmp_path / "outside.csv")
    write_checksums(bundle)
    _refused(bundle, f"rows/{MINE}.csv: is a link or no ordinary file")
    rows.unlink()
    shutil.move(tmp_path / "outside.csv", rows)
    (bundle / "figures/away").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(bundle / "tables/pipe")
    (bundle / "tables/\x1b[2K\rwhole").write_text("")
    write_checksums(bundle)
    _refused(
        bundle, "figures/away: is a link", "tables/pipe: is a link or no ordinary file", "no bundle has such a name"
    )


def test_a_refusal_draws_nothing(bundle: Path) -> None:
    change(bundle / "results.json", lambda data: data["skipped"].update({"\x1b[2K\rwhole; 4 branches": "x"}))
    write_checksums(bundle)
    done = run("ida-rd", "verify", str(bundle), cwd=bundle.parent, check=False)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
