"""Fuzz targets for what queues and streams do behind the wire: each is a function of bytes, its invariant first.

The node has a queue and a stream with messages in every state, and the connection holds leases of both. Its
journal keeps: whatever the input did, the operations that it recorded must bring back the same.
"""

from __future__ import annotations

from nexo.brokers.journal import MEMORY, Journal
from nexo.brokers.pubsub import PubSub
from nexo.brokers.queue.queues import Queues
from nexo.brokers.store import Store
from nexo.brokers.stream.streams import Streams
from nexo.node import Node
from nexo.storage.format import operations
from tests.fuzz.inputs import ERROR_CODE_MAX, chunks, requests_in
from tests.vectors.session import Alone, Hand
from tests.vectors.stream import MEMBER, nack
from tests.vectors.table import MESSAGE, TOKEN, Known, req
from tests.vectors.wire import DATA, ERR, HEADER_BYTES, RESPONSE, request, string, u32

LOG = 1 << 32
"""The address at which the only log file begins."""
HELD_FACTOR = 64
HELD_BYTES = 64 * 1024
"""What a broker may hold of an input: so many times its bytes, and so many beyond."""


class Remembering(Journal):
    """A journal in memory in which every batch is on disk as soon as it is closed."""

    def __init__(self) -> None:
        super().__init__(True)
        self.stored = b""
        self.base = LOG

    def close_batch(self, essential: bool = False) -> None:
        if len(self.out) > 0:
            self.stored += self.out.getvalue()
            self.out.truncate(0)
            self.written = self.synced = self.batch
            self.batch += 1
            self.level = MEMORY
            self.base = LOG + len(self.stored)

    def read(self, address: int, size: int) -> bytes:
        found = (self.stored + self.out.getvalue())[address - LOG : address - LOG + size]
        assert len(found) == size, "an address at which nothing lies"
        return found


def node_with(journal: Remembering) -> Node:
    return Node(Hand(), journal, Store(), PubSub(), Queues(journal), Streams(journal, 0))


FURNITURE = (
    req(0x10, "s'q' 06 u32=2 '{\"messages_max\":500}'"),
    req(0x10, 's\'other\' 04 \'{"durability":"memory","backoff":"exponential"}\''),
    req(0x11, "s'q' u32=6" + " 00 00000002 01 'm'" * 6),
    req(
        0x11,
        "s'q' u32=3 02 i60000 00000002 01 'd' 08 0001 'g' 00000002 01 'h' 24 0001 'k' i90000 00000002 01 'x'",
    ),
    req(0x1C, "s'q' u32=1 u32=0"),
    req(0x1D, f"s'q' 03 s'broken' u32=1 {MESSAGE} {TOKEN}"),
    req(0x1C, "s'q' u32=2 u32=0"),
    req(0x30, "s's' 04 '{\"max_deliveries\":2,\"max_records\":200}'"),
    req(0x31, "s's' u32=8" + " 0001 'k' 00000002 01 'm' 0000 00000002 01 'n'" * 4),
    req(0x33, "s's' s'g'"),
    req(0x32, f"{MEMBER} u32=1 u32=0"),
    nack(),
    req(0x32, f"{MEMBER} u32=1 u32=0"),
    nack(),
    req(0x32, f"{MEMBER} u32=3 u32=0"),
)
"""Requests that leave messages ready, delayed, held back, leased and dead."""


def furnish(alone: Alone) -> Known:
    """Send FURNITURE; what its answers told."""
    known = Known()
    for one in FURNITURE:
        alone.send(known.fill(one))
        answer = alone.frame()
        assert answer.kind == 2 and answer.code != 1, answer.error
        known.learn(one, answer)
    return known


def furnished() -> tuple[Alone, Remembering]:
    """A session with FURNITURE in place, and the journal that has recorded it."""
    journal = Remembering()
    alone = Alone(256 * 1024, node=node_with(journal))
    furnish(alone)
    return alone, journal


def seen(node: Node) -> dict[str, object]:
    """What must be the same after a restart."""
    found: dict[str, object] = {}
    for name in node.queues.names():
        queue = node.queues.find(name)
        shown = queue.describe()
        # What was lent for the last time is a dead letter after a restart; level memory records no messages.
        kept = int(str(shown["messages"])) + int(str(shown["dead_letters"]))
        if queue.parts.definition.level == MEMORY:
            kept = 0
        found[f"queue {name!r}"] = (kept, shown["paused_until"], queue.parts.definition.numbers)
    for name in node.streams.names():
        stream = node.streams.find(name)
        groups = {
            group.name: (
                group.backlog.settled.floor,
                group.backlog.settled.runs(),
                len(group.backlog.letters),
            )
            for group in stream.groups.values()
        }
        bounds = (stream.first_seq, stream.last_seq, stream.blocks.bytes)
        found[f"stream {name!r}"] = (bounds, stream.definition.options(), groups)
    return found


def held_bytes(node: Node) -> int:
    """Values in queues and streams."""
    queues = [node.queues.find(name) for name in node.queues.names()]
    streams = [node.streams.find(name) for name in node.streams.names()]
    return sum(int(str(one.describe()["bytes"])) for one in queues) + sum(
        int(one.blocks.bytes) for one in streams
    )


