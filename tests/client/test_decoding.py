"""Whatever a server sends: frames or ProtocolError, in whatever pieces, and no more memory than its bytes."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nexo
from nexo.client import frames, values
from nexo.client.frames import Decoder, Frame
from nexo.client.matching import FilterTree, matches
from nexo.protocols.native import opcodes as op

KINDS = st.sampled_from([op.RESPONSE, op.PUSH, op.EVENT])
FRAMES = st.lists(st.tuples(KINDS, st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=40)))
CUTS = st.lists(st.integers(1, 30), max_size=200)


def encoded(frame: Frame) -> bytes:
    kind, code, correlation, payload = frame
    return struct.pack(">BBBII", 9, kind, code, correlation, len(payload)) + payload


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    found = []
    for cut in cuts:
        found.append(data[:cut])
        data = data[cut:]
    return [piece for piece in [*found, data] if piece]


def decoded(chunks: list[bytes]) -> tuple[list[Frame], str | None]:
    decoder = Decoder()
    found = []
    for chunk in chunks:
        found += decoder.receive_data(chunk)
    return found, str(decoder.error) if decoder.error is not None else None


@settings(deadline=None)
@given(FRAMES, CUTS)
def test_frames_in_any_pieces(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(encoded, sent))
    assert decoded(pieces(data, cuts)) == (sent, None)
    assert decoded([data[index : index + 1] for index in range(len(data))]) == (sent, None)


@settings(deadline=None)
@given(FRAMES, st.binary(min_size=12, max_size=60), CUTS)
def test_any_bytes_in_any_pieces(sent: list[Frame], garbage: bytes, cuts: list[int]) -> None:
    data = b"".join(map(encoded, sent)) + garbage
    whole = decoded([data])
    assert decoded(pieces(data, cuts)) == whole
    assert whole[0][: len(sent)] == sent


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20))
def test_no_more_is_held_than_has_come(chunks: list[bytes]) -> None:
    decoder = Decoder()
    came = 0
    for chunk in chunks:
        decoder.receive_data(chunk)
        came += len(chunk)
        assert decoder.buffered_bytes <= came
    if decoder.error is not None:
        assert decoder.receive_data(encoded((op.RESPONSE, 0, 1, b""))) == []


def test_a_frame_in_many_pieces_is_joined_once() -> None:
    decoder = Decoder()
    frame = encoded((op.RESPONSE, op.DATA, 1, bytes(1000)))
    for index in range(len(frame) - 1):
        assert decoder.receive_data(frame[index : index + 1]) == []
    assert len(decoder._parts) > 900
    assert decoder.receive_data(frame[-1:]) == [(op.RESPONSE, op.DATA, 1, bytes(1000))]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"H", "frame begins with 0x48"),
        (struct.pack(">BBBII", 9, 1, 0, 1, 0), "unknown type 0x01"),
        (struct.pack(">BBBII", 9, 2, 0, 1, frames.INCOMING_BYTES_MAX + 1), "134217729 bytes"),
    ],
)
def test_what_is_not_the_protocol(data: bytes, complaint: str) -> None:
    good = encoded((op.RESPONSE, op.OK, 1, b""))
    found, error = decoded([good + data])
    assert found == [(op.RESPONSE, op.OK, 1, b"")]
    assert complaint in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(deadline=None)
@given(JSON | st.binary())
def test_values_come_back(value: object) -> None:
    assert values.decode(values.encode(value)) == value


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_as_a_value_or_headers_or_an_error(data: bytes) -> None:
    for read in (values.decode, values.decode_headers):
        with suppress(nexo.ProtocolError):
            read(data)
    for type_ in (int, dict[str, int]):
        with suppress(nexo.ProtocolError, nexo.InvalidArgumentError):
            values.decode(data, type_)
    assert isinstance(frames.read_error(data), nexo.ServerError)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.binary(max_size=20)), max_size=8))
def test_headers_come_back(pairs: list[tuple[str, bytes]]) -> None:
    assert values.decode_headers(values.encode_headers(pairs)) == tuple(pairs)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([op.PUSH, op.EVENT]),
            st.sampled_from([op.PUB, op.SUBX, op.PUB_REQUEST, op.DROPPED, op.MAP_WATCH, 0x99]),
            st.integers(0, 3),
            st.binary(max_size=40) | st.binary(max_size=20).map(lambda rest: b"\x00\x00\x00\x01t" + rest),
        ),
        max_size=10,
    )
)
def test_any_pushes_and_events(events: list[Frame]) -> None:
    async def run() -> None:
        async with nexo.embedded() as client:
            messages = await client.pubsub.pattern("#").subscribe()
            await client.pubsub.pattern("#").subscribe(group="g")
            await client.store.map.watch("", prefix=True)
            for event in events:
                with suppress(nexo.ProtocolError):
                    client._connection.received(*event)
            await client.ping()
            await messages.stop()

    asyncio.run(run())


LEVELS = st.sampled_from(["a", "b", "", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.lists(LEVELS | st.just("+"), min_size=0, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"])]).filter(bool)
)


def matches_by_definition(topic_filter: str, topic: str) -> bool:
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


@settings(deadline=None)
@given(st.sets(FILTERS, max_size=8), st.sets(FILTERS, max_size=4), TOPICS)
def test_the_tree_matches_as_the_definition_says(present: set[str], gone: set[str], topic: str) -> None:
    tree: FilterTree[str] = FilterTree()
    for topic_filter in present | gone:
        tree.add(topic_filter, topic_filter)
    for topic_filter in gone:
        tree.remove(topic_filter)
    expected = sorted(one for one in present - gone if matches_by_definition(one, topic))
    assert sorted(tree.match(topic)) == expected
    assert all(matches(one, topic) for one in expected)
    for topic_filter in present:
        tree.remove(topic_filter)
    assert tree._root.is_empty()
