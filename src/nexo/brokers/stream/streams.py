"""All streams of a node: by name, their turn, their time, and what the log has of them.

The node calls `flush` when a turn ends (before the batch is closed), `settled` when the log has got further
and `advance` when something is due. Knows no protocol, no file and no clock.
"""

from __future__ import annotations

from typing import final

from librt.strings import write_i64_be
from mypy_extensions import i64

from nexo.brokers.journal import FLUSH, MEMORY, Journal
from nexo.brokers.moving import Moving
from nexo.brokers.stream.commons import Commons
from nexo.brokers.stream.definition import check, compare, complete
from nexo.brokers.stream.dump import DumpJob, write_create
from nexo.brokers.stream.group import Group, Member
from nexo.brokers.stream.moving import BlockMover
from nexo.brokers.stream.operations import DELETE
from nexo.brokers.stream.registry import Registry
from nexo.brokers.stream.replay import replay
from nexo.brokers.stream.stream import GroupCounters, Stream
from nexo.errors import InvalidArgumentError, LimitExceededError, ResourceNotFoundError
from nexo.limits import (
    KEY_BYTES_MAX,
    MEMBERSHIPS_PER_CONNECTION_MAX,
    STREAM_CACHE_BYTES_MAX,
    STREAM_TAIL_BYTES_MAX,
    STREAMS_MAX,
)


@final
class Counts:
    """What there is; `done`: what groups have done since the process began, those that are gone included."""

    __slots__ = (
        "appended",
        "bytes",
        "cache_bytes",
        "dead_letters",
        "done",
        "groups",
        "leased",
        "members",
        "records",
        "streams",
    )

    def __init__(self) -> None:
        self.done = GroupCounters()
        self.streams: i64 = 0
        self.records: i64 = 0
        # Visible records that there have ever been: the sum of last sequences, of streams that are gone as well.
        self.appended: i64 = 0
        self.bytes: i64 = 0
        self.cache_bytes: i64 = 0
        self.groups: i64 = 0
        self.members: i64 = 0
        self.leased: i64 = 0
        self.dead_letters: i64 = 0


