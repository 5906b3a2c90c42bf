"""What clients were told, and what must therefore be there: the model that a simulated node is compared with.

A *step* is something that a client asked for. After a crash what a step did

    must be there   when its answer promised that: `lasts`
    may be there    when there was no answer yet
    is not there    when it was refused, or was never asked for

A message that was pushed is there until a step that ended it (an ack, a purge, …): if that step lasts, it
never comes back. Of a stream there is a beginning of what was appended. Knows no broker and no disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY


def check(right: bool, wrong: str) -> None:
    """Raises AssertionError, also where assertions are switched off."""
    if not right:
        raise AssertionError(wrong)


@dataclass
class Step:
    """What a client asked for. `seen`: it was found after a restart, and so is on disk."""

    level: int
    batch: int
    confirmed: bool = False
    refused: bool = False
    seen: bool = False


@dataclass(frozen=True)
class End:
    """How a process ended: with the power or alone, and the last batch that the node knew to be on disk.

    `back`: the clock of the next life is behind.
    """

    power: bool
    synced: int
    back: bool = False


def lasts(step: Step, end: End) -> bool:
    """Whether what a step did must be there after this end."""
    if step.seen:
        return True
    if step.refused or step.level == MEMORY:
        return False
    if step.batch <= end.synced:
        return True
    return step.confirmed and step.level >= (FSYNC if end.power else FLUSH)


def seen_before() -> Step:
    """A step of an earlier life whose outcome is on disk."""
    return Step(FSYNC, 0, confirmed=True, seen=True)


@dataclass
class Message:
    """One message. `pushes`: the push, and repeated ones that were answered with this message.

    `ids` are all under which it may be there: a redrive gives a new one.
    """

    value: bytes
    pushes: list[Step]
    group: bytes = b""
    expires_at: int = 0
    attempts: int = 0
    ids: set[int] = field(default_factory=set)
    ends: list[Step] = field(default_factory=list)
    lent: list[tuple[int, Step]] = field(default_factory=list)
    """The attempts of its deliveries, each with the step that tells when it left."""


@dataclass
class Key:
    """A dedup key. `sure`: a push with it must be known as a repeated one.

    `loose`: the clock has gone back since, so its window, or that of a push before, may be open again.
    """

    id: int
    until: int
    push: Step
    sure: bool = True
    loose: bool = False


@dataclass
class QueueModel:
    """One queue, from its creation to its deletion. `leases`: id to the (token, deadline) that was given last.

    `here` are the ids that are there, `died` when those of them died that are dead letters.
    """

    number: int
    name: bytes
    level: int
    made: Step
    gone: list[Step] = field(default_factory=list)
    by_id: dict[int, Message] = field(default_factory=dict)
    keys: dict[bytes, Key] = field(default_factory=dict)
    leases: dict[int, tuple[int, int]] = field(default_factory=dict)
    here: set[int] = field(default_factory=set)
    died: dict[int, int] = field(default_factory=dict)

    def messages(self) -> Iterable[Message]:
        return {message.value: message for message in self.by_id.values()}.values()

    def pushed(self, message: Message, id: int) -> None:
        check(id not in self.here, f"id {id} is given twice in {self.name!r}")
        message.ids.add(id)
        self.by_id[id] = message
        self.here.add(id)

    def moved(self, old: int, new: int) -> None:
        """A redrive: the same message under another id."""
        message = self.by_id[old]
        message.attempts = 0
        message.lent = []
        message.expires_at = 0
        self.here.discard(old)
        self.pushed(message, new)

    def refuse(self) -> None:
        """Pushes that were refused for want of room never were."""
        for id, message in list(self.by_id.items()):
            if message.pushes[0].refused and id not in self.here:
                del self.by_id[id]

    def now_here(self, ids: set[int], now: int, step: Step, may_go: Iterable[int]) -> None:
        """These messages are in the queue now; some of the others ended with this step, and may have."""
        strangers = ids - self.here
        check(not strangers, f"{self.name!r} has messages {strangers}, which nobody pushed")
        may = set(may_go)
        for id in self.here - ids:
            message = self.by_id[id]
            expired = 0 < message.expires_at <= now
            refused = message.pushes[0].refused
            check(
                id in may or expired or refused,
                f"message {id} {message.value[:9]!r} of {self.name!r} is gone, and nobody ended it",
            )
            message.ends.append(step)
        self.here = ids

    def restarted(self, present: dict[bytes, list[tuple[int, int, int]]], now: int, end: End) -> None:
        """Compare with (id, attempts, end of life) of each value that is there after a restart; then that is how it is."""
        known = {message.value: message for message in self.messages()}
        check(self.level != MEMORY or not present, f"{self.name!r} is of level memory, and has messages")
        for value, places in present.items():
            message = known.get(value)
            check(message is not None, f"{self.name!r} has {value[:9]!r}, which is gone or was never pushed")
            assert message is not None
            check(len(places) == 1, f"{value[:9]!r} is in {self.name!r} {len(places)} times")
            check(places[0][0] in message.ids, f"{value[:9]!r} of {self.name!r} has an id that it never had")
            for attempt, step in message.lent:
                check(
                    places[0][1] >= attempt or not lasts(step, end),
                    f"attempt {attempt} of {value[:9]!r} in {self.name!r} left, and {places[0][1]} are known",
                )
            message.lent = []
            ended = any(lasts(step, end) for step in message.ends)
            check(not ended, f"{value[:9]!r} of {self.name!r} was ended for good, and came back")
        for message in known.values():
            promised = any(lasts(push, end) for push in message.pushes)
            if promised and not message.ends and self.level != MEMORY:
                check(
                    message.value in present,
                    f"{message.value[:9]!r} of {self.name!r} was confirmed, and is gone",
                )
        for key in self.keys.values():
            value = self.by_id[key.id].value if key.id in self.by_id else b""
            key.sure = value in present or (key.sure and lasts(key.push, end))
            key.loose = key.loose or end.back
            key.sure = key.sure and not key.loose
            key.push = seen_before()
        self.by_id = {}
        self.leases = {}
        for value, places in present.items():
            message = known[value]
            id, message.attempts, message.expires_at = places[0]
            message.ids = {id}
            message.pushes = [seen_before()]
            message.ends = []
            self.by_id[id] = message
        self.here = set(self.by_id)


@dataclass
class Record:
    """One record of a stream."""

    value: bytes
    key: bytes
    step: Step
    again: list[Step] = field(default_factory=list)
    """Appends that a producer repeated, and that were answered with this one."""


@dataclass
class GroupModel:
    """A consumer group. `acked`: the acks since the last seek; `over`: sequences that may count as settled."""

    number: int
    name: bytes
    made: Step
    generation: int = 0
    joins: list[tuple[int, Step]] = field(default_factory=list)
    acked: dict[int, Step] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    floor: int = 0
    """Up to here a seek may have skipped."""
    attempts: dict[int, int] = field(default_factory=dict)
    lent: dict[int, tuple[int, Step]] = field(default_factory=dict)
    """The attempts of the last delivery of a sequence, with the step that tells when it left."""
    letters: set[int] = field(default_factory=set)
    buried: dict[int, Step | None] = field(default_factory=dict)
    """Dead letters that were deleted, or moved by a step: if that is refused, they are there."""

    def letters_here(self, seqs: set[int]) -> None:
        """These are the dead letters now."""
        for seq in self.letters - seqs:
            moved = self.buried.get(seq)
            gone = seq in self.buried and (moved is None or not moved.refused)
            check(gone, f"dead letter {seq} of {self.name!r} is gone, and nobody deleted or moved it")
        for seq in seqs & self.buried.keys():
            del self.buried[seq]
        self.letters = seqs | {seq for seq, moved in self.buried.items() if moved is not None}
        self.over |= seqs

    def sought(self, floor: int) -> None:
        self.over |= set(self.acked)
        self.acked = {}
        self.attempts = {}
        self.lent = {}
        self.floor = max(self.floor, floor)

    def restarted(
        self, generation: int, settled: set[int], attempts: dict[int, int], first: int, end: End
    ) -> None:
        """Compare with what is settled after a restart, and tried, in a stream that begins at `first`."""
        for seq, (attempt, step) in self.lent.items():
            check(
                not lasts(step, end) or seq in settled or seq < first or attempts.get(seq, 0) >= attempt,
                f"attempt {attempt} of {seq} in {self.name!r} left, and {attempts.get(seq, 0)} are known",
            )
        self.lent = {}
        self.attempts = attempts
        for given, step in self.joins:
            check(
                not lasts(step, end) or generation >= given,
                f"generation {given} of {self.name!r} was given and confirmed, and it is {generation} now",
            )
        for seq in settled:
            check(
                seq in self.acked or seq in self.over or seq <= self.floor or seq < first,
                f"sequence {seq} of group {self.name!r} is settled, and nobody did that",
            )
        for seq, step in self.acked.items():
            check(
                not lasts(step, end) or seq in settled or seq < first,
                f"sequence {seq} of group {self.name!r} was acked for good, and comes again",
            )
        self.generation = generation
        self.joins = [(generation, seen_before())]
        self.made = seen_before()
        self.over = {seq for seq in self.over | set(self.acked) if seq in settled}
        self.acked = {seq: seen_before() for seq in self.acked if seq in settled}


@dataclass
class StreamModel:
    """One stream. `visible` is the highest sequence that a client was given.

    Records before `first` are gone by retention; they may come back if the end of the log is lost.
    """

    number: int
    name: bytes
    level: int
    made: Step
    gone: list[Step] = field(default_factory=list)
    records: dict[int, Record] = field(default_factory=dict)
    producers: dict[tuple[bytes, int], tuple[int, int]] = field(default_factory=dict)
    groups: dict[int, GroupModel] = field(default_factory=dict)
    first: int = 1
    visible: int = 0

    @property
    def next(self) -> int:
        return max([self.first - 1, *self.records]) + 1

    def refuse(self) -> None:
        """Appends that were refused never were: the last ones, and nothing before them."""
        lost = [seq for seq, record in self.records.items() if record.step.refused]
        if lost:
            cut = min(lost)
            kept = [seq for seq, one in self.records.items() if seq >= cut and not one.step.refused]
            check(self.level == MEMORY or not kept, f"{kept} of {self.name!r} follow a refused append")
            self.cut(cut)

    def cut(self, next_seq: int) -> None:
        """Sequences from this one on are to be given again."""
        self.records = {seq: record for seq, record in self.records.items() if seq < next_seq}
        self.producers = {
            key: (first, count) for key, (first, count) in self.producers.items() if first < next_seq
        }

    def read(self, seq: int, value: bytes, key: bytes) -> None:
        """A client was given a record."""
        record = self.records.get(seq)
        check(record is not None, f"sequence {seq} of {self.name!r} was read, and never appended")
        assert record is not None
        check(
            (record.value, record.key) == (value, key), f"sequence {seq} of {self.name!r} reads {value[:9]!r}"
        )
        if self.level != MEMORY:
            check(not record.step.refused, f"sequence {seq} of {self.name!r} was refused, and is read")
        self.visible = max(self.visible, seq)

    def restarted(self, first: int, last: int, contents: dict[int, tuple[bytes, bytes]], end: End) -> None:
        """Compare with the records that are there after a restart; then that is how it is."""
        check(sorted(contents) == list(range(first, last + 1)), f"{self.name!r} has gaps: {sorted(contents)}")
        for seq, (value, key) in contents.items():
            record = self.records.get(seq)
            check(
                record is not None and (record.value, record.key) == (value, key),
                f"sequence {seq} of {self.name!r} is {value[:9]!r} after the restart",
            )
        for seq, record in self.records.items():
            if any(lasts(step, end) for step in (record.step, *record.again)):
                check(
                    seq <= last or seq < first, f"sequence {seq} of {self.name!r} was confirmed, and is gone"
                )
        if self.level == FSYNC or (self.level == FLUSH and not end.power):
            check(last >= self.visible, f"sequence {self.visible} of {self.name!r} was read, and is gone")
        if self.level != MEMORY:
            check(first <= self.first, f"{self.name!r} begins at {first}, and {self.first} was kept")
        self.first = first
        self.visible = last
        self.records = {seq: record for seq, record in self.records.items() if first <= seq <= last}
        for record in self.records.values():
            record.step = seen_before()
            record.again = []
        self.cut(last + 1)
