"""The project's own files, read as the house rules read them: by path, by module name, by syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


def modules() -> list[str]:
    """Every module of the package, as `nexo.brokers.store`; a package is named without `__init__`."""
    return sorted(module_name(path) for path in SOURCE.glob("nexo/**/*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_path(name: str) -> Path:
    path = SOURCE.joinpath(*name.split("."))
    package = path / "__init__.py"
    return package if package.exists() else path.with_suffix(".py")


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(module_path(name).read_text(), str(module_path(name)))


def within(name: str, room: str) -> bool:
    """Whether a module is the room or in it."""
    return name == room or name.startswith(room + ".")


def imports(name: str) -> Iterator[tuple[int, str]]:
    """(line, module) for each import anywhere in a module; `from package import module` names the module."""
    known = set(modules())
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = name if module_path(name).name == "__init__.py" else name.rpartition(".")[0]
                for _ in range(node.level - 1):
                    package = package.rpartition(".")[0]
                source = f"{package}.{source}".rstrip(".")
            for alias in node.names:
                full = f"{source}.{alias.name}"
                yield node.lineno, full if full in known else source


def place(name: str, node: ast.AST) -> str:
    """`src/nexo/node.py:12`, for a message."""
    return f"{module_path(name).relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
