"""What an operator does with a queue: look, delete, purge, pause, and bring dead letters back.

Functions on a queue's parts; nothing here is on the way of a message.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.queue.dead import DeadFilter, DeadLetter
from nexo.brokers.queue.intake import Intake
from nexo.brokers.queue.message import LEASED, STAGED, QueueMessage
from nexo.brokers.queue.parts import Parts
from nexo.errors import InvalidArgumentError
from nexo.limits import TTL_MS_MAX

UNTIL_RESUMED: Final = -1

_SCAN: Final = 10_000
"""Messages looked at for one page: one command must not hold the loop for more than a few ms."""


@final
@mypyc_attr(acyclic=True)
class Page:
    """Some messages in the order of their ids. `after` is where the next page goes on, 0 = this is the last."""

    __slots__ = ("after", "messages")

    def __init__(self) -> None:
        self.messages: list[QueueMessage] = []
        self.after: i64 = 0


@final
@mypyc_attr(acyclic=True)
class Redriven:
    """A slice of a redrive: how many came back, and where the next slice goes on (0 = done)."""

    __slots__ = ("after", "count")

    def __init__(self) -> None:
        self.count: i64 = 0
        self.after: i64 = 0


def describe(parts: Parts, intake: Intake) -> dict[str, object]:
    """All that is known of a queue, by name. Times are node time in ms, 0 = none."""
    backlog = parts.backlog
    counters = parts.counters
    shown = parts.definition.shown()
    shown.update(
        {
            "created_at": int(parts.created_at),
            "paused_until": int(parts.paused_until),
            "messages": int(backlog.index.count),
            "bytes": int(backlog.bytes),
            "resident_bytes": int(backlog.bodies.bytes),
            "staged": int(intake.staged),
            "ready": int(backlog.ready.count),
            "held": int(backlog.groups.held),
            "delayed": int(backlog.delayed),
            "leased": int(parts.leases.count),
            "dead_letters": len(parts.dead),
            "oldest_enqueued_at": int(oldest(parts)),
            "oldest_died_at": int(parts.dead.oldest()),
            "waiting_consumers": len(parts.waiters),
            "pushed": int(counters.pushed),
            "deduplicated": int(counters.deduplicated),
            "delivered": int(counters.delivered),
            "redelivered": int(counters.redelivered),
            "acked": int(counters.acked),
            "nacked": int(counters.nacked),
            "expired": int(counters.expired),
            "dead": int(counters.dead),
            "dropped": int(counters.dropped),
            "redriven": int(counters.redriven),
        }
    )
    return shown


def oldest(parts: Parts) -> i64:
    """When the oldest message that is not dead was pushed, 0 for none."""
    first = parts.backlog.index.first()
    return 0 if first is None else first.enqueued_at


def browse(parts: Parts, state: i64, after: i64, limit: i64) -> Page:
    """A page of messages in one state; it may be empty and not the last, when there are many others."""
    page = Page()
    seen: i64 = 0
    while True:
        some = parts.backlog.index.after(after, min(limit, _SCAN) + 1)
        if not some:
            return page
        for message in some:
            if message.state == state:
                if len(page.messages) == limit:
                    page.after = after
                    return page
                page.messages.append(message)
            after = message.id
        seen += len(some)
        if seen >= _SCAN:
            page.after = after
            return page


def remove(parts: Parts, intake: Intake, id: i64) -> bool:
    """Deletes a message; a lease on it ends."""
    message = parts.backlog.index.get(id)
    if message is None:
        return False
    if message.state == LEASED:
        for delivery in parts.leases.all():
            if delivery.message is message:
                parts.leases.end(delivery, False)
                break
    elif message.state == STAGED:
        intake.removed(message)
    parts.discard([message])
    parts.wake()
    return True


def purge(parts: Parts, intake: Intake) -> i64:
    """Gives up all messages but the dead letters; how many."""
    count = parts.backlog.index.count
    if count > 0:
        intake.forget()
        parts.empty()
        parts.records.purged(parts.next_id - 1)
    return count


def pause(parts: Parts, until: i64) -> None:
    """Stops lending. What is lent may still be acknowledged, and pushes go on."""
    if until != UNTIL_RESUMED and not 0 < until <= TTL_MS_MAX:
        raise InvalidArgumentError(
            f"a pause until {until}: it is a time in ms, or {UNTIL_RESUMED} (until resumed)"
        )
    parts.paused_until = until
    parts.records.paused(until)
    parts.due(until if until > 0 else 0)


def resume(parts: Parts) -> None:
    """Goes on lending."""
    if parts.paused_until != 0:
        parts.paused_until = 0
        parts.records.paused(0)
        parts.wake()


def redrive(parts: Parts, letters: list[DeadLetter], now: i64) -> list[i64]:
    """Makes dead letters new messages, without attempts; gives their ids. The queue's limits do not apply."""
    dead: list[i64] = []
    ids: list[i64] = []
    messages: list[QueueMessage] = []
    for letter in letters:
        dead.append(letter.message.id)
        ids.append(parts.next_id)
        messages.append(revive(parts, letter, parts.next_id))
        parts.next_id += 1
    if messages:
        parts.records.redriven(dead, ids)
        parts.counters.redriven += len(messages)
        for message in messages:
            parts.backlog.place(message, now)
        parts.wake()
    return ids


def revive(parts: Parts, letter: DeadLetter, id: i64) -> QueueMessage:
    """Takes a dead letter out and its message in, under a new id; it waits nowhere yet."""
    parts.dead.remove(letter)
    message = letter.message
    move = parts.moving.pop(int(message.id), None)
    if move is not None:
        move.id = id
        parts.moving[int(id)] = move
    message.id = id
    message.attempts = 0
    message.due_at = 0
    message.expires_at = 0
    extras = message.extras
    if extras is not None:
        extras.delivered = False
        extras.reason = b""
    parts.backlog.add(message)
    return message


def redrive_some(
    parts: Parts, intake: Intake, filter: DeadFilter, after: i64, until: i64, budget: i64, now: i64
) -> Redriven:
    """Looks at up to `budget` letters after one serial and up to another; those that match come back.

    Start with 0 and `parts.dead.last_serial`: then what dies meanwhile is left for the next time.
    """
    result = Redriven()
    looked = parts.dead.following(after, budget)
    chosen: list[DeadLetter] = []
    for letter in looked:
        if letter.serial > until:
            break
        if filter.matches(letter) and int(letter.message.id) not in intake.buried:
            chosen.append(letter)
    if len(looked) == budget and looked[-1].serial < until:
        result.after = looked[-1].serial
    redrive(parts, chosen, now)
    result.count = len(chosen)
    return result
