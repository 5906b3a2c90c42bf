#!/usr/bin/env python3
"""Writes the package src/nexo/client/blocking/ from the async client: `make generate`, or with --check only compares.

For each public async class a facade with the same methods, signatures and docstrings, whose calls run in the
loop of a background thread (src/nexo/client/portal.py). The rules:

    async def m(...) -> T             def m(...) -> T, which waits
    async def m(...) -> AsyncIterator an iterator
    def m(...) -> Facade              the facade of what the async method returns; awaited first if it can be
    def m(...) -> Opening[Facade]     the same
    async def m(...) -> list[Facade]  a list of facades
    public attributes, properties     properties
    async with, async for             with, for
    a parameter that is a callback    runs in a thread of its own, and gets facades
    a parameter that is a facade      what it wraps

Knows the syntax trees of the async client, nothing of what it does.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CLIENT: Final = ROOT / "src/nexo/client"
TARGET: Final = CLIENT / "blocking"

FACADES: Final = {
    "Message": "message",
    "Subscription": "subscription",
    "Pattern": "pubsub",
    "Topic": "pubsub",
    "PubSub": "pubsub",
    "Watch": "watch",
    "Map": "store",
    "Store": "store",
    "Job": "job",
    "Jobs": "queue",
    "JobConsumer": "queue",
    "DLQ": "dlq",
    "Queue": "queue",
    "Queues": "queues",
    "GroupMessage": "member",
    "GroupMessages": "group",
    "GroupConsumer": "group",
    "DLS": "group",
    "Group": "group",
    "Producer": "producer",
    "Stream": "stream",
    "Streams": "streams",
    "BatchMap": "batch",
    "BatchStore": "batch",
    "BatchPubSub": "batch",
    "BatchQueue": "batch",
    "BatchStream": "batch",
    "Batch": "batch",
    "Server": "server",
    "Events": "events",
    "Client": "client",
    "EmbeddedClient": "embedded",
}
"""Classes that are wrapped, in the order in which they are written, and their modules."""

FILES: Final = {
    "pubsub": ("Message", "Subscription", "Pattern", "Topic", "PubSub"),
    "store": ("Watch", "Map", "Store"),
    "queue": ("Job", "Jobs", "JobConsumer", "DLQ", "Queue", "Queues"),
    "stream": (
        "GroupMessage",
        "GroupMessages",
        "GroupConsumer",
        "DLS",
        "Group",
        "Producer",
        "Stream",
        "Streams",
    ),
    "batch": ("BatchMap", "BatchStore", "BatchPubSub", "BatchQueue", "BatchStream", "Batch"),
    "client": ("Server", "Events", "Client", "EmbeddedClient"),
}
"""Which facades are written into which module."""

BASES: Final = {"Delivery": "delivery", "Deliveries": "iterating", "Consumer": "running"}
"""Classes that are no facades, whose methods those that derive from them have, too; and their modules."""

BY_HAND: Final = {"worker": ("Worker",)}
"""Modules of the package that are not generated: they do what the async client cannot."""

LAZY: Final = {"embedded"}
"""Modules that are imported when they are needed: they want more than msgspec."""

FUNCTIONS: Final = {"connect": ("client", "connect"), "embedded": ("embedded", "open_embedded")}
"""Functions of the client module, and what they are in the async client."""

CALLBACKS: Final = {"callback": "Message", "on_dropped": None, "on_event": None, "on_progress": None}
"""Parameters that are functions, and the facade of what they are called with."""
CALLBACK_TYPES: Final = {"JobCallback": "Job", "GroupCallback": "GroupMessage"}
"""The same by the parameter's type, which goes first."""

UNWRAPPED: Final = {"delivery"}
"""Parameters that are facades: the async method gets what they wrap."""

BLOCKING_TYPES: Final = {
    "JobCallback": "Callable[[Job], object]",
    "GroupCallback": "Callable[[GroupMessage], object]",
    "Callback | None": "Callable[[Message], object] | None",
    "Callable[[int], Awaitable[None] | None] | None": "Callable[[int], object] | None",
    "Callable[[Event], Awaitable[None] | None] | None": "Callable[[Event], object] | None",
    "Callable[[BackupProgress], Awaitable[None] | None] | None": "Callable[[BackupProgress], object] | None",
}
WORDS: Final = (
    ("`async with` it and iterate over it, or give a callback and await it", "iterate over it, or give a callback"),
    ("`async with` it, then iterate over it. Awaiting it starts it, too.", "`with` it, then iterate over it."),
    (
        "A subscription, to be entered and iterated over; with a callback, to be awaited.",
        "Subscribe: done when the server has confirmed it. A subscription is an iterator of messages.",
    ),
    ("`callback`, plain or async, is called", "`callback` is called, in a thread of its own,"),
    ("a filter that is none when\nthe subscription starts", "a filter\nthat is none"),
    ("at once, for a filter", "and for a filter"),
    (": `await` it, or `async with` it.", "; `with` closes it."),
    ("which any number of tasks may use at once", "which any number of threads may use at once"),
    ("an async iterator that", "an iterator that"),
    ("Call a function, plain or async, with each", "Call a function, in threads of its own, with each"),
    ("`async with", "`with"),
)  # fmt: skip
"""What a docstring says of async use, and what it says instead."""

