"""Starts and stops the servers of a comparison, each on a free port of the loopback and in a folder of its own.

Knows their command lines and versions, and no load. All folders are in one file system, and go with the server.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
NEXO = [sys.executable, "-c", "import sys; from nexo.cli import main; sys.exit(main())"]
"""The `nexo` command of this very Python, whether or not its directory is in PATH."""
LANES = (0, 1) if (os.cpu_count() or 1) >= 2 else None
"""The cores of server and generator where a case gives each its own."""


@dataclass(frozen=True)
class Peer:
    """A kind of server: how it is found, started and asked for its version.

    `arguments` and `environment` get a port, and an empty folder for what it keeps.
    """

    name: str
    program: str
    protocol: str
    arguments: Callable[[int, Path], list[str]]
    version: list[str]
    environment: Callable[[int, Path], dict[str, str]] = lambda port, folder: {}
    helper: Callable[[int, Path], list[str]] | None = None
    """Another process that has to run first; it is stopped with the server."""


def nexo(port: int, folder: Path) -> list[str]:
    return [
        *NEXO,
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--http-port",
        "0",
        "--data-dir",
        str(folder),
    ]


def nexo_alone(port: int, folder: Path) -> list[str]:
    """Without HTTP and without accounts."""
    return [*nexo(port, folder), "--http", "off"]


def nexo_watched(port: int, folder: Path) -> list[str]:
    """With accounts, under which each command is asked whether it is allowed: the generator's is `anonymous`."""
    granted = ("store:* key:*", "queue:* bench*", "stream:* bench*", "pubsub:* bench/#", "monitor")
    permissions = ", ".join(f'"{one}"' for one in granted)
    (folder / "accounts.toml").write_text(f"[accounts.anonymous]\npermissions = [{permissions}]\n")
    return nexo(port, folder)


def redis(*options: str) -> Callable[[int, Path], list[str]]:
    def arguments(port: int, folder: Path) -> list[str]:
        at = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
        return ["redis-server", *at, *options]

    return arguments


def nats(*options: str) -> Callable[[int, Path], list[str]]:
    def arguments(port: int, folder: Path) -> list[str]:
        where = [option.replace("FOLDER", str(folder)) for option in options]
        return ["nats-server", "-a", "127.0.0.1", "-p", str(port), *where]

    return arguments


def beanstalkd(sync_ms: int) -> Callable[[int, Path], list[str]]:
    def arguments(port: int, folder: Path) -> list[str]:
        return ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(folder), "-f", str(sync_ms)]

    return arguments


def memcached(port: int, folder: Path) -> list[str]:
    return ["memcached", "-l", "127.0.0.1", "-p", str(port), "-u", "nobody", "-m", "1024", "-c", "4096"]


def rabbitmq_program() -> str:
    """The start script itself: Debian's wrapper in PATH changes the user, and with it the folders."""
    for place in ("/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/*/sbin", "/opt/rabbitmq/sbin"):
        for folder in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            program = folder / "rabbitmq-server"
            if program.exists() and program.resolve().name == "rabbitmq-server":
                return str(program)
    return shutil.which("rabbitmq-server") or "rabbitmq-server"


def rabbitmq_environment(port: int, folder: Path) -> dict[str, str]:
    """Everything that RabbitMQ and Erlang would else keep in the system's folders or share with others."""
    return {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(port + 1),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"nexo-bench-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(port + 2),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
    }


