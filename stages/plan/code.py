"""Which source files a method's result depends on: its own, and all project modules that it imports."""

from __future__ import annotations

import ast
from pathlib import Path

from stages.core.errors import UserError
from stages.core.files import sha256_file

__all__ = ["code_hashes"]


def code_hashes(root: Path, *entries: Path) -> dict[str, str]:
    """Hash the entry files and, transitively, every module under `root` that they import.

    The imports are read from the source, inside functions too; nothing is executed. Modules that
    are looked up by name at run time (methods) are entries of their own recipe.

    Parameters
    ----------
    root : Path
        The root of absolute imports: of this repository, or of the user's own modules.
    entries : Path
        Source files under `root`, or the user's elsewhere.

    Returns
    -------
    dict
        Path (relative to `root` where it is under it) to SHA-256.
    """
    root = root.resolve()
    waiting = [entry.resolve() for entry in entries]
    hashes: dict[str, str] = {}
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        inside = path.is_relative_to(root)
        hashes[path.relative_to(root).as_posix() if inside else path.name] = sha256_file(path)
        if path.suffix == ".py":
            waiting += _imports(path, root)
    return dict(sorted(hashes.items()))


def _imports(path: Path, root: Path) -> list[Path]:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not valid Python: {error}") from None
    package = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    found: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _resolve(root, tuple(alias.name.split(".")))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                found += _resolve(root, (*module, alias.name)) or _resolve(root, module)
    return found


def _resolve(root: Path, parts: tuple[str, ...]) -> list[Path]:
    """Files of a module and of the packages around it, or nothing where it is not the project's."""
    if not parts:
        return []
    target = root.joinpath(*parts)
    file = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
    if not file.is_file():
        return []
    packages = [root.joinpath(*parts[:i]) / "__init__.py" for i in range(1, len(parts))]
    return [file, *(package for package in packages if package.is_file())]