@final
class Streams:
    """The streams of one node. `seed` makes consumer ids and the jitter of retries."""

    def __init__(
        self,
        journal: Journal,
        seed: int,
        cache_bytes_max: i64 = STREAM_CACHE_BYTES_MAX,
        tail_bytes_max: i64 = STREAM_TAIL_BYTES_MAX,
    ) -> None:
        self.commons = Commons(journal, seed, cache_bytes_max, tail_bytes_max)
        self._registry = Registry(self.commons)
        self._streams = self._registry.by_name

    def __len__(self) -> int:
        return len(self._streams)

    # Streams.

    def create(self, name: bytes, given: dict[str, int], now: i64) -> tuple[Stream, bool]:
        """The stream of a name, and whether it is new.

        `given` are options of stream_definition; the others take their defaults, or are not compared when the
        stream exists. Raises ResourceConfigConflictError, InvalidArgumentError, LimitExceededError.
        """
        stream = self._streams.get(name)
        if stream is not None:
            check(given)
            compare(name, given, stream.definition)
            return stream, False
        if not name:
            raise InvalidArgumentError("a stream's name must not be empty")
        if len(name) > KEY_BYTES_MAX:
            raise LimitExceededError(f"stream name of {len(name)} bytes: key_bytes_max is {KEY_BYTES_MAX}")
        if len(self._streams) >= STREAMS_MAX:
            raise LimitExceededError(f"streams_max is {STREAMS_MAX}")
        stream = self._registry.adopt(self._registry.next_number, name, complete(given), now)
        if self.commons.journal.keeping:
            write_create(self.commons.journal, stream)
        return stream, True

    def exists(self, name: bytes) -> bool:
        return name in self._streams

    def find(self, name: bytes) -> Stream:
        """The stream of a name. Raises ResourceNotFoundError."""
        stream = self._streams.get(name)
        if stream is None:
            raise ResourceNotFoundError(f"there is no stream {name.decode(errors='replace')}")
        return stream

    def names(self) -> list[bytes]:
        """The names of all streams, in the order of creation."""
        return list(self._streams)

    def delete(self, name: bytes, now: i64) -> None:
        """Forgets a stream with its groups and dead letters. Raises ResourceNotFoundError."""
        stream = self.find(name)
        journal = self.commons.journal
        if journal.keeping:
            out = journal.begin(DELETE, max(stream.definition.durability, FLUSH))
            write_i64_be(out, stream.number)
            journal.end()
        self._registry.forget(stream)

    # Consumers.

    def join(self, stream: Stream, name: bytes, consumer: object, now: i64) -> Member:
        """Makes a consumer a member of a group, which is created if need be, until it leaves or is dropped.

        Raises LimitExceededError.
        """
        if len(self.commons.members.get(consumer, {})) >= MEMBERSHIPS_PER_CONNECTION_MAX:
            raise LimitExceededError(
                f"memberships_per_connection_max is {MEMBERSHIPS_PER_CONNECTION_MAX}: leave a group first"
            )
        return stream.group(name, now).join(consumer, now)

    def drop(self, consumer: object, now: i64) -> None:
        """A consumer has gone: it leaves all its groups, and its waiting fetches end."""
        for membership in list(self.commons.members.get(consumer, {}).values()):
            membership.end(now)

    # The turn, the log and time.

    def flush(self, now: i64) -> None:
        """Ends a turn: records what was appended, then serves those who wait. Call it before the batch closes."""
        commons = self.commons
        if commons.opened:
            commons.close(now)
        commons.agenda.serve(now)
        if commons.opened:  # by those who were served
            commons.close(now)

    def settled(self) -> None:
        """The log has got further: shows what has settled. `flush` then serves those who wait for it."""
        self.commons.settled()

    def withdraw(self, first_batch: i64) -> None:
        """Batches from this one on have failed, the open one included: forgets what they appended and created.

        What is of level memory was confirmed at once, and stays: see `keeps`. Acks and deliveries stay as they are; after
        a restart such messages come again.
        """
        self.commons.withdraw(first_batch)
        for stream in list(self._registry.by_number.values()):
            if stream.definition.durability != MEMORY:  # else it is confirmed, and goes into the next batch
                stream.drop_open()
            created = stream.created_batch
            level = max(stream.definition.durability, FLUSH)
            if created >= first_batch and not self.commons.journal.settled(created, level):
                self._registry.forget(stream)
        for group in list(self._registry.numbers.groups.values()):
            recorded = group.recorded_batch
            level = group.log.definition.durability
            if recorded >= first_batch and not self.commons.journal.settled(recorded, level):
                stream = self._registry.by_number[group.log.number]
                stream.forget_group(group)

    def keeps(self, number: i64, first_seq: i64) -> bool:
        """Whether what a stream did stays although its batch has failed: it is there, and of level memory.

        `first_seq` is that of an append, else 0: one that waited for a batch across brokers is gone with it.
        """
        stream = self._registry.by_number.get(number)
        if stream is None or stream.definition.durability != MEMORY:
            return False
        return first_seq < stream.next_seq

    def advance(self, now: i64, budget: i64) -> i64:
        """Does what is due: retention, leases, retries, deadlines of those who wait, idle groups.

        Gives the time at which it wants to be called again: 0 for never, at or before `now` when the budget
        (small steps) did not suffice.
        """
        return self.commons.agenda.advance(now, budget)

    def apply(self, kind: i64, data: bytes, start: i64, end: i64, address: i64, now: i64) -> None:
        """Replays one operation, whose body is `data[start:end]` and lies at an address of the log.

        Address 0 is a body that cannot be read again: its blocks stay in memory. Raises StorageError.
        """
        replay(self._registry, kind, data, start, end, address, now)

    def recovered(self) -> None:
        """All operations have been applied again."""
        for group in self._registry.numbers.groups.values():
            group.recovered()

    def dump(self, journal: Journal) -> DumpJob:
        """Writes the present state to a snapshot, a portion at each step: see DumpJob."""
        return DumpJob(self._registry, journal)

    def mover(self, moving: Moving) -> BlockMover:
        """Writes blocks once more, whose files are to go; see brokers/moving.py."""
        return BlockMover(moving, list(self._registry.by_number.values()))

    def counts(self) -> Counts:
        """Totals over all streams and groups, for metrics; the work is that of walking over them."""
        counts = Counts()
        counts.appended = self._registry.gone_appended
        counts.done.add(self._registry.numbers.gone)
        for stream in self._streams.values():
            counts.streams += 1
            counts.records += stream.last_seq - stream.first_seq + 1
            counts.appended += stream.last_seq
            counts.bytes += stream.blocks.bytes
        for group in self._registry.numbers.groups.values():
            backlog = group.backlog
            counts.groups += 1
            counts.members += len(group.members)
            counts.leased += backlog.leases.count
            counts.dead_letters += len(backlog.letters)
            counts.done.add_group(group)
        counts.cache_bytes = self.commons.cache.bytes
        return counts

    @property
    def groups(self) -> list[Group]:
        """All groups of all streams."""
        return list(self._registry.numbers.groups.values())
