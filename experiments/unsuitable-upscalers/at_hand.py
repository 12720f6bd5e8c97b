"""Enter the networks whose files are at hand: ``python at_hand.py FOLDER [FOLDER ...]``.

Looks below the folders for the files that ``networks.yaml`` names, and writes an entry for each into ``params.yaml``,
between its two marks, in place of those of an earlier call. What was not found is named. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import yaml

from ida_rd.core.errors import UserError, exit_with_line, printable
from ida_rd.core.files import write_text
from ida_rd.core.readers import read_yaml

BEGIN, END = "  # at_hand.py writes below this line,\n", "  # and above this one.\n"


def files_below(folders: list[Path]) -> dict[str, Path]:
    """Files of the folders by name; where a name is there twice, the first."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give one that holds files of networks")
        for place, below, names in os.walk(folder):
            below.sort()
            for name in sorted(names):
                found.setdefault(name, Path(place).absolute() / name)
    return found


def entries(networks: dict[str, Any], files: dict[str, Path], factors: list[int]) -> tuple[dict[str, Any], list[str]]:
    """Entries of the upscalers that can be run, and a line on each of the others."""
    found, others = {}, []
    for name, network in networks.items():
        path, factor = files.get(network["file"]), network["factor"]
        if factors != [factor]:
            others.append(f"{name}: is for factor {factor} alone, and params.yaml has factors {factors}")
        elif path is None:
            others.append(f"{name}: {network['file']} was not found")
        else:
            found[name] = {**network["entry"], "path": str(path)}
    return found, others


def entered(text: str, found: dict[str, Any]) -> str:
    """The text of ``params.yaml`` with these entries between the marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError("params.yaml: the two marks of at_hand.py are gone: take them from the repository again")
    head, _, rest = text.partition(BEGIN)
    lines = yaml.safe_dump(found, sort_keys=False, default_flow_style=None, width=10**6, allow_unicode=True)
    body = "".join(f"  {line}\n" for line in lines.splitlines()) if found else ""
    return head + BEGIN + body + END + rest.partition(END)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    folders = parser.parse_args().folders
    parameters = read_yaml(Path("params.yaml"), hint="run this in the folder of the experiment")
    networks = read_yaml(Path(__file__).with_name("networks.yaml"), hint="take it from the repository again")
    found, others = entries(networks, files_below(folders), list(parameters["factors"]))
    text = Path("params.yaml").read_text(encoding="utf-8")
    write_text(Path("params.yaml"), entered(text, found))
    for name, entry in found.items():
        print(printable(f"{name}: {entry['path']}"))
    for line in others:
        print(printable(f"left out: {line}"))


if __name__ == "__main__":
    exit_with_line(main)
