"""What each command of the native protocol needs to be allowed: the one table, looked at before a command is run.

An opcode that is not in it is not run for anybody whose rights are restricted. A payload that ends too early is
refused here as it would be by its command. Unrestricted accounts, and servers without accounts, never come here.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

from nexo.errors import InvalidArgumentError
from nexo.limits import KEYS_PER_COMMAND_MAX
from nexo.node import Node
from nexo.protocols import grants as grant
from nexo.protocols.grants import Grants
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.frames import Payload

FREE: Final = 0  # allowed to everybody, logged in or not
NAME: Final = 1  # the verb on the name at the start of the payload
DELIVERY: Final = 2  # on the name behind a delivery's id and token
PREFIX: Final = 3  # on every name with the prefix at the start
ALL: Final = 4  # on every name
QUEUE: Final = 5  # any verb on the queue at the start
STREAM: Final = 6  # any verb on the stream at the start
ADMIN: Final = 7  # only for administrators
OWN: Final = 8  # a function below tells

DELIVERY_BYTES: Final = 24

_RULES: Final[dict[int, tuple[int, int]]] = {
    op.HELLO: (FREE, 0),
    op.PING: (FREE, 0),
    op.BATCH: (FREE, 0),  # batch.py asks for each command in it
    op.BACKUP: (ADMIN, 0),
    op.SERVER_ADMIN: (OWN, 0),
    op.MAP_GET: (NAME, grant.STORE_READ),
    op.MAP_SET: (OWN, 0),
    op.MAP_DEL: (NAME, grant.STORE_WRITE),
    op.MAP_INCR: (OWN, 0),
    op.MAP_CLEAR_ALL: (ALL, grant.STORE_WRITE),
    op.MAP_CLEAR_PREFIX: (PREFIX, grant.STORE_WRITE),
    op.MAP_GETX: (OWN, 0),
    op.MAP_DELX: (OWN, 0),
    op.MAP_INCRX: (OWN, 0),
    op.MAP_MGET: (OWN, 0),
    op.MAP_MSET: (OWN, 0),
    op.MAP_SCAN: (PREFIX, grant.STORE_READ),
    op.MAP_WATCH: (OWN, 0),
    op.MAP_UNWATCH: (FREE, 0),  # of this connection's own
    op.MAP_ADMIN: (PREFIX, grant.STORE_MANAGE),
    op.PUB: (NAME, grant.PUBSUB_PUBLISH),
    op.SUB: (NAME, grant.PUBSUB_SUBSCRIBE),
    op.SUBX: (NAME, grant.PUBSUB_SUBSCRIBE),
    op.UNSUB: (FREE, 0),
    op.UNSUBX: (FREE, 0),
    op.PUB_REQUEST: (NAME, grant.PUBSUB_PUBLISH),
    op.PUB_REPLY: (OWN, 0),
    op.QUEUE_CREATE: (NAME, grant.QUEUE_MANAGE),
    op.QUEUE_PUSH: (NAME, grant.QUEUE_PUSH),
    op.QUEUE_PUSHX: (NAME, grant.QUEUE_PUSH),
    op.QUEUE_CONSUME: (NAME, grant.QUEUE_CONSUME),
    op.QUEUE_RECEIVE: (NAME, grant.QUEUE_CONSUME),
    op.QUEUE_ACK: (DELIVERY, grant.QUEUE_CONSUME),
    op.QUEUE_NACK: (DELIVERY, grant.QUEUE_CONSUME),
    op.QUEUE_SETTLE: (NAME, grant.QUEUE_CONSUME),
    op.QUEUE_EXISTS: (QUEUE, 0),
    op.QUEUE_DESCRIBE: (QUEUE, 0),
    op.QUEUE_DELETE: (NAME, grant.QUEUE_MANAGE),
    op.QUEUE_PEEK_DLQ: (NAME, grant.QUEUE_BROWSE),
    op.QUEUE_MOVE_TO_QUEUE: (NAME, grant.QUEUE_MANAGE),
    op.QUEUE_DELETE_DLQ: (NAME, grant.QUEUE_MANAGE),
    op.QUEUE_PURGE_DLQ: (NAME, grant.QUEUE_MANAGE),
    op.QUEUE_ADMIN: (OWN, 0),
    op.STREAM_CREATE: (NAME, grant.STREAM_MANAGE),
    op.STREAM_PUB: (NAME, grant.STREAM_APPEND),
    op.STREAM_FETCH: (NAME, grant.STREAM_CONSUME),
    op.STREAM_JOIN: (NAME, grant.STREAM_CONSUME),
    op.STREAM_LEAVE: (NAME, grant.STREAM_CONSUME),
    op.STREAM_ACK: (NAME, grant.STREAM_CONSUME),
    op.STREAM_ACK_MANY: (NAME, grant.STREAM_CONSUME),
    op.STREAM_SEEK: (NAME, grant.STREAM_CONSUME),
    op.STREAM_EXISTS: (STREAM, 0),
    op.STREAM_DESCRIBE: (STREAM, 0),
    op.STREAM_DELETE: (NAME, grant.STREAM_MANAGE),
    op.STREAM_PEEK_DLS: (NAME, grant.STREAM_READ),
    op.STREAM_MOVE_TO_STREAM: (NAME, grant.STREAM_MANAGE),
    op.STREAM_DELETE_DLS: (NAME, grant.STREAM_MANAGE),
    op.STREAM_PURGE_DLS: (NAME, grant.STREAM_MANAGE),
    op.STREAM_EXTENDED: (OWN, 0),
}

_STREAMX: Final[dict[int, int]] = {
    op.STREAMX_READ: grant.STREAM_READ,
    op.STREAMX_APPEND: grant.STREAM_APPEND,
    op.STREAMX_FETCH: grant.STREAM_CONSUME,
    op.STREAMX_NACK: grant.STREAM_CONSUME,
    op.STREAMX_RELEASE: grant.STREAM_CONSUME,
    op.STREAMX_SEEK: grant.STREAM_CONSUME,
}
_QUEUE_ACTIONS: Final[dict[bytes, int]] = {b"browse": grant.QUEUE_BROWSE, b"get": grant.QUEUE_BROWSE}
_STREAM_ACTIONS: Final[dict[bytes, int]] = {b"dead": grant.STREAM_READ}


def surely(grants: Grants, code: i64, data: bytes, start: i64, end: i64) -> bool:
    """The hot path: whether one of the commonest commands may be run. False: `check` has to tell."""
    if end - start < 5:
        return False
    name_end: i64 = start + 4 + i64(read_i32_be(data, start))
    if name_end <= start + 4 or name_end > end:
        return False
    if code == op.MAP_GET:
        verb: i64 = grant.STORE_READ
    elif code == op.MAP_SET:
        if name_end == end or data[name_end] & op.SET_RETURN_OLD:
            return False
        verb = grant.STORE_WRITE
    elif code == op.PUB:
        verb = grant.PUBSUB_PUBLISH
    else:
        verb = grant.QUEUE_PUSH
    return grants.patterns[verb].surely_covers(data, start + 4, name_end)


def check(grants: Grants, node: Node, code: i64, payload: Payload) -> None:
    """Whether a command may be run. NotAuthorizedError when not; moves the payload on, so give a copy of it."""
    rule = _RULES.get(int(code))
    if rule is None:
        raise InvalidArgumentError(f"unknown opcode 0x{code:02x}")
    kind, verb = rule
    if kind == NAME:
        grants.check(verb, payload.string("the name"))
    elif kind == FREE:
        pass
    elif kind == DELIVERY:
        payload.need(DELIVERY_BYTES, "the delivery")
        grants.check(verb, payload.string("the name"))
    elif kind == PREFIX:
        _check_prefix(grants, verb, code, payload)
    elif kind == ALL:
        grants.check_prefix(verb, b"")
    elif kind == QUEUE:
        grants.check_see(grant.QUEUES, payload.string("the queue's name"))
    elif kind == STREAM:
        grants.check_see(grant.STREAMS, payload.string("the stream's name"))
    elif kind == ADMIN:
        grants.check_admin()
    elif code == op.PUB_REPLY:
        # Requests have numbers that can be guessed.
        topic = node.requests.topic_of(payload.u64("the request"))
        if topic:
            grants.check(grant.PUBSUB_SUBSCRIBE, topic)
        elif not grants.account:
            raise grants.refusal("a reply")
    elif code == op.SERVER_ADMIN:
        if payload.string("the action") in (b"close", b"config"):
            grants.check_admin()
        else:
            grants.check_monitor()
    elif code == op.QUEUE_ADMIN:
        _check_queue_admin(grants, payload)
    elif code == op.STREAM_EXTENDED:
        _check_stream_extended(grants, payload)
    else:
        _check_store(grants, code, payload)


def _check_prefix(grants: Grants, verb: i64, code: i64, payload: Payload) -> None:
    prefix = payload.string("the prefix")
    if code == op.MAP_ADMIN and payload.string("the action") in (b"list", b"describe"):
        verb = grant.STORE_READ
    grants.check_prefix(verb, prefix)


def _check_store(grants: Grants, code: i64, payload: Payload) -> None:
    """The commands that may need to read as well as to write."""
    if code == op.MAP_MGET:
        for _ in range(_count(payload)):
            grants.check(grant.STORE_READ, payload.string("the key"))
        return
    if code == op.MAP_MSET:
        if payload.u8("the flags") & op.MSET_TTL:
            payload.u64("the TTL")
        for _ in range(_count(payload)):
            grants.check(grant.STORE_WRITE, payload.string("the key"))
            payload.need(payload.u32("a value"), "a value")
        return
    key = payload.string("the key")
    reads = writes = True
    if code == op.MAP_SET:
        reads = (payload.u8("the flags") & op.SET_RETURN_OLD) != 0
    elif code == op.MAP_DELX:
        reads = (payload.u8("the flags") & op.DELX_RETURN_OLD) != 0
    elif code == op.MAP_GETX:
        writes = (payload.u8("the flags") & (op.GETX_TTL | op.GETX_TTL_ABSOLUTE | op.GETX_PERSIST)) != 0
    elif code == op.MAP_WATCH:
        if payload.u8("the flags") & op.WATCH_PREFIX:
            grants.check_prefix(grant.STORE_READ, key)
            return
        writes = False
    if reads:
        grants.check(grant.STORE_READ, key)
    if writes:
        grants.check(grant.STORE_WRITE, key)


def _count(payload: Payload) -> i64:
    """How many keys follow; 0 for more than the command will take."""
    count = payload.u32("the number of keys")
    return count if count <= KEYS_PER_COMMAND_MAX else 0


def _check_queue_admin(grants: Grants, payload: Payload) -> None:
    name = payload.string("the queue's name")
    action = payload.string("the action")
    if action == b"list":
        _check_account(grants)  # lists show what may be seen
    elif action == b"describe":
        grants.check_see(grant.QUEUES, name)
    else:
        grants.check(_QUEUE_ACTIONS.get(action, grant.QUEUE_MANAGE), name)


def _check_stream_extended(grants: Grants, payload: Payload) -> None:
    code = int(payload.u8("the command"))
    name = payload.string("the stream's name")
    if code != op.STREAMX_ADMIN:
        verb = _STREAMX.get(code)
        if verb is None:
            raise InvalidArgumentError(f"unknown stream command 0x{code:02x}")
        grants.check(verb, name)
        return
    payload.string("the group's name")
    action = payload.string("the action")
    if action == b"list":
        _check_account(grants)
    elif action in (b"describe", b"groups", b"group"):
        grants.check_see(grant.STREAMS, name)
    else:
        grants.check(_STREAM_ACTIONS.get(action, grant.STREAM_MANAGE), name)


def _check_account(grants: Grants) -> None:
    """For a list, of which everybody who is somebody gets his part."""
    if not grants.permissions:
        raise grants.refusal("a list")


def check_precondition(grants: Grants, kind: i64, name: bytes) -> None:
    """Whether a batch may ask for something."""
    if kind == op.REQUIRE_VERSION or kind == op.REQUIRE_KEY:
        grants.check(grant.STORE_READ, name)
    elif kind == op.REQUIRE_QUEUE:
        grants.check_see(grant.QUEUES, name)
    else:
        grants.check_see(grant.STREAMS, name)


def known_opcodes() -> set[int]:
    """Those of the table."""
    return set(_RULES)
