"""errors.py and limits.py are catalogues: what they say of themselves is what they hold."""

from __future__ import annotations

import ast
import re

from nexo import errors
from tests.house.sources import ROOT, tree

UNITS = {"KIB", "MIB"}
"""Names in limits.py that are no limits."""

BRANCH = re.compile(r"^ {4}(?P<indent>[│ ]*)(?:[├└]── )?(?P<name>[A-Z]\w+Error)\b(?P<rest>.*)$")
CODE = re.compile(r"0x([0-9A-F]{2})\b")
CODE_CELL = re.compile(r"\| 0x([0-9A-F]{2}) \| ([A-Z_]+) ")


def drawn() -> dict[str, tuple[str | None, int | None, bool]]:
    """The tree in the docstring: name → (parent, code, is it a TimeoutError too)."""
    found: dict[str, tuple[str | None, int | None, bool]] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if branch := BRANCH.match(line):
            depth = len(branch["indent"]) // 4 + ("── " in line)
            code = CODE.search(branch["rest"])
            above[depth] = branch["name"]
            found[branch["name"]] = (
                above[depth - 1] if depth else None,
                int(code[1], 16) if code else None,
                "(also TimeoutError)" in branch["rest"],
            )
    return found


def test_the_tree_of_errors_is_the_one_drawn() -> None:
    actual = {}
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.NexoError):
            parent = value.__bases__[0].__name__ if value is not errors.NexoError else None
            code = (
                value.code
                if issubclass(value, errors.ServerError) and value is not errors.ServerError
                else None
            )
            actual[name] = (parent, code, issubclass(value, TimeoutError))
    assert drawn() == actual


def test_codes_are_used_once_and_found_again() -> None:
    codes = [code for _, code, _ in drawn().values() if code is not None]
    assert sorted(codes) == list(range(len(codes)))
    for name, (_, code, _) in drawn().items():
        if code is not None:
            assert type(errors.server_error(code, "")).__name__ == name


def test_every_error_is_exported() -> None:
    assert sorted(errors.__all__) == sorted([*drawn(), "server_error"])


def test_the_protocol_page_has_the_same_codes() -> None:
    cells = CODE_CELL.findall((ROOT / "docs/protocol.md").read_text())
    page = {int(code, 16): name.removesuffix("_ERROR").replace("_", "") for code, name in cells}
    assert page == {
        code: name.removesuffix("Error").upper() for name, (_, code, _) in drawn().items() if code is not None
    }


def test_every_limit_gives_its_reason() -> None:
    body = tree("nexo.limits").body
    silent = [
        node.target.id
        for node, after in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if not (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        )
    ]
    assert set(silent) == UNITS
