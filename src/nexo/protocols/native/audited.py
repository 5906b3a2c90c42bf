"""Which commands of the native protocol are administrative, and what an audit log calls them.

Every opcode, command and action stands in one of the tables, as administrative or as plain: a test asks a session for
all of them. Knows layouts as far as the names in front, and no broker.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from nexo.errors import InvalidArgumentError
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.frames import Payload

COMMANDS: Final[dict[int, str]] = {
    op.MAP_CLEAR_ALL: "store.clear",
    op.MAP_CLEAR_PREFIX: "store.delete_prefix",
    op.QUEUE_CREATE: "queue.create",
    op.QUEUE_DELETE: "queue.delete",
    op.QUEUE_MOVE_TO_QUEUE: "queue.redrive",
    op.QUEUE_DELETE_DLQ: "queue.delete_dead_letter",
    op.QUEUE_PURGE_DLQ: "queue.purge_dead_letters",
    op.STREAM_CREATE: "stream.create",
    op.STREAM_DELETE: "stream.delete",
    op.STREAM_SEEK: "group.seek",
    op.STREAM_MOVE_TO_STREAM: "group.redrive",
    op.STREAM_DELETE_DLS: "group.delete_dead_letter",
    op.STREAM_PURGE_DLS: "group.purge_dead_letters",
}
"""Opcodes that are administrative whatever they carry."""

MAP_ACTIONS: Final[dict[str, str]] = {"create": "map.create", "delete": "map.delete"}
QUEUE_ACTIONS: Final[dict[str, str]] = {
    "remove": "queue.delete_message",
    "purge": "queue.purge",
    "pause": "queue.pause",
    "resume": "queue.resume",
    "redrive": "queue.redrive",
}
STREAM_ACTIONS: Final[dict[str, str]] = {"delete_group": "group.delete"}
SERVER_ACTIONS: Final[dict[str, str]] = {"close": "connection.close"}
PLAIN_ACTIONS: Final = frozenset(
    {"list", "describe", "browse", "get", "groups", "group", "dead"}
    | {"status", "top", "connections", "connection", "config"}
)
"""Actions of the JSON commands that change nothing."""

EXTENDED: Final[dict[int, str]] = {op.STREAMX_SEEK: "group.seek"}
PLAIN_EXTENDED: Final = frozenset(
    {op.STREAMX_READ, op.STREAMX_APPEND, op.STREAMX_FETCH, op.STREAMX_NACK, op.STREAMX_RELEASE}
)
"""Commands after STREAM_EXTENDED; STREAMX_ADMIN is told by its action."""
PLAIN_BACKUP: Final = frozenset({op.BACKUP_READ, op.BACKUP_END})

WITH_PARTS: Final = frozenset({op.MAP_ADMIN, op.QUEUE_ADMIN, op.STREAM_EXTENDED, op.BACKUP, op.SERVER_ADMIN})
"""Opcodes of which it depends on what they carry."""

PLAIN: Final = frozenset(
    {
        op.HELLO, op.PING, op.BATCH,
        op.MAP_SET, op.MAP_GET, op.MAP_DEL, op.MAP_INCR, op.MAP_GETX, op.MAP_DELX, op.MAP_INCRX, op.MAP_MGET,
        op.MAP_MSET, op.MAP_SCAN, op.MAP_WATCH, op.MAP_UNWATCH,
        op.PUB, op.SUB, op.UNSUB, op.SUBX, op.UNSUBX, op.PUB_REQUEST, op.PUB_REPLY,
        op.QUEUE_PUSH, op.QUEUE_CONSUME, op.QUEUE_ACK, op.QUEUE_EXISTS, op.QUEUE_PEEK_DLQ, op.QUEUE_NACK,
        op.QUEUE_DESCRIBE, op.QUEUE_RECEIVE, op.QUEUE_SETTLE, op.QUEUE_PUSHX,
        op.STREAM_PUB, op.STREAM_FETCH, op.STREAM_JOIN, op.STREAM_ACK, op.STREAM_EXISTS, op.STREAM_DESCRIBE,
        op.STREAM_LEAVE, op.STREAM_PEEK_DLS, op.STREAM_ACK_MANY,
    }
)  # fmt: skip
"""What programs do with data all day; a batch holds nothing else."""

MARKED: Final = bytes([1 if code in COMMANDS or code in WITH_PARTS else 0 for code in range(256)])
"""For each opcode whether `action_of` has to be asked."""


class Named:
    """An action that is about to be run, and what it is run on."""

    def __init__(self, action: str, resource: str) -> None:
        self.action = action
        self.resource = resource


def action_of(code: i64, payload: Payload) -> Named | None:
    """What a command does, by its opcode and the front of its payload; None for plain ones, and for torn ones of
    which it depends. The payload is read from."""
    action = COMMANDS.get(int(code), "")
    try:
        if code == op.MAP_CLEAR_ALL:
            return Named(action, "")
        if code == op.BACKUP:
            return Named("backup", "") if payload.u8("the command") == op.BACKUP_BEGIN else None
        if code == op.SERVER_ADMIN:
            given = text(payload)
            id = payload.json_object("the arguments").get("id", "") if given in SERVER_ACTIONS else ""
            return named(SERVER_ACTIONS, given, str(id))
        if code == op.STREAM_EXTENDED:
            command = payload.u8("the command")
            if command == op.STREAMX_ADMIN:
                stream, group = text(payload), text(payload)
                return named(STREAM_ACTIONS, text(payload), f"{stream}/{group}")
            action = EXTENDED.get(int(command), "")
        if code == op.QUEUE_ADMIN or code == op.MAP_ADMIN:
            resource = text(payload)
            return named(QUEUE_ACTIONS if code == op.QUEUE_ADMIN else MAP_ACTIONS, text(payload), resource)
        if not action:
            return None
        resource = text(payload)
        if action.startswith("group."):
            resource += "/" + text(payload)
        return Named(action, resource)
    except InvalidArgumentError:
        return Named(action, "") if action else None


def named(actions: dict[str, str], given: str, resource: str) -> Named | None:
    """The action of a JSON command."""
    action = actions.get(given, "")
    return Named(action, resource) if action else None


def text(payload: Payload) -> str:
    """The next name."""
    return payload.string("a name").decode(errors="replace")
