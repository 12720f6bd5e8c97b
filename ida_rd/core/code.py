"""Which source files a result rests on: the work's own, and the modules of the project that it imports.

What cannot change a result is left out by name (`PLUMBING`): editing the engine, the store, the progress or an error
message reruns nothing.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file

__all__ = ["PACKAGE", "PLUMBING", "code_hashes", "forget", "module_file"]

PACKAGE = Path(__file__).resolve().parent.parent  # ida_rd, wherever it is installed
# Modules that move files, find things and speak to people. A test edits each and sees that nothing reruns.
PLUMBING = (
    "ida_rd.engine",
    "ida_rd.core.arguments",
    "ida_rd.core.bar",
    "ida_rd.core.budget",
    "ida_rd.core.code",
    "ida_rd.core.converted",
    "ida_rd.core.download",
    "ida_rd.core.ending",
    "ida_rd.core.errors",
    "ida_rd.core.files",
    "ida_rd.core.foreign",
    "ida_rd.core.hashes",
    "ida_rd.core.headers",
    "ida_rd.core.instructions",
    "ida_rd.core.key",
    "ida_rd.core.methods",
    "ida_rd.core.names",
    "ida_rd.core.pickled",
    "ida_rd.core.progress",
    "ida_rd.core.project",
    "ida_rd.core.readers",
    "ida_rd.core.recipes",
    "ida_rd.core.rows",
    "ida_rd.core.software",
    "ida_rd.core.tensors",
    "ida_rd.core.temporary",
    "ida_rd.core.weights",
)


def module_file(name: str) -> Path:
    """File of a module of this package, by its dotted name."""
    target = PACKAGE.parent.joinpath(*name.split("."))
    return target / "__init__.py" if target.is_dir() else target.with_suffix(".py")


def code_hashes(*entries: Path | str) -> dict[str, str]:
    """Hash the entry files and, transitively, every module of their project that they import.

    The imports are read from the source, inside functions too; nothing is executed. Modules that
    are looked up by name at run time (methods) are entries of their own recipe.

    Parameters
    ----------
    entries : Path or str
        Source files, or names of modules of this package. A file outside the package is the user's: its
        imports are looked for below the working directory.

    Returns
    -------
    dict
        Path from the root of the imports (``ida_rd/downscale/dpid.py``) to SHA-256: the same names wherever the
        package is installed.
    """
    waiting = [module_file(entry) if isinstance(entry, str) else entry.resolve() for entry in entries]
    hashes: dict[str, str] = {}
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        own = path.is_relative_to(PACKAGE)
        root = PACKAGE.parent if own else Path.cwd().resolve()
        inside = path.is_relative_to(root)
        status = path.stat()
        digest, imports = _read(path, root, status.st_size, status.st_mtime_ns)
        hashes[path.relative_to(root).as_posix() if inside else path.name] = digest
        waiting += imports
    return dict(sorted(hashes.items()))


def forget() -> None:
    """Read every file again: one may have changed without its size and time showing it."""
    _read.cache_clear()


@cache
def _read(path: Path, root: Path, size: int, modified: int) -> tuple[str, tuple[Path, ...]]:
    """Hash of a file, and the files that it imports; kept while the file is unchanged."""
    return sha256_file(path), tuple(_imports(path, root)) if path.suffix == ".py" else ()


def _imports(path: Path, root: Path) -> list[Path]:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not valid Python: {error}") from None
    own = path.is_relative_to(PACKAGE)
    package = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    found: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _resolve(root, tuple(alias.name.split(".")), own)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                found += _resolve(root, (*module, alias.name), own) or _resolve(root, module, own)
    return found


def _resolve(root: Path, parts: tuple[str, ...], own: bool) -> list[Path]:
    """Files of a module and of the packages around it, or nothing if it is plumbing or not the project's."""
    if not parts:
        return []
    if parts[0] == PACKAGE.name:
        root = PACKAGE.parent
        if len(parts) == 1:
            return []  # the package's own front door, which opens onto everything
        if any(".".join(parts[:i]) in PLUMBING for i in range(1, len(parts) + 1)):
            return []
    elif own:
        return []  # another package beside this one, in site-packages: its version is recorded, not its files
    target = root.joinpath(*parts)
    file = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
    if not file.is_file():
        return []
    packages = [root.joinpath(*parts[:i]) / "__init__.py" for i in range(1, len(parts))]
    packages = [package for package in packages if package != PACKAGE / "__init__.py"]
    return [file, *(package for package in packages if package.is_file())]
