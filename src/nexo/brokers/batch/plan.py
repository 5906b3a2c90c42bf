"""What the steps of a batch that were checked so far will have done: later ones are checked against it.

Of the store it is a small one of its own, with the keys of the batch as they are now, on which every step is
done by the store's own code. Of queues it is what is to be pushed, of streams what is to be appended.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.queue.intake import Ahead
from nexo.brokers.queue.queue import Queue
from nexo.brokers.store import Store
from nexo.brokers.stream.stream import Stream
from nexo.errors import InvalidArgumentError


@final
class StreamAhead:
    """What is to be appended to one stream: its last sequence then, and the last number of each producer."""

    __slots__ = ("last", "producers")

    def __init__(self, last: i64) -> None:
        self.last = last
        self.producers: dict[bytes, int] = {}


@final
class Plan:
    """One batch being checked. `place` is the step's whose turn it is, `last_writer` the last one's in the store.

    `keys` are what steps of the store are about, `sizes` the largest value that those will have which are there
    before, after or in between.
    """

    __slots__ = (
        "_queues",
        "_scratch",
        "_settled",
        "_store",
        "_streams",
        "keys",
        "last_writer",
        "now",
        "place",
        "sizes",
    )

    def __init__(self, store: Store, now: i64) -> None:
        self.now = now
        self.place: i64 = 0
        self.last_writer: i64 = 0
        self.keys: dict[bytes, None] = {}
        self.sizes: dict[bytes, int] = {}
        self._store = store
        self._scratch: Store | None = None
        self._queues: dict[int, Ahead] = {}
        self._streams: dict[int, StreamAhead] = {}
        self._settled: dict[tuple[bool, int, int], None] = {}

    # Store.

    def store(self, key: bytes) -> Store:
        """A store in which the key is what it will be; the step is done there, then `wrote` is called."""
        self.last_writer = self.place
        scratch = self._scratch
        if scratch is None:
            scratch = Store(first_version=self._store.version)
            self._scratch = scratch
        if key not in self.keys:
            self.keys[key] = None
            entry = self._store.lookup(key, self.now)
            if entry is not None:
                self.sizes[key] = len(entry.value)
                version = scratch.version
                scratch.version = entry.version - 1
                scratch.put(key, entry.value, self.now, expires_at=entry.expires_at)
                scratch.version = version
        return scratch

    def wrote(self, key: bytes) -> None:
        """A step on a key was done in `store`."""
        entry = self.store(key).lookup(key, self.now)
        if entry is not None:
            self.sizes[key] = max(self.sizes.get(key, 0), len(entry.value))

    # Queues and streams.

    def queue(self, queue: Queue) -> Ahead:
        """What is to be pushed to a queue."""
        ahead = self._queues.get(int(queue.number))
        if ahead is None:
            ahead = Ahead()
            self._queues[int(queue.number)] = ahead
        return ahead

    def stream(self, stream: Stream) -> StreamAhead:
        """What is to be appended to a stream."""
        ahead = self._streams.get(int(stream.number))
        if ahead is None:
            ahead = StreamAhead(stream.next_seq - 1)
            self._streams[int(stream.number)] = ahead
        return ahead

    def settle_once(self, in_queue: bool, number: i64, token: i64) -> bool:
        """Whether this is the first ack of a delivery: of a queue, or of a group, by their numbers."""
        name = (in_queue, int(number), int(token))
        first = name not in self._settled
        self._settled[name] = None
        return first


def check_rising(ahead: StreamAhead, producer: bytes, number: i64) -> None:
    """Raises InvalidArgumentError unless a producer's numbers rise within the batch."""
    last = ahead.producers.get(producer, -1)
    if number <= last:
        raise InvalidArgumentError(f"append {number} of a producer after its append {last} in the same batch")
    ahead.producers[producer] = int(number)