GENERATED: Final = "GENERATED by tools/generate_blocking.py: do not edit, `make generate`."

PACKAGE: Final = '''"""The client for programs without an event loop. {generated}

The classes are those of the async client, with the same methods, written from it. All clients share one
background thread with an event loop, so calls of many threads are pipelined on one connection. Ctrl-C during
a call cancels it. A callback runs in a thread of its own and may make calls. After a fork, connect again in
the child: NexoError says so.
"""

from __future__ import annotations

{imports}

__all__ = {names}
'''

HEAD: Final = '''"""The async client's {module} without an event loop. {generated}"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from os import PathLike
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

{imports}
from nexo.client.backupinfo import Backup, BackupProgress
from nexo.client.client import DEFAULT_HOST, DEFAULT_PORT, DEFAULT_TIMEOUT_SECONDS
from nexo.client.dialing import Reconnect
from nexo.client.events import Event
from nexo.client.serverinfo import ConnectionInfo, ServerStatus, SettingInfo, Top
from nexo.client.portal import Portal, portal
from nexo.client.entries import Count, Entry, MapCreated, MapInfo, Scanned, Written
from nexo.client.lending import WAIT_MS_DEFAULT
from nexo.client.outcome import Outcome
from nexo.client.queueinfo import (
    Backoff, DeadLetter, DeadLetters, Durability, Expiry, Overflow, Pushed, QueueDefinition, QueueInfo,
    Redriven, State, Status, StoredMessage,
)
from nexo.client.record import Record
from nexo.client.running import GRACE_SECONDS_DEFAULT
from nexo.client.streaminfo import (
    DeadRecord, GroupInfo, GroupPlace, Lag, Place, StreamDefinition, StreamInfo,
)
from nexo.errors import NexoError
from nexo.client.tls import Tls
from nexo.client.values import Headers, HeadersLike
from nexo.client.watch import Change
{late}
T = TypeVar("T")
'''
LATE: Final = """
if TYPE_CHECKING:
    from nexo.client import embedded as async_embedded
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef
PROTOCOL: Final = {"__aenter__", "__aexit__", "__aiter__", "__anext__", "__await__"}


def module_of(module: str) -> str:
    """The name under which an async module is imported."""
    return f"async_{module}"


def parsed(module: str) -> ast.Module:
    return ast.parse((CLIENT / f"{module}.py").read_text())


def definition(module: str, name: str) -> ast.stmt:
    for node in parsed(module).body:
        if getattr(node, "name", None) == name and not is_overload(node):
            return node
    raise SystemExit(f"{module}.py has no {name}")


def is_overload(node: ast.AST) -> bool:
    return has_decorator(node, "overload")


def has_decorator(node: ast.AST, name: str) -> bool:
    return any(isinstance(one, ast.Name) and one.id == name for one in getattr(node, "decorator_list", ()))


def methods(name: str) -> dict[str, list[Function]]:
    """A class's methods by name, overloads before the implementation; with those of its BASES."""
    found: dict[str, list[Function]] = {}
    node = definition(FACADES[name] if name in FACADES else BASES[name], name)
    assert isinstance(node, ast.ClassDef)
    for child in node.body:
        if isinstance(child, Function):
            found.setdefault(child.name, []).append(child)
    for base in bases(node):
        found = {**methods(base), **found}
    return found


def blocking_type(annotation: ast.expr | None) -> str:
    """An annotation as it reads in the blocking client."""
    text = ast.unparse(annotation) if annotation is not None else "Any"
    text = BLOCKING_TYPES.get(text, text)
    return re.sub(r"Opening\[(\w+)\]", r"\1", text).replace("AsyncIterator", "Iterator")


