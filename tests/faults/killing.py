"""Kills a server under load, again and again, and looks for what it had confirmed: python tests/faults/killing.py

Several connections push to a queue, append to a stream and set keys of a durable map, each with a window of requests
that are not answered yet; a consumer of the queue settles some of what it gets. At a random moment the server gets
SIGKILL; it is started again on the same data, and everything is read back. What must hold after every round:

- nothing confirmed is missing, and nothing confirmed as settled comes back;
- what one connection sent comes in its order, and the stream's sequences have no gaps;
- a message that was delivered before has more attempts than it had;
- a key has the last value that was confirmed, or a later one.

A message that was sent and not confirmed may be there or not. `doubled` counts messages that are there twice:
nobody repeats a request here, so there must be none.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.vectors.serving import Serving  # noqa: E402  needs the path above
from tests.vectors.wire import DATA, OK, Wire, b, request, string, u16, u32, u64  # noqa: E402

PRODUCERS = 2
"""Connections to each of the queue and the stream."""
KEYS = 40
"""Keys of one setter: each is overwritten many times in a round."""
WINDOW = 64
"""Requests of one connection under way at once."""
SETTLED_SHARE = 0.5
"""How many of the messages that a consumer gets are settled: the others come again after a restart."""
VALUE = struct.Struct(">BBQ")
"""A RAW value: its type, the producer, its number."""

Ends = (OSError, EOFError, AssertionError, TimeoutError)


class Lost(Exception):
    """A promise was broken; the message says which."""


def value(producer: int, number: int) -> bytes:
    return string(VALUE.pack(0, producer, number))


class Producer(threading.Thread):
    """Sends its numbers in order until the connection ends; knows which were confirmed."""

    def __init__(self, port: int, index: int, first: int, streaming: bool) -> None:
        super().__init__(daemon=True)
        self.port, self.index, self.sent, self.confirmed = port, index, first, first
        self.streaming = streaming
        self.seqs: dict[int, int] = {}

    def run(self) -> None:
        try:
            with Wire(self.port, timeout=30) as wire:
                while True:
                    batch = b""
                    while self.sent - self.confirmed < WINDOW:
                        body = value(self.index, self.sent)
                        if self.streaming:
                            batch += request(0x31, self.sent, b("s's' u32=1") + u16(0) + body)
                        else:
                            batch += request(0x11, self.sent, b("s'q' u32=1 00") + body)
                        self.sent += 1
                    wire.send(batch)
                    answer = wire.frame()
                    # Answers of one connection to commands of one kind come in their order.
                    if answer.code not in (OK, DATA) or answer.correlation != self.confirmed:
                        self.broken = f"{answer} to number {self.confirmed}"
                        return
                    if self.streaming:
                        self.seqs[self.confirmed] = struct.unpack_from(">Q", answer.payload, 4)[0]
                    self.confirmed += 1
        except Ends:
            pass

    broken = ""


class Consumer(threading.Thread):
    """Takes from the queue and acknowledges a share; knows what was confirmed as settled, and the attempts."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.random = random.Random(seed)
        self.settled: set[tuple[int, int]] = set()
        self.asked: set[tuple[int, int]] = set()
        self.attempts: dict[tuple[int, int], int] = {}
        self.broken = ""

    def run(self) -> None:
        try:
            with Wire(self.port, timeout=30) as wire:
                while True:
                    leases = received(wire.call(0x1C, b("s'q'") + u32(50) + u32(1000)).payload)
                    # What has arrived was recorded before it left: it counts, whatever comes now.
                    self.attempts.update({what: attempts for _, _, attempts, what in leases})
                    chosen = [one for one in leases if self.random.random() < SETTLED_SHARE]
                    self.asked.update(what for _, _, _, what in chosen)
                    done = b"".join(id + token for id, token, _, _ in chosen)
                    answer = wire.call(0x1D, b("s'q' 00") + u32(len(chosen)) + done)
                    if answer.payload != u32(0):
                        self.broken = f"a lease was refused: {answer}"
                        return
                    self.settled.update(what for _, _, _, what in chosen)
        except Ends:
            pass


