"""Fuzz targets of the native protocol: each is a function of bytes whose first line states its invariant."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from nexo.protocols.native import connection
from nexo.protocols.native.connection import Connection
from tests.vectors.native import GOLDEN, LAYOUTS, VECTORS
from tests.vectors.session import Alone
from tests.vectors.wire import ERR, HEADER_BYTES, PUSH, REQUEST, RESPONSE, Frame, b, frame, request, string

FRAME_BYTES_MAX = 256 * 1024
"""The smallest that a server may be set to: a fuzzer gets past it quickly."""
READ_BYTES_MAX = 256 * 1024
"""What asyncio and uvloop hand over at most in one call."""
PROTOCOL_ERROR = 0x09
ERROR_CODE_MAX = 0x0F

Target = Callable[[bytes], None]


def chunks(data: bytes) -> list[bytes]:
    """Cut an input into the pieces in which it arrives; where is decided by the input itself."""
    if len(data) < 2:
        return [data] if data else []
    rng = random.Random(len(data) * 256 + data[-1])
    pieces = []
    position = 0
    while position < len(data):
        size = rng.choice((1, 2, 7, 11, 12, 64, 1000, READ_BYTES_MAX))
        pieces.append(data[position : position + size])
        position += size
    return pieces


def fuzz_connection(data: bytes) -> None:
    """Any bytes give frames, however they are cut, or one error; never more than a frame and a read is held."""
    frames = _split([data])
    assert _split(chunks(data)) == frames
    # Frames lie end to end: what was taken and what is left are the input.
    taken = b"".join(
        frame(kind, code, correlation, payload)
        for status, kind, code, correlation, payload in frames
        if status == connection.FRAME
    )
    assert data.startswith(taken)


def _split(pieces: list[bytes]) -> list[tuple[int, int, int, int, bytes]]:
    incoming = Connection(FRAME_BYTES_MAX)
    found = []
    for piece in pieces:
        incoming.receive_data(piece)
        while True:
            status = incoming.next_frame()
            if status == connection.NEED_DATA:
                break
            if status != connection.FRAME:
                # Which error it is may depend on how much of the header has come; that it is one may not.
                assert status in (connection.BAD_VERSION, connection.BAD_TYPE, connection.TOO_LARGE)
                found.append((-1, 0, 0, 0, b""))
                return found
            payload = incoming.buffer[incoming.start : incoming.end]
            assert len(payload) <= FRAME_BYTES_MAX
            correlation = incoming.correlation & 0xFFFFFFFF
            found.append((status, int(incoming.kind), int(incoming.code), correlation, payload))
        assert incoming.buffered_bytes <= HEADER_BYTES + FRAME_BYTES_MAX
    return found


def fuzz_session(data: bytes) -> None:
    """Any bytes give whole frames that a client expects, or PROTOCOL_ERROR and the end; never INTERNAL.

    Nor do they make the server send anything to others that these could not read: an observer watches
    all keys and subscribes to all topics.
    """
    alone = Alone(FRAME_BYTES_MAX)
    observer = alone.beside()
    observer.hello()
    observer.send(request(0x22, 1, string("#")) + request(0x0E, 2, string("") + b"\x01"))
    assert observer.frame().code == observer.frame().code - 3 == 0
    asked = _requests(data)
    if data and data[0] & 1:
        alone.hello()
    answered = 0
    for piece in chunks(data):
        alone.send(piece)
    alone.pass_time(86_400_000)
    while (one := alone.recorder.written.next()) is not None:
        if one.kind == RESPONSE:
            answered += 1
            assert one.code <= 3
            if one.code == ERR:
                assert 0 < one.error[0] <= ERROR_CODE_MAX, "an internal error"
                assert one.error[1]
        else:
            _check_news(one)
    while (one := observer.recorder.written.next()) is not None:
        assert one.kind != RESPONSE
        _check_news(one)
    # A request gets one answer at most; a day later none is under way, unless its own bytes ended it.
    assert answered <= asked + 1
    assert alone.session.frames.buffered_bytes <= HEADER_BYTES + FRAME_BYTES_MAX
    if not alone.recorder.is_closed:
        assert answered == asked, (answered, asked)
    assert not alone.recorder.written.buffer
    alone.session.connection_lost(None)
    assert len(alone.session.subscriptions) == 0


def _check_news(news: Frame) -> None:
    """A push or an event is what docs/protocol.md says, to the last byte."""
    payload = news.payload
    if news.kind == PUSH:
        topic, rest = _string(payload)
        _check_topic(topic)
        _check_value(rest)
    elif news.code == 0x0E:
        count, rest = struct.unpack_from(">I", payload)[0], payload[4:]
        for _ in range(count):
            assert 1 <= rest[0] <= 4
            key, rest = _string(rest[9:])
            assert 0 < len(key.decode().encode()) <= 65_536
            value, rest = _string(rest[8:])
            if value:
                _check_value(value)
        assert not rest
    elif news.code in (0x21, 0x24, 0x27):
        topic, rest = _string(payload[8:] if news.code == 0x27 else payload)
        _check_topic(topic)
        headers, rest = _string(rest)
        while headers:
            size = struct.unpack_from(">H", headers)[0]
            assert headers[2 : 2 + size].decode()
            headers = headers[2 + size :]
            size = struct.unpack_from(">H", headers)[0]
            assert 2 + size <= len(headers)
            headers = headers[2 + size :]
        _check_value(rest)
    else:
        raise AssertionError(f"unknown event {news}")


def _string(data: bytes) -> tuple[bytes, bytes]:
    size = struct.unpack_from(">I", data)[0]
    assert 4 + size <= len(data)
    return data[4 : 4 + size], data[4 + size :]


def _check_topic(topic: bytes) -> None:
    assert not set(topic.decode()) & set("+#\0")
    assert topic


def _check_value(value: bytes) -> None:
    assert value[0] <= 3
    assert value[0] != 3 or len(value) == 9


def _requests(data: bytes) -> int:
    """How many complete requests that want an answer the input holds: a second, simpler reading of it."""
    count = position = 0
    while position + HEADER_BYTES <= len(data):
        version, kind, _, _, length = struct.unpack_from(">BBBII", data, position)
        if version != 9 or kind not in (1, 4) or length > FRAME_BYTES_MAX:
            break
        position += HEADER_BYTES + length
        if position > len(data):
            break
        count += kind == REQUEST
    return count


TARGETS: dict[str, Target] = {"connection": fuzz_connection, "session": fuzz_session}


def corpus() -> list[bytes]:
    """Where mutation begins: every packet vector, every layout, every golden frame."""
    found = [b"".join(vector.setup) + vector.send for vector in VECTORS]
    found += [frame(REQUEST, opcode, 1, payload) for _, opcode, payload, _ in LAYOUTS]
    found += [b(sent) for _, sent, _ in GOLDEN]
    return [one for one in found if len(one) <= 4096]


INTERESTING = [0, 1, 2, 9, 0x7F, 0x80, 0xFF]
LENGTHS = [
    0,
    1,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x10000,
    FRAME_BYTES_MAX,
    FRAME_BYTES_MAX + 1,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
]


def mutate(seeds: list[bytes], rng: random.Random) -> bytes:
    """A new input: a few frames of the corpus, damaged."""
    data = bytearray(b"".join(rng.choice(seeds) for _ in range(rng.choice((1, 1, 2, 3, 8)))))
    for _ in range(rng.choice((0, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(data) + 1)
        action = rng.randrange(8)
        if action == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif action == 1 and place < len(data):
            data[place] = rng.choice(INTERESTING)
        elif action == 2:
            data[place : place + 4] = struct.pack(">I", rng.choice(LENGTHS))
        elif action == 3:
            del data[place : place + rng.randrange(1, 12)]
        elif action == 4:
            data[place:place] = rng.randbytes(rng.randrange(1, 12))
        elif action == 5:
            _damage_inside(data, rng)
        elif action == 6:
            data[place : place + 8] = struct.pack(
                ">q", rng.choice((-(2**63), -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1))
            )
        else:
            del data[place:]
    return bytes(data)


def _damage_inside(data: bytearray, rng: random.Random) -> None:
    """Change one frame's payload and keep its length true: what a parser of payloads must survive."""
    position = 0
    places = []
    while position + HEADER_BYTES <= len(data):
        length = struct.unpack_from(">I", data, position + 7)[0]
        if data[position] != 9 or position + HEADER_BYTES + length > len(data):
            break
        places.append((position, length))
        position += HEADER_BYTES + length
    if not places:
        return
    position, length = rng.choice(places)
    start = position + HEADER_BYTES
    payload = bytearray(data[start : start + length])
    if payload and rng.randrange(2):
        payload[rng.randrange(len(payload))] = rng.choice((*INTERESTING, rng.randrange(256)))
    elif rng.randrange(2):
        del payload[rng.randrange(len(payload) + 1) :]
    else:
        payload += rng.randbytes(rng.randrange(1, 9))
    if rng.randrange(4) == 0:
        data[position + 2] = rng.randrange(0x43)
    data[start : start + length] = payload
    struct.pack_into(">I", data, position + 7, len(payload))
