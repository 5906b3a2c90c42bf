"""Pushes and appends in one process at level flush: brokers, journal, log and its thread, no socket. Prints JSON.

A turn is what a server's would be after one read: some hundreds of commands, then one batch. The loop around
them is plain interpreted Python, as a user's would be.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue

from nexo.brokers.journal import FLUSH
from nexo.node import Driver, Node, make_node
from nexo.storage.batch import Batch, Hooks, Report
from nexo.storage.files import Files
from nexo.storage.log import Log
from nexo.storage.recovery import Recovery
from nexo.storage.thread import ThreadedWriter
from nexo.storage.writer import Writer

MESSAGES = 1_000_000
TURN_MESSAGES = 500
VALUE = b"\x00" + b"v" * 100


class Clock(Driver):
    """Node time; turns are ended by the loop below."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def turn_opened(self) -> None:
        pass


class Settling(Hooks):
    """Tells the node."""

    node: Node

    def settled(self) -> None:
        self.node.settled()

    def failed(self, first_batch: int, error: str, lost: list[Batch], recoverable: bool) -> None:
        raise RuntimeError(error)


class Place:
    """A node with its log in a folder."""

    def __init__(self, folder: Path) -> None:
        files = Files(str(folder))
        files.make_folder()
        files.lock()
        recovery = Recovery(files)
        for _ in recovery.replay():
            pass
        hooks = Settling()
        self.log = Log(files, hooks)
        self.node = hooks.node = make_node(Clock(), self.log)
        self.reports: SimpleQueue[Report] = SimpleQueue()
        writer = Writer(files, recovery.start, self.reports.put)
        self.thread = ThreadedWriter(writer, lambda: time.monotonic_ns() // 1_000_000)
        self.log.go_on(self.thread, recovery.start)
        self.thread.start()

    def settle(self) -> None:
        """Take what the writer has reported."""
        while not self.reports.empty():
            self.log.settle(self.reports.get())

    def finish(self) -> None:
        """End the turn, and wait until everything is written."""
        self.node.turn()
        while self.log.written < self.log.batch - 1:
            self.log.settle(self.reports.get())
        self.node.turn()

    def stop(self) -> None:
        self.log.finish()
        self.thread.stop()


def push_all(place: Place) -> float:
    """Seconds to push all messages, until they are confirmed."""
    queue = place.node.queues.create(b"q", {"durability": "flush"}, place.node.begin())[0]
    place.finish()
    push = queue.push
    began = time.perf_counter()
    for _ in range(MESSAGES // TURN_MESSAGES):
        now = place.node.begin()
        for _ in range(TURN_MESSAGES):
            push(VALUE, 0, now)
        place.node.turn()
        place.settle()
    place.finish()
    return time.perf_counter() - began


def append_all(place: Place) -> float:
    """The same with a stream."""
    stream = place.node.streams.create(b"s", {"durability": FLUSH}, place.node.begin())[0]
    place.finish()
    append = stream.append
    began = time.perf_counter()
    for _ in range(MESSAGES // TURN_MESSAGES):
        now = place.node.begin()
        for _ in range(TURN_MESSAGES):
            append(b"", VALUE, b"", now)
        place.node.turn()
        place.settle()
    place.finish()
    return time.perf_counter() - began


def main() -> None:
    """Run as many rounds as the argument says."""
    rounds: dict[str, list[float]] = {"push": [], "append": []}
    for _ in range(int(sys.argv[1])):
        for name, measure in (("push", push_all), ("append", append_all)):
            with tempfile.TemporaryDirectory(prefix="nexo-bench-") as folder:
                place = Place(Path(folder))
                rounds[name].append(MESSAGES / measure(place))
                place.stop()
    sys.stdout.write(json.dumps(rounds) + "\n")


if __name__ == "__main__":
    main()
