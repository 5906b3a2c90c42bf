"""What comes into a queue: checked, deduplicated, made room for, recorded, and held back until it is durable.

A pushed message is *staged* until its batch of the journal has got as far as the queue's level promises;
without a journal it is ready at once. Owns the staged messages and the policy at a full queue.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.queue.definition import DROP_OLDEST, REJECT
from nexo.brokers.queue.message import GONE, STAGED, Item, QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.errors import InvalidArgumentError, LimitExceededError
from nexo.limits import (
    HEADERS_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGES_PER_PUSH_MAX,
    QUEUE_KEY_BYTES_MAX,
    TTL_MS_MAX,
)

PRIORITY_MAX: Final = 255
OVERFLOW: Final = b"overflow: the queue was full"


@final
class StagedBatch:
    """Messages of one batch of the journal that wait for the same level, in the order of their ids."""

    __slots__ = ("batch", "first", "level", "messages")

    def __init__(self, batch: i64, level: i64) -> None:
        self.batch = batch
        self.level = level
        self.messages: list[QueueMessage] = []
        self.first: i64 = 0  # before this one all are gone


@final
class Ahead:
    """What is to be pushed before something else: dedup keys, and how much it is."""

    __slots__ = ("count", "keys", "size")

    def __init__(self) -> None:
        self.keys: dict[bytes, None] = {}
        self.count: i64 = 0
        self.size: i64 = 0


@final
class Intake:
    """The way into one queue."""

    __slots__ = ("_listed", "_parts", "_staged", "buried", "staged", "staged_bytes")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._staged: list[StagedBatch] = []
        self._listed = False  # whether the agenda knows that there are staged messages
        self.buried: dict[int, None] = {}  # ids of dead letters whose push is not durable yet
        self.staged: i64 = 0
        self.staged_bytes: i64 = 0

    def push(self, value: bytes, priority: i64, now: i64) -> i64:
        """Adds a message that has nothing but a value and a priority; gives its id."""
        parts = self._parts
        size: i64 = len(value)
        if size > MESSAGE_BYTES_MAX or size == 0 or priority < 0 or priority > PRIORITY_MAX:
            check(Item(value, priority), now)
        if parts.definition.limited:
            self._make_room(1, size, now)
        message = QueueMessage(parts.next_id, value, priority, now)
        parts.next_id += 1
        message.size = size
        parts.backlog.add(message)
        parts.counters.pushed += 1
        if parts.records.keeping():
            parts.records.pushed(message, now)
            self._stage(message)
        else:
            parts.backlog.place(message, now)
            parts.wake()
        return message.id

    def push_many(self, items: list[Item], now: i64) -> list[i64]:
        """Adds messages, all or none; gives an id for each, for a duplicate that of the first."""
        parts = self._parts
        ahead = Ahead()
        self.check(items, ahead, now)
        if parts.definition.limited and ahead.count > 0:
            self._make_room(ahead.count, ahead.size, now)
        ids: list[i64] = []
        messages: list[QueueMessage] = []
        for item in items:
            if item.dedup:
                known = parts.dedup.known(item.dedup, now)
                if known != 0:
                    item.duplicate = True
                    parts.counters.deduplicated += 1
                    ids.append(known)
                    continue
            message = self._message(item, now)
            ids.append(message.id)
            messages.append(message)
        if not messages:
            return ids
        parts.counters.pushed += len(messages)
        if parts.records.keeping():
            parts.records.pushed_many(messages, now)
            for message in messages:
                self._stage(message)
        elif parts.records.raised():
            for message in messages:
                self._stage(message)
        else:
            for message in messages:
                parts.backlog.place(message, now)
                parts.due(message.due_at)
            parts.wake()
        return ids

    def check(self, items: list[Item], ahead: Ahead, now: i64) -> None:
        """Raises what `push_many` would, once what is `ahead` has been pushed; then these are ahead, too."""
        if len(items) > MESSAGES_PER_PUSH_MAX:
            raise LimitExceededError(
                f"MESSAGES_PER_PUSH_MAX ({MESSAGES_PER_PUSH_MAX}) is below {len(items)} messages in one push"
            )
        parts = self._parts
        for item in items:
            check(item, now)
            if item.dedup:
                if item.dedup in ahead.keys or parts.dedup.known(item.dedup, now) != 0:
                    continue
                ahead.keys[item.dedup] = None
            ahead.count += 1
            ahead.size += len(item.value) + len(item.headers)
        parts.dedup.check_room(len(ahead.keys))
        if parts.definition.limited and ahead.count > 0:
            self._check_room(ahead.count, ahead.size)

    def _message(self, item: Item, now: i64) -> QueueMessage:
        """A new message with its id, known to the backlog and waiting nowhere yet."""
        parts = self._parts
        message = QueueMessage(parts.next_id, item.value, item.priority, now)
        parts.next_id += 1
        message.size = len(item.value) + len(item.headers)
        if item.due_at > now:
            message.due_at = item.due_at
        elif item.delay_ms > 0:
            message.due_at = now + item.delay_ms
        if item.ttl_ms > 0:
            message.expires_at = now + item.ttl_ms
            parts.due(message.expires_at)
        if item.dedup or item.group or item.headers:
            extras = message.more()
            extras.group = item.group
            extras.headers = item.headers
            extras.headers_bytes = len(item.headers)
            extras.dedup = item.dedup
        if item.dedup:
            until = now + parts.definition.dedup_window_ms
            parts.dedup.add(item.dedup, message.id, until)
            parts.due(until)
        parts.backlog.add(message)
        return message

    # Durability.

    def _stage(self, message: QueueMessage) -> None:
        message.state = STAGED
        self.staged += 1
        self.staged_bytes += message.size
        batch = self._parts.records.batch()
        level = self._parts.records.level()
        if not self._staged or self._staged[-1].batch != batch or self._staged[-1].level != level:
            self._staged.append(StagedBatch(batch, level))
            if not self._listed:
                self._listed = True
                self._parts.agenda.staging.append(int(self._parts.number))
        self._staged[-1].messages.append(message)

    def newest_batch(self) -> i64:
        """The batch whose settling confirms all pushes so far, 0 when they are confirmed."""
        return self._staged[-1].batch if self._staged else 0

    def settle(self, now: i64) -> bool:
        """Releases what has become durable; whether anything is still staged."""
        parts = self._parts
        waiting: list[StagedBatch] = []
        late: list[QueueMessage] = []
        for staged in self._staged:
            if not parts.records.settled(staged.batch, staged.level):
                waiting.append(staged)
                continue
            for message in staged.messages:
                if self.buried:
                    self.buried.pop(int(message.id), None)
                if message.state == STAGED:
                    self.staged -= 1
                    self.staged_bytes -= message.size
                    if message.expires_at != 0 and message.expires_at <= now:
                        late.append(message)
                        continue
                    parts.backlog.place(message, now)
                    if message.due_at != 0:
                        parts.due(message.due_at)
        if len(waiting) < len(self._staged):
            self._staged = waiting
            if late:
                parts.expire(late, now)
            parts.wake()
        self._listed = len(self._staged) > 0
        return self._listed

    def withdraw(self, first_batch: i64) -> None:
        """Forgets what was staged in this batch and those after it: it was answered with an error."""
        parts = self._parts
        kept: list[StagedBatch] = []
        for staged in self._staged:
            if staged.batch < first_batch:
                kept.append(staged)
                continue
            for message in staged.messages:
                extras = message.extras
                if extras is not None and extras.dedup:
                    parts.dedup.withdraw(extras.dedup, message.id)
                if message.state == STAGED:
                    self._unstage(message)
                    parts.backlog.finish(message)
                    continue
                self.buried.pop(int(message.id), None)
                letter = parts.dead.get(message.id)
                if letter is not None:  # it had to make room for another
                    parts.dead.remove(letter)
        self._staged = kept

    def _unstage(self, message: QueueMessage) -> None:
        self.staged -= 1
        self.staged_bytes -= message.size

    def removed(self, message: QueueMessage) -> None:
        """Told that a staged message is about to be taken out by hand."""
        self._unstage(message)

    def forget(self) -> None:
        """Told that all messages were given up at once. They stay in their batches: see `withdraw`."""
        for staged in self._staged:
            for message in staged.messages:
                message.state = GONE
        self.staged = 0
        self.staged_bytes = 0

    # A full queue.

    def _check_room(self, count: i64, size: i64) -> None:
        """Raises LimitExceededError when the overflow policy cannot make room for so much."""
        parts = self._parts
        definition = parts.definition
        backlog = parts.backlog
        fixed_count: i64 = 0
        fixed_bytes: i64 = 0
        if definition.overflow == REJECT:
            fixed_count = backlog.index.count
            fixed_bytes = backlog.bytes
        else:
            fixed_count = backlog.index.count - backlog.ready.count - self.staged
            fixed_bytes = backlog.bytes - backlog.ready.bytes - self.staged_bytes
        if definition.messages_max > 0 and fixed_count + count > definition.messages_max:
            raise LimitExceededError(
                f"queue {parts.title} is full: messages_max ({definition.messages_max}), and it holds "
                f"{backlog.index.count}"
            )
        if definition.bytes_max > 0 and fixed_bytes + size > definition.bytes_max:
            raise LimitExceededError(
                f"queue {parts.title} is full: bytes_max ({definition.bytes_max}), it holds {backlog.bytes} "
                f"and {size} more do not fit"
            )

    def _make_room(self, count: i64, size: i64, now: i64) -> None:
        """Applies the overflow policy. Raises LimitExceededError, and nothing has changed then."""
        self._check_room(count, size)
        parts = self._parts
        definition = parts.definition
        backlog = parts.backlog
        while (definition.messages_max > 0 and backlog.index.count + count > definition.messages_max) or (
            definition.bytes_max > 0 and backlog.bytes + size > definition.bytes_max
        ):
            staged = self.staged
            victim = self._victim()
            if victim is None:
                break
            if self.staged < staged and definition.overflow != DROP_OLDEST:
                self.buried[int(victim.id)] = None
            if definition.overflow == DROP_OLDEST:
                parts.counters.dropped += 1
                parts.discard([victim])
            else:
                parts.bury([victim], OVERFLOW, now)

    def _victim(self) -> QueueMessage | None:
        """The oldest ready message of the lowest priority, else the oldest staged one."""
        victim = self._parts.backlog.ready.last()
        if victim is not None:
            return victim
        for staged in self._staged:
            while staged.first < len(staged.messages):
                message = staged.messages[staged.first]
                staged.first += 1
                if message.state == STAGED:
                    self._unstage(message)
                    return message
        return None


def check(item: Item, now: i64) -> None:
    """Raises InvalidArgumentError or LimitExceededError for what no queue takes."""
    if not item.value:
        raise InvalidArgumentError("a message has no value: a value is at least its type")
    if len(item.value) > MESSAGE_BYTES_MAX:
        raise LimitExceededError(
            f"MESSAGE_BYTES_MAX ({MESSAGE_BYTES_MAX}) is below a value of {len(item.value)} bytes"
        )
    if not 0 <= item.priority <= PRIORITY_MAX:
        raise InvalidArgumentError(f"priority {item.priority}: it is 0 to {PRIORITY_MAX}")
    if len(item.headers) > HEADERS_BYTES_MAX:
        raise LimitExceededError(
            f"HEADERS_BYTES_MAX ({HEADERS_BYTES_MAX}) is below headers of {len(item.headers)} bytes"
        )
    for what, key in (("dedup", item.dedup), ("group", item.group)):
        if len(key) > QUEUE_KEY_BYTES_MAX:
            raise LimitExceededError(
                f"QUEUE_KEY_BYTES_MAX ({QUEUE_KEY_BYTES_MAX}) is below a {what} key of {len(key)} bytes"
            )
    if not 0 <= item.delay_ms <= TTL_MS_MAX:
        raise InvalidArgumentError(f"delay_ms {item.delay_ms}: it is 0 to {TTL_MS_MAX}")
    if not 0 <= item.due_at <= TTL_MS_MAX:
        raise InvalidArgumentError(f"due_at {item.due_at}: it is a time in ms, 0 to {TTL_MS_MAX}")
    if item.due_at != 0 and item.delay_ms != 0:
        raise InvalidArgumentError("delay_ms and due_at exclude each other")
    if not 0 <= item.ttl_ms <= TTL_MS_MAX:
        raise InvalidArgumentError(f"ttl_ms {item.ttl_ms}: it is 0 (for ever) to {TTL_MS_MAX}")
