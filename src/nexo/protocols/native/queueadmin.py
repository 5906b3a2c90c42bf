"""QUEUE_ADMIN: what an operator does with queues, as JSON both ways. Actions and fields: docs/queue.md."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from nexo.brokers.queue.dead import DeadFilter, DeadLetter
from nexo.brokers.queue.message import DELAYED, HELD, LEASED, READY, QueueMessage
from nexo.brokers.queue.queue import Queue
from nexo.errors import InvalidArgumentError, ResourceNotFoundError
from nexo.protocols.grants import QUEUES
from nexo.protocols.native.channel import Channel
from nexo.protocols.native.frames import Payload
from nexo.protocols.native.jsonadmin import Arguments, answer, answer_at, page_length, shown_value

STATES: Final[dict[str, int]] = {"ready": READY, "held": HELD, "delayed": DELAYED, "leased": LEASED}
STATE_NAMES: Final[dict[int, str]] = {number: name for name, number in STATES.items()}
PAGE_MAX: Final = 1_000
"""Messages in one page of a browse: their bodies are read and shown."""
REDRIVE_SLICE: Final = 1_000
"""Dead letters that one redrive command looks at: the caller goes on from where it ended."""


def administer(channel: Channel, payload: Payload, now: i64) -> None:
    """Run one action and answer with JSON."""
    name = payload.string("the queue's name")
    action = payload.string("the action").decode(errors="replace")
    arguments = Arguments(payload.json_object("the arguments"))
    queues = channel.node.queues
    if action == "list":
        start = arguments.text("after", "").encode()
        limit = arguments.number("limit", PAGE_MAX)
        arguments.finish()
        grants = channel.grants
        names = [
            one
            for one in queues.names()
            if one > start and one.startswith(name) and grants.may_see(QUEUES, one)
        ][: max(0, min(limit, PAGE_MAX))]
        answer(channel, [described(queues.find(one)) for one in names])
        return
    queue = queues.find(name)
    if action == "describe":
        arguments.finish()
        answer(channel, described(queue))
    elif action == "browse":
        answer(channel, browse(queue, arguments))
    elif action == "get":
        answer(channel, get(queue, arguments))
    elif action == "remove":
        id = arguments.number("id", 0)
        dead_only = arguments.text("state", "") == "dead"
        arguments.finish()
        removed = (not dead_only and queue.remove(id)) or queue.delete_dead(id)
        confirm(channel, queue, {"removed": removed})
    elif action == "purge":
        arguments.finish()
        confirm(channel, queue, {"removed": int(queue.purge())})
    elif action == "pause":
        seconds = arguments.number("ms", -1)
        arguments.finish()
        queue.pause(now + seconds if seconds >= 0 else -1)
        confirm(channel, queue, {"paused": True})
    elif action == "resume":
        arguments.finish()
        queue.resume()
        confirm(channel, queue, {"paused": False})
    elif action == "redrive":
        redrive(channel, queue, arguments, now)
    else:
        raise InvalidArgumentError(
            f"unknown action {action!r}: list, describe, browse, get, remove, purge, pause, resume, redrive"
        )


def confirm(channel: Channel, queue: Queue, result: dict[str, object]) -> None:
    """Answer once what was done is as durable as the queue promises."""
    answer_at(channel, queue.parts.definition.level, result)


def described(queue: Queue) -> dict[str, object]:
    return {"name": queue.name.decode(errors="replace"), **queue.describe()}


def browse(queue: Queue, arguments: Arguments) -> dict[str, object]:
    """A page of messages in a state, in the order of their ids, or of deaths for the dead ones."""
    state = arguments.text("state", "ready")
    after = arguments.number("after", 0)
    limit = min(max(arguments.number("limit", 100), 1), PAGE_MAX)
    arguments.finish()
    if state == "dead":
        letters = queue.dead_after(after, limit + 1)
        fitting = page_length([int(letter.message.size) for letter in letters[:limit]])
        shown = [shown_letter(queue, letter) for letter in letters[:fitting]]
        return {"messages": shown, "after": int(letters[fitting - 1].serial) if len(letters) > fitting else 0}
    if state not in STATES:
        raise InvalidArgumentError(f"state {state!r}: it is one of {', '.join(STATES)}, dead")
    page = queue.browse(STATES[state], after, limit)
    fitting = page_length([int(one.size) for one in page.messages])
    if fitting < len(page.messages):
        page.after = page.messages[fitting - 1].id
    shown = [shown_message(queue, one) for one in page.messages[:fitting]]
    return {"messages": shown, "after": int(page.after)}


def get(queue: Queue, arguments: Arguments) -> dict[str, object]:
    """One message by its number, whatever its state."""
    id = arguments.number("id", 0)
    arguments.finish()
    message = queue.get(id)
    if message is not None:
        return shown_message(queue, message)
    letter = queue.parts.dead.get(id)
    if letter is None:
        raise ResourceNotFoundError(f"queue {queue.parts.title} has no message {id}")
    return shown_letter(queue, letter)


def redrive(channel: Channel, queue: Queue, arguments: Arguments, now: i64) -> None:
    """A slice of dead letters that match comes back; `after` is where the next slice begins, 0 = done."""
    id = arguments.number("id", 0)
    criteria = DeadFilter(
        arguments.text("reason", "").encode(),
        arguments.number("died_from", 0),
        arguments.number("died_until", 0),
    )
    after = arguments.number("after", 0)
    until = arguments.number("until", 0)
    arguments.finish()
    channel.node.check_room()
    if id > 0:
        confirm(channel, queue, {"moved": 1 if queue.redrive(id, now) else 0, "after": 0})
        return
    if until == 0:
        # What dies again while this goes on is not brought back a second time.
        until = queue.parts.dead.last_serial
    done = queue.redrive_some(criteria, after, until, REDRIVE_SLICE, now)
    confirm(channel, queue, {"moved": int(done.count), "after": int(done.after), "until": int(until)})


def shown_message(queue: Queue, stored: QueueMessage) -> dict[str, object]:
    """A message as JSON: its value as what it is, bytes as base64."""
    message = queue.view(stored)
    return {
        "id": int(message.id),
        "state": STATE_NAMES.get(int(stored.state), "gone"),
        "priority": int(message.priority),
        "attempts": int(message.attempts),
        "enqueued_at": int(message.enqueued_at),
        "due_at": int(message.due_at),
        "expires_at": int(message.expires_at),
        "group": message.group.decode(errors="replace"),
        "reason": message.reason.decode(errors="replace"),
        "headers": message.headers,
        "bytes": int(message.size),
        **shown_value(message.value),
    }


def shown_letter(queue: Queue, letter: DeadLetter) -> dict[str, object]:
    return {
        **shown_message(queue, letter.message),
        "state": "dead",
        "reason": letter.reason.decode(errors="replace"),
        "died_at": int(letter.died_at),
    }