def epmd(port: int, folder: Path) -> list[str]:
    """Erlang's port mapper, which the node would start as a daemon that nobody stops."""
    found = shutil.which("epmd") or next(
        iter(sorted(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")))), ""
    )
    return [found or "epmd", "-address", "127.0.0.1", "-port", str(port + 1)]


REDIS_VERSION = ["redis-server", "--version"]
NATS_VERSION = ["nats-server", "--version"]

PEERS = {
    peer.name: peer
    for peer in (
        Peer("nexo", sys.executable, "nexo", nexo, [*NEXO, "--version"]),
        Peer("nexo-alone", sys.executable, "nexo", nexo_alone, [*NEXO, "--version"]),
        Peer("nexo-watched", sys.executable, "nexo", nexo_watched, [*NEXO, "--version"]),
        Peer("redis", "redis-server", "redis", redis("--appendonly", "no"), REDIS_VERSION),
        Peer("nats", "nats-server", "nats", nats(), NATS_VERSION),
        Peer("memcached", "memcached", "memcached", memcached, ["memcached", "-V"]),
        Peer(
            "redis-aof-everysec",
            "redis-server",
            "redis",
            redis("--appendonly", "yes", "--appendfsync", "everysec"),
            REDIS_VERSION,
        ),
        Peer(
            "redis-aof-always",
            "redis-server",
            "redis",
            redis("--appendonly", "yes", "--appendfsync", "always"),
            REDIS_VERSION,
        ),
        Peer("jetstream", "nats-server", "nats", nats("-js", "-sd", "FOLDER"), NATS_VERSION),
        Peer("beanstalkd", "beanstalkd", "beanstalkd", beanstalkd(50), ["beanstalkd", "-v"]),
        Peer("beanstalkd-fsync", "beanstalkd", "beanstalkd", beanstalkd(0), ["beanstalkd", "-v"]),
        Peer(
            "rabbitmq",
            "rabbitmq-server",
            "rabbitmq",
            lambda port, folder: [rabbitmq_program()],
            ["dpkg-query", "-W", "-f", "v${Version}", "rabbitmq-server"],
            rabbitmq_environment,
            epmd,
        ),
    )
}


def installed(name: str) -> bool:
    """Whether the server can be started here."""
    return shutil.which(PEERS[name].program) is not None


def version(name: str) -> str:
    """What the server calls itself; "not installed" where it is not."""
    if not installed(name):
        return "not installed"
    try:
        done = subprocess.run(PEERS[name].version, capture_output=True, text=True, check=False)
    except OSError:
        return "installed, version unknown"
    line = ((done.stdout or done.stderr).strip().splitlines() or ["version unknown"])[0]
    found = re.search(r"v?=?v?(\d+\.\d+\S*)", line)
    return line if name == "nexo" or found is None else f"{PEERS[name].program} {found.group(1)}"


@dataclass
class Running:
    """A server under load."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def protocol(self) -> str:
        """What it speaks."""
        return PEERS[self.name].protocol

    @property
    def pid(self) -> int:
        """The process that does the work, which a start script may have started."""
        if self.protocol != "rabbitmq":
            return self.process.pid
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = stat.read_text()
                head, _, rest = text.rpartition(")")
                if head.partition("(")[2] == "beam.smp" and int(rest.split()[1]) == self.process.pid:
                    return int(stat.parent.name)
        return self.process.pid

    def resident_bytes(self) -> int:
        """What it holds in memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS in /proc")


def pin(pid: int, lane: int | None) -> None:
    """Give a process the core of server (0) or generator (1); None leaves it every core."""
    if LANES is not None and lane is not None:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {LANES[lane]})


@contextmanager
def running(name: str, *, pinned: bool, folder: Path | None = None) -> Iterator[Running]:
    """A server for the length of a block; its threads share one core when `pinned`.

    It keeps its data in a folder of its own that goes with it, or in `folder`, which stays.
    """
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nexo-bench-")))
        peer = PEERS[name]
        port = _free_port(3)
        environment = {**os.environ, **peer.environment(port, place)}
        # Pinned before it starts, so that the threads it makes later are too.
        before = os.sched_getaffinity(0)
        if pinned:
            os.sched_setaffinity(0, {LANES[0]} if LANES else before)
        try:
            if peer.helper is not None:
                stack.enter_context(_process(peer.helper(port, place), environment))
            process = stack.enter_context(_process(peer.arguments(port, place), environment))
        finally:
            os.sched_setaffinity(0, before)
        _await_port(name, process, port)
        yield Running(name, port, process, place)


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a session of its own; it is asked to end, and waited for."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            # Children too, which a start script may have.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port(count: int = 1) -> int:
    """The first of `count` ports in a row that are free now."""
    while True:
        with contextlib.ExitStack() as stack:
            first = 0
            try:
                for place in range(count):
                    sock = stack.enter_context(socket.socket())
                    sock.bind(("127.0.0.1", first + place if first else 0))
                    first = first or sock.getsockname()[1]
            except OSError:
                continue
            return first


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