class Setter(threading.Thread):
    """Sets its keys again and again to growing numbers; knows which number of each was confirmed."""

    def __init__(self, port: int, index: int, first: int) -> None:
        super().__init__(daemon=True)
        self.port, self.index, self.sent, self.confirmed = port, index, first, first
        self.least: dict[bytes, int] = {}
        self.broken = ""

    def key(self, number: int) -> bytes:
        return b"kept/%d/%d" % (self.index, number % KEYS)

    def run(self) -> None:
        try:
            with Wire(self.port, timeout=30) as wire:
                while True:
                    batch = b""
                    while self.sent - self.confirmed < WINDOW:
                        body = string(self.key(self.sent)) + b"\0" + VALUE.pack(0, self.index, self.sent)
                        batch += request(0x02, self.sent, body)
                        self.sent += 1
                    wire.send(batch)
                    answer = wire.frame()
                    if answer.code != OK or answer.correlation != self.confirmed:
                        self.broken = f"{answer} to the set of {self.confirmed}"
                        return
                    self.least[self.key(self.confirmed)] = self.confirmed
                    self.confirmed += 1
        except Ends:
            pass


def received(payload: bytes) -> list[tuple[bytes, bytes, int, tuple[int, int]]]:
    """The answer of RECEIVE: id, token, attempts, and (producer, number)."""
    count = struct.unpack_from(">I", payload)[0]
    found, at = [], 4
    for _ in range(count):
        id, token = payload[at : at + 16], payload[at + 16 : at + 24]
        attempts = struct.unpack_from(">I", payload, at + 24)[0]
        at += 24 + 4 + 1 + 8
        at += 2 + struct.unpack_from(">H", payload, at)[0]
        at += 4 + struct.unpack_from(">I", payload, at)[0]
        _, producer, number = VALUE.unpack_from(payload, at + 4)
        at += 4 + VALUE.size
        found.append((id, token, attempts, (producer, number)))
    return found


class Totals:
    """What came out of all rounds."""

    def __init__(self) -> None:
        self.rounds = self.pushed = self.appended = self.settled = self.set = self.lost = self.doubled = 0
        self.restart_seconds_max = 0.0

    def figures(self) -> dict[str, float]:
        return {**vars(self), "restart_seconds_max": round(self.restart_seconds_max, 3)}


