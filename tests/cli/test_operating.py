"""What a person on call types: status, clients, top, config."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path

import pyte
import pytest

from nexo.cli.ranking import Look, pressed
from tests.cli.processes import PATIENCE_SECONDS, Broker, run, start, surroundings


@pytest.fixture(scope="module")
def busy(broker: Broker) -> Iterator[Broker]:
    """The shared server with a queue that holds messages, a stream, and a client that stays."""
    broker.nexo("queue", "create", "status-mail", "--durability", "memory")
    broker.nexo("queue", "push", "status-mail", "hello")
    broker.nexo("stream", "create", "status-events", "--durability", "memory")
    client = broker.start("sub", "status/#")
    assert client.stderr is not None
    client.stderr.readline()
    yield broker
    client.terminate()
    client.wait()


def test_status(busy: Broker) -> None:
    done = busy.nexo("status")
    assert (done.code, done.err) == (0, "")
    lines = done.text.splitlines()
    assert re.match(rf"nexo \S+ \(\w+\) on 127\.0\.0\.1:{busy.port}, up \d+\S*: ready$", lines[0])
    starts = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert starts == ["nexo", "memory", "disk", "loop", "clients", "store", "queues", "pubsub", "streams"]
    assert " ready, " in next(line for line in lines if line.startswith("queues"))


def test_status_as_json_and_again_and_again(busy: Broker) -> None:
    status = json.loads(busy.nexo("status", "--json").out)
    assert status["ready"] and status["reasons"] == [] and status["queues"]["queues"] >= 1
    watching = busy.start("status", "--watch", "-i", "100ms")
    assert watching.stdout is not None
    line = ""
    while not line.startswith("rates"):
        line = watching.stdout.readline()
    assert " pushed/s" in line
    watching.terminate()
    watching.wait()


def test_clients_are_listed_and_closed(busy: Broker) -> None:
    client = busy.start("sub", "clients/#")
    assert client.stderr is not None
    client.stderr.readline()
    rows = [json.loads(line) for line in busy.nexo("clients", "--json", "--over", "0").out.splitlines()]
    assert all(row["protocol"] == "native" and row["name"] == "nexo-cli" for row in rows)
    newest = max(row["id"] for row in rows if row["subscriptions"])
    sorted_ = busy.nexo("clients", "--sort", "age").text.splitlines()
    assert [int(line.split("\t")[0]) for line in sorted_] == sorted(
        int(line.split("\t")[0]) for line in sorted_
    )
    assert len(sorted_[0].split("\t")) == 9
    closed = busy.nexo("clients", "close", str(newest), "--json")
    assert json.loads(closed.out) == {"id": newest, "status": "closed"}
    assert "the server closed it" in client.stderr.readline()
    client.terminate()
    client.communicate(timeout=PATIENCE_SECONDS)
    again = busy.nexo("clients", "close", str(newest))
    assert (again.code, again.out) == (1, b"") and f"no connection {newest}" in again.err
    assert busy.nexo("clients", "--filter", "nobody has this", "--over", "0").code == 1
    assert "options stand after close" in busy.nexo("clients", "--json", "close", "1").err


def test_top_once_and_without_a_terminal(busy: Broker) -> None:
    once = busy.nexo("top", "--once", "-i", "50ms", "--view", "streams")
    assert once.code == 0 and "APPENDED/Sv" in once.text and "status-events" in once.text
    assert "\x1b" not in once.text
    assert json.loads(busy.nexo("top", "--once", "-i", "50ms", "--json").out)["status"]["ready"]
    following = busy.start("top", "-i", "50ms")
    assert following.stdout is not None
    lines = [following.stdout.readline() for _ in range(3)]
    assert all(line.startswith("ready, up ") for line in lines) and "pushed/s" in lines[2]
    following.terminate()
    following.wait()


class Terminal:
    """A command on a terminal of its own, and what its screen shows."""

    def __init__(self, *arguments: str, width: int = 100, height: int = 24, **extra: str) -> None:
        self.number, theirs = pty.openpty()
        self.screen = pyte.Screen(width, height)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.modes = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nexo", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**surroundings(), "TERM": "xterm", **extra},
        )
        self.theirs = theirs

    def until(self, found: Callable[[str], object]) -> str:
        """The screen, once it is as wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not found(text := "\n".join(self.screen.display)):
            assert time.monotonic() < deadline, text
            if select.select([self.number], [], [], 0.2)[0]:
                data = os.read(self.number, 65_536)
                self.raw += data
                self.stream.feed(data)
        return text

    def keys(self, keys: str) -> None:
        os.write(self.number, keys.encode())

    def resize(self, width: int, height: int) -> None:
        ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.screen.resize(height, width)
        self.process.send_signal(28)  # SIGWINCH: the terminal is not the process's controlling one


