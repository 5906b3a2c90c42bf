"""Arrows between packages point one way: cli → server → protocols → node → brokers.

A room is a module or a package; the longest name that fits a module is its room. To draw a new
arrow, change the table, ARCHITECTURE.md and, if need be, your mind.
"""

from __future__ import annotations

import sys

from tests.house.sources import imports, modules, within

BASE = {"nexo.errors", "nexo.limits", "nexo.histogram"}
OPCODES = "nexo.protocols.native.opcodes"
COMPILED = {"librt", "mypy_extensions", "msgspec", "crc32c"}
"""What modules that mypyc compiles may import besides the standard library."""

ARROWS: dict[str, set[str]] = {
    "nexo.errors": set(),
    "nexo.limits": set(),
    "nexo.histogram": set(),
    "nexo._version": set(),
    "nexo._pure": set(),
    "nexo.brokers": {"nexo.brokers", *BASE},
    # The log knows how brokers write operations, and no broker.
    "nexo.storage": {"nexo.storage", "nexo.brokers.journal", *BASE},
    "nexo.node": {"nexo.storage", "nexo.brokers", *BASE},
    OPCODES: set(),
    # Bytes and their order know neither broker nor node.
    "nexo.protocols.native.frames": {OPCODES, *BASE},
    "nexo.protocols.native.connection": {OPCODES, "nexo.protocols.native.frames", *BASE},
    "nexo.protocols": {"nexo.protocols", "nexo.node", "nexo.brokers", *BASE},
    "nexo.server": {
        "nexo.server",
        "nexo.protocols",
        "nexo.node",
        "nexo.storage",
        "nexo.brokers",
        "nexo._version",
        "nexo._pure",
        *BASE,
    },
    "nexo.client": {"nexo.client", OPCODES, "nexo._version", *BASE},
    # The client without a socket holds a real session on real brokers instead.
    "nexo.client.embedded": {
        "nexo.client",
        "nexo.protocols",
        "nexo.node",
        "nexo.brokers",
        "nexo._version",
        *BASE,
    },
    # It checks what it pulls.
    "nexo.client.backup": {"nexo.client", "nexo.storage", OPCODES, *BASE},
    "nexo.bench": {"nexo.bench", OPCODES, *BASE},
    "nexo.cli": {
        "nexo.cli",
        "nexo.server",
        "nexo.storage",
        "nexo.client",
        "nexo.bench",
        "nexo._version",
        "nexo._pure",
        *BASE,
    },
    "nexo.__main__": {"nexo.cli"},
    "nexo": {"nexo.client", "nexo._pure", "nexo._version", "nexo.errors"},
}

THIRD_PARTY: dict[str, set[str]] = {
    "nexo.brokers": COMPILED,
    "nexo.histogram": COMPILED,
    "nexo.storage": COMPILED,
    "nexo.node": COMPILED,
    "nexo.protocols": COMPILED,
    "nexo.bench": COMPILED,
    OPCODES: set(),
    "nexo.server": {"msgspec", "mypy_extensions", "librt"},
    "nexo.server.accounts": {"argon2", "msgspec", "tomlkit"},
    "nexo.server.http": {"h11", "msgspec", "prometheus_client", "starlette", "uvicorn"},
    "nexo.client": {"msgspec"},
    # What the program itself has loaded, and nobody else: see the module.
    "nexo.client.tracing": {"msgspec", "opentelemetry"},
    "nexo.client.embedded": {"msgspec", "mypy_extensions", "librt"},
    "nexo.cli": {"click", "msgspec", "uvloop"},
    "nexo": set(),
}

PURE_ROOMS = (
    "nexo.brokers",
    "nexo.histogram",
    "nexo.node",
    "nexo.protocols",
    "nexo.storage",
    "nexo.errors",
    "nexo.limits",
)
SYSTEM: dict[str, set[str]] = {
    "nexo.storage.files": {"fcntl", "os", "threading"},
    "nexo.storage.thread": {"threading"},
}
"""Modules of pure rooms that may use some of it all the same: who calls the operating system is one module."""

OUTSIDE = {
    "asyncio", "concurrent", "datetime", "fcntl", "io", "mmap", "multiprocessing", "os", "pathlib", "select",
    "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
"""The standard library's ways to a clock, a file, a socket, a thread: not for state machines and codecs."""


def room_of(module: str, rooms: dict[str, set[str]]) -> str:
    return max((room for room in rooms if within(module, room)), key=len)


def allowed(target: str, rooms: set[str]) -> bool:
    return any(target == room or (room != "nexo" and within(target, room)) for room in rooms)


def test_every_module_has_a_room() -> None:
    unplaced = [module for module in modules() if module != "nexo" and room_of(module, ARROWS) == "nexo"]
    assert not unplaced, "modules without a line in ARROWS"


def test_arrows() -> None:
    wrong = [
        f"{module}:{line} imports {target}"
        for module in modules()
        for line, target in imports(module)
        if within(target, "nexo") and not allowed(target, ARROWS[room_of(module, ARROWS)])
    ]
    assert not wrong, "\n".join(wrong)


def test_third_party_imports() -> None:
    wrong = []
    for module in modules():
        known = THIRD_PARTY[room_of(module, THIRD_PARTY)]
        for line, target in imports(module):
            top = target.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in {"nexo", "__future__", *known}:
                wrong.append(f"{module}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_state_machines_and_codecs_do_no_io() -> None:
    wrong = [
        f"{module}:{line} imports {target}"
        for module in modules()
        if any(within(module, room) for room in PURE_ROOMS)
        for line, target in imports(module)
        if target.partition(".")[0] in OUTSIDE - SYSTEM.get(module, set())
    ]
    assert not wrong, "\n".join(wrong)