class Killing:
    """One data directory through many lives. `seed` chooses the moments of the kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.totals = Totals()
        self.next_number = 0
        self.seq_of: dict[tuple[int, int], int] = {}
        self.last_seq = 0
        self.least: dict[bytes, int] = {}

    def serve(self) -> Serving:
        return Serving("--data-dir", str(self.folder))

    def round(self) -> None:
        """Load, kill, start, look. Raises Lost."""
        with self.serve() as server:
            with Wire(server.port) as wire:
                for code, payload in ((0x10, "s'q' 02 u32=1000"), (0x30, "s's' 00")):
                    assert wire.call(code, payload).code == DATA
                assert wire.call(0x48, "s'kept/' s'create'").code == DATA
            first = self.next_number
            producers = [
                Producer(server.port, index, first, index >= PRODUCERS) for index in range(2 * PRODUCERS)
            ]
            consumer = Consumer(server.port, self.random.randrange(1 << 30))
            setters = [Setter(server.port, index, first) for index in range(PRODUCERS)]
            for one in (*producers, consumer, *setters):
                one.start()
            time.sleep(self.random.uniform(0.05, 0.8))
            server.process.kill()
            for one in (*producers, consumer, *setters):
                one.join(30)
        for one in (*producers, consumer, *setters):
            if one.broken:
                raise Lost(one.broken)
        began = time.monotonic()
        with self.serve() as server:
            self.totals.restart_seconds_max = max(self.totals.restart_seconds_max, time.monotonic() - began)
            with Wire(server.port, timeout=60) as wire:
                self.look_at_queue(wire, producers[:PRODUCERS], consumer, first)
                self.look_at_stream(wire, producers[PRODUCERS:])
                self.look_at_keys(wire, setters)
        self.next_number = max(one.sent for one in (*producers, *setters))
        self.totals.set += sum(one.confirmed - first for one in setters)
        self.totals.rounds += 1
        self.totals.pushed += sum(one.confirmed - first for one in producers[:PRODUCERS])
        self.totals.appended += sum(one.confirmed - first for one in producers[PRODUCERS:])
        self.totals.settled += len(consumer.settled)

    def look_at_queue(self, wire: Wire, producers: list[Producer], consumer: Consumer, first: int) -> None:
        """Take everything out of the queue and compare it with what was confirmed."""
        there: dict[tuple[int, int], int] = {}
        order: dict[int, list[int]] = {}
        while leases := received(wire.call(0x1C, b("s'q'") + u32(10_000) + u32(0)).payload):
            for _, _, attempts, what in leases:
                self.totals.doubled += what in there
                there[what] = attempts
                order.setdefault(what[0], []).append(what[1])
            done = b"".join(id + token for id, token, _, _ in leases)
            assert wire.call(0x1D, b("s'q' 00") + u32(len(leases)) + done).payload == u32(0)
        confirmed = {(one.index, number) for one in producers for number in range(first, one.confirmed)}
        # What a consumer asked to settle and got no answer to may be gone.
        missing = confirmed - there.keys() - consumer.asked
        self.totals.lost += len(missing)
        if missing:
            raise Lost(f"{len(missing)} confirmed messages are missing: {sorted(missing)[:5]}")
        if back := consumer.settled & there.keys():
            raise Lost(f"{len(back)} settled messages came back: {sorted(back)[:5]}")
        for producer, numbers in order.items():
            if numbers != sorted(set(numbers)):
                raise Lost(f"the messages of producer {producer} are not in their order")
        for what, attempts in there.items():
            # The RECEIVE of the killed server and this one.
            if attempts < consumer.attempts.get(what, 0) + 1:
                raise Lost(
                    f"{what} was delivered {consumer.attempts[what]} times before, and now says {attempts}"
                )

    def look_at_keys(self, wire: Wire, setters: list[Setter]) -> None:
        """Each key has the value that was confirmed last, or one that was sent after it."""
        for one in setters:
            self.least.update(one.least)
            for number in range(KEYS):
                key = one.key(number)
                answer = wire.call(0x03, string(key))
                there = VALUE.unpack_from(answer.payload)[2] if answer.code == DATA else -1
                if not self.least.get(key, -1) <= there < one.sent:
                    self.totals.lost += 1
                    raise Lost(f"{key!r} was confirmed as {self.least.get(key)} and is {there}")
                self.least[key] = there

    def look_at_stream(self, wire: Wire, producers: list[Producer]) -> None:
        """Read the stream from the beginning: no gaps, each confirmed record under the sequence it was told."""
        for one in producers:
            self.seq_of.update({(one.index, number): seq for number, seq in one.seqs.items()})
        found: dict[tuple[int, int], int] = {}
        latest: dict[int, int] = {}
        last = 0
        for seq, what in records(wire):
            if seq != last + 1:
                raise Lost(f"sequence {seq} follows {last}")
            last = seq
            self.totals.doubled += what in found
            found[what] = seq
            if what[1] <= latest.get(what[0], -1):
                raise Lost(f"the records of producer {what[0]} are not in their order")
            latest[what[0]] = what[1]
        wrong = [what for what, seq in self.seq_of.items() if found.get(what) != seq]
        self.totals.lost += len(wrong)
        if wrong or last < self.last_seq:
            raise Lost(f"{len(wrong)} confirmed records are not where they were: {wrong[:5]}")
        self.last_seq = last
        if self.totals.doubled:
            raise Lost(f"{self.totals.doubled} messages are there twice")


def records(wire: Wire) -> Iterator[tuple[int, tuple[int, int]]]:
    """(sequence, (producer, number)) of the whole stream."""
    at = 1
    while True:
        payload = wire.call(0x3F, b("01 s's' 02") + u64(at) + u32(65_536) + u32(0) + u32(0)).payload
        following, _, last, runs = struct.unpack_from(">QQQI", payload)
        place = 28
        for _ in range(runs):
            seq, count, _ = struct.unpack_from(">QII", payload, place)
            place += 16
            for index in range(count):
                _, producer, number = VALUE.unpack_from(payload, place + 14)
                yield seq + index, (producer, number)
                place += 14 + VALUE.size + 4
        at = following
        if at > last:
            return


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--data-dir", type=Path, help="default: one of its own, which is removed")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexo-kill-") as folder:
        killing = Killing(chosen.data_dir or Path(folder), chosen.seed)
        try:
            for index in range(chosen.rounds):
                killing.round()
                print(f"round {index + 1}: {json.dumps(killing.totals.figures())}", flush=True)
        except Lost as error:
            print(f"seed {chosen.seed}, round {index + 1}: {error}; {json.dumps(killing.totals.figures())}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