def brought_back(journal: Remembering) -> Node:
    """Another node that did every recorded operation again."""
    again = node_with(Remembering())
    again.journal.keeping = False
    again.journal.stored = journal.stored  # type: ignore[attr-defined]
    for kind, start, end in operations(journal.stored):
        again.apply(kind, journal.stored, start, end, LOG + start)
    again.journal.keeping = True
    again.recovered()
    return again


def fuzz_brokers(data: bytes) -> None:
    """Any bytes give frames or documented errors, never INTERNAL; what is held is bounded by the input.

    A request gets one answer. The journal's operations bring back the same queues and streams.
    """
    alone, journal = furnished()
    before = held_bytes(alone.node)
    asked = requests_in(data)
    answered = 0
    for piece in chunks(data):
        alone.send(piece)
    answered += answers(alone)
    assert held_bytes(alone.node) <= before + HELD_FACTOR * len(data) + HELD_BYTES
    assert waiting(alone) <= asked
    assert seen(brought_back(journal)) == seen(alone.node)
    for _ in range(3):
        # Leases run out, delays end, waits time out: the longest lasts 2^32 ms.
        alone.pass_time(2_000_000_000)
        answered += answers(alone)
    if alone.recorder.is_closed:
        assert answered <= asked + 1
    else:
        assert answered == asked, (answered, asked)
    assert seen(brought_back(journal)) == seen(alone.node)
    alone.session.connection_lost(None)
    alone.turn()
    assert waiting(alone) == 0


def waiting(alone: Alone) -> int:
    """Long polls of a session."""
    session = alone.session
    return len(session.queue_commands.consumer.waiters) + len(session.stream_commands.reading)


def answers(alone: Alone) -> int:
    """How many responses came; each is one that docs/protocol.md knows."""
    count = 0
    for one in alone.rest():
        if one.kind == RESPONSE:
            count += 1
            assert one.code <= DATA
            if one.code == ERR:
                assert 0 < one.error[0] <= ERROR_CODE_MAX, one.error
                assert one.error[1]
    return count


BATCHED = {0x02, 0x04, 0x05, 0x09, 0x0A, 0x11, 0x13, 0x1D, 0x1E, 0x21, 0x31, 0x34, 0x3E, 0x3F}


def fuzz_batch(data: bytes) -> None:
    """Any commands in a BATCH give an answer to each of them, or one error, after which nothing at all has changed.

    The journal's operations bring back what there is.
    """
    alone, journal = furnished()
    for payload in batches_in(data):
        before = everything(alone)
        alone.send(request(0x41, 1, payload))
        answer = alone.frame()
        assert answer.code in (DATA, ERR), answer
        if answer.code == ERR:
            assert 0 < answer.error[0] <= ERROR_CODE_MAX, answer.error
            assert everything(alone) == before, (answer.error, payload.hex())
        else:
            check_answers(answer.payload, payload)
        alone.rest()
    assert seen(brought_back(journal)) == seen(alone.node)


def batches_in(data: bytes) -> list[bytes]:
    """The batches that an input holds, and one of all its other commands that could be in one."""
    found: list[bytes] = []
    commands: list[bytes] = []
    position = 0
    while position + HEADER_BYTES <= len(data):
        code, length = data[position + 2], int.from_bytes(data[position + 7 : position + 11], "big")
        payload = data[position + HEADER_BYTES : position + HEADER_BYTES + length]
        if code == 0x41:
            found.append(payload)
        elif code in BATCHED:
            commands.append(bytes((code,)) + string(payload))
        position += HEADER_BYTES + length
    return [*found, bytes(5) + u32(len(commands)) + b"".join(commands)]


def check_answers(answers: bytes, payload: bytes) -> None:
    """As many as commands, each as long as it says."""
    count = int.from_bytes(answers[:4], "big")
    position = 4
    for _ in range(count):
        assert answers[position] in (0, DATA)
        position += 5 + int.from_bytes(answers[position + 1 : position + 5], "big")
    assert position == len(answers)
    if payload[:5] == bytes(5):  # without preconditions
        assert answers[:4] == payload[5:9]


def everything(alone: Alone) -> list[object]:
    """What a client or a disk could tell of a node."""
    node = alone.node
    page = node.store.scan(b"", b"", 1_000, 1 << 24, node.now, True)
    found: list[object] = [
        seen(node),
        [
            (key, one.value, one.version, one.expires_at)
            for key, one in zip(page.keys, page.entries, strict=True)
        ],
        (
            node.store.version,
            node.pubsub.published,
            [one.value for one in node.pubsub.retained(b"#", node.now)],
        ),
        (node.journal.batch, node.journal.out.getvalue(), len(node.batches)),
    ]
    for name in node.queues.names():
        queue = node.queues.find(name)
        found.append((queue.describe(), [one.token for one in queue.parts.leases.all()]))
    for name in node.streams.names():
        stream = node.streams.find(name)
        pending = [list(group.backlog.pending.items()) for group in stream.groups.values()]
        found.append(
            (stream.next_seq, [[(seq, one.state, one.token) for seq, one in group] for group in pending])
        )
    return found
