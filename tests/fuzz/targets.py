"""Fuzz targets of the native protocol: each is a function of bytes whose first line states its invariant."""

from __future__ import annotations

import struct
from collections.abc import Callable

from nexo.protocols.native import connection
from nexo.protocols.native.connection import Connection
from tests.fuzz.brokers import fuzz_batch, fuzz_brokers
from tests.fuzz.inputs import ERROR_CODE_MAX, FRAME_BYTES_MAX, chunks, requests_in
from tests.vectors.session import Alone
from tests.vectors.wire import ERR, HEADER_BYTES, PUSH, RESPONSE, Frame, frame, request, string

Target = Callable[[bytes], None]


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
    asked = requests_in(data)
    if data and data[0] & 1:
        alone.hello()
    answered = 0
    for piece in chunks(data):
        alone.send(piece)
    for _ in range(3):
        alone.pass_time(2_000_000_000)  # a wait may last 2^32 ms
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
    # A request gets one answer at most; 50 days later none is under way, unless its own bytes ended it.
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


TARGETS: dict[str, Target] = {
    "connection": fuzz_connection,
    "session": fuzz_session,
    "brokers": fuzz_brokers,
    "batch": fuzz_batch,
}
