"""What all cases share: the plan of turns, one run of the generator, and the line of progress."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import servers
from results import Row

CHILD_SECONDS_MAX = 300
GENERATOR = 1


@dataclass(frozen=True)
class Plan:
    """How many turns, and how long each is."""

    turns: int
    seconds: float
    say: Callable[[str], None]

    def order(self, names: Sequence[str], turn: int) -> list[str]:
        """Whose turn it is: rotated, so that nobody always comes first."""
        at = turn % len(names)
        return [*names[at:], *names[:at]]


def split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The servers that are installed, and those that are not."""
    wanted = list(names)
    return [n for n in wanted if servers.installed(n)], [n for n in wanted if not servers.installed(n)]


def child(command: Sequence[str], *, pinned: bool) -> str:
    """Run a generator to its end; its output, or RuntimeError with what it complained about."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    try:
        if pinned:
            servers.pin(process.pid, GENERATOR)
        out, complaint = process.communicate(timeout=CHILD_SECONDS_MAX)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[3:])}: {complaint.strip() or out.strip()}")
    return out


def bench(load: str, server: servers.Running, *options: object, pinned: bool) -> dict[str, Any]:
    """One run of `nexo bench` against a server."""
    command = [
        *servers.NEXO,
        "bench",
        load,
        "--json",
        "--protocol",
        server.protocol,
        "--port",
        str(server.port),
    ]
    found: dict[str, Any] = json.loads(child([*command, *map(str, options)], pinned=pinned))
    return found


def shorten(value: float) -> str:
    """A number for the progress line."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.2f}{letter}"
    return f"{value:.1f}"


def tell(plan: Plan, row: Row) -> Row:
    """Print a finished row."""
    shown = "  ".join(f"{name} {shorten(statistics.median(v))}" for name, v in row.values.items() if v)
    for name, spent in row.extra.get("cpu_us", {}).items():
        shown = (
            shown.replace(f"{name} ", f"{name} [{statistics.median(spent):.2f} µs] ", 1) if spent else shown
        )
    ratios = row.ratios()
    if ratios:
        shown += f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    met = row.met()
    verdict = "" if met is None else "  met" if met else "  NOT MET"
    plan.say(f"{row.title}: {shown}{verdict}")
    return row
