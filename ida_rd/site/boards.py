"""What of several bundles can be compared: boards, and who stands on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.amounts import amounts_of_run, ladder_of
from ida_rd.aggregate.comparisons import differences, losses
from ida_rd.aggregate.matched import matched_table
from ida_rd.aggregate.matched_text import budget_text
from ida_rd.aggregate.results import photographs_in
from ida_rd.bundle.claims import claims_of
from ida_rd.bundle.folder import SUMS
from ida_rd.bundle.schema import BranchResult, BranchResult1
from ida_rd.bundle.verify import Verified, verify
from ida_rd.core.amounts import amounts_note, rungs_of
from ida_rd.core.errors import UserError
from ida_rd.core.files import canonical_json
from ida_rd.core.pairs import least_p, ties
from ida_rd.core.readers import read_json
from ida_rd.named.definition import benchmark
from ida_rd.named.recognise import benchmark_of
from ida_rd.plan.schema import RunParameters

__all__ = ["Board", "Entry", "Published", "boards_of", "own_methods", "published"]

RESAMPLES, SEED = 10_000, 0  # of the tests between bundles


@dataclass(frozen=True)
class Published:
    """A bundle that has been verified.

    Attributes
    ----------
    name : str
        Of its folder.
    checked : Verified
    benchmark : str or None
        Id of the named benchmark that it is of.
    own : bool
        Whether a decoder or distortion is the publisher's own, so that what made its rows cannot be told. A
        downscaler may be anybody's.
    again : dict
        Who ran branches again, by the branch's title.
    matched : DataFrame
        S, S* and gap of its adapted decoders, made again from its rows, with the ``budget`` of their training in words;
        see `ida_rd.aggregate.matched.matched_table`. Empty without.
    amounts : DataFrame
        What its scores amount to, made again from its rows, with the ``end`` of its ladder, None without one; see
        `ida_rd.aggregate.amounts.amounts_table`. Empty where there is nothing to hold them against.
    """

    name: str
    checked: Verified
    benchmark: str | None
    own: bool
    again: dict[str, list[str]]
    matched: pd.DataFrame = field(default_factory=pd.DataFrame)
    amounts: pd.DataFrame = field(default_factory=pd.DataFrame)

    def tier(self, title: str) -> str:
        """How far a branch can be believed: *reproduced*, *verified* or *self-reported*."""
        return "reproduced" if title in self.again else "self-reported" if self.own else "verified"

    def adapted(self, upscaler: str) -> bool:
        """Whether the publisher trained its weights: nobody else has them."""
        return upscaler in self.checked.parameters.adapted

    def beside(self, upscaler: str) -> bool:
        """Whether it is an adapted decoder whose scores stand, as S*, beside those of a blind one."""
        names = {name for adapted in self.matched.get("adapted", []) for name in adapted.split(", ")}
        return self.adapted(upscaler) and upscaler in names

    def parts(self, upscaler: str, factor: int, distortion: str, downscaler: str) -> dict[str, Any] | None:
        """S, S* and gap of a score by a blind decoder; None where the bundle has S only."""
        return _row(self.matched, blind=upscaler, factor=factor, distortion=distortion, downscaler=downscaler)

    def amount(self, upscaler: str, factor: int, distortion: str, downscaler: str) -> dict[str, Any] | None:
        """What a score amounts to; None where the bundle does not say."""
        return _row(self.amounts, upscaler=upscaler, factor=factor, distortion=distortion, downscaler=downscaler)


@dataclass
class Entry:
    """A row of a board: a downscaler's score. The same rows in several bundles are one entry."""

    downscaler: str
    bundles: list[str]
    tier: str
    who: list[str]
    score: dict[str, Any]
    losses: pd.Series
    sha256: str
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)  # S, S* and gap, by bundle
    amounts: dict[str, dict[str, Any]] = field(default_factory=dict)  # what it amounts to, by bundle
    place: str = ""
    groups: str = ""

    @property
    def blurred(self) -> dict[str, Any] | None:
        """The blur-equivalent, by the first bundle that has a ladder; the others' can differ by how close rungs stand.

        The share of the way to nearest is left out: it depends on which downscalers a bundle has.
        """
        for name, row in self.amounts.items():
            if row["end"] is not None:
                return row | {"percent": None, "of": name}
        return None


