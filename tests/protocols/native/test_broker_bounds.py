"""What one connection can make the brokers hold or send is bounded: waits, and pages of large messages."""

from __future__ import annotations

import json

import pytest

from nexo.errors import LimitExceededError
from nexo.limits import (
    FRAME_BYTES_MAX,
    MEMBERSHIPS_PER_CONNECTION_MAX,
    MIB,
    PAGE_BYTES_MAX,
    QUEUES_MAX,
    STORE_MAPS_MAX,
    STREAMS_MAX,
    WAITS_PER_CONNECTION_MAX,
    WATCHES_PER_CONNECTION_MAX,
)
from tests.vectors.session import Alone
from tests.vectors.table import LIMIT_EXCEEDED, MESSAGE, TOKEN, Known, req
from tests.vectors.wire import DATA, OK, b, request, string, u16, u32

QUEUE = req(0x10, "s'q' 00")
STREAM = (req(0x30, "s's' 04 '{\"max_deliveries\":1}'"), req(0x33, "s's' s'g'"))


def sent(alone: Alone, known: Known, *requests: bytes) -> None:
    """Send requests that must not fail."""
    for one in requests:
        alone.send(known.fill(one))
        answer = alone.frame()
        assert answer.code in (OK, DATA), answer.error
        known.learn(one, answer)


@pytest.mark.parametrize(
    "wait",
    [
        req(0x12, "s'q' u32=1 ffffffff"),
        req(0x1C, "s'q' u32=1 ffffffff"),
        req(0x32, "s's' s'g' s'<consumer>' '<genera>' u32=1 ffffffff"),
        req(0x3F, "01 s's' 01 i0 u32=0 u32=0 ffffffff"),
    ],
    ids=["CONSUME", "RECEIVE", "FETCH", "READ"],
)
def test_waits_of_a_connection(wait: bytes) -> None:
    alone, known = Alone(), Known()
    sent(alone, known, QUEUE, *STREAM)
    alone.send(known.fill(wait) * (WAITS_PER_CONNECTION_MAX + 1))
    (refused,) = alone.rest()
    assert refused.error[0] == LIMIT_EXCEEDED
    assert "waits_per_connection_max" in refused.error[1]
    alone.send(req(0x15, "s'q'") + req(0x36, "s's'"))
    assert len(alone.rest()) == WAITS_PER_CONNECTION_MAX + 2
    sent(alone, known, QUEUE, *STREAM)
    alone.send(known.fill(wait))
    assert alone.rest() == []  # who has been answered waits no longer


def test_memberships_of_a_connection() -> None:
    """There was no bound: a connection could make the server hold as many as it liked."""
    alone, known = Alone(), Known()
    sent(alone, known, *STREAM)
    join = req(0x33, "s's' s'g'")
    alone.send(join * MEMBERSHIPS_PER_CONNECTION_MAX)
    *joined, refused = alone.rest()
    assert len(joined) == MEMBERSHIPS_PER_CONNECTION_MAX - 1
    assert refused.error[0] == LIMIT_EXCEEDED
    assert "memberships_per_connection_max" in refused.error[1]
    sent(alone, known, req(0x39, "s's' s'g' s'<consumer>' '<genera>'"), join)
    alone.send(join)
    assert alone.frame().error[0] == LIMIT_EXCEEDED


def test_watches_of_a_connection() -> None:
    alone = Alone()
    alone.hello()
    for number in range(WATCHES_PER_CONNECTION_MAX):
        alone.session.data_received(request(0x0E, number, b("s'k' 00")))
    alone.turn()
    assert {one.code for one in alone.rest()} == {DATA}
    alone.send(request(0x0E, WATCHES_PER_CONNECTION_MAX, b("s'k' 00")))
    code, message = alone.frame().error
    assert code == LIMIT_EXCEEDED and "watches_per_connection_max" in message
    other = alone.beside()
    other.hello()
    other.send(request(0x0E, 1, b("s'k' 00")))
    assert other.frame().code == DATA, "the bound is of a connection"


