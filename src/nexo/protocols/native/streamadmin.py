"""STREAM_ADMIN: what an operator does with streams and groups, as JSON both ways. Actions: docs/stream.md."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from nexo.brokers.journal import LEVELS
from nexo.brokers.stream.definition import OPTIONS
from nexo.brokers.stream.group import Group
from nexo.brokers.stream.letters import DeadLetter
from nexo.brokers.stream.stream import Stream
from nexo.errors import InvalidArgumentError
from nexo.protocols.grants import STREAMS
from nexo.protocols.native.channel import Channel
from nexo.protocols.native.frames import Payload
from nexo.protocols.native.jsonadmin import Arguments, answer, answer_at, page_length, shown_value

PAGE_MAX: Final = 1_000
"""Streams, groups or dead letters in one answer."""


def administer(channel: Channel, payload: Payload, now: i64) -> None:
    """Run one action and answer with JSON."""
    name = payload.string("the stream's name")
    group_name = payload.string("the group's name")
    action = payload.string("the action").decode(errors="replace")
    arguments = Arguments(payload.json_object("the arguments"))
    streams = channel.node.streams
    if action == "list":
        after = arguments.text("after", "").encode()
        limit = arguments.number("limit", PAGE_MAX)
        arguments.finish()
        grants = channel.grants
        names = sorted(
            [
                one
                for one in streams.names()
                if one > after and one.startswith(name) and grants.may_see(STREAMS, one)
            ]
        )
        answer(channel, [described(streams.find(one)) for one in names[: max(0, min(limit, PAGE_MAX))]])
        return
    stream = streams.find(name)
    level = stream.definition.durability
    if action == "describe":
        arguments.finish()
        answer(channel, described(stream))
    elif action == "groups":
        arguments.finish()
        answer(channel, [described_group(group, now) for group in stream.groups.values()])
    elif action == "group":
        arguments.finish()
        answer(channel, described_group(stream.find_group(group_name), now))
    elif action == "dead":
        place, offset = arguments.number("after", 0), arguments.number("offset", 0)
        limit = min(max(arguments.number("limit", 100), 1), PAGE_MAX)
        arguments.finish()
        group = stream.find_group(group_name)
        letters = group.peek(offset, limit + 1) if offset > 0 else group.dead_after(place, limit + 1)
        fitting = page_length([len(letter.record) for letter in letters[:limit]])
        shown = [shown_letter(letter) for letter in letters[:fitting]]
        answer(
            channel,
            {"messages": shown, "after": int(letters[fitting - 1].serial) if len(letters) > fitting else 0},
        )
    elif action == "delete_group":
        arguments.finish()
        stream.delete_group(group_name)
        answer_at(channel, level, {"deleted": True})
    else:
        raise InvalidArgumentError(
            f"unknown action {action!r}: list, describe, groups, group, dead, delete_group"
        )


def described(stream: Stream) -> dict[str, object]:
    """The definition, what the stream holds, and how many groups read it."""
    options = dict(zip([option[0] for option in OPTIONS], stream.definition.options(), strict=True))
    return {
        "name": stream.name.decode(errors="replace"),
        **options,
        "durability": LEVELS[stream.definition.durability],
        "created_at": int(stream.created_at),
        "first_seq": int(stream.first_seq),
        "last_seq": int(stream.last_seq),
        "records": int(max(0, stream.last_seq - stream.first_seq + 1)),
        "bytes": int(stream.blocks.bytes),
        "groups": len(stream.groups),
    }


def described_group(group: Group, now: i64) -> dict[str, object]:
    lag = group.lag(now)
    return {
        "name": group.name.decode(errors="replace"),
        "ack_floor": int(group.backlog.settled.floor),
        "lag_messages": int(lag.messages),
        "lag_ms": int(lag.ms),
        "leased": int(group.backlog.leases.count),
        "members": len(group.members),
        "dead": len(group.backlog.letters),
        "generation": int(group.generation),
        "delivered": int(group.delivered),
        "acked": int(group.acked),
        "nacked": int(group.nacked),
    }


def shown_letter(letter: DeadLetter) -> dict[str, object]:
    record = letter.contents()
    return {
        "seq": int(letter.seq),
        "attempts": int(letter.attempts),
        "died_at": int(letter.died_at),
        "reason": letter.reason.decode(errors="replace"),
        "timestamp": int(record.timestamp),
        "key": record.key,
        "headers": record.headers,
        **shown_value(record.value),
    }
