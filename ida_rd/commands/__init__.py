"""The command ``ida-rd``: a file in this folder for each of its commands, named like the command.

Such a file holds

* ``ABOUT``: one line, for the help;
* ``EXAMPLES``: what stands below the help, or None;
* ``PLACE``: a number by which the help sorts the commands, in tens to leave room;
* ``add_arguments(parser)``: its options;
* ``run(options)``: the command itself.

It imports what is heavy in ``run``, since every call of ``ida-rd`` reads all of these files. Files whose name begins
with an underscore are not commands.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import pkgutil
from types import ModuleType

from ida_rd.core.errors import exit_with_line

__all__ = ["commands", "main"]


def commands() -> dict[str, ModuleType]:
    """Modules of all commands by name, as the help sorts them."""
    names = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return dict(sorted(modules.items(), key=lambda item: (item[1].PLACE, item[0])))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ida-rd", description="IDA-RD: how much does an image downscaler lose? (Liang et al., CVPR 2024)"
    )
    parser.add_argument("--version", action="version", version=f"ida-rd {importlib.metadata.version('ida-rd')}")
    found = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in commands().items():
        command = found.add_parser(
            name,
            help=module.ABOUT,
            description=module.ABOUT,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 0, or 2 with one line that says what is wrong."""
    options = _parser().parse_args(arguments)
    exit_with_line(lambda: options.run(options))