def test_top_on_a_terminal(busy: Broker) -> None:
    one = Terminal("top", "-i", "100ms", NEXO_PORT=str(busy.port))
    text = one.until(lambda text: "status-mail" in text)
    assert "[1 queues]" in text and "PUSHED/Sv" in text and "q quit" in one.screen.display[-1]
    one.keys("s")
    one.until(lambda text: "DELIVERED/Sv" in text)
    one.keys("r")
    one.until(lambda text: "DELIVERED/S^" in text)
    one.keys("2")
    one.until(lambda text: "[2 streams]" in text and "status-events" in text)
    one.keys("\t")
    one.until(lambda text: "[3 topics]" in text and "status/#" in text)
    one.keys("4")
    one.until(lambda text: "[4 clients]" in text and "nexo-cli" in text)
    one.keys(" ")
    one.until(lambda text: "PAUSED" in text)
    one.resize(60, 10)
    one.until(lambda _: "q quit" in one.screen.display[9])
    one.keys("q")
    assert one.process.wait(PATIENCE_SECONDS) == 0
    while select.select([one.number], [], [], 0)[0]:
        one.raw += os.read(one.number, 65_536)
    assert one.raw.rstrip().endswith(b"\x1b[?25h\x1b[?1049l")
    assert termios.tcgetattr(one.theirs) == one.modes


def test_top_on_a_dumb_terminal_prints_lines(busy: Broker) -> None:
    one = Terminal("top", "-i", "50ms", width=200, NEXO_PORT=str(busy.port), TERM="dumb")
    one.until(lambda text: text.count("ready, up ") >= 2)
    assert b"\x1b" not in one.raw
    one.process.terminate()
    one.process.wait()


def test_keys() -> None:
    look = Look()
    assert pressed(look, "q") is None
    assert pressed(look, "x") == look
    assert pressed(Look("clients"), "\t") == look
    assert pressed(Look("queues", 5), "s") == look


def test_config_show_and_check(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "nexo.toml"
    file.write_text('memory_max_bytes = "1mb"\n')
    shown = run("config", "show", "--config", str(file), "--eviction", "lru", "--json")
    settings = {one["name"]: one for one in map(json.loads, shown.out.splitlines())}
    assert settings["memory_max_bytes"]["source"] == str(file)
    assert settings["eviction"] == {"name": "eviction", "value": "lru", "source": "--eviction"}
    same = ("--config", str(file), "--eviction", "lru")
    assert run("config", "show", *same).out == run("serve", "--check", *same).out
    assert run("config", "check", str(file)).text == f"{file}: valid, 1 settings\n"
    file.write_text('evicton = "lru"\n')
    done = run("config", "check", str(file), "--json")
    assert (done.code, done.out) == (2, b"") and "did you mean eviction?" in done.err


def test_config_of_a_running_server(broker: Broker) -> None:
    done = broker.nexo("config", "show", "--server")
    assert "port\t0\t--port" in done.text.splitlines()
    settings = [
        json.loads(line) for line in broker.nexo("config", "show", "--server", "--json").out.splitlines()
    ]
    assert {"name": "eviction", "value": "reject", "source": "default"} in settings


def test_what_is_no_address_is_not_called_one(tmp_path: Path) -> None:
    """A data directory that is a file, for instance."""
    (tmp_path / "data").write_text("")
    process = start("serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 3 and out == ""
    assert "cannot listen" not in err and str(tmp_path) in err and "Traceback" not in err
