"""Replaying what streams and groups recorded, from the log's tail or from a snapshot.

An operation that names a stream or a group which is not there is passed over: it was deleted before the
snapshot reached it. One that the state has already changes nothing. Knows no file.
"""

from __future__ import annotations

from mypy_extensions import i64

from nexo.brokers.moving import MOVE_BLOCKS
from nexo.brokers.stream.definition import OPTIONS, Definition
from nexo.brokers.stream.group import Group
from nexo.brokers.stream.letters import DeadLetter
from nexo.brokers.stream.moving import replay_blocks
from nexo.brokers.stream.operations import (
    APPEND,
    BURY,
    CREATE,
    DEAD,
    DELETE,
    DELIVER,
    GROUP,
    GROUP_DELETE,
    INDEX,
    JOIN,
    LETTER,
    PRODUCER,
    RETRY,
    SEEK,
    SETTLE,
    TRIM,
    Body,
)
from nexo.brokers.stream.registry import Registry
from nexo.brokers.stream.stream import Stream
from nexo.errors import StorageError


def replay(registry: Registry, kind: i64, data: bytes, start: i64, end: i64, address: i64, now: i64) -> None:
    """Applies the operation in `data[start:end]`; the body's first byte lies at `address` of the log."""
    body = Body(data, start, end)
    if kind == APPEND:
        stream = registry.by_number.get(body.number())
        if stream is not None:
            _append(stream, body, address - start if address != 0 else 0)
    elif kind == MOVE_BLOCKS:
        stream = registry.by_number.get(body.number())
        if stream is not None:
            replay_blocks(stream, body, address - start)
    elif kind == CREATE:
        _create(registry, body)
    elif kind == DELETE or kind == TRIM or kind == INDEX or kind == PRODUCER or kind == JOIN or kind == GROUP:
        stream = registry.by_number.get(body.number())
        if stream is not None:
            _of_stream(registry, stream, kind, body, now)
    elif DELIVER <= kind <= GROUP_DELETE or kind == LETTER:
        group = registry.numbers.groups.get(body.number())
        if group is not None:
            _of_group(group, kind, body)
    else:
        raise StorageError(f"operation 0x{kind:02x} is none of a stream")


def _create(registry: Registry, body: Body) -> None:
    number = body.number()
    created_at = body.number()
    first = body.number()
    name = body.text()
    options: list[int] = []
    count = body.small()
    while count > 0:
        options.append(body.number())
        count -= 1
    # Options that came later than the snapshot have their defaults.
    options += [option[1] for option in OPTIONS[len(options) :]]
    if number in registry.by_number:
        return
    former = registry.by_name.get(name)
    if former is not None:
        registry.forget(former)
    stream = registry.adopt(number, name, Definition(options), created_at)
    stream.created_batch = 0
    stream.start_at(first)


def _of_stream(registry: Registry, stream: Stream, kind: i64, body: Body, now: i64) -> None:
    if kind == TRIM:
        stream.trim(body.number())
    elif kind == DELETE:
        registry.forget(stream)
    elif kind == INDEX:
        count = body.small()
        while count > 0:
            first = body.number()
            records = body.small()
            time = body.number()
            address = body.number()
            size = body.small()
            stream.restore(b"", first, records, time, address, size, body.number())
            count -= 1
    elif kind == PRODUCER:
        name = body.text()
        count = body.small()
        while count > 0:
            number = body.number()
            first = body.number()
            stream.producers.note(name, number, first, body.small())
            count -= 1
    else:
        number = body.number()
        generation = body.number()
        floor = body.number() if kind == GROUP else 0
        name = body.text()
        group = registry.numbers.groups.get(number)
        if group is None:
            former = stream.groups.get(name)
            if former is not None:
                stream.forget_group(former)
            group = stream.adopt(number, name, now)
            group.recorded_batch = 0
        if kind == GROUP:
            group.restart(floor, generation)
            _settle(group, body)
        group.generation = max(group.generation, generation)


def _append(stream: Stream, body: Body, shift: i64) -> None:
    """`shift` is what a place in the data must be moved by to be an address; 0: there are no addresses."""
    first = body.number()
    count = body.small()
    while count > 0:
        records = body.small()
        time = body.number()
        crc = body.number()
        place = body.position + 4
        block = body.text()
        stream.restore(block, first, records, time, place + shift if shift != 0 else 0, len(block), crc)
        first += records
        count -= 1
    count = body.small()
    while count > 0:
        name = body.text()
        number = body.number()
        start = body.number()
        stream.producers.note(name, number, start, body.small())
        count -= 1


def _of_group(group: Group, kind: i64, body: Body) -> None:
    backlog = group.backlog
    if kind == DELIVER:
        count = body.small()
        while count > 0:
            seq = body.number()
            after = seq + body.small()
            attempts = body.small()
            while seq < after:
                backlog.know(seq, attempts, 0, b"")
                seq += 1
            count -= 1
    elif kind == SETTLE:
        _settle(group, body)
    elif kind == RETRY:
        seq = body.number()
        attempts = body.small()
        due = body.number()
        backlog.know(seq, attempts, due, body.text())
    elif kind == DEAD or kind == LETTER:
        seq = body.number()
        attempts = body.small()
        died_at = body.number()
        reason = body.text()
        backlog.letters.add(DeadLetter(seq, attempts, died_at, reason, body.text()))
        if kind == DEAD:
            backlog.know_settled(seq, 1)
    elif kind == BURY:
        seq = body.number()
        if seq == 0:
            backlog.letters.clear()
        else:
            backlog.letters.take(seq)
    elif kind == SEEK:
        floor = body.number()
        group.restart(floor, body.number())
    else:
        _stream_of(group).forget_group(group)


def _stream_of(group: Group) -> Stream:
    log = group.log
    assert isinstance(log, Stream)
    return log


def _settle(group: Group, body: Body) -> None:
    count = body.small()
    while count > 0:
        first = body.number()
        group.backlog.know_settled(first, body.number())
        count -= 1