@dataclass
class Board:
    """Scores that can be compared: of the same images, by the same decoder and distortion."""

    title: str
    benchmark: str | None
    upscaler: str
    factor: int
    distortion: str
    label: str
    better: str
    confidence: float
    entries: list[Entry] = field(default_factory=list)
    pairs: pd.DataFrame = field(default_factory=pd.DataFrame)
    too_few: bool = False  # photographs, for any pair to differ significantly

    @property
    def parted(self) -> bool:
        """Whether any entry has S* and gap."""
        return any(entry.parts for entry in self.entries)

    @property
    def blurred(self) -> bool:
        """Whether any entry has a blur-equivalent."""
        return any(entry.blurred for entry in self.entries)

    def note(self, name: str | None = None) -> str:
        """What the words of blur-equivalents mean; on the page of a bundle, those of its shares, too."""
        if name is not None and not any(name in entry.amounts for entry in self.entries):
            return ""
        ladder = name is None or self.laddered(name)
        text = amounts_note(f"{self.confidence:.0%}", ladder=ladder, share=name is not None)
        return text[0].upper() + text[1:]

    def laddered(self, name: str) -> bool:
        """Whether a bundle has a ladder."""
        return any(entry.amounts[name]["end"] is not None for entry in self.entries if name in entry.amounts)

    @property
    def trainings(self) -> list[str]:
        """Whose S* are shown, and by which budget their decoders were adapted."""
        firsts = [next(iter(entry.parts.items())) for entry in self.entries if entry.parts]
        said = [
            f"S* by {name}: {row['budget']}" + (f", {row['trainings']} trainings" if row["trainings"] > 1 else "")
            for name, row in firsts
        ]
        return list(dict.fromkeys(said))


def published(folder: Path) -> Published:
    """Verify a bundle, and read who ran branches of it again.

    That is told by files beside it, ``NAME.rerun.WHO.json``, which ``ida-rd verify NAME --rerun N --json`` wrote.

    Raises
    ------
    UserError
        The bundle is refused; or a file beside it is of another bundle, or says that nothing was run again.
    """
    checked = verify(folder)
    folder = folder.resolve()
    again: dict[str, list[str]] = {}
    for path in sorted(folder.parent.glob("*.json")):
        prefix = f"{folder.name}.rerun."
        if not path.name.startswith(prefix):
            continue
        who = path.name.removeprefix(prefix).removesuffix(".json")
        for title in _rerun(path, checked):
            again.setdefault(title, []).append(who)
    own = own_methods(checked.parameters, checked.results.skipped)
    return Published(folder.name, checked, benchmark_of(checked), own, again, _matched(checked), _amounts(checked))


def _matched(checked: Verified) -> pd.DataFrame:
    """What the bundle's adapted decoders find again, from its rows."""
    recipe = checked.recipe
    if not recipe.get("matched"):
        return pd.DataFrame()
    photographs = photographs_in(checked.bundle.table("subset.csv"))
    table = matched_table(checked.numbers.images, checked.numbers.scores, photographs, recipe)
    budgets = {
        (one["blind"], ", ".join(one["adapted"]), one["factor"]): budget_text(one["budget"])
        for one in recipe["matched"]
    }
    return table.assign(budget=[budgets[key] for key in zip(table.blind, table.adapted, table.factor, strict=True)])


