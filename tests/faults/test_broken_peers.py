"""Peers that vanish, come in crowds, say nothing, or speak something else."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.vectors.serving import Serving, eventually
from tests.vectors.wire import DATA, ERR, OK, PUSH, Wire, b, publish, request, string, u32

MIB = 1024 * 1024
LIMIT_EXCEEDED, PROTOCOL_ERROR = 0x0B, 0x09


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving() as one:
        yield one


@pytest.fixture(scope="module")
def quiet() -> Iterator[Serving]:
    """A server without HTTP."""
    with Serving("--http", "off") as one:
        yield one


def receivers(wire: Wire, topic: str) -> int:
    """How many connections are subscribed to a topic."""
    answer = wire.call(0x21, string(topic) + b"\x20\x00")
    return int.from_bytes(answer.payload, "big")


def read_all(sock: socket.socket, seconds: float = 5.0) -> bytes:
    """Everything up to the end of the stream."""
    sock.settimeout(seconds)
    got = b""
    while True:
        try:
            data = sock.recv(65_536)
        except ConnectionResetError:
            return got
        if not data:
            return got
        got += data


def test_half_open_is_answered(server: Serving) -> None:
    """A client that says all it has to say and shuts its side down still gets every answer."""
    with Wire(server.port) as wire:
        wire.set("half", bytes(300_000))
        count = 40
        wire.send(b"".join(request(0x03, index, string("half")) for index in range(count)))
        wire.socket.shutdown(socket.SHUT_WR)
        for index in range(count):
            assert wire.frame().correlation == index
        assert wire.closed()


def test_half_open_subscriber_is_let_go(server: Serving) -> None:
    with Wire(server.port) as other, Wire(server.port) as wire:
        wire.subscribe("half/open")
        assert receivers(other, "half/open") == 1
        wire.frame()
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.closed()
        assert eventually(lambda: receivers(other, "half/open") == 0)


def test_reset_connections_leave_nothing_behind(server: Serving) -> None:
    """SO_LINGER 0: the peer ends with a RST, in the middle of everything."""
    with Wire(server.port) as other:
        other.set("reset", bytes(200_000))
        for index in range(30):
            wire = Wire(server.port)
            wire.hello()
            wire.subscribe("reset/#")
            assert wire.call(0x0E, "s'reset' 01").code == DATA
            wire.send(request(0x03, 1, string("reset")) * 20 + publish("reset/x", bytes(50_000)) * 5)
            wire.send(request(0x02, 2, string("torn") + b"\0\0" + bytes(1000))[: 11 + index * 30])
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
        assert eventually(lambda: receivers(other, "reset/x") == 0)
        assert other.call(0x03, string("torn")).code == 2
        assert other.call(0x40, b"still here").payload == b"still here"


def test_a_crowd_of_connections() -> None:
    """Those past the bound are told which bound it is; the others notice nothing."""
    with Serving("--connections-max", "200") as server:
        first = [Wire(server.port) for _ in range(200)]
        for wire in first:
            assert wire.call(0x40).code == DATA
        crowd = [Wire(server.port) for _ in range(300)]
        for wire in crowd:
            refused = wire.frame()
            assert refused.correlation == 0
            code, message = refused.error
            assert code == LIMIT_EXCEEDED
            assert "connections_max is 200" in message
            assert wire.closed()
            wire.close()
        for wire in first:
            assert wire.call(0x40, b"again").payload == b"again"
        # A place that becomes free is used.
        first.pop().close()

        def admitted() -> bool:
            with Wire(server.port) as wire:
                wire.send(request(0x40, 1))
                return wire.frame().code == DATA

        assert eventually(admitted)
        for wire in first:
            wire.close()


def test_greeting_deadline() -> None:
    """Silence, a byte a tenth of a second, and half a frame end alike; a command that is complete stays."""
    with Serving("--greeting-seconds", "0.5") as server:
        with Wire(server.port) as talker, Wire(server.port) as silent, Wire(server.port) as half:
            assert talker.call(0x40).code == DATA
            began = time.monotonic()
            half.send(request(0x40, 1, b"never complete")[:-1])
            slow = Wire(server.port)
            for byte in request(0x40, 1, bytes(100)):
                try:
                    slow.send(bytes([byte]))
                except (BrokenPipeError, ConnectionResetError):
                    break
                if time.monotonic() - began > 3:
                    pytest.fail("a byte at a time holds a connection open")
                time.sleep(0.05)
            text = read_all(silent.socket)
            assert b"greeting" in text
            assert b"0.5 seconds" in text
            code, message = half.frame().error
            assert code == PROTOCOL_ERROR
            assert "0.5 seconds" in message
            assert half.closed()
            slow.close()
            assert time.monotonic() - began < 3
            assert talker.call(0x40).code == DATA


def test_a_claimed_length_allocates_nothing(server: Serving) -> None:
    """100 connections each claim a frame of 10 MiB and send 10 bytes of it."""
    before = server.memory_bytes()
    wires = []
    for _ in range(100):
        wire = Wire(server.port)
        assert wire.call(0x40).code == DATA
        wire.send(b"\x09\x01\x02" + u32(1) + u32(10 * MIB) + bytes(10))
        wires.append(wire)
    with Wire(server.port) as other:
        assert other.call(0x40).code == DATA
        assert server.memory_bytes() - before < 20 * MIB
        wires[0].send(bytes(10 * MIB - 10))
        assert wires[0].frame().code == ERR  # a key of no bytes: the frame itself was fine
        for wire in wires:
            wire.close()
        assert other.call(0x40).code == DATA


def test_the_largest_frame(server: Serving) -> None:
    """10 MiB of payload to the byte."""
    value = bytes(10 * MIB - 4 - 5 - 2)
    with Wire(server.port, timeout=30) as wire:
        wire.send(request(0x02, 1, string("large") + b"\x00\x00" + value))
        assert wire.frame().code == OK
        assert wire.call(0x03, string("large")).payload == b"\x00" + value
        assert wire.call(0x04, string("large")).code == OK


def test_an_oversized_frame_is_told_although_it_is_being_sent(server: Serving) -> None:
    """The sender is in the middle of 20 MiB when it is refused: it can still read why."""
    with Wire(server.port) as wire:
        assert wire.call(0x40).code == DATA
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.send(b"\x09\x01\x02" + u32(9) + u32(20 * MIB) + bytes(20 * MIB))
        answer = wire.frame()
        assert answer.correlation == 9
        code, message = answer.error
        assert code == PROTOCOL_ERROR
        assert "frame_bytes_max" in message
        assert wire.closed()


def test_torn_frames(server: Serving) -> None:
    """Frames cut at every place, with time between the halves; others are served meanwhile."""
    frame = request(0x02, 7, string("torn") + b"\x00\x00value") + request(0x03, 8, string("torn"))
    wires = [Wire(server.port) for _ in range(1, len(frame))]
    for cut, wire in enumerate(wires, 1):
        wire.send(frame[:cut])
    with Wire(server.port) as other:
        assert other.call(0x40).code == DATA
    for cut, wire in enumerate(wires, 1):
        wire.send(frame[cut:])
    for wire in wires:
        assert wire.frame().correlation == 7
        assert wire.frame().payload == b"\x00value"
        wire.close()


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"native protocol"),
        (b"PING\r\n", b"-ERR "),
        (b"*1\r\n$4\r\nPING\r\n", b"-ERR "),
        (b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00", b"not MQTT"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"\x15\x03\x03\x00\x02\x02\x28"),
        (b"\x08\x01\x40" + bytes(8), b"0x08"),
        (b"\x00", b"0x00"),
        (b"\n", b"0x0a"),
        (b"\xff" * 5000, b"0xff"),
    ],
    ids=[
        "ssh",
        "resp-inline",
        "resp",
        "mqtt",
        "tls",
        "old-version",
        "nul",
        "newline",
        "noise",
    ],
)
def test_unknown_greetings(server: Serving, greeting: bytes, expected: bytes) -> None:
    """A short refusal, in the peer's own language where it has one, and the end."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(greeting)
        answer = read_all(sock)
    assert expected in answer
    assert len(answer) < 300
    if expected[0] != 0x15:
        assert answer.endswith(b"\n")
        assert answer.decode("ascii").strip()


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PUT / HTTP/1.1\r\n\r\n"])
def test_http_that_is_turned_off(quiet: Serving, request_line: bytes) -> None:
    """Refused in its own language, and however it was torn."""
    with socket.create_connection(("127.0.0.1", quiet.port)) as sock:
        sock.sendall(request_line[:1])
        sock.sendall(request_line[1:])
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"(the setting http is off)\n")


def test_an_unknown_greeting_that_is_torn(server: Serving) -> None:
    """One byte decides; what comes late changes nothing."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"S")
        assert b"native protocol" in read_all(sock)


def test_a_faulty_frame_ends_only_its_connection(server: Serving) -> None:
    with Wire(server.port) as good, Wire(server.port) as bad:
        good.subscribe("fault")
        bad.send(publish("fault", b"before", 1) + b"\x07" * 11 + publish("fault", b"after", 2))
        assert bad.frame().code == OK
        assert bad.frame().error[0] == PROTOCOL_ERROR
        assert bad.closed()
        got = good.frame()
        assert got.kind == PUSH
        assert got.payload == b("s'fault' 00 'before'")
        assert good.call(0x40).code == DATA
