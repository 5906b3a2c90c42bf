"""Peers that do not read: what others feel of it, what the server's memory does, what the peer is told."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from tests.vectors.serving import Serving, eventually
from tests.vectors.wire import (
    DATA,
    ERR,
    EVENT,
    OK,
    PUSH,
    RESPONSE,
    Frame,
    Wire,
    b,
    publish,
    request,
    string,
    u32,
    u64,
)

MIB = 1024 * 1024
DROPPED = 0x26
SLOW_CONSUMER = 0x07
SMALL_BUFFER = 4096
"""Of the slow peer's socket, so that the kernel does not hide that it is slow."""

DROP_OLDEST, DROP_NEWEST, CONFLATE, DISCONNECT = range(4)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving("--shutdown-seconds", "1") as one:
        yield one


def slow_subscriber(
    server: Serving,
    topic_filter: str,
    policy: int,
    messages: int,
    size: int = 64 * MIB,
    *,
    hello: bool = True,
) -> Wire:
    """One who subscribes and then reads nothing."""
    wire = Wire(server.port, receive_buffer=SMALL_BUFFER)
    if hello:
        wire.hello()
    bounds = b("0e") + u32(messages) + u64(size) + bytes([policy])
    assert wire.call(0x24, string(topic_filter) + bounds).code == OK
    return wire


def flood(server: Serving, topic: str, count: int, size: int, topics: int = 1) -> None:
    """Publish `count` numbered messages, in order, and wait until the server has taken the last."""
    with Wire(server.port, timeout=30) as wire:
        for start in range(0, count, 100):
            wire.send(
                b"".join(
                    publish(
                        f"{topic}/{index % topics}", index.to_bytes(4, "big") + bytes(size - 4), silent=True
                    )
                    for index in range(start, min(start + 100, count))
                )
            )
        assert wire.call(0x40).code == DATA


def numbers(frames: list[Frame]) -> list[int]:
    """The numbers of the messages that came."""
    found = []
    for one in frames:
        if one.kind == PUSH:
            size = struct.unpack_from(">I", one.payload)[0]
            found.append(int.from_bytes(one.payload[5 + size : 9 + size], "big"))
    return found


def drain(wire: Wire) -> list[Frame]:
    """Read until an answer to PING shows that nothing waits any more."""
    wire.send(request(0x40, 0x0DD))
    frames = []
    while True:
        one = wire.frame()
        if one.kind == RESPONSE and one.correlation == 0x0DD:
            return frames
        frames.append(one)


def notices(frames: list[Frame], topic_filter: str, policy: int) -> list[tuple[int, int]]:
    """(since the last notice, since subscribing) of each DROPPED event."""
    found = []
    for one in frames:
        if one.kind == EVENT:
            assert (one.code, one.correlation) == (DROPPED, 0)
            head = string(topic_filter) + string("") + bytes([policy])
            assert one.payload.startswith(head), one
            found.append(struct.unpack(">QQ", one.payload[len(head) :]))
    return found


COUNT = 1500
SIZE = 10_000
"""15 MB in all: more than two kernel buffers and the server's high-water mark take."""


@pytest.mark.parametrize("policy", [DROP_OLDEST, DROP_NEWEST])
def test_drops_are_counted_and_told(server: Serving, policy: int) -> None:
    name = f"drop{policy}"
    with slow_subscriber(server, f"{name}/#", policy, 50) as wire:
        flood(server, name, COUNT, SIZE)
        frames = drain(wire)
        got = numbers(frames)
        assert got == sorted(set(got)), "the order of publication, no message twice"
        told = notices(frames, f"{name}/#", policy)
        assert told, "a drop that nobody is told of"
        assert told[-1][1] == COUNT - len(got), "every message came or is counted"
        assert sum(last for last, _ in told) == told[-1][1]
        # What came: all up to where the connection was full, and 50 of the rest.
        gap = (
            next(index for index, number in enumerate(got) if number != index)
            if policy == DROP_OLDEST
            else len(got)
        )
        if policy == DROP_OLDEST:
            assert got[gap:] == list(range(COUNT - 50, COUNT)), "the newest were kept"
        else:
            assert got == list(range(len(got))), "the oldest were kept"
        # It is an ordinary subscriber again.
        flood(server, name, 1, 8)
        assert numbers(drain(wire)) == [0]


