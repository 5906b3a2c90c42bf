"""The tables of tests/vectors/ against a real server over a socket, and against the session alone.

Three ways each: the request whole, byte by byte, and with the beginning of the next frame behind it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.vectors.every import CONVERSATIONS, GOLDEN, LAYOUTS, VECTORS
from tests.vectors.native import PING
from tests.vectors.serving import Serving
from tests.vectors.session import Alone
from tests.vectors.table import ID, INVALID_ARGUMENT, Expected, Known, Vector
from tests.vectors.wire import DATA, ERR, RESPONSE, Frame, Wire, b, frame, mismatch, parts, request, string

NAMES = [vector.name for vector in VECTORS]
END = b"the end of the vector"
END_ID = 0x00E7D000
PIECES = 2_000
"""A long request is sent in this many pieces rather than in single bytes."""


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving() as one:
        yield one


@pytest.fixture(scope="module")
def control(server: Serving) -> Iterator[Wire]:
    """Empties the server between vectors."""
    with Wire(server.port) as wire:
        yield wire


def empty(control: Wire) -> None:
    """No keys and no maps, no queues, no streams."""
    assert control.call(0x06).code == DATA
    for one in json.loads(control.call(0x48, "s'' s'list'").payload[1:]):
        assert control.call(0x48, string(one["prefix"]) + string("delete")).code == DATA
    for listing, delete in (
        (control.call(0x1F, "s'' s'list'"), 0x15),
        (control.call(0x3F, "06 s'' s'' s'list'"), 0x36),
    ):
        for one in json.loads(listing.payload[1:]):
            assert control.call(delete, string(one["name"])).code == 0


def check(expected: Expected, got: Frame | None) -> None:
    assert got is not None, f"the connection ended before {expected}"
    if expected.kind == RESPONSE and expected.code == ERR:
        code, message = got.error
        assert (code, got.correlation) == (expected.error, expected.correlation or got.correlation), (
            expected,
            got,
        )
        assert expected.message in message, (expected, message)
        assert message, "an error says what is wrong"
        if expected.details is not None:
            assert got.details == expected.details
    else:
        assert got[:3] == expected[:3], f"{got} instead of {expected}"
        problem = mismatch(expected.payload, got.payload)
        assert problem is None, f"{problem}: {got} instead of {expected}"


def cut(data: bytes, way: str) -> list[bytes]:
    """The request as it is sent: in one piece or in many."""
    if way == "whole":
        return [data]
    step = max(1, len(data) // PIECES)
    return [data[start : start + step] for start in range(0, len(data), step)]


class Player:
    """What a vector needs of a connection: a real one, or a session without a socket."""

    def __init__(self, wire: Wire | Alone) -> None:
        self.wire = wire

    def play(self, vector: Vector, way: str) -> None:
        wire = self.wire
        if vector.hello:
            assert wire.hello().code == DATA
        known = Known()
        for one in vector.setup:
            wire.send(known.fill(one))
            answer = wire.frame()
            while answer.kind != RESPONSE:
                answer = wire.frame()
            assert answer.code != ERR, answer.error
            known.learn(one, answer)
        end = request(PING, END_ID, END)
        tail = b"" if vector.closes or way != "tail" else end[:7]
        pieces = cut(known.fill(vector.send) + tail, "whole" if way == "tail" else way)
        try:
            for piece in pieces:
                wire.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            # A frame that is refused at its first byte ends the connection under the rest.
            assert vector.closes
        responses = [one for one in vector.replies if one.kind == RESPONSE]
        others = [one for one in vector.replies if one.kind != RESPONSE]
        for index in range(len(vector.replies)):
            if vector.wait_ms and index == len(vector.replies) - 1:
                wire.pass_time(vector.wait_ms)
            got = wire.read()
            due = responses if got is None or got.kind == RESPONSE else others
            assert due, f"nobody expects {got}"
            check(due.pop(0), got)
        if vector.closes:
            assert wire.closed()
        else:
            wire.send(end[len(tail) :])
            check(Expected(RESPONSE, DATA, END_ID, [END]), wire.read())


class Networked(Wire):
    def pass_time(self, milliseconds: int) -> None:
        """The server's own clock moves; nothing to do but to wait for what is due."""


