"""Habits that a machine can check: clocks, randomness, printing, broad excepts, docstrings, sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.sources import ROOT, module_path, modules, place, tree, within

CLOCK_ROOMS = ("nexo.server", "nexo.client", "nexo.cli", "nexo.bench")
"""Who may read a clock. Everyone else gets `now` as an argument."""

PRINTING_ROOMS = ("nexo.cli",)

CATCH_ALL: dict[tuple[str, str], str] = {
    ("nexo.client.running", "_handle"): (
        "the program's own function: whatever it raises is the reason of a nack, and the next message follows"
    ),
    ("nexo.protocols.native.session", "execute"): (
        "the outermost loop of a connection: a fault in one command is answered and logged, and ends nobody else"
    ),
    ("nexo.server.http.routing", "__call__"): (
        "the outermost loop of a request: a fault in one is answered and logged, and ends nobody else"
    ),
    ("nexo.storage.thread", "_write_at_once"): (
        "the same for a batch that is written without the thread, in the middle of a turn"
    ),
    ("nexo.storage.thread", "_run"): (
        "the outermost loop of the writer's thread: a fault of ours fences the log instead of leaving clients waiting"
    ),
}
"""(module, function) that may catch Exception, and why."""

FILE_LINES_MAX = 600


def functions(node: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node with the name of the function around it."""
    for child in ast.iter_child_nodes(node):
        name = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else inside
        yield name, child
        yield from functions(child, name)


def test_no_clock_outside_its_rooms() -> None:
    wrong = []
    for module in modules():
        if any(within(module, room) for room in CLOCK_ROOMS):
            continue
        for node in ast.walk(tree(module)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today", "monotonic"):
                names = [node.value.id] if isinstance(node.value, ast.Name) else []
            if {"time", "datetime"}.intersection(names):
                wrong.append(place(module, node))
    assert not wrong, f"reads a clock: {wrong}"


def test_no_hidden_randomness() -> None:
    """`random.Random(seed)` is a value; the module's functions share a state that nobody can repeat."""
    wrong = []
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ImportFrom) and node.module in ("random", "secrets", "uuid"):
                wrong += [place(module, node)] * any(alias.name != "Random" for alias in node.names)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "random"
                and node.func.attr != "Random"
                and not within(module, "nexo.client")  # the jitter of a reconnection shall differ
            ):
                wrong.append(place(module, node))
    assert not wrong, f"draws from shared randomness: {wrong}"


def prints(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "print"
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return (node.value.id, node.attr) in (("sys", "stdout"), ("sys", "stderr"))
    return False


def test_only_the_command_line_prints() -> None:
    wrong = [
        place(module, node)
        for module in modules()
        if not any(within(module, room) for room in PRINTING_ROOMS)
        for node in ast.walk(tree(module))
        if prints(node)
    ]
    assert not wrong, f"prints: {wrong}"


def caught(handler: ast.ExceptHandler) -> set[str]:
    kind = handler.type
    parts = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return {part.id for part in parts if isinstance(part, ast.Name)}


def test_no_bare_except() -> None:
    wrong = [
        place(module, node)
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not wrong, f"bare except: {wrong}"


def test_broad_excepts_are_named_here() -> None:
    found = {
        (module, function)
        for module in modules()
        for function, node in functions(tree(module))
        if isinstance(node, ast.ExceptHandler) and {"Exception", "BaseException"} & caught(node)
    }
    assert found - CATCH_ALL.keys() == set(), "catches everything without a reason in CATCH_ALL"
    assert CATCH_ALL.keys() - found == set(), "reasons in CATCH_ALL for what is gone"


def test_every_module_says_what_it_is() -> None:
    # An empty __init__.py only makes a directory a package.
    wrong = [module for module in modules() if tree(module).body and ast.get_docstring(tree(module)) is None]
    assert not wrong, "modules without a docstring"


def test_no_file_has_two_subjects() -> None:
    files = [module_path(module) for module in modules()]
    for folder in ("tests", "examples", "benchmarks"):
        files += (ROOT / folder).rglob("*.py")
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if path.parent.name != "vectors"  # tables
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert not long, f"longer than {FILE_LINES_MAX} lines"