def test_queues_streams_and_maps_of_a_node() -> None:
    """A loop that creates them ends with an error that names the bound; what is there can be found again."""
    node = Alone().node
    for number in range(QUEUES_MAX):
        node.queues.create(b"%d" % number, {}, node.now)
    with pytest.raises(LimitExceededError, match=f"queues_max is {QUEUES_MAX}"):
        node.queues.create(b"one more", {}, node.now)
    assert node.queues.create(b"1", {}, node.now)[1] is False
    stream, _ = node.streams.create(b"0", {}, node.now)
    # To make them all takes seconds: one of them under every name will do.
    node.streams._streams.update({b"%d" % number: stream for number in range(STREAMS_MAX)})
    with pytest.raises(LimitExceededError, match=f"streams_max is {STREAMS_MAX}"):
        node.streams.create(b"one more", {}, node.now)
    for number in range(STORE_MAPS_MAX):
        node.store.declare(b"%d/" % number, 1)
        while node.store.maps.moving is not None:
            node.turn()
    with pytest.raises(LimitExceededError, match=f"store_maps_max is {STORE_MAPS_MAX}"):
        node.store.declare(b"one more/", 1)


def pages(alone: Alone, command: bytes, state: str = "") -> list[int]:
    """Sizes of the pages that an operator sees; their frames fit."""
    found, after = [], 0
    while True:
        arguments = {"limit": 1000, "after": after, **({"state": state} if state else {})}
        alone.send(req(command[0], command[1:] + json.dumps(arguments).encode()))
        answer = alone.frame()
        assert answer.code == DATA
        assert len(answer.payload) <= FRAME_BYTES_MAX
        shown = json.loads(answer.payload[1:])
        found.append(len(shown["messages"]))
        after = shown["after"]
        if not after:
            return found


def test_pages_of_large_messages() -> None:
    alone, known = Alone(), Known()
    value = string(b"\x00" + bytes(MIB))
    sent(alone, known, QUEUE, *(req(0x11, b("s'q' u32=1 00") + value) for _ in range(12)))
    per_page = PAGE_BYTES_MAX // MIB - 1
    assert pages(alone, b"\x1f" + b("s'q' s'browse'"), "ready") == [per_page] * 4
    settle = req(0x1D, f"s'q' 03 s'' u32=1 {MESSAGE} {TOKEN}")
    for _ in range(12):
        sent(alone, known, req(0x12, "s'q' u32=1 u32=0"), settle)
    assert pages(alone, b"\x1f" + b("s'q' s'browse'"), "dead") == [per_page] * 4


def test_pages_of_dead_letters_with_large_keys() -> None:
    alone, known = Alone(), Known()
    sent(alone, known, *STREAM)
    records = b"".join(
        u16(65_535) + str(index).encode().rjust(65_535) + u32(1) + b"\0" for index in range(100)
    )
    sent(alone, known, req(0x31, b("s's'") + u32(100) + records), req(0x31, b("s's'") + u32(100) + records))
    member = "s's' s'g' s'<consumer>' '<genera>'"
    for seq in range(1, 201):
        sent(alone, known, req(0x32, f"{member} u32=1 u32=0"))
        sent(alone, known, req(0x3F, f"04 {member} i0 s'' u32=1 i{seq} '<receipt-of-16b>'"))
    offset = 0
    while offset < 200:
        alone.send(req(0x3A, b("s's' s'g' ffffffff") + u32(offset)))
        answer = alone.frame()
        assert answer.code == DATA, answer.error
        assert len(answer.payload) <= PAGE_BYTES_MAX + MIB
        offset += int.from_bytes(answer.payload[:4], "big")
    assert pages(alone, b"\x3f" + b("06 s's' s'g' s'dead'")) == [63, 63, 63, 11]
