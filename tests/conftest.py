"""What all tests share: the real broker as a process of its own, and a look at what is being tested.

    server          one broker for all tests of a module
    new_server      one broker for one test
    start_server    start_server("--eviction", "lru"): as many as wanted, with flags of `nexo serve`

Every broker is ended with SIGTERM and must then exit with 0.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from nexo._pure import is_compiled
from tests.surroundings import ROOT, SOURCE, environment

READY = re.compile(r"nexo (\S+) ready on (\S+):(\d+) \((compiled|interpreted)\), pid (\d+)\n")
HTTP = re.compile(r" on (http://\S+)$", re.MULTILINE)
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 30.0


def pytest_report_header() -> str:
    return f"nexo: {'compiled' if is_compiled() else 'interpreted'}"


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not is_compiled():
        return
    stale = [
        path.relative_to(ROOT)
        for path in SOURCE.glob("nexo/**/*.py")
        for built in [path.with_name(path.stem + EXTENSION_SUFFIXES[0])]
        if built.exists() and built.stat().st_mtime < path.stat().st_mtime
    ]
    if stale:
        names = ", ".join(map(str, stale))
        pytest.exit(f"compiled from an older source: {names}. `make build`, or NEXO_PURE=1.", returncode=4)


class Server:
    """A running `nexo serve`: where it listens, and what it costs."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log_path = folder / "server.log"
        self.stopped = False
        settings = ("--port", "0", "--http-port", "0", "--data-dir", str(folder / "data"))
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nexo", "serve", *settings, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(),
            )
        line = self._first_line()
        found = READY.fullmatch(line)
        if found is None:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server said {line!r} instead of being ready; its log:\n{self.log()}")
        self.host, self.build = found[2], found[4]
        self.port, self.pid = int(found[3]), int(found[5])

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select(
                [self.process.stdout], [], [], max(0.0, deadline - time.monotonic())
            )
            chunk = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            if not chunk:
                break
            line += chunk
        return line.decode()

    def rss_bytes(self) -> int:
        """Resident memory of the process. Linux only."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def http(self) -> str:
        """Where its HTTP API is: the log names it before the ready line comes."""
        found = HTTP.search(self.log())
        assert found is not None, "the server said no HTTP address"
        return found[1]

    def log(self) -> str:
        """What it has written to standard error so far."""
        return self.log_path.read_text(errors="replace")

    def stop(self) -> int:
        """End it in order; its exit code. Killed, and a failure, when it does not end."""
        self.stopped = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server ignored SIGTERM; its log:\n{self.log()}") from None
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Server]:
    """A server that ends, in order, with the block; not a second time if the test ended it."""
    server = Server(folder, *arguments)
    try:
        yield server
    finally:
        if not server.stopped:
            code = server.stop()
            assert code == 0, f"exit code {code}; the server's log:\n{server.log()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(running(tmp_path_factory.mktemp("server"), *arguments))