def _amounts(checked: Verified) -> pd.DataFrame:
    """What the bundle's scores amount to, from its rows."""
    recipe = checked.recipe
    if "amounts" not in recipe:
        return pd.DataFrame()
    ladder = ladder_of(recipe)
    table = amounts_of_run(recipe, checked.numbers)
    return table.assign(end=pd.Series([ladder[-1][1] if ladder else None] * len(table), table.index, dtype=object))


def _row(table: pd.DataFrame, **where: object) -> dict[str, Any] | None:
    """The first row of which all this is so."""
    for key, value in where.items():
        if len(table):
            table = table[table[key] == value]
    return table.iloc[0].to_dict() if len(table) else None


def own_methods(parameters: RunParameters, skipped: Mapping[str, str]) -> bool:
    """Whether a decoder or a distortion is the publisher's own: a module, program or file that nobody else has."""
    unknown = claims_of(parameters, dict(skipped)).unknown
    return any(what.startswith(("upscalers.", "distortions.")) for what in unknown)


def _rerun(path: Path, checked: Verified) -> list[str]:
    """Branches that were run again, as such a file says."""
    said = read_json(path, hint="write it again: ida-rd verify BUNDLE --rerun N --json")
    known = {record.branch.title for record in checked.results.branches}
    try:
        sums, rerun = said["checksums"], said["rerun"]
        titles = [str(entry["branch"]) for entry in rerun["branches"]]
        missing = rerun["missing"]
    except (KeyError, TypeError):
        raise UserError(f"{path}: is not what ida-rd verify BUNDLE --rerun N --json wrote") from None
    if sums != checked.bundle.sha256(SUMS):
        raise UserError(f"{path}: is of another bundle, or of this one before it was changed: run verify again")
    if missing or not titles or not known.issuperset(titles):
        raise UserError(f"{path}: does not say that all the branches asked for were run again")
    return titles


def boards_of(bundles: Sequence[Published]) -> list[Board]:
    """Sort all scores into boards; rank and group each one's entries."""
    boards: dict[str, Board] = {}
    for one in bundles:
        rungs = rungs_of(one.checked.recipe)
        for record in one.checked.results.branches:
            if record.downscaler in rungs or one.beside(record.upscaler):
                continue
            for name in one.checked.results.distortion_order:  # the leading one first
                key, board = _board(one, record, name)
                _add(boards.setdefault(key, board), _entry(one, record, name))
    for board in boards.values():
        _rank(board)
    return sorted(boards.values(), key=lambda board: (board.benchmark is None, board.title.removesuffix(board.label)))


def _board(one: Published, record: BranchResult | BranchResult1, name: str) -> tuple[str, Board]:
    """The board that a score stands on, by a key that says all that must be equal."""
    checked = one.checked
    results, described = checked.results, checked.recipe["distortions"][name]
    named = one.benchmark is not None and name in benchmark(one.benchmark)[0].distortions
    alone = one.own or one.adapted(record.upscaler)
    hashes = sorted(checked.bundle.table("subset.csv").pixels_sha256)
    images = hashlib.sha256("".join(hashes).encode()).hexdigest()
    recipes = checked.recipe["recipes"]
    distortion = recipes.get("distort", {}).get("distortions", {}).get(name, {})
    decoder = recipes.get(f"upscale/x{record.factor}/{record.upscaler}", {})
    own = {name: sha for name, sha in (decoder.get("files") or {}).items() if not name.endswith(".py")}  # not its code
    what = [
        *(images, record.factor, record.upscaler, record.samples, results.seed, results.confidence),
        *(decoder.get("method"), decoder.get("parameters"), decoder.get("weights"), own),
        # Methods of the publisher's own may be called alike and do anything: they are compared within their bundle.
        *(name, described["label"], distortion.get("method"), distortion.get("parameters"), distortion.get("weights")),
        one.name if alone else None,
    ]
    if named and one.benchmark is not None:
        key, title = canonical_json([one.benchmark, name]), one.benchmark
    else:
        key, title = canonical_json(what), f"{len(hashes)} images {images[:8]}, {record.upscaler}, x{record.factor}"
        title += f" ({one.name} alone)" if alone else ""
    return key, Board(
        title=f"{title}: {described['label']}",
        benchmark=one.benchmark if named else None,
        upscaler=record.upscaler,
        factor=record.factor,
        distortion=name,
        label=described["label"],
        better=described["better"],
        confidence=results.confidence,
    )


