"""Names that become names of files and cells of tables: one check for all of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ida_rd.core.errors import UserError

__all__ = ["LONGEST", "cell_problem", "check_ids", "label_problem", "looks_like_formula", "name_problem"]

LONGEST = 200  # bytes: suffixes and the prefixes of temporary files fit into the 255 of a file name
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
# Those of full width count too, where the spreadsheet is a Japanese one.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
           "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def looks_like_formula(text: str) -> bool:
    """Whether a spreadsheet would compute a cell with this text; a plain number such as ``-12`` is none.

    A spreadsheet that separates cells by semicolons makes several cells of one that has some.
    """
    parts = text.split(";")
    return any(part.lstrip(" ").startswith(FORMULA) and not NUMBER.fullmatch(part.strip(" ")) for part in parts)


def cell_problem(text: str) -> str | None:
    """What keeps a text from being a cell of a table, in words; None if nothing does."""
    if looks_like_formula(text):
        return "begins like a formula of a spreadsheet"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        return "has a control character"
    return None


def label_problem(label: str) -> str | None:
    """What keeps a text from being the name of a group, in words; None if nothing does."""
    if not label.strip():
        return "is empty"
    if any(unicodedata.category(c) in UNPRINTABLE for c in label):
        return "has a character that cannot be printed"
    return cell_problem(label)


def name_problem(name: str) -> str | None:
    """What keeps a text from being a name of a file and of a row, in words; None if nothing does."""
    if problem := label_problem(name):
        return problem
    if "/" in name or "\\" in name:
        return "has a slash in it"
    if name.startswith("."):
        return "begins with a dot"
    if not unicodedata.is_normalized("NFC", name):
        return "is not in Unicode's normal form NFC"
    if len(name.encode()) > LONGEST:
        return f"has more than {LONGEST} bytes"
    return None


def check_ids(ids: Iterable[str], what: str) -> None:
    """Check image ids, and other names of which names of files are made.

    Parameters
    ----------
    ids : iterable of str
    what : str
        What they are, for messages: begins the line.

    Raises
    ------
    UserError
        The first names that cannot be used, each with its reason, in one line.
    """
    bad = [f"{_shown(name)} {problem}" for name in ids if (problem := name_problem(name))]
    if bad:
        rest = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise UserError(f"{what}: the name {'; '.join(bad[:3])}{rest}: rename it")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")
