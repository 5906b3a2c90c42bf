"""The end: SIGTERM answers what was read, tells clients and exits with 0; a second ends at once."""

from __future__ import annotations

import signal
import struct
import time

import pytest

from tests.vectors.serving import Serving, eventually
from tests.vectors.wire import DATA, ERR, EVENT, PUSH, RESPONSE, Wire, b, publish, request, string

GOING_AWAY = 0x42


def test_idle_server_exits_at_once() -> None:
    with Serving() as server:
        began = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clients_are_told(number: signal.Signals) -> None:
    with (
        Serving("--shutdown-seconds", "2") as server,
        Wire(server.port) as greeted,
        Wire(server.port) as plain,
    ):
        greeted.hello()
        assert plain.call(0x40).code == DATA
        server.process.send_signal(number)
        event = greeted.frame()
        assert (event.kind, event.code, event.correlation) == (EVENT, GOING_AWAY, 0)
        milliseconds, size = struct.unpack_from(">II", event.payload)
        assert 0 < milliseconds <= 2000
        assert event.payload[8:].decode()
        assert len(event.payload) == 8 + size
        assert greeted.closed()
        assert plain.closed(), "no event for a client that has not said HELLO"
        assert server.wait() == 0


def test_what_was_read_is_answered() -> None:
    """A client has 20,000 commands under way: every answer that comes is whole and in order, and all that
    the server had read before it said GOING_AWAY are there."""
    with Serving() as server, Wire(server.port) as wire, Wire(server.port) as other:
        wire.hello()
        count = 20_000
        wire.send(b"".join(request(0x05, index, b("s'n' i1")) for index in range(count)))
        first = wire.frame()
        assert first.correlation == 0
        server.terminate()
        answered = 1
        told = False
        while (one := wire.read()) is not None:
            if one.kind == EVENT:
                assert one.code == GOING_AWAY
                told = True
            else:
                assert not told, "answers come before the last word"
                assert one.correlation == answered
                answered += 1
        assert told
        assert server.wait() == 0
        del other


def test_what_was_sent_is_answered() -> None:
    """Commands that have reached the server's machine before the signal are not lost (docs/protocol.md:
    what was sent before is answered)."""
    with Serving() as server, Wire(server.port) as wire:
        wire.hello()
        wire.set("v", bytes(1000))
        count = 3000
        wire.send(b"".join(request(0x03, index, string("v")) for index in range(count)))
        server.terminate()
        answers = []
        while (one := wire.read()) is not None:
            if one.kind == RESPONSE:
                answers.append(one.correlation)
        assert answers == list(range(count))
        assert server.wait() == 0


def test_published_messages_still_arrive() -> None:
    with Serving() as server, Wire(server.port) as sub, Wire(server.port) as pub:
        sub.hello()
        sub.subscribe("last/#")
        pub.send(b"".join(publish("last/x", b"%d" % index, index) for index in range(500)))
        for _ in range(500):
            assert pub.frame().kind == RESPONSE
        server.terminate()
        frames = []
        while (one := sub.read()) is not None:
            frames.append(one)
        assert [one.kind for one in frames] == [PUSH] * 500 + [EVENT]
        assert server.wait() == 0


def test_one_who_does_not_read_is_waited_for_but_not_long() -> None:
    with Serving("--shutdown-seconds", "0.5") as server, Wire(server.port, receive_buffer=4096) as wire:
        wire.set("big", bytes(1_000_000))
        wire.send(request(0x03, 1, string("big")) * 20)
        assert eventually(lambda: wire.socket.recv(1) != b"")
        began = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert 0.3 < time.monotonic() - began < 5


def test_a_second_signal_ends_at_once() -> None:
    with Serving("--shutdown-seconds", "60") as server, Wire(server.port, receive_buffer=4096) as wire:
        wire.set("big", bytes(1_000_000))
        wire.send(request(0x03, 1, string("big")) * 20)
        assert eventually(lambda: wire.socket.recv(1) != b"")
        began = time.monotonic()
        server.terminate()
        with pytest.raises(Exception, match="timed out"):
            server.wait(0.5)
        server.terminate()
        server.wait(5)
        assert time.monotonic() - began < 5


def test_no_new_connections_while_closing() -> None:
    with Serving("--shutdown-seconds", "2") as server, Wire(server.port, receive_buffer=4096) as wire:
        wire.set("big", bytes(1_000_000))
        wire.send(request(0x03, 1, string("big")) * 20)
        assert eventually(lambda: wire.socket.recv(1) != b"")
        server.terminate()

        def refused() -> bool:
            try:
                Wire(server.port).close()
            except ConnectionRefusedError:
                return True
            return False

        assert eventually(refused)


def test_requests_under_way_and_silent_peers() -> None:
    """A request whose reply never comes and a connection that never spoke do not hold the end up."""
    with Serving("--shutdown-seconds", "5") as server:
        with Wire(server.port) as asking, Wire(server.port) as answering, Wire(server.port) as silent:
            answering.hello()
            answering.subscribe("q")
            asking.send(request(0x27, 9, b("s'q' u32=60000 00 00")))
            assert answering.frame().kind == EVENT
            began = time.monotonic()
            server.terminate()
            assert server.wait() == 0
            assert time.monotonic() - began < 3
            last = asking.read()
            assert last is None or last.code == ERR
            assert silent.closed()
