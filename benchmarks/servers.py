"""Starts and stops the servers of a comparison, each on a free port of the loopback.

Knows their command lines and versions, and no load.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 15.0
NEXO = [sys.executable, "-c", "import sys; from nexo.cli import main; sys.exit(main())"]
"""The `nexo` command of this very Python, whether or not its directory is in PATH."""
LANES = (0, 1) if (os.cpu_count() or 1) >= 2 else None
"""The cores of server and generator where a case gives each its own."""


@dataclass(frozen=True)
class Peer:
    """A kind of server: how it is found, started and asked for its version."""

    name: str
    program: str
    arguments: Callable[[int], list[str]]
    version: list[str]


PEERS = {
    "nexo": Peer(
        "nexo",
        sys.executable,
        lambda port: [*NEXO, "serve", "--host", "127.0.0.1", "--port", str(port), "--http-port", "0"],
        [*NEXO, "--version"],
    ),
    "redis": Peer(
        "redis",
        "redis-server",
        lambda port: [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--appendonly",
            "no",
        ],
        ["redis-server", "--version"],
    ),
    "nats": Peer(
        "nats",
        "nats-server",
        lambda port: ["nats-server", "-a", "127.0.0.1", "-p", str(port)],
        ["nats-server", "--version"],
    ),
    "memcached": Peer(
        "memcached",
        "memcached",
        lambda port: [
            "memcached",
            "-l",
            "127.0.0.1",
            "-p",
            str(port),
            "-u",
            "nobody",
            "-m",
            "1024",
            "-c",
            "4096",
        ],
        ["memcached", "-V"],
    ),
}


def installed(name: str) -> bool:
    """Whether the server can be started here."""
    return shutil.which(PEERS[name].program) is not None


def version(name: str) -> str:
    """What the server calls itself; "not installed" where it is not."""
    if not installed(name):
        return "not installed"
    done = subprocess.run(PEERS[name].version, capture_output=True, text=True, check=False)
    line = (done.stdout or done.stderr).strip().splitlines()[0]
    found = re.search(r"v?=?v?(\d+\.\d+\.\d+\S*)", line)
    return line if name == "nexo" or found is None else f"{PEERS[name].program} {found.group(1)}"


@dataclass
class Running:
    """A server under load."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def resident_bytes(self) -> int:
        """What it holds in memory now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS in /proc")


def pin(pid: int, lane: int | None) -> None:
    """Give a process the core of server (0) or generator (1); None leaves it every core."""
    if LANES is not None and lane is not None:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {LANES[lane]})


@contextmanager
def running(name: str, *, pinned: bool) -> Iterator[Running]:
    """A server for the length of a block; its threads share one core when `pinned`."""
    port = _free_port()
    # Pinned before it starts, so that the threads it makes later are too.
    before = os.sched_getaffinity(0)
    if pinned:
        os.sched_setaffinity(0, {LANES[0]} if LANES else before)
    try:
        process = subprocess.Popen(
            PEERS[name].arguments(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
    finally:
        os.sched_setaffinity(0, before)
    try:
        _await_port(name, process, port)
        yield Running(name, port, process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _await_port(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended at once with code {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{name} did not open its port")