@pytest.mark.parametrize("way", ["whole", "bytes", "tail"])
@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_over_a_socket(server: Serving, control: Wire, vector: Vector, way: str) -> None:
    empty(control)
    with Networked(server.port) as wire:
        Player(wire).play(vector, way)


@pytest.mark.parametrize("way", ["whole", "bytes", "tail"])
@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_session_alone(vector: Vector, way: str) -> None:
    Player(Alone()).play(vector, way)


@pytest.mark.parametrize(("name", "sent", "answered"), GOLDEN, ids=[name for name, _, _ in GOLDEN])
def test_golden_frames(server: Serving, control: Wire, name: str, sent: str, answered: str) -> None:
    assert control.call(0x06).code == DATA
    expected = b(answered)
    with Wire(server.port) as wire:
        wire.send(b(sent))
        got = b""
        while len(got) < len(expected):
            data = wire.socket.recv(len(expected) - len(got))
            assert data, got.hex(" ")
            got += data
        assert got.hex(" ") == expected.hex(" ")
        assert wire.call(PING, END).payload == END


@pytest.mark.parametrize(("name", "sent", "answered"), CONVERSATIONS, ids=[one[0] for one in CONVERSATIONS])
def test_golden_conversations(name: str, sent: str, answered: str) -> None:
    """Ids, tokens and times included: the clock stands, and nothing is drawn without a seed."""
    alone = Alone()
    for line in sent.splitlines():
        alone.send(b(line))
    got = b"".join(frame(*one) for one in alone.rest())
    assert got.hex(" ") == b(answered).hex(" ")


@pytest.fixture(scope="module")
def furnished(server: Serving, control: Wire) -> None:
    """What layouts name is there, so that nothing but their length is wrong."""
    empty(control)
    for code, payload in ((0x10, "s'q' 00"), (0x30, "s's' 00"), (0x33, "s's' s'g'")):
        assert control.call(code, payload).code == DATA


@pytest.mark.parametrize(("name", "opcode", "payload", "closed"), LAYOUTS, ids=[one[0] for one in LAYOUTS])
def test_payloads_that_end_early_or_late(
    server: Serving, furnished: None, name: str, opcode: int, payload: bytes, closed: bool
) -> None:
    wrong = [payload[:size] for size in range(len(payload))]
    if closed:
        wrong += [payload + b"\x00", payload + b"\xff" * 40]
    with Wire(server.port) as wire:
        if opcode != 0x01:
            wire.hello()
        wire.send(b"".join(request(opcode, index, one) for index, one in enumerate(wrong)))
        for index, one in enumerate(wrong):
            answer = wire.frame()
            assert answer.correlation == index, answer
            assert answer.code == ERR, (name, one, answer)
            assert answer.error[0] == INVALID_ARGUMENT, (one, answer)
        assert wire.call(PING, END).payload == END


def test_many_frames_in_one_write(server: Serving, control: Wire) -> None:
    """Pipelining: a thousand commands at once are answered in order, whatever they are."""
    assert control.call(0x06).code == DATA
    with Wire(server.port) as wire:
        count = 1000
        wire.send(b"".join(request(0x05, index, b("s'n' i1")) for index in range(count)))
        for index in range(count):
            check(Expected(RESPONSE, DATA, index, parts(f"03 i{index + 1}")), wire.read())


def test_compare_and_set(server: Serving) -> None:
    """The version that one answer gives is the one that the next may ask for."""
    with Wire(server.port) as wire:
        first = wire.call(0x02, "s'cas' 10 00 'v'").payload
        version = first[1:9]
        assert wire.call(0x02, b("s'cas' 20") + version + b"\0two").payload[0] == 1
        stale = wire.call(0x02, b("s'cas' 20") + version + b"\0three").payload
        assert stale[0] == 0
        assert stale[1:9] > version
        assert wire.call(0x03, "s'cas'").payload == b"\0two"
        assert wire.call(0x09, b("s'cas' 01") + version).payload[0] == 0
        assert wire.call(0x09, b("s'cas' 01") + stale[1:9]).payload == b"\x01" + stale[1:9]
        assert wire.call(0x08, "s'cas' 00").code == 2


