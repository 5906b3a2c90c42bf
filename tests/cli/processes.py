"""The real command as a process, against a real server as another."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from tests.surroundings import environment

READY = re.compile(r"nexo (\S+) ready on (\S+):(\d+) \((compiled|interpreted)\), pid (\d+)\n")
PATIENCE_SECONDS = 30
FOLDERS = tempfile.TemporaryDirectory(prefix="nexo-tests-")
"""Data directories of servers that were given none; gone when the tests are."""


def surroundings(**extra: str) -> dict[str, str]:
    """Those of a command that is given no data directory."""
    return environment(**{"NEXO_DATA_DIR": f"{FOLDERS.name}/data", **extra})


def start(*arguments: str, **extra: str) -> subprocess.Popen[str]:
    """A command that goes on running; all three streams are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "nexo", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings(**extra),
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command: its exit code and what it wrote."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """What it wrote to standard output."""
        return self.out.decode()


def run(*arguments: str, stdin: bytes = b"", **extra: str) -> Done:
    """A command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "nexo", *arguments],
        input=stdin,
        capture_output=True,
        env=surroundings(**extra),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


class Broker:
    """A server in a process of its own; its ready line is parsed."""

    def __init__(self, arguments: Sequence[str] = (), **extra: str) -> None:
        folder = tempfile.mkdtemp(dir=FOLDERS.name)
        self.process = start("serve", "--port", "0", *arguments, **{"NEXO_DATA_DIR": folder, **extra})
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = READY.fullmatch(self.line)
        if found is None:
            self.process.kill()
            raise AssertionError(f"no ready line: {self.line!r} {finish(self.process)}")
        self.version, self.host, self.build = found[1], found[2], found[4]
        self.port, self.pid = int(found[3]), int(found[5])

    def nexo(self, *arguments: str, stdin: bytes = b"") -> Done:
        """A client command that talks to this server."""
        return run(*arguments, stdin=stdin, NEXO_PORT=str(self.port))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A client command that goes on running."""
        return start(*arguments, NEXO_PORT=str(self.port))

    def stop(self) -> tuple[int, str, str]:
        """End it in order: exit code, the rest of its output, its log."""
        self.process.terminate()
        return finish(self.process)