def docstring(node: ast.AST) -> str:
    """The docstring, in words that fit."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    text = ast.get_docstring(node)
    if text is None:
        return ""
    for words, instead in WORDS:
        text = text.replace(words, instead)
    end = "\n" if "\n" in text else ""
    return f'    """{text}{end}"""\n'.replace("\n", "\n    ").replace("    \n", "\n").rstrip(" ")


def signature(node: Function, name: str) -> str:
    arguments = node.args
    for one in (*arguments.args, *arguments.kwonlyargs):
        if one.annotation is not None:
            one.annotation = ast.parse(blocking_type(one.annotation), mode="eval").body
    # As in the async client: a client that stands goes to its own broker.
    ignored = (
        "  # type: ignore[override]\n    "
        if name == "connect" and arguments.args[:1] and arguments.args[0].arg == "self"
        else ""
    )
    return f"def {name}({ignored}{ast.unparse(arguments)}) -> {blocking_type(node.returns)}:"


def passed(node: Function) -> str:
    """The arguments handed on as they came; callbacks wrapped."""
    given = [wrapped(one) for one in node.args.args if one.arg not in ("self", "cls")]
    given += [f"{one.arg}={wrapped(one)}" for one in node.args.kwonlyargs]
    return ", ".join(given)


def wrapped(argument: ast.arg) -> str:
    parameter = argument.arg
    if parameter in UNWRAPPED:
        return f"{parameter}._async"
    if parameter not in CALLBACKS:
        return parameter
    text = ast.unparse(argument.annotation) if argument.annotation is not None else ""
    facade = CALLBACK_TYPES.get(text, CALLBACKS[parameter])
    return f"{{portal}}.callback({parameter}, {facade})" if facade else f"{{portal}}.callback({parameter})"


def is_awaitable(name: str) -> bool:
    return "__await__" in methods(name)


def body(node: Function, callee: str, loop: str) -> str:
    """The statement that makes the call `callee(...)` through the portal `loop`."""
    call = f"{callee}({passed(node)})".replace("{portal}", loop)
    text = ast.unparse(node.returns) if node.returns is not None else ""
    returned = blocking_type(node.returns)
    if text.startswith("AsyncIterator"):
        return f"return {loop}.iterate({call})"
    waits = isinstance(node, ast.AsyncFunctionDef) or text.startswith("Opening")
    if returned in FACADES:
        waits = waits or is_awaitable(returned)
        made = f"{loop}.call(lambda: {call})" if waits else call
        return f"return {returned}({loop}, {made})"
    item = re.fullmatch(r"list\[(\w+)\]", returned)
    if item is not None and item[1] in FACADES:
        return f"return [{item[1]}({loop}, one) for one in {loop}.call(lambda: {call})]"
    if waits:
        return f"return {loop}.call(lambda: {call})"
    return f"return {call}"


def method(name: str, nodes: list[Function]) -> str:
    node = nodes[-1]
    parts = []
    for stub in nodes[:-1]:
        parts.append(f"@overload\n{signature(stub, name)} ...\n")
    if has_decorator(node, "property"):
        return attribute(name, blocking_type(node.returns), docstring(node))
    if has_decorator(node, "classmethod"):
        parts.append("@classmethod\n")
        statement = body(node, f"{module_of('client')}.Client.{name}", "portal()")
    else:
        statement = body(node, f"self._async.{name}", "self._portal")
    parts.append(f"{signature(node, name)}\n{docstring(node)}    {statement}\n")
    return "".join(parts)


def attribute(name: str, type: str, doc: str = "") -> str:
    """A property, for an attribute or a property of the async class."""
    value = f"{type}(self._portal, self._async.{name})" if type in FACADES else f"self._async.{name}"
    return f"@property\ndef {name}(self) -> {type}:\n{doc}    return {value}\n"


def attributes(init: Function) -> dict[str, str]:
    """Public attributes that a constructor sets, and their types, as far as it says them."""
    known = {one.arg: blocking_type(one.annotation) for one in (*init.args.args, *init.args.kwonlyargs)}
    found = {}
    for node in ast.walk(init):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            if not node.target.attr.startswith("_"):
                found[node.target.attr] = blocking_type(node.annotation)
            continue
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        name, value = node.targets[0].attr, node.value
        if name.startswith("_") or not isinstance(node.targets[0].value, ast.Name):
            continue
        if node.targets[0].value.id != "self":
            continue
        if isinstance(value, ast.Name):
            found[name] = known[value.id]
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            found[name] = value.func.id
        else:
            raise SystemExit(f"what type has {ast.unparse(node)}?")
    return found


ENTER: Final = """
def __enter__(self) -> Self:
    {enter}return self

def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    self._portal.call(lambda: self._async.__aexit__(kind, error, trace))
"""
ITERATE: Final = """
def __iter__(self) -> Self:
    return self

def __next__(self) -> {item}:
    return {made}