def test_request_and_reply(server: Serving) -> None:
    """REQUEST reaches one connection, REPLY comes back to the other; a second reply is too late."""
    with Wire(server.port) as asking, Wire(server.port) as answering:
        answering.hello()
        answering.subscribe("ask/+")
        asking.send(request(0x27, ID, b("s'ask/me' u32=5000 00 01 '?'")))
        event = answering.frame()
        assert (event.kind, event.code, event.correlation) == (5, 0x27, 0)
        assert event.payload[8:] == b("s'ask/me' 00000000 01 '?'")
        reply = event.payload[:8] + b("08 00000006 0001 'n' 0001 'v' 01 '!'")
        assert answering.call(0x28, reply).code == 0
        check(Expected(RESPONSE, DATA, ID, parts("00000006 0001 'n' 0001 'v' 01 '!'")), asking.read())
        assert answering.call(0x28, reply).error[0] == 2


def test_changes_of_a_turn_come_together(server: Serving) -> None:
    with Wire(server.port) as wire:
        wire.hello()
        assert wire.call(0x0E, "s'turn:' 01").code == DATA
        wire.send(
            b"".join(request(code, 0, b(f"s'turn:1' {rest}")) for code, rest in ((2, "00 00"), (4, "")))
        )
        assert [wire.frame().kind, wire.frame().kind] == [RESPONSE, RESPONSE]
        pattern = "00000002 01 ?8 s'turn:1' i0 00000001 00 02 ?8 s'turn:1' i0 00000000"
        assert mismatch(parts(pattern), wire.frame().payload) is None


def test_resume_a_watch(server: Serving) -> None:
    """What was changed while nobody watched is told in order; a version too long ago is TOO_OLD."""
    with Wire(server.port) as wire:
        wire.hello()
        # The change log begins with the first watch of a server.
        assert wire.call(0x0E, "s'elsewhere' 00").code == DATA
        start = wire.call(0x02, "s'log:0' 10 00").payload[1:9]
        wire.set("log:1", b"")
        wire.set("other", b"")
        assert wire.call(0x04, "s'log:1'").code == 0
        assert wire.call(0x0E, b("s'log:' 03") + start).code == DATA
        event = wire.frame()
        pattern = "00000002 01 ?8 s'log:1' i0 00000001 00 02 ?8 s'log:1' i0 00000000"
        assert mismatch(parts(pattern), event.payload) is None, event
        block = b"".join(b(f"s'k{index}' 00000001 00") for index in range(10_000))
        for _ in range(7):
            assert wire.call(0x0C, b"\0" + (10_000).to_bytes(4, "big") + block).code == DATA
        assert wire.call(0x0E, b("s'log:' 03") + start).error[0] == 0x0C


def test_expiry_is_seen_by_reads(server: Serving) -> None:
    with Wire(server.port) as wire:
        assert wire.call(0x02, "s'short' 41 i25 00 'v'").code == 0
        assert wire.call(0x03, "s'short'").code == DATA
        until = time.monotonic() + 5
        while wire.call(0x03, "s'short'").code == DATA:
            assert time.monotonic() < until
        assert wire.call(0x08, "s'short' 00").code == 2


def test_ids_are_not_checked(server: Serving) -> None:
    """Correlation ids are the client's: any, also the same twice."""
    with Wire(server.port) as wire:
        wire.send(b"".join(frame(1, PING, number, b"x") for number in (0, 0, 0xFFFFFFFF, 0x80000000, 1, 1)))
        assert [wire.frame().correlation for _ in range(6)] == [0, 0, 0xFFFFFFFF, 0x80000000, 1, 1]
