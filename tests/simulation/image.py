"""All that a node keeps, as plain values: what it was when a batch was closed, to compare with what comes back.

A node that is brought back from a log which ends with batch k must be what the node was that closed batch k,
except for what a restart does: what was lent is not lent any more, and is dead after its last delivery; generations
go on above all that were given (clients.py has those).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crc32c import crc32c

from nexo.brokers.journal import MEMORY
from nexo.brokers.queue.message import LEASED, QueueMessage
from nexo.brokers.queue.queue import Queue
from nexo.brokers.queue.replay import RESTARTED
from nexo.brokers.retained import Retained
from nexo.brokers.store import Store
from nexo.brokers.stream.group import Group
from nexo.brokers.stream.leases import DELAYED, KNOWN
from nexo.brokers.stream.stream import Stream
from nexo.node import Node

ALL = 1 << 30

Fields = dict[str, object]


@dataclass
class Image:
    """A node at a time."""

    time: int
    queues: dict[int, Fields] = field(default_factory=dict)
    streams: dict[int, Fields] = field(default_factory=dict)
    kept: Fields = field(default_factory=dict)
    """What is kept of the store and of retained messages: maps, keys and topics with all that they hold."""
    unsure: set[str] = field(default_factory=set)
    """Those that the log does not have as they are: keys on their way into a map, changes that could not be stored,
    topics that a batch across brokers will change once it is durable."""


def image(node: Node, now: int) -> Image:
    taken = Image(now)
    for name in node.queues.names():
        queue = node.queues.find(name)
        taken.queues[int(queue.number)] = queue_fields(queue, now)
    for name in node.streams.names():
        stream = node.streams.find(name)
        taken.streams[int(stream.number)] = stream_fields(stream)
    keep_store(taken, node.store)
    keep_retained(taken, node.pubsub.kept)
    return taken


def keep_store(taken: Image, store: Store) -> None:
    maps = store.maps
    for one in maps.all():
        taken.kept[f"map {one.prefix!r}"] = (int(one.level), 0)
    for key in store.all_keys():
        entry = store.lookup(key, 0)
        assert entry is not None
        if maps.find(key).level != MEMORY:
            taken.kept[f"key {key!r}"] = ((entry.value, entry.version), entry.expires_at)
    taken.unsure |= {f"key {key!r}" for key in maps.lost}
    moving = maps.moving
    if moving is not None:
        taken.unsure |= {f"key {key!r}" for key in store.all_keys() if key.startswith(moving.prefix)}


def keep_retained(taken: Image, retained: Retained) -> None:
    if retained.level != MEMORY:
        for message in retained.match(b"#", 0):
            expires_at = retained.expires_at(message.topic)
            taken.kept[f"topic {message.topic!r}"] = ((message.value, message.headers), expires_at)
    taken.unsure |= {f"topic {topic!r}" for topic in (*retained.lost, *retained._announced)}


def queue_fields(queue: Queue, now: int) -> Fields:
    parts = queue.parts
    fields: Fields = {
        "name": parts.name,
        "definition": dict(parts.definition.numbers),
        "created": parts.created_at,
        "paused": parts.paused_until,
        "living": [],
        "dead": [],
        "keys": {},
    }
    if parts.definition.level != MEMORY:
        lent = {lease.message.id for lease in parts.leases.all()}
        fields["living"] = [
            [message.state == LEASED, message.due_at, message.attempts, constant(message)]
            for message in parts.backlog.index.after(0, ALL)
            if message.state != LEASED
            or message.id in lent  # else a batch has acked it, and is not durable yet
        ]
        fields["dead"] = [
            [letter.reason, letter.died_at, letter.message.attempts, constant(letter.message, True)]
            for letter in queue.peek(ALL, 0)
        ]
        fields["keys"] = {key.key: (key.id, key.until) for key in parts.dedup.living(now, 0, ALL)}
    return fields


def constant(message: QueueMessage, dead: bool = False) -> tuple[object, ...]:
    """What never changes of a message. The body is compared by its checksum: reading it may change the node."""
    return (
        message.id,
        int(message.priority),
        message.enqueued_at,
        message.expires_at,
        message.size,
        int(message.checksum),
        message.group,
        b"" if dead else message.reason,
        b"" if message.extras is None else message.extras.dedup,
    )


def stream_fields(stream: Stream) -> Fields:
    end = stream.recorded_seq()
    index = stream.blocks.index
    fields: Fields = {
        "name": stream.name,
        "options": stream.definition.options(),
        "created": stream.created_at,
        "groups": {group.number: group_fields(group) for group in stream.groups.values()},
    }
    if stream.definition.durability != MEMORY:
        fields["first"] = stream.first_seq
        fields["next"] = end
        fields["blocks"] = [
            (index.first(place), index.time(place), index.size(place), index.crc(place))
            for place in range(len(index))
        ]
        fields["producers"] = {
            name: list(zip(one.numbers, one.firsts, one.counts, strict=True))
            for name, one in stream.producers.known.items()
            if one.numbers
        }
    return fields


def group_fields(group: Group) -> Fields:
    backlog = group.backlog
    return {
        "name": group.name,
        "floor": backlog.settled.floor,
        "runs": backlog.settled.runs(),
        "pending": {
            seq: [one.attempts, one.deadline if one.state in (DELAYED, KNOWN) else 0]
            for seq, one in backlog.pending.items()
        },
        "letters": [
            (one.seq, one.attempts, one.died_at, one.reason, crc32c(one.record))
            for one in backlog.letters.page(0, ALL)
        ],
    }


def differences(before: Image, after: Image) -> list[str]:
    """What came back otherwise than it was, one line for each; `after` is taken at once after the replay."""
    horizon = max(before.time, after.time)
    wrong = differing_kept(before, after, horizon)
    for kind, old, new in (
        ("queue", before.queues, after.queues),
        ("stream", before.streams, after.streams),
    ):
        for number in sorted(old.keys() | new.keys()):
            one, other = old.get(number), new.get(number)
            if one is None or other is None:
                wrong.append(f"{kind} {number}: {'comes' if one is None else 'is missing'}")
                continue
            shape = settled_queue if kind == "queue" else settled_stream
            expected = shape(one, after.time, horizon, kind == "queue")
            actual = shape(other, after.time, horizon, False)
            wrong += [
                f"{kind} {number} {one['name']!r}: {name} was {expected.get(name)!r} and is {actual.get(name)!r}"
                for name in {**expected, **actual}
                if expected.get(name) != actual.get(name)
            ]
    return wrong


def differing_kept(before: Image, after: Image, horizon: int) -> list[str]:
    """Of the store and of retained messages, without what is due."""
    wrong: list[str] = []
    for name in sorted(before.kept.keys() | after.kept.keys()):
        was, now = before.kept.get(name), after.kept.get(name)
        due = [one is None or 0 < one[1] <= horizon for one in (was, now)]  # type: ignore[index]
        if was != now and not all(due) and name not in before.unsure | after.unsure:
            wrong.append(f"{name} was {was!r} and is {now!r}")
    return wrong


def settled_queue(fields: Fields, now: int, horizon: int, restart: bool) -> Fields:
    """Comparable: without what time has done meanwhile, and after the restart."""
    living, dead, keys = fields["living"], fields["dead"], fields["keys"]
    definition = fields["definition"]
    assert isinstance(living, list)
    assert isinstance(dead, list)
    assert isinstance(keys, dict)
    assert isinstance(definition, dict)
    lost = [one for one in living if restart and one[0] and one[2] >= definition["max_deliveries"]]
    died = [[RESTARTED, now, attempts, (*always[:7], b"", always[8])] for _, _, attempts, always in lost]
    paused = fields["paused"]
    assert isinstance(paused, int)
    corpses = [*dead, *died]
    return fields | {
        "living": [[due if due > horizon else 0, *rest] for lent, due, *rest in living if [lent, due, *rest] not in lost],
        "dead": corpses[-definition["dead_letters_max"] :] if died else corpses,
        "keys": {key: entry for key, entry in keys.items() if entry[1] > horizon},
        "paused": paused if paused < 0 or paused > horizon else 0,
    }  # fmt: skip


def settled_stream(fields: Fields, now: int, horizon: int, restart: bool) -> Fields:
    """The same for a stream, with the fields of its groups beside its own."""
    groups = fields["groups"]
    assert isinstance(groups, dict)
    shown = {name: value for name, value in fields.items() if name != "groups"}
    for number, group in groups.items():
        pending = {
            seq: (tries, due if due > horizon else 0)
            for seq, (tries, due) in group["pending"].items()
            if tries > 0 or due > horizon
        }
        shown |= {f"group {number} {name}": value for name, value in (group | {"pending": pending}).items()}
    return shown
