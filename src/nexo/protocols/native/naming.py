"""The names of commands, and what they are about: for people who look at a broker. Runs when something is slow."""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

from nexo.errors import InvalidArgumentError
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.audited import text
from nexo.protocols.native.frames import Payload

NAMES: Final[dict[int, str]] = {
    op.HELLO: "HELLO", op.PING: "PING", op.BATCH: "BATCH", op.BACKUP: "BACKUP",
    op.SERVER_ADMIN: "SERVER_ADMIN",
    op.MAP_SET: "MAP_SET", op.MAP_GET: "MAP_GET", op.MAP_DEL: "MAP_DEL", op.MAP_INCR: "MAP_INCR",
    op.MAP_CLEAR_ALL: "MAP_CLEAR_ALL", op.MAP_CLEAR_PREFIX: "MAP_CLEAR_PREFIX", op.MAP_GETX: "MAP_GETX",
    op.MAP_DELX: "MAP_DELX", op.MAP_INCRX: "MAP_INCRX", op.MAP_MGET: "MAP_MGET", op.MAP_MSET: "MAP_MSET",
    op.MAP_SCAN: "MAP_SCAN", op.MAP_WATCH: "MAP_WATCH", op.MAP_UNWATCH: "MAP_UNWATCH", op.MAP_ADMIN: "MAP_ADMIN",
    op.PUB: "PUB", op.SUB: "SUB", op.UNSUB: "UNSUB", op.SUBX: "SUBX", op.UNSUBX: "UNSUBX",
    op.PUB_REQUEST: "PUB_REQUEST", op.PUB_REPLY: "PUB_REPLY",
    op.QUEUE_CREATE: "QUEUE_CREATE", op.QUEUE_PUSH: "QUEUE_PUSH", op.QUEUE_CONSUME: "QUEUE_CONSUME",
    op.QUEUE_ACK: "QUEUE_ACK", op.QUEUE_EXISTS: "QUEUE_EXISTS", op.QUEUE_DELETE: "QUEUE_DELETE",
    op.QUEUE_PEEK_DLQ: "QUEUE_PEEK_DLQ", op.QUEUE_MOVE_TO_QUEUE: "QUEUE_MOVE_TO_QUEUE",
    op.QUEUE_DELETE_DLQ: "QUEUE_DELETE_DLQ", op.QUEUE_PURGE_DLQ: "QUEUE_PURGE_DLQ", op.QUEUE_NACK: "QUEUE_NACK",
    op.QUEUE_DESCRIBE: "QUEUE_DESCRIBE", op.QUEUE_RECEIVE: "QUEUE_RECEIVE", op.QUEUE_SETTLE: "QUEUE_SETTLE",
    op.QUEUE_PUSHX: "QUEUE_PUSHX", op.QUEUE_ADMIN: "QUEUE_ADMIN",
    op.STREAM_CREATE: "STREAM_CREATE", op.STREAM_PUB: "STREAM_PUB", op.STREAM_FETCH: "STREAM_FETCH",
    op.STREAM_JOIN: "STREAM_JOIN", op.STREAM_ACK: "STREAM_ACK", op.STREAM_EXISTS: "STREAM_EXISTS",
    op.STREAM_DELETE: "STREAM_DELETE", op.STREAM_DESCRIBE: "STREAM_DESCRIBE", op.STREAM_SEEK: "STREAM_SEEK",
    op.STREAM_LEAVE: "STREAM_LEAVE", op.STREAM_PEEK_DLS: "STREAM_PEEK_DLS",
    op.STREAM_MOVE_TO_STREAM: "STREAM_MOVE_TO_STREAM", op.STREAM_DELETE_DLS: "STREAM_DELETE_DLS",
    op.STREAM_PURGE_DLS: "STREAM_PURGE_DLS", op.STREAM_ACK_MANY: "STREAM_ACK_MANY",
    op.STREAM_EXTENDED: "STREAM_EXTENDED",
}  # fmt: skip

EXTENDED_NAMES: Final[dict[int, str]] = {
    op.STREAMX_READ: "STREAMX_READ", op.STREAMX_APPEND: "STREAMX_APPEND", op.STREAMX_FETCH: "STREAMX_FETCH",
    op.STREAMX_NACK: "STREAMX_NACK", op.STREAMX_SEEK: "STREAMX_SEEK", op.STREAMX_ADMIN: "STREAMX_ADMIN",
    op.STREAMX_RELEASE: "STREAMX_RELEASE",
}  # fmt: skip

NOT_BEFORE_THE_NAME: Final[dict[int, int]] = {op.QUEUE_ACK: 24, op.QUEUE_NACK: 24, op.STREAM_EXTENDED: 1}
"""Bytes of the payload before the name, where there are some: an id and a token, the command."""
NAMELESS: Final = frozenset(
    {
        op.HELLO, op.PING, op.BATCH, op.BACKUP, op.SERVER_ADMIN, op.MAP_CLEAR_ALL, op.MAP_MGET, op.MAP_MSET, op.MAP_UNWATCH,
        op.PUB_REPLY,
    }
)  # fmt: skip
"""Commands whose payload does not begin with the name of what they are about."""


class Told:
    """Commands by name, each with how often, in the order in which they came; and what the first was about."""

    def __init__(self) -> None:
        self.commands: dict[str, int] = {}
        self.resource = ""


def tell(buffer: bytes, offset: i64) -> Told:
    """The complete request frames in a buffer from an offset on, which have been run: they are valid."""
    told = Told()
    end: i64 = len(buffer)
    while offset + op.HEADER_BYTES <= end:
        start: i64 = offset + op.HEADER_BYTES
        offset = start + i64(read_i32_be(buffer, offset + 7))
        if offset > end:
            break
        code: i64 = buffer[start - op.HEADER_BYTES + 2]
        name = NAMES.get(int(code), "unknown")
        if code == op.STREAM_EXTENDED and offset > start:
            name = EXTENDED_NAMES.get(int(buffer[start]), name)
        told.commands[name] = told.commands.get(name, 0) + 1
        if not told.resource:
            told.resource = resource_of(code, Payload(buffer, start, offset))
    return told


def resource_of(code: i64, payload: Payload) -> str:
    """What a command is about; "" when it does not say."""
    if int(code) in NAMELESS:
        return ""
    try:
        payload.need(NOT_BEFORE_THE_NAME.get(int(code), 0), "the name")
        return text(payload)
    except InvalidArgumentError:
        return ""
