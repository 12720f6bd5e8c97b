"""Bundles that somebody changed: what was done, and what is said of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.core.files import write_json


def _flip_a_digit(bundle: Path) -> None:
    path = bundle / "rows/flow-compact/x4/mine.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    value = cells[lines[0].split(",").index("dss")]
    cells[lines[0].split(",").index("dss")] = value[:4] + str((int(value[4]) + 1) % 10) + value[5:]
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def _flip_a_score(bundle: Path) -> None:
    path = bundle / "results.json"
    data = json.loads(path.read_text())
    data["branches"][1]["scores"]["dss"]["mean"] += 1e-4
    write_json(path, data)


def _flip_a_table(bundle: Path) -> None:
    path = bundle / "tables/differences.csv"
    table = pd.read_csv(path)
    table.loc[0, "difference"] += 1e-4
    table.to_csv(path, index=False)


def _come_home(bundle: Path) -> None:
    path = bundle / "tables/surprise.csv"
    table = pd.read_csv(path)
    table.loc[1, "z2"] = 1.0
    table.to_csv(path, index=False)


def _drop_a_column(bundle: Path) -> None:
    path = bundle / "tables/ida_rd.csv"
    pd.read_csv(path).drop(columns="std_images").to_csv(path, index=False)


def _add_a_column(bundle: Path) -> None:
    path = bundle / "tables/ranks.csv"
    pd.read_csv(path).assign(best=True).to_csv(path, index=False)


def _change(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    write_json(path, data)


def _another_mark(bundle: Path) -> None:
    _change(bundle / "results.json", lambda data: data["branches"][0].update(marks=["deterministic"]))


def _another_kind(bundle: Path) -> None:
    _change(bundle / "results.json", lambda data: data["branches"][0].update(kind="gan"))


def _another_label(bundle: Path) -> None:
    _change(bundle / "results.json", lambda data: data["distortions"]["dss"].update(label="LPIPS"))


def _another_upscaler(bundle: Path) -> None:
    _change(bundle / "provenance.json", lambda data: data["upscalers"]["x4/flow-compact"].update(blind=False))


def _another_recipe_of_a_branch(bundle: Path) -> None:
    path = bundle / "recipes/upscale/x4/flow-compact/mine.json"
    _change(path, lambda data: data["parameters"].update(heat=0.1))


def _flip_the_latex(bundle: Path) -> None:
    path = bundle / "tables/mean_std.tex"
    path.write_text(path.read_text().replace("0.", "1.", 1))


def _home_of_another(bundle: Path) -> None:
    path = bundle / "surprise.csv"
    path.write_text(path.read_text().replace(",mine,", ",theirs,"))


def drop_a_row(bundle: Path) -> None:
    path = bundle / "rows/flow-compact/x4/mine.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3] + lines[4:]) + "\n")


def _swap_the_weights(bundle: Path) -> None:
    _change(bundle / "results.json", lambda data: data["weights"].update({"flow-compact.x4": "0" * 64}))


def _swap_the_weights_everywhere(bundle: Path) -> None:
    real = json.loads((bundle / "results.json").read_text())["weights"]["flow-compact.x4"]
    for path in bundle.rglob("*.json"):
        path.write_text(path.read_text().replace(real, "0" * 64))


def _another_test_set(bundle: Path) -> None:
    table = pd.read_csv(bundle / "subset.csv")
    table.loc[0, "pixels_sha256"] = "0" * 64
    table.to_csv(bundle / "subset.csv", index=False)


def _copy_a_branch(bundle: Path) -> None:
    rows = bundle / "rows/flow-compact/x4"
    shutil.copyfile(rows / "bicubic.csv", rows / "mine.csv")


def _drop_a_file(bundle: Path) -> None:
    (bundle / "rows/flow-compact/x4/mine.csv").unlink()


def _add_a_file(bundle: Path) -> None:
    (bundle / "rows/extra.csv").write_text("a\n")


def _break_the_schema(bundle: Path) -> None:
    path = bundle / "results.json"
    data = json.loads(path.read_text())
    data["branches"][0]["images"] = "four"
    write_json(path, data)


def _strip_the_recipe(bundle: Path) -> None:
    path = bundle / "recipes/aggregate.json"
    data = json.loads(path.read_text())
    del data["recipes"]
    write_json(path, data)


def _cut_off_a_table(bundle: Path) -> None:
    (bundle / "subset.csv").write_bytes(b"")


def _another_source(bundle: Path) -> None:
    path = bundle / "provenance.json"
    data = json.loads(path.read_text())
    data["attributes"] = {"table": data["attributes"].pop("image-statistics")}
    write_json(path, data)


TAMPERED: list[tuple[Callable[[Path], None], str, str]] = [
    # what was done, what is said of the checksums, what is said where the checksums were made to fit
    (_flip_a_digit, "rows/flow-compact/x4/mine.csv: its checksum differs", "mine: dss mean is"),
    (_flip_a_score, "results.json: its checksum differs", "results.json: flow-compact x4 mine: dss mean is"),
    (_flip_a_table, "tables/differences.csv: its checksum", "tables/differences.csv: line 2, difference is"),
    (_drop_a_column, "tables/ida_rd.csv: its checksum", "tables/ida_rd.csv: has no column std_images"),
    (_home_of_another, "surprise.csv: its checksum differs", "surprise.csv: has rows of a branch or image"),
    (_come_home, "tables/surprise.csv: its checksum", "tables/surprise.csv: line 3, z2 is"),
    (
        _add_a_column,
        "tables/ranks.csv: its checksum",
        "tables/ranks.csv: has columns other than those that the rows give (best)",
    ),
    (
        _another_mark,
        "results.json: its checksum",
        "flow-compact x4 bicubic: marks is ['deterministic'], the rows give []",
    ),
    (_another_kind, "results.json: its checksum", "flow-compact x4 bicubic: kind is gan, the recipes say flow"),
    (
        _another_upscaler,
        "provenance.json: its checksum",
        "provenance.json: upscalers differs from recipes/aggregate.json",
    ),
    (
        _another_recipe_of_a_branch,
        "mine.json: its checksum",
        "recipes/upscale/x4/flow-compact/mine.json: differs from recipes/aggregate.json",
    ),
    (_another_label, "results.json: its checksum", "results.json: distortions differs from"),
    (_flip_the_latex, "tables/mean_std.tex: its checksum", "tables/mean_std.tex: differs from what the rows give"),
    (
        drop_a_row,
        "mine.csv: its checksum",
        "rows/flow-compact/x4/mine.csv: 1 rows are missing, the first of image photo-1, sample 0",
    ),
    (_swap_the_weights, "results.json: its checksum", "weights flow-compact.x4: the hash differs from the recipes"),
    (
        _swap_the_weights_everywhere,
        "results.json: its checksum",
        "flow-compact.x4 has the hash 000000000000..., but the file",
    ),
    (_another_test_set, "subset.csv: its checksum", "subset.csv: is not the test set whose hash results.json has"),
    (_copy_a_branch, "mine.csv: its checksum", "bicubic and flow-compact x4 mine have the same values on every image"),
    (
        _another_source,
        "provenance.json: its checksum",
        "provenance.json: attributes differs from recipes/aggregate.json",
    ),
    (_drop_a_file, "mine.csv: listed in SHA256SUMS, but missing", "rows/flow-compact/x4/mine.csv: missing"),
    (_add_a_file, "rows/extra.csv: not listed", ""),
    (
        _break_the_schema,
        "results.json: its checksum",
        "results.json: branches.0.images: Input should be a valid integer",
    ),
]
