"""What the service manager hears: a real server process, a real socket of the manager's kind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexo.server import notify
from tests.surroundings import environment

PATIENCE_SECONDS = 30
WATCHDOG_SECONDS = 0.2


class Manager:
    """Starts a server as a service manager does, and hears what it says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(PATIENCE_SECONDS)

    def start(self, folder: Path, *flags: str, **variables: str) -> subprocess.Popen[bytes]:
        settings = ("--port", "0", "--http", "off", "--data-dir", str(folder / "data"), *flags)
        return subprocess.Popen(
            [sys.executable, "-m", "nexo", "serve", *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(NOTIFY_SOCKET=self.name, **variables),
        )

    def hears(self) -> dict[str, str]:
        """The next datagram."""
        lines = self.socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@nexo-test-{os.getpid()}"
    manager = Manager(name)
    with manager.socket:
        yield manager


def end(process: subprocess.Popen[bytes]) -> str:
    """End it in order; its log."""
    process.terminate()
    _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, log
    return log.decode()


def test_reading_ready_stopping(manager: Manager, tmp_path: Path) -> None:
    process = manager.start(tmp_path)
    assert manager.hears() == {"STATUS": f"reading the log in {tmp_path}/data"}
    ready = manager.hears()
    assert ready["READY"] == "1"
    found = re.fullmatch(r"serving on 127\.0\.0\.1 port (\d+)", ready["STATUS"])
    assert found is not None
    with socket.create_connection(("127.0.0.1", int(found[1])), timeout=PATIENCE_SECONDS):
        pass
    end(process)
    assert manager.hears() == {"STOPPING": "1", "STATUS": "answering what was read, and closing"}
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.hears()


def test_the_watchdog_hears_from_a_loop_that_runs(manager: Manager, tmp_path: Path) -> None:
    process = manager.start(tmp_path, WATCHDOG_USEC=str(int(WATCHDOG_SECONDS * 1_000_000)))
    assert "READY" not in manager.hears()
    assert "READY" in manager.hears()
    manager.socket.settimeout(WATCHDOG_SECONDS * 10)  # the machine may be busy
    assert [manager.hears() for _ in range(5)] == [{"WATCHDOG": "1"}] * 5
    process.send_signal(signal.SIGSTOP)
    manager.socket.settimeout(WATCHDOG_SECONDS * 2)
    with contextlib.suppress(TimeoutError):
        manager.hears()  # one may be on the way
    with pytest.raises(TimeoutError):
        manager.hears()
    process.send_signal(signal.SIGCONT)
    end(process)


def test_a_watchdog_for_somebody_else(manager: Manager, tmp_path: Path) -> None:
    process = manager.start(tmp_path, WATCHDOG_USEC="20000", WATCHDOG_PID="1" if os.getpid() != 1 else "2")
    assert "READY" not in manager.hears()
    assert "READY" in manager.hears()
    end(process)
    assert "STOPPING" in manager.hears()


@pytest.mark.parametrize("name", ["/nowhere/notify", "relative"])
def test_a_manager_that_is_not_there_ends_nobody(tmp_path: Path, name: str) -> None:
    manager = Manager(str(tmp_path / "ours"))
    with manager.socket:
        manager.name = name
        process = manager.start(tmp_path)
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert (
            "the service manager could not be told STATUS" in line or "no path and no abstract name" in line
        )
        while b"no earlier life" not in line.encode():
            line = process.stderr.readline().decode()
        end(process)


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "0"}, 0.0),
        ({"WATCHDOG_USEC": "-1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_how_long_a_manager_waits(variables: dict[str, str], seconds: float) -> None:
    assert notify.watchdog_seconds(variables) == seconds


def test_children_have_nothing_to_tell() -> None:
    variables = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    notify.Notifier(variables)
    assert variables == {"PATH": "/bin"}
