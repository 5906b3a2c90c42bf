"""The listener: its port, and how a connection becomes a native one."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.vectors.serving import Serving, environment
from tests.vectors.wire import DATA, Wire, request


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving() as one:
        yield one


def test_port_zero_picks_one() -> None:
    with Serving() as one, Serving() as other:
        assert one.port != other.port
        for server in (one, other):
            with Wire(server.port) as wire:
                assert wire.call(0x40).code == DATA


def test_a_port_in_use_is_said(server: Serving) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nexo", "serve", "--port", str(server.port)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert str(server.port) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_port_is_free_again_after_the_end() -> None:
    with Serving() as first, Wire(first.port) as wire:
        assert wire.call(0x40).code == DATA
        first.terminate()
        assert first.wait() == 0
        with Serving(port=first.port) as second, Wire(second.port) as again:
            assert again.call(0x40).code == DATA


def test_small_answers_do_not_wait(server: Serving) -> None:
    """TCP_NODELAY: a thousand calls in turn take no thousand delayed acknowledgements (40 s)."""
    with Wire(server.port) as wire:
        for _ in range(1000):
            assert wire.call(0x40).code == DATA


def test_connections_that_end_at_once(server: Serving) -> None:
    for _ in range(200):
        socket.create_connection(("127.0.0.1", server.port)).close()
    with Wire(server.port) as wire:
        assert wire.call(0x40).code == DATA


def test_the_first_byte_alone(server: Serving) -> None:
    with Wire(server.port) as wire:
        frame = request(0x40, 3, b"x")
        wire.send(frame[:1])
        wire.send(frame[1:])
        assert wire.frame().payload == b"x"
