"""Many clients through many kills, and one check of all that they saw: python tests/faults/histories.py

Unlike killing.py, where a round ends with each kill, producers and consumers go on as programs do: they connect
again and carry on. Each notes what it asked for and was told. In the end what is left is taken out, and the
checkers of tests/checkers look for anomalies: of a queue and of a consumer group (lost, returned, doubled,
uncounted …), and of a stream as its readers saw it (skipped, duplicate, inconsistent …); at level fsync and at
level flush.
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

from tests.checkers import log, queue  # noqa: E402  needs the path above
from tests.checkers.log import Polled, Sent  # noqa: E402
from tests.checkers.queue import Outcome, Pushed, Received, Settled  # noqa: E402
from tests.faults.killing import VALUE, Ends, Lost, received  # noqa: E402
from tests.vectors.serving import Serving  # noqa: E402
from tests.vectors.wire import DATA, OK, Frame, Wire, b, request, string, u16, u32, u64  # noqa: E402

LEVELS = ("fsync", "flush")
PRODUCERS = 2
CONSUMERS = 2
WINDOW = 16
"""Requests of one producer under way at once."""
BATCH = 20
WAIT_MS = 100
SETTLED_SHARE = 0.6
MEMBER_HEAD = struct.Struct(">QQQI")  # seq, receipt, attempts


class World:
    """What the clients share: where the server is, whether to go on, and the histories by level."""

    def __init__(self) -> None:
        self.port = 0
        self.stopping = False
        self.queue: dict[str, list[queue.Event]] = {level: [] for level in LEVELS}
        self.group: dict[str, list[queue.Event]] = {level: [] for level in LEVELS}
        self.stream: dict[str, list[log.Event]] = {level: [] for level in LEVELS}


class Program(threading.Thread):
    """A client that connects again whenever its connection ends. Subclasses have `work`, which may raise Ends."""

    def __init__(self, world: World, level: str, index: int) -> None:
        super().__init__(daemon=True)
        self.world = world
        self.level = level
        self.index = index
        self.random = random.Random(index)
        self.broken = ""

    def run(self) -> None:
        while not self.world.stopping:
            try:
                with Wire(self.world.port, timeout=10) as wire:
                    self.work(wire)
            except Ends:
                time.sleep(0.01)
            except Exception as error:
                self.broken = f"{type(self).__name__} {self.index}: {error!r}"
                return

    def work(self, wire: Wire) -> None:
        raise NotImplementedError

    def answer(self, frame: Frame) -> Frame:
        if frame.code not in (OK, DATA):
            raise Lost(f"an error where none should be: {frame.error}")
        return frame


class Producer(Program):
    """Pushes to the queue, or appends to the stream, with a window of requests under way."""

    sent = 0

    def request(self, number: int) -> bytes:
        raise NotImplementedError

    def told(self, value: int, outcome: Outcome, answer: bytes) -> None:
        raise NotImplementedError

    def work(self, wire: Wire) -> None:
        under_way: list[int] = []
        try:
            while not self.world.stopping or under_way:
                batch = b""
                while len(under_way) < WINDOW and not self.world.stopping:
                    self.sent += 1
                    under_way.append(self.sent)
                    batch += self.request(self.sent)
                wire.send(batch)
                answer = self.answer(wire.frame())
                self.told(number_of(self.index, under_way.pop(0)), Outcome.OK, answer.payload)
        finally:
            for number in under_way:
                self.told(number_of(self.index, number), Outcome.UNKNOWN, b"")


class Pusher(Producer):
    def request(self, number: int) -> bytes:
        return request(0x11, number, string(self.level) + b("u32=1 00") + body(self.index, number))

    def told(self, value: int, outcome: Outcome, answer: bytes) -> None:
        self.world.queue[self.level].append(Pushed(value, outcome))


class Appender(Producer):
    def request(self, number: int) -> bytes:
        return request(0x31, number, string(self.level) + u32(1) + u16(0) + body(self.index, number))

    def told(self, value: int, outcome: Outcome, answer: bytes) -> None:
        seq = struct.unpack_from(">Q", answer, 4)[0] if outcome is Outcome.OK else 0
        self.world.stream[self.level].append(Sent(self.index, value, outcome, seq))
        self.world.group[self.level].append(Pushed(value, outcome))


class Consumer(Program):
    """Takes from the queue, acknowledges a share, gives back another, and keeps the rest until it is killed."""

    def work(self, wire: Wire) -> None:
        while not self.world.stopping:
            leases = self.take(wire, WAIT_MS)
            done = [one for one in leases if self.random.random() < SETTLED_SHARE]
            back = [one for one in leases if one not in done and self.random.random() < 0.5]
            self.settle(wire, done)
            if back:
                payload = b("02 i0 s'why'") + u32(len(back)) + b"".join(one[0] for one in back)
                self.answer(wire.call(0x1D, string(self.level) + payload))

    def take(self, wire: Wire, wait_ms: int, most: int = BATCH) -> list[tuple[bytes, int]]:
        """Leases, each with its value."""
        began = time.monotonic()
        payload = string(self.level) + u32(most) + u32(wait_ms)
        leases = received(self.answer(wire.call(0x1C, payload)).payload)
        ended = time.monotonic()
        history = self.world.queue[self.level]
        history += [Received(number_of(*what), attempt, began, ended) for _, _, attempt, what in leases]
        return [(id + token, number_of(*what)) for id, token, _, what in leases]

    def settle(self, wire: Wire, leases: list[tuple[bytes, int]]) -> None:
        outcomes = dict.fromkeys(range(len(leases)), Outcome.UNKNOWN)
        try:
            payload = string(self.level) + b("00") + u32(len(leases)) + b"".join(one[0] for one in leases)
            answer = self.answer(wire.call(0x1D, payload)).payload
            outcomes = dict.fromkeys(outcomes, Outcome.OK)
            for place in range(struct.unpack_from(">I", answer)[0]):
                outcomes[struct.unpack_from(">I", answer, 4 + 5 * place)[0]] = Outcome.REFUSED
        finally:
            ended = time.monotonic()
            self.world.queue[self.level] += [
                Settled(value, outcomes[place], ended) for place, (_, value) in enumerate(leases)
            ]

    def drain(self, wire: Wire) -> None:
        """Take and acknowledge everything."""
        while leases := self.take(wire, 0, 1_000):
            self.settle(wire, leases)


class Member(Program):
    """The same with a consumer group of the stream."""

    def work(self, wire: Wire) -> None:
        head = self.enter(wire)
        while not self.world.stopping:
            leases = self.take(wire, head, WAIT_MS)
            done = [one for one in leases if self.random.random() < SETTLED_SHARE]
            back = [one for one in leases if one not in done and self.random.random() < 0.5]
            self.settle(wire, head, done)
            payload = b("04") + head + b("i0 s'why'") + u32(len(back)) + b"".join(one[0] for one in back)
            self.answer(wire.call(0x3F, payload))

    def enter(self, wire: Wire) -> bytes:
        names = string(self.level) + b("s'g'")
        answer = self.answer(wire.call(0x33, names)).payload
        return names + answer[16:] + answer[8:16]

    def take(self, wire: Wire, head: bytes, wait_ms: int, most: int = BATCH) -> list[tuple[bytes, int]]:
        began = time.monotonic()
        payload = b("03") + head + u32(most) + u32(wait_ms)
        answer = self.answer(wire.call(0x3F, payload)).payload
        ended = time.monotonic()
        found: list[tuple[bytes, int]] = []
        at = 4
        for _ in range(struct.unpack_from(">I", answer)[0]):
            attempts = MEMBER_HEAD.unpack_from(answer, at)[3]
            lease = answer[at : at + 24]
            at += MEMBER_HEAD.size
            _, producer, number = VALUE.unpack_from(answer, at + 14)
            at += 14 + VALUE.size + 4
            found.append((lease, number_of(producer, number)))
            self.world.group[self.level].append(Received(found[-1][1], attempts, began, ended))
        return found

    def settle(self, wire: Wire, head: bytes, leases: list[tuple[bytes, int]]) -> None:
        outcomes = {lease: Outcome.UNKNOWN for lease, _ in leases}
        try:
            payload = head + u32(len(leases)) + b"".join(lease for lease, _ in leases)
            answer = self.answer(wire.call(0x3E, payload)).payload
            count = struct.unpack_from(">I", answer)[0]
            refused = set(struct.unpack_from(f">{count}Q", answer, 4))
            for lease in outcomes:
                fenced = struct.unpack_from(">Q", lease)[0] in refused
                outcomes[lease] = Outcome.REFUSED if fenced else Outcome.OK
        finally:
            ended = time.monotonic()
            self.world.group[self.level] += [
                Settled(value, outcomes[lease], ended) for lease, value in leases
            ]

    def drain(self, wire: Wire) -> None:
        head = self.enter(wire)
        while leases := self.take(wire, head, 0, 1_000):
            self.settle(wire, head, leases)


class Reader(Program):
    """Follows the stream: the first one from where it was, the others from the beginning with each connection."""

    at = 1

    def work(self, wire: Wire) -> None:
        anew = self.at == 1 or self.index > 0
        if anew:
            self.at = 1
        while not self.world.stopping:
            anew = self.poll(wire, WAIT_MS, anew)

    def poll(self, wire: Wire, wait_ms: int, anew: bool) -> bool:
        payload = b("01") + string(self.level) + b("02") + u64(self.at) + u32(0) + u32(0) + u32(wait_ms)
        answer = self.answer(wire.call(0x3F, payload)).payload
        following = struct.unpack_from(">Q", answer)[0]
        self.world.stream[self.level].append(Polled(self.index, tuple(records_in(answer)), anew))
        self.at = following
        return False

    def to_the_end(self, wire: Wire) -> None:
        self.at = 1
        anew = True
        last = -1
        while self.at != last:
            last = self.at
            anew = self.poll(wire, 0, anew)


def records_in(answer: bytes) -> Iterator[tuple[int, int]]:
    """(sequence, value) of an answer of READ."""
    place = 28
    for _ in range(struct.unpack_from(">I", answer, 24)[0]):
        seq, count, _ = struct.unpack_from(">QII", answer, place)
        place += 16
        for index in range(count):
            _, producer, number = VALUE.unpack_from(answer, place + 14)
            yield seq + index, number_of(producer, number)
            place += 14 + VALUE.size + 4


def body(producer: int, number: int) -> bytes:
    return string(VALUE.pack(0, producer, number))


def number_of(producer: int, number: int) -> int:
    return producer << 40 | number


def run(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """The whole of it; the figures. Raises Lost with the anomalies."""
    world = World()
    chance = random.Random(seed)
    programs: list[Program] = []
    for level in LEVELS:
        programs += [kind(world, level, index) for kind in (Pusher, Appender) for index in range(PRODUCERS)]
        programs += [
            kind(world, level, index) for kind in (Consumer, Member, Reader) for index in range(CONSUMERS)
        ]
    for life in range(kills + 1):
        with Serving("--data-dir", str(folder)) as server:
            if life == 0:
                create(server.port)
            world.port = server.port
            if life == 0:
                for program in programs:
                    program.start()
            time.sleep(chance.uniform(0.05, 0.6))
            if life < kills:
                server.process.kill()
                continue
            world.stopping = True
            for program in programs:
                program.join(30)
            for level in LEVELS:
                with Wire(server.port, timeout=60) as wire:
                    Consumer(world, level, 99).drain(wire)
                    Member(world, level, 99).drain(wire)
                    Reader(world, level, 99).to_the_end(wire)
    broken = [program.broken for program in programs if program.broken]
    if broken:
        raise Lost("; ".join(broken))
    return judge(world, kills)


def create(port: int) -> None:
    with Wire(port) as wire:
        for level in LEVELS:
            of_queue = {"durability": level, "max_deliveries": 1_000_000, "backoff": "none"}
            of_stream = {"durability": level, "max_deliveries": 0, "max_ack_pending": 1_000_000}
            for code, options in ((0x10, of_queue), (0x30, of_stream)):
                answer = wire.call(code, string(level) + b"\4" + json.dumps(options).encode())
                assert answer.code == DATA, answer.error


def judge(world: World, kills: int) -> dict[str, int]:
    found: dict[str, object] = {}
    figures = {
        "kills": kills,
        "pushed": 0,
        "appended": 0,
        "received": 0,
        "settled": 0,
        "polled": 0,
        "recovered": 0,
    }
    for level in LEVELS:
        for what, history in (("queue", world.queue[level]), ("group", world.group[level])):
            for kind, values in queue.anomalies(history).items():
                found[f"{level} {what} {kind}"] = values[:5]
            figures["recovered"] += queue.recovered(history)
            figures["received"] += sum(isinstance(one, Received) for one in history)
            figures["settled"] += sum(
                isinstance(one, Settled) and one.outcome is Outcome.OK for one in history
            )
        for kind, ones in log.anomalies(world.stream[level]).items():
            found[f"{level} stream {kind}"] = ones[:5]
        figures["polled"] += sum(len(one.records) for one in world.stream[level] if isinstance(one, Polled))
        figures["pushed"] += confirmed(world.queue[level])
        figures["appended"] += confirmed(world.group[level])
    if found:
        raise Lost(f"{found}; {figures}")
    return figures


def confirmed(history: list[queue.Event]) -> int:
    return sum(isinstance(one, Pushed) and one.outcome is Outcome.OK for one in history)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexo-kill-") as folder:
        try:
            print(json.dumps(run(Path(folder), chosen.kills, chosen.seed)), flush=True)
        except Lost as error:
            print(f"seed {chosen.seed}: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
