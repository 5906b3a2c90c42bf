"""Every command of the protocol with an account that may do nothing, and with one that may do all by verbs alone.

A command that the table of permissions does not know fails here, and so does an opcode that no vector uses.
"""

from __future__ import annotations

import pytest

from nexo.protocols.grants import VERBS, Grants
from nexo.protocols.logins import Login
from nexo.protocols.native import opcodes, permission
from tests.protocols.native.test_vectors import NAMES, Player
from tests.vectors.every import VECTORS
from tests.vectors.native import BACKUP, HELLO, PING
from tests.vectors.session import Alone
from tests.vectors.table import INVALID_ARGUMENT, NOT_AUTHORIZED, PROTOCOL_ERROR, Known, Vector
from tests.vectors.wire import DATA, ERR, HEADER, HEADER_BYTES, RESPONSE, b

EVENTS = {opcodes.GOING_AWAY, opcodes.DROPPED}
"""Only a server sends them."""
FREE = {HELLO, PING, opcodes.UNSUB, opcodes.UNSUBX, opcodes.MAP_UNWATCH}
OPCODES = {
    getattr(opcodes, name)
    for name in vars(opcodes)
    if name
    in (
        "HELLO",
        "PING",
        "BATCH",
        "BACKUP",
        "PUB",
        "SUB",
        "UNSUB",
        "SUBX",
        "UNSUBX",
        "PUB_REQUEST",
        "PUB_REPLY",
        "SERVER_ADMIN",
    )
    or (name.startswith(("MAP_", "QUEUE_", "STREAM_")) and name not in ("STREAM_MAX_AGE", "STREAM_MAX_BYTES"))
}


def admitted(permissions: list[str], beside: Alone | None = None) -> Alone:
    alone = Alone(other=beside)
    alone.session.admit(Login(Grants("mallory", permissions), "password", 0))
    return alone


def frames(data: bytes) -> list[tuple[int, int, bytes]]:
    """Kind, opcode and payload of whole frames."""
    found = []
    while len(data) >= HEADER_BYTES:
        _, kind, code, _, length = HEADER.unpack_from(data)
        found.append((kind, code, data[HEADER_BYTES : HEADER_BYTES + length]))
        data = data[HEADER_BYTES + length :]
    return found


def test_the_table_knows_every_opcode() -> None:
    assert permission.known_opcodes() == OPCODES


def test_the_vectors_use_every_opcode() -> None:
    used = {
        code for vector in VECTORS for data in (*vector.setup, vector.send) for _, code, _ in frames(data)
    }
    assert used >= OPCODES


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_nothing_is_done_for_who_may_do_nothing(vector: Vector) -> None:
    owner = Alone()
    known = Known()
    if vector.hello:
        owner.hello()
    for one in vector.setup:
        owner.send(known.fill(one))
        answer = owner.frame()
        while answer.kind != RESPONSE:
            answer = owner.frame()
        known.learn(one, answer)
    before = state(owner)
    mallory = admitted(["store:read mallory/alone"], owner)
    sent = known.fill(vector.send)
    mallory.send(sent)
    codes = [code for kind, code, _ in frames(sent) if kind == 1]
    for answer in mallory.rest():
        assert answer.kind == RESPONSE, "nothing reaches who has subscribed to nothing"
        if answer.code == ERR:
            code, message = answer.error
            assert code in (NOT_AUTHORIZED, INVALID_ARGUMENT, PROTOCOL_ERROR, 0x02, 0x0B, 0x11), message
        elif answer.code == DATA and answer.payload in (b"\x02[]", b("00000000")):
            pass  # a list of nothing, a batch of nothing
        else:
            assert set(codes) & FREE or opcodes.BATCH in codes, f"{vector.name}: {answer}"
    assert state(owner) == before


def state(alone: Alone) -> list[object]:
    """What would show that something was done."""
    node = alone.node
    return [
        len(node.store), node.store.version, sorted(node.queues.names()), sorted(node.streams.names()),
        [node.queues.find(name).describe() for name in node.queues.names()],
        [int(node.streams.find(name).last_seq) for name in node.streams.names()],
        int(node.pubsub.published), sorted(node.pubsub.retained_topics()), sorted(node.pubsub.filters()),
    ]  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_everything_is_done_for_who_has_every_verb(vector: Vector) -> None:
    """So each command's name is found where it stands, and no verb is asked for that there is none of."""
    if any(code in (BACKUP, opcodes.SERVER_ADMIN) for _, code, _ in frames(vector.send)):
        pytest.skip("for administrators")
    if any("cannot be in a batch" in reply.message for reply in vector.replies):
        pytest.skip("refused in other words, before it is known that it cannot be there")
    Player(admitted([f"{verb} *" for verb in VERBS])).play(vector, "whole")
