"""A Nexo server as a process of its own, and what the operating system says about it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.surroundings import environment

READY = re.compile(r"ready on \S*?:(\d+) .*pid (\d+)")
START_SECONDS_MAX = 30.0
FOLDERS = tempfile.TemporaryDirectory(prefix="nexo-tests-")
"""Data directories of servers that were given none; gone when the tests are."""


class Serving:
    """`nexo serve` with the flags given; use as a context manager. `under`: a program that runs it, such as strace."""

    def __init__(self, *flags: str, port: int = 0, under: tuple[str, ...] = ()) -> None:
        # A file and not a pipe: a server that logs much must not wait for the test to read.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by kill()
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "nexo", "serve", "--port", str(port), *flags],
            cwd=tempfile.mkdtemp(dir=FOLDERS.name),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment(),
        )
        assert self.process.stdout is not None
        # A server that hangs before its ready line is ended, which ends readline too.
        timer = threading.Timer(START_SECONDS_MAX, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        found = READY.search(line)
        if found is None:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no ready line but {line!r}; log: {self.log()}")
        self.port = int(found[1])
        self.pid = int(found[2])

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def log(self) -> str:
        """What the server has written to its log."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def memory_bytes(self) -> int:
        """The process's resident memory."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) * 1024

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 15.0) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it without ceremony; it must not have logged a fault of its own. Twice is no error."""
        if self._log.closed:
            return
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # the server itself, not what it runs under
        self.process.wait()
        log = self.log()
        self._log.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert "Traceback" not in log, log


def eventually(check: object, seconds: float = 5.0) -> bool:
    """Whether `check()` becomes true within the time; looks often."""
    assert callable(check)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.005)
    return bool(check())
