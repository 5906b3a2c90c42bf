"""`nexo serve`: the ready line, signals, addresses, and what a wrong setting is told."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.cli.processes import Broker, finish, run


def greet(broker: Broker) -> socket.socket:
    """A native connection that has been answered: PING and its echo."""
    client = socket.create_connection(("127.0.0.1", broker.port), timeout=10)
    client.sendall(bytes.fromhex("09014000000001 00000002") + b"hi")
    assert client.recv(64) == bytes.fromhex("09020300000001 00000002") + b"hi"
    return client


def test_ready_line_and_orderly_end() -> None:
    broker = Broker()
    assert broker.host == "127.0.0.1"
    assert broker.pid == broker.process.pid
    with greet(broker) as client:
        code, out, log = broker.stop()
        while client.recv(4096):
            pass
    assert code == 0
    assert out == ""
    assert "SIGTERM: shutting down" in log
    assert "Traceback" not in log
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", broker.port), timeout=1)


def test_second_signal_ends_it_at_once() -> None:
    # A client that never reads its last answers would hold an orderly end for a minute.
    broker = Broker(["--shutdown-seconds", "60"])
    with greet(broker) as client:
        ping = bytes.fromhex("090140000000010003e800") + bytes(256_000)
        client.settimeout(0.5)
        try:
            while True:
                client.sendall(ping)
        except TimeoutError:
            pass
        assert broker.process.stderr is not None
        broker.process.send_signal(signal.SIGINT)
        assert any("SIGINT: shutting down" in line for line in broker.process.stderr)
        broker.process.send_signal(signal.SIGINT)
        code, _, log = finish(broker.process)
    assert code == 0
    assert "SIGINT again: closing at once" in log


def test_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert done == (1, b"", f"nexo: cannot listen on 127.0.0.1:{port}: Address already in use\n")


def test_an_address_that_is_not_ours() -> None:
    done = run("serve", "--host", "192.0.2.1", "--port", "0", "--without-accounts", "anywhere")
    assert done.code == 1
    assert done.err == "nexo: cannot listen on 192.0.2.1:0: Cannot assign requested address\n"


def test_open_address_is_warned_about() -> None:
    broker = Broker(["--host", "0.0.0.0", "--without-accounts", "anywhere"])
    assert broker.host == "0.0.0.0"
    code, _, log = broker.stop()
    assert code == 0
    assert "can be reached from other machines, and there are no accounts" in log


def test_log_level() -> None:
    broker = Broker(["--log-level", "error"])
    assert broker.stop() == (0, "", "")


def test_check_shows_each_value_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "nexo.toml"
    file.write_text('memory_max_bytes = "512mb"\ndata_dir = \'a "b" \\c\'\n')
    done = run("serve", "--check", "--config", str(file), "--port", "0", NEXO_EVICTION="lru")
    assert done.code == 0
    lines = dict(line.split("  # ") for line in done.text.splitlines())
    sources = {line.split(" = ")[0]: (line.split(" = ")[1].strip(), source) for line, source in lines.items()}
    assert sources["memory_max_bytes"] == ("536870912", str(file))
    assert sources["eviction"] == ('"lru"', "NEXO_EVICTION")
    assert sources["port"] == ("0", "--port")
    assert sources["host"] == ('"127.0.0.1"', "default")

    # What it prints is a file that says the same.
    file.write_bytes(done.out)
    again = run("serve", "--check", "--config", str(file))
    assert [line.split("  # ")[0].rstrip() for line in again.text.splitlines()] == [
        line.rstrip() for line in lines
    ]


@pytest.mark.parametrize(
    ("arguments", "extra", "message"),
    [
        (["--port", "99999", "--check"], {}, "nexo: --port is '99999': expected int <= 65535\n"),
        ([], {"NEXO_PROT": "1"}, "nexo: unknown environment variable NEXO_PROT; did you mean NEXO_PORT?\n"),
        (["--prot", "1"], {}, "Error: No such option '--prot'."),
    ],
)
def test_wrong_settings_end_with_2(arguments: list[str], extra: dict[str, str], message: str) -> None:
    done = run("serve", *arguments, **extra)
    assert done.code == 2
    assert done.out == b""
    assert message in done.err
