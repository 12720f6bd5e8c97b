"""Write the site: plain files that open by a double click, and that any web server can serve."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ida_rd.bundle.folder import SIGNATURE, SUMS, Bundle
from ida_rd.bundle.schema import program
from ida_rd.core import typeset
from ida_rd.core.amounts import amount_words
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, write_bytes, write_text
from ida_rd.core.foreign import read_bytes
from ida_rd.core.software import needs
from ida_rd.report.style import COLOURS, MARKERS, STYLE, without_date
from ida_rd.site.badge import badge, badge_path, badge_text
from ida_rd.site.boards import Board, Entry, Published, boards_of, published

__all__ = ["write_site"]

TEMPLATES = Path(__file__).with_name("templates")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
NUMBERS = ("mean", "ci_low", "ci_high", "photographs", "samples", "rate_bpp")
PARTS = (
    *("s_star", "s_star_low", "s_star_high", "gap", "gap_low", "gap_high"),
    *("lost", "lost_low", "lost_high", "unreadable", "unreadable_low", "unreadable_high", "control", "trainings"),
    "budget",
)
BLURS = {"blur": "blur", "blur_low": "blur_low", "blur_high": "blur_high", "place": "blur_place", "of": "blur_of"}
MOST_SHOWN = 60  # entries in a picture
LARGEST = 2**30
# What may be looked at in the browser, by its name's end: a stranger's HTML and SVG can hold scripts, and are in the
# archive only.
PLAIN = (".csv", ".json", ".yaml")
ALONE = (
    "results.json",
    "params.yaml",
    "subset.csv",
    "tables/ida_rd.csv",
    "tables/images.csv",
    "tables/differences.csv",
)


def write_site(folders: Sequence[Path], target: Path) -> tuple[list[Published], list[Board]]:
    """Verify bundles, and write a site of them; nothing is left behind if one does not verify.

    Parameters
    ----------
    folders : sequence of Path
        Bundles. Their folders' names are what the site calls them.
    target : Path
        Folder that does not exist yet, or is empty.

    Raises
    ------
    UserError
        A bundle is refused, two are called alike, or the target is not free.
    """
    needs("jinja2")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not empty: name another folder, or remove it")
    names: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if not NAME.fullmatch(name):
            raise UserError(f"{folder}: a site cannot have a bundle of this name: use letters, digits, ., _ and -")
        if name.lower() in names:
            raise UserError(f"{folder}: {names[name.lower()]} is called alike: rename one of them")
        names[name.lower()] = folder
    bundles = [published(folder) for folder in folders]
    boards = boards_of(bundles)
    with atomic_folder(target) as out:
        _write(out, bundles, boards)
    return bundles, boards


def _write(out: Path, bundles: list[Published], boards: list[Board]) -> None:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"score": _score, "part": _part, "blur": _blur, "amount": _amount}
    environment.filters |= {"p": typeset.p_value, "number": typeset.number}
    for file in ("site.css", "site.js"):
        shutil.copyfile(TEMPLATES / file, out / file)
    pictures = {}
    for number, board in enumerate(boards):
        pictures[number] = f"board-{number}.png"
        write_bytes(out / pictures[number], _overlay(board))
        write_text(out / f"board-{number}.csv", _table(board).to_csv(index=False, lineterminator="\n"))
    common: dict[str, Any] = {"program": program(), "bundles": bundles}
    index = environment.get_template("index.html")
    write_text(out / "index.html", index.render(boards=boards, pictures=pictures, **common))
    page = environment.get_template("bundle.html")
    for one in bundles:
        folder = out / "bundles" / one.name
        raw = _raw(one.checked.bundle, folder, one.name)
        mine = [(n, b) for n, b in enumerate(boards) if any(one.name in entry.bundles for entry in b.entries)]
        signed = SIGNATURE in one.checked.bundle.files
        badges = {}
        for _, board in mine:
            for entry in board.entries:
                if one.name in entry.bundles:
                    badges[badge_path(board, entry)] = " | ".join(badge_text(board, entry))
                    write_text(folder / badge_path(board, entry), badge(board, entry))
        write_text(
            folder / "index.html", page.render(one=one, raw=raw, mine=mine, signed=signed, badges=badges, **common)
        )


def _score(value: dict[str, Any]) -> tuple[str, str]:
    """A score and its interval, as text; the second is empty where there is none."""
    low, high = (float("nan") if value[key] is None else value[key] for key in ("ci_low", "ci_high"))
    first, _, ends = typeset.interval(value["mean"], low, high).partition(" ")
    return first, ends


def _part(row: dict[str, Any], key: str) -> tuple[str, str]:
    """A part of a score and its interval, as text; empty where there is none."""
    if pd.isna(row[key]):
        return "", ""
    first, _, ends = typeset.interval(row[key], row[f"{key}_low"], row[f"{key}_high"]).partition(" ")
    return first, ends


def _amount(row: dict[str, Any] | None) -> str:
    """What a score amounts to, as tables word it; a dash where that is not known."""
    return (amount_words(row, row["end"]) if row else "") or "-"


def _blur(row: dict[str, Any] | None) -> tuple[str, str, float | str]:
    """A blur-equivalent and its interval, as text, and what it is sorted by."""
    first, bracket, ends = _amount(row).partition(" [")
    return first, bracket.strip() + ends, "" if row is None else -1 if row["place"] == "less" else row["blur"]


def _table(board: Board) -> pd.DataFrame:
    """A board as numbers, for whoever works with them."""
    rows = []
    for entry in board.entries:
        row: dict[str, Any] = {"board": board.title, "benchmark": board.benchmark, "distortion": board.distortion}
        row |= {"place": entry.place, "groups": entry.groups, "downscaler": entry.downscaler, "tier": entry.tier}
        row |= {"bundles": " ".join(entry.bundles), "reproduced_by": " ".join(entry.who)}
        row |= {key: entry.score[key] for key in NUMBERS}
        if board.blurred:
            blur = entry.blurred or dict.fromkeys(BLURS)
            row |= {column: blur[key] for key, column in BLURS.items()}
        if board.parted:
            whose, parts = next(iter(entry.parts.items()), ("", dict.fromkeys(PARTS)))
            row |= {key: parts[key] for key in PARTS} | {"s_star_of": whose}
        rows.append(row)
    return pd.DataFrame(rows)


def _overlay(board: Board) -> bytes:
    """All bundles' scores on a board, in one picture: a colour and marker for each bundle."""
    from matplotlib import rc_context

    shown = board.entries[:MOST_SHOWN]
    order = list(dict.fromkeys(_whose(entry) for entry in shown))
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 1.2 + 0.26 * len(shown) + 0.18 * len(order)), layout="constrained")
        axes = figure.add_subplot()
        for bundle, name in enumerate(order):
            style: dict[str, Any] = {"color": COLOURS[bundle % len(COLOURS)], "marker": MARKERS[bundle % len(MARKERS)]}
            drawn = False
            for place, entry in enumerate(shown):
                if _whose(entry) != name:
                    continue
                low, high = entry.score["ci_low"], entry.score["ci_high"]
                if low is not None and high is not None:
                    axes.plot([low, high], [place, place], color=style["color"], linewidth=1.5)
                label = None if drawn else name
                axes.plot(entry.score["mean"], place, linestyle="none", markersize=5, label=label, **style)
                drawn = True
        axes.set_yticks(range(len(shown)), [entry.downscaler for entry in shown])
        axes.invert_yaxis()
        axes.set_xlabel(f"{board.label} ({board.better} is better)")
        axes.grid(axis="x", linewidth=0.4, alpha=0.5)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        file = io.BytesIO()
        figure.savefig(file, dpi=150, format="png", metadata=without_date("png"))
    return file.getvalue()


def _whose(entry: Entry) -> str:
    """Whose an entry is, for a legend."""
    first, *others = entry.bundles
    return first if not others else f"{first} and {len(others)} more"


def _raw(bundle: Bundle, folder: Path, name: str) -> dict[str, Any]:
    """Write what can be downloaded: the bundle as an archive, and some files by themselves."""
    sums = {line[66:]: line[:64] for line in bundle.text(SUMS).splitlines()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in bundle.files:
            content = bundle.bytes(file) if file in (SUMS, SIGNATURE) else _read(bundle, file, sums[file])
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            if (file in ALONE and file.endswith(PLAIN)) or file in (SUMS, SIGNATURE):
                write_bytes(folder / "raw" / file, content)
    write_bytes(folder / f"{name}.tar", archive.getvalue())
    alone = [file for file in bundle.files if (folder / "raw" / file).is_file()]
    return {"archive": f"{name}.tar", "mebibytes": archive.tell() / 2**20, "files": alone}


def _read(bundle: Bundle, file: str, sha256: str) -> bytes:
    """A file as it was verified."""
    import hashlib

    content = read_bytes(bundle.root / file, LARGEST, links=False)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{bundle.root / file}: changed since it was verified: run it again")
    return content