"""


def facade(name: str) -> str:
    """One class."""
    node = definition(FACADES[name], name)
    assert isinstance(node, ast.ClassDef)
    base = next((one.id for one in node.bases if isinstance(one, ast.Name) and one.id in FACADES), None)
    kind = f"{module_of(FACADES[name])}.{name}"
    own = methods(name)
    parts = [
        f"def __init__(self, portal: Portal, wrapped: {kind}) -> None:\n"
        + ("    super().__init__(portal, wrapped)\n" if base else "    self._portal = portal\n")
        + f"    self._async: {kind} = wrapped\n"
    ]
    if not base:
        inits = [methods(one)["__init__"] for one in bases(node)] + [own["__init__"]]
        known = {key: type for init in inits for key, type in attributes(init[-1]).items()}
        parts += [attribute(*one) for one in known.items()]
    parts += [method(key, nodes) for key, nodes in own.items() if not key.startswith("_")]
    if "__aenter__" in own:
        starts = "self._portal.call(lambda: self._async.__aenter__())\n    " if begins(own) else ""
        parts.append(ENTER.format(enter=starts).lstrip())
    if "__anext__" in own:
        item = blocking_type(own["__anext__"][-1].returns)
        made = "self._portal.next(self._async)"
        parts.append(
            ITERATE.format(
                item=item, made=f"{item}(self._portal, {made})" if item in FACADES else made
            ).lstrip()
        )
    if "__repr__" in own:
        parts.append("def __repr__(self) -> str:\n    return repr(self._async)\n")
    text = docstring(node) + "\n" + "\n".join(indented(part) for part in parts)
    return f"class {name}{f'({base})' if base else ''}:\n{text}"


def bases(node: ast.ClassDef) -> list[str]:
    """The BASES of a class."""
    kinds = [one.value if isinstance(one, ast.Subscript) else one for one in node.bases]
    return [kind.id for kind in kinds if isinstance(kind, ast.Name) and kind.id in BASES]


def begins(own: dict[str, list[Function]]) -> bool:
    """Whether entering the class does something."""
    body = own["__aenter__"][-1].body
    return not (len(body) == 1 and isinstance(body[0], ast.Return) and not has_await(body[0]))


def has_await(node: ast.AST) -> bool:
    return any(isinstance(child, ast.Await) for child in ast.walk(node))


def indented(text: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in text.splitlines(keepends=True))


def function(name: str) -> str:
    """One function of the module."""
    module, original = FUNCTIONS[name]
    node = definition(module, original)
    assert isinstance(node, Function)
    lazy = f"    from nexo.client import {module} as {module_of(module)}\n\n" if module in LAZY else ""
    statement = body(node, f"{module_of(module)}.{original}", "portal()")
    return f"{signature(node, name)}\n{docstring(node)}{lazy}    {statement}\n"


def written(module: str) -> str:
    """One module of the package; what it turns out not to need is taken from its imports at the end."""
    used = {FACADES[name] for name in FILES[module]} - LAZY
    imports = [f"from nexo.client import {one} as {module_of(one)}" for one in sorted(used)]
    for other, names in FILES.items():
        if other != module:
            imports.append(f"from nexo.client.blocking.{other} import {', '.join(names)}")
    text = HEAD.format(module=module, generated=GENERATED, imports="\n".join(imports), late=LATE)
    parts = [facade(name) for name in FILES[module]]
    if module == "client":
        parts += map(function, FUNCTIONS)
    if module != "client":
        text = text.replace(LATE, "")
    if not any("T | None" in part for part in parts):
        text = text.replace('T = TypeVar("T")\n', "")
    return formatted(text + "\n\n" + "\n\n".join(parts))


def package() -> str:
    """What a program imports."""
    exported = {**FILES, **BY_HAND, "client": (*FILES["client"], *FUNCTIONS)}
    imports = [
        f"from nexo.client.blocking.{module} import {', '.join(names)}" for module, names in exported.items()
    ]
    names = sorted(name for names in exported.values() for name in names)
    return formatted(PACKAGE.format(generated=GENERATED, imports="\n".join(imports), names=repr(names)))


def formatted(text: str) -> str:
    """As ruff wants it: unused imports gone, the others sorted."""
    steps = (
        ["check", "--select", "F401", "--fix-only", "--quiet"],
        ["check", "--select", "I,RUF022", "--fix-only", "--quiet"],
        ["format", "--quiet"],
    )
    for arguments in steps:
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TARGET / "one.py"), "-"]
        text = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
    return text


def generate() -> dict[Path, str]:
    """The files of the package."""
    TARGET.mkdir(exist_ok=True)  # or ruff would not know its imports for our own
    files = {TARGET / f"{module}.py": written(module) for module in FILES}
    return {TARGET / "__init__.py": package(), **files}


def main() -> int:
    """Write the package, or say what of it is not up to date."""
    files = generate()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not what the async client says: make generate\n")
        return 1 if stale else 0
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
