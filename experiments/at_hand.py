"""Enter the networks whose files are at hand: ``python ../at_hand.py FOLDER [FOLDER ...]``, in an experiment's folder.

Looks below the folders for the files that the experiment's ``networks.yaml`` names, and writes an entry for each
network whose files are all there into ``params.yaml``, between its two marks, in place of those of an earlier call.
Where a published file is not there, one of its name with the ending ``.safetensors`` will do: `ida-rd weights convert`
makes such. What was not found is named. Nothing is downloaded.
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
HERE = "run this in the folder of an experiment that has a networks.yaml"


def files_below(folders: list[Path]) -> dict[str, Path]:
    """Files and folders below the folders, by name; where a name is there twice, the first."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give one that holds files of networks")
        for place, below, names in os.walk(folder):
            below.sort()
            for name in sorted([*below, *names]):
                found.setdefault(name, Path(place).absolute() / name)
    return found


def _wanted(network: dict[str, Any]) -> dict[str, str]:
    """Names of a network's files, by the key of its entry that says where one is; a dot leads into a key."""
    return {"path": network["file"]} if "file" in network else dict(network["files"])


def _placed(entry: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """The entry with a path at `key`."""
    outer, _, inner = key.partition(".")
    return {**entry, outer: {**entry.get(outer, {}), inner: str(path)} if inner else str(path)}


def entries(
    networks: dict[str, Any], files: dict[str, Path], factors: list[int], side: int | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Entries of the upscalers that can be run, and a line on each of the others.

    Parameters
    ----------
    networks : dict
        ``networks.yaml``.
    files : dict
        What is at hand, by name.
    factors : list of int
        Of ``params.yaml``.
    side : int, optional
        Of the HR images, where they are square and all of one size.
    """
    found, others = {}, []
    for name, network in networks.items():
        entry, missing = dict(network["entry"]), []
        for key, file in _wanted(network).items():
            path = files.get(file) or files.get(str(Path(file).with_suffix(".safetensors")))
            if path is None:
                missing.append(file)
            else:
                entry = _placed(entry, key, path)
        if factors != [network["factor"]]:
            others.append(f"{name}: is for factor {network['factor']} alone, and params.yaml has factors {factors}")
        elif network.get("side") not in (None, side):
            square = network["side"]
            others.append(f"{name}: makes images of {square} x {square}, and params.yaml has images.crop {side}")
        elif missing:
            others.append(f"{name}: {' and '.join(missing)} {'were' if len(missing) > 1 else 'was'} not found")
        else:
            found[name] = entry
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
    networks = read_yaml(Path("networks.yaml"), hint=HERE)
    parameters = read_yaml(Path("params.yaml"), hint=HERE)
    side = parameters["images"].get("crop")
    found, others = entries(networks, files_below(folders), list(parameters["factors"]), side)
    text = Path("params.yaml").read_text(encoding="utf-8")
    write_text(Path("params.yaml"), entered(text, found))
    for name, entry in found.items():
        print(printable(f"{name}: {', '.join(_at(entry, key) for key in _wanted(networks[name]))}"))
    for line in others:
        print(printable(f"left out: {line}"))


def _at(entry: dict[str, Any], key: str) -> str:
    outer, _, inner = key.partition(".")
    return str(entry[outer][inner] if inner else entry[outer])


if __name__ == "__main__":
    exit_with_line(main)