def test_the_last_per_topic_is_kept(server: Serving) -> None:
    with slow_subscriber(server, "conf/#", CONFLATE, 50) as wire:
        flood(server, "conf", COUNT, SIZE, topics=10)
        frames = drain(wire)
        got = numbers(frames)
        assert got[-10:] == list(range(COUNT - 10, COUNT))
        told = notices(frames, "conf/#", CONFLATE)
        assert told[-1][1] == COUNT - len(got)


def test_a_bound_in_bytes(server: Serving) -> None:
    with slow_subscriber(server, "bytes/#", DROP_OLDEST, 1_000_000, 20 * (SIZE + 20)) as wire:
        flood(server, "bytes", COUNT, SIZE)
        got = numbers(drain(wire))
        assert got[-20:] == list(range(COUNT - 20, COUNT))
        assert COUNT - 21 not in got


def test_disconnect_is_told_why(server: Serving) -> None:
    with slow_subscriber(server, "disc/#", DISCONNECT, 50) as wire:
        flood(server, "disc", COUNT, SIZE)
        frames: list[Frame] = []
        while (one := wire.read()) is not None:
            frames.append(one)
        assert frames[-1].kind == RESPONSE
        assert frames[-1].code == ERR
        assert frames[-1].correlation == 0
        assert frames[-1].error[0] == SLOW_CONSUMER
        got = numbers(frames[:-1])
        assert got == list(range(len(got))), "nothing was lost before the end"


def test_disconnect_of_one_who_never_reads(server: Serving) -> None:
    """Its connection does not stay open for ever, nor does what was written to it."""
    with slow_subscriber(server, "mute/#", DISCONNECT, 50) as wire, Wire(server.port) as other:
        flood(server, "mute", COUNT, SIZE)
        assert eventually(lambda: other.call(0x21, b("s'mute/x' 20 00")).payload == u32(0))
        # The listener's patience is --shutdown-seconds; then the connection is reset, torn or not.
        time.sleep(1.2)
        wire.socket.settimeout(5)
        total = 0
        reset = False
        while not reset:
            try:
                data = wire.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            total += len(data)
            reset = not data
        assert total < COUNT * SIZE


def test_without_hello_drops_are_silent(server: Serving) -> None:
    with slow_subscriber(server, "plain/#", DROP_OLDEST, 50, hello=False) as wire:
        flood(server, "plain", COUNT, SIZE)
        frames = drain(wire)
        assert {one.kind for one in frames} == {PUSH}
        assert numbers(frames)[-1] == COUNT - 1


def test_others_are_not_delayed_and_memory_is_bounded(server: Serving) -> None:
    """200 MB are published past 5 peers that read nothing; a sixth gets every message."""
    before = server.memory_bytes()
    slow = [slow_subscriber(server, "all/#", DROP_OLDEST, 100_000, 2 * MIB) for _ in range(5)]
    with Wire(server.port) as good:
        good.subscribe("all/#")
        count, size = 4_000, 50_000
        received = 0

        def read() -> None:
            nonlocal received
            while received < count:
                if good.frame(30).kind == PUSH:
                    received += 1

        reader = threading.Thread(target=read)
        reader.start()
        worst = peak = 0.0
        with Wire(server.port, timeout=30) as publisher, Wire(server.port) as bystander:
            for start in range(0, count, 40):
                publisher.send(publish("all/x", bytes(size), silent=True) * 40)
                assert publisher.call(0x40).code == DATA
                began = time.monotonic()
                assert bystander.call(0x40).code == DATA
                worst = max(worst, time.monotonic() - began)
                peak = max(peak, server.memory_bytes())
                # The good one reads in this same process: let it keep up.
                assert eventually(lambda start=start: received > start - 100, 30)
        reader.join(30)
        assert received == count
        assert worst < 1.0, f"a PING took {worst:.3f} s"
        # 5 × (1 MiB written + 2 MiB waiting), the good one's share, and what a turn holds.
        assert peak - before < 60 * MIB, f"{(peak - before) / MIB:.0f} MiB more"
    for wire in slow:
        wire.close()