def _entry(one: Published, record: BranchResult | BranchResult1, name: str) -> Entry:
    checked = one.checked
    table = checked.numbers.images
    mine = (
        (table.upscaler == record.upscaler) & (table.factor == record.factor) & (table.downscaler == record.downscaler)
    )
    means = table[mine].set_index("image_id")[name]
    subset = checked.bundle.table("subset.csv").set_index("image_id")
    # By photograph and pixels: what images are called is the publisher's affair.
    keys = subset.pixels_sha256.reindex(means.index)
    by_pixels = means.set_axis(list(keys))
    if "photograph" in subset:
        keys = subset.groupby("photograph").pixels_sha256.transform("min").reindex(means.index)
    by_pixels = by_pixels.groupby(list(keys)).mean()
    parts = one.parts(record.upscaler, record.factor, name, record.downscaler)
    amount = one.amount(record.upscaler, record.factor, name, record.downscaler)
    return Entry(
        downscaler=record.downscaler,
        bundles=[one.name],
        tier="self-reported" if one.adapted(record.upscaler) else one.tier(record.branch.title),
        who=one.again.get(record.branch.title, []),
        score=record.scores[name].model_dump()
        | {"photographs": len(by_pixels), "samples": record.samples, "rate_bpp": record.rate_bpp},
        losses=losses(by_pixels.to_frame(), checked.recipe["distortions"][name]["better"]).iloc[:, 0],
        sha256=record.sha256,
        parts={} if parts is None else {one.name: parts},
        amounts={} if amount is None else {one.name: amount},
    )


def _add(board: Board, entry: Entry) -> None:
    """Add an entry; one that is there already, to the last digit, gets the bundle's name and the better tier."""
    order = ("self-reported", "verified", "reproduced")
    for known in board.entries:
        if (known.downscaler, known.sha256) == (entry.downscaler, entry.sha256):
            known.bundles += entry.bundles
            known.parts |= entry.parts
            known.amounts |= entry.amounts
            known.who = [*dict.fromkeys([*known.who, *entry.who])]
            known.tier = max(known.tier, entry.tier, key=order.index)
            return
    board.entries.append(entry)


def _rank(board: Board) -> None:
    """Sort by the score, compare all pairs, and name the groups no two of which differ significantly."""
    board.entries.sort(key=lambda e: (float(e.losses.mean()), e.downscaler, e.bundles))
    keys = [f"{i:04d}" for i in range(len(board.entries))]
    wide = pd.DataFrame({key: entry.losses for key, entry in zip(keys, board.entries, strict=True)})
    level = 1 - board.confidence
    board.pairs = differences(wide, confidence=board.confidence, resamples=RESAMPLES, seed=SEED)
    board.too_few = len(board.pairs) > 0 and least_p(board.pairs) >= level
    runs = [(i, j) for i, j in ties(keys, board.pairs, level) if j > i]
    for number, entry in enumerate(board.entries):
        better = {i for i, j in _significant(board.pairs, keys, level) if j == number}
        entry.place = str(len(better) + 1)
        entry.groups = "".join(_letter(n) for n, (i, j) in enumerate(runs) if i <= number <= j)


def _significant(pairs: pd.DataFrame, keys: list[str], level: float) -> list[tuple[int, int]]:
    """Pairs of which the first loses significantly less."""
    found = pairs[pairs.p_holm < level] if len(pairs) else pairs
    return [(keys.index(a), keys.index(b)) for a, b in zip(found.loses_less, found.loses_more, strict=True)]


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"
