"""A short run of every fuzz target with a fixed seed; `make fuzz` runs them for longer."""

from __future__ import annotations

import random
import sys
import tracemalloc

import pytest

from nexo.protocols.native import connection
from nexo.protocols.native.connection import Connection
from tests.fuzz.brokers import Remembering, furnish, node_with
from tests.fuzz.inputs import MADE_UP, corpus, mutate
from tests.fuzz.targets import TARGETS, fuzz_connection, fuzz_session
from tests.vectors.session import Alone
from tests.vectors.wire import frame, request, u32

INPUTS = {"brokers": 400, "batch": 400}
INPUTS_DEFAULT = 1500


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_targets(name: str) -> None:
    seeds = corpus()
    rng = random.Random(20)
    for _ in range(INPUTS.get(name, INPUTS_DEFAULT)):
        data = mutate(seeds, rng)
        try:
            TARGETS[name](data)
        except Exception:
            print(f"input: {data.hex()}", file=sys.stderr)
            raise


def test_what_stands_for_marks_is_right() -> None:
    """Else the seeds for leases would all be fenced, and nobody would notice."""
    known = furnish(Alone(node=node_with(Remembering())))
    assert known.found == MADE_UP


def test_noise() -> None:
    rng = random.Random(7)
    for size in range(300):
        for data in (rng.randbytes(size), b"\x09" + rng.randbytes(size), b"\x09\x01" + rng.randbytes(size)):
            fuzz_connection(data)
            fuzz_session(data)


def test_what_is_held_of_one_frame_is_bounded() -> None:
    """A frame in small pieces is held once, and a claimed length holds nothing."""
    incoming = Connection(1 << 20)
    incoming.receive_data(b"\x09\x01\x02" + bytes(4) + u32(1 << 20))
    assert incoming.next_frame() == connection.NEED_DATA
    assert incoming.buffered_bytes == 11
    for size in range(1000):
        incoming.receive_data(b"x" * 100)
        assert incoming.next_frame() == connection.NEED_DATA
        assert incoming.buffered_bytes == 11 + 100 * (size + 1)


def test_small_pieces_cost_little() -> None:
    """A frame in pieces of two bytes takes about its length in memory, not an object for each piece."""
    tracemalloc.start()
    try:
        incoming = Connection(1 << 20)
        incoming.receive_data(b"\x09\x01\x02" + bytes(4) + u32(1 << 18))
        assert incoming.next_frame() == connection.NEED_DATA
        for size in range((1 << 17) - 1):
            incoming.receive_data(bytes((size & 0xFF, size >> 9)))
        assert tracemalloc.get_traced_memory()[1] < 4 << 18
        assert incoming.next_frame() == connection.NEED_DATA
        incoming.receive_data(b"xx")
        assert incoming.next_frame() == connection.FRAME
    finally:
        tracemalloc.stop()


def test_a_session_that_ended_takes_nothing_more() -> None:
    alone = Alone()
    alone.send(request(0x40, 1) + bytes(11) + request(0x40, 2))
    assert alone.frame().correlation == 1
    assert alone.frame().error[0] == 0x09
    assert alone.closed()
    alone.session.data_received(request(0x40, 3))
    alone.session.data_received(frame(4, 0x02, 0, b"\0\0\0\1k\0\0"))
    alone.turn()
    assert alone.read() is None
    assert len(alone.node.store) == 0