def test_answers_that_nobody_reads_stop_the_input(server: Serving) -> None:
    """500 GETs of 1 MB: the server takes no more than it can answer, and in the end answers all."""
    value = os.urandom(1_000_000)
    with Wire(server.port, receive_buffer=SMALL_BUFFER, timeout=60) as wire:
        wire.set("big", value)
        before = server.memory_bytes()
        count = 100
        wire.send(b"".join(request(0x03, index, string("big")) for index in range(count)))
        with Wire(server.port) as other:
            for _ in range(20):
                assert other.call(0x40).code == DATA
                time.sleep(0.01)
        assert server.memory_bytes() - before < 16 * MIB
        for index in range(count):
            answer = wire.frame()
            assert answer.correlation == index
            assert answer.payload == b"\x00" + value
        assert wire.call(0x04, string("big")).code == OK


def test_a_fast_sender_is_slowed_by_tcp(server: Serving) -> None:
    """A pipeline of PINGs whose answers are not read: at some point the kernel takes no more."""
    with Wire(server.port, receive_buffer=SMALL_BUFFER) as wire:
        before = server.memory_bytes()
        wire.socket.setblocking(False)
        chunk = request(0x40, 1, bytes(60_000)) * 4
        sent = 0
        stuck = time.monotonic()
        while time.monotonic() - stuck < 0.5:
            try:
                sent += wire.socket.send(chunk[sent % len(chunk) :])
                stuck = time.monotonic()
            except BlockingIOError:
                time.sleep(0.005)
            assert sent < 200 * MIB, "nothing slows the sender"
        assert server.memory_bytes() - before < 16 * MIB
        # It goes on as soon as somebody reads.
        complete = sent // len(request(0x40, 1, bytes(60_000)))
        for _ in range(complete):
            assert wire.frame().code == DATA


def test_a_watcher_that_does_not_read() -> None:
    """Changes wait, within bounds; a watcher past them is disconnected with the reason."""
    with (
        Serving("--shutdown-seconds", "30") as server,  # time enough to read it all
        Wire(server.port, receive_buffer=SMALL_BUFFER, timeout=30) as watcher,
        Wire(server.port, timeout=30) as writer,
    ):
        watcher.hello()
        assert watcher.call(0x0E, "s'watched' 01").code == DATA
        before = peak = server.memory_bytes()
        value = string("watched") + b"\x00\x00" + bytes(100_000)
        for _ in range(120):
            writer.send(b"".join(request(0x02, index, value) for index in range(10)))
            for _ in range(10):
                assert writer.frame().code == OK
            peak = max(peak, server.memory_bytes())
        # The change log itself may hold 64 MiB; beside it one connection's bounds.
        assert peak - before < 140 * MIB, f"{(peak - before) / MIB:.0f} MiB more"
        last = None
        while (one := watcher.read()) is not None:
            last = one
        assert last is not None
        assert last.kind == RESPONSE
        assert last.error[0] == SLOW_CONSUMER
        assert writer.call(0x04, string("watched")).code == OK


def test_replies_that_nobody_reads(server: Serving) -> None:
    """A requester that asks much and reads nothing is disconnected before it fills the memory."""
    with (
        Wire(server.port, receive_buffer=SMALL_BUFFER, timeout=30) as asking,
        Wire(server.port, timeout=30) as answering,
    ):
        answering.hello()
        answering.subscribe("ask")
        count = 300
        asking.send(b"".join(request(0x27, index, b("s'ask' u32=60000 00 00")) for index in range(count)))
        asked = [answering.frame().payload[:8] for _ in range(count)]
        before = peak = server.memory_bytes()
        reply = b"\x00\x00" + bytes(500_000)
        for one in asked:
            answering.call(0x28, one + reply)
            peak = max(peak, server.memory_bytes())
        assert peak - before < 64 * MIB, f"{(peak - before) / MIB:.0f} MiB more"
        assert answering.call(0x40).code == DATA
