"""BATCH of the native protocol: every command in it, every answer, every way to be refused. See table.py."""

from __future__ import annotations

import re

from tests.vectors.stream import MEMBER, any_of, create, leased, published
from tests.vectors.table import (
    BATCH_REFUSED,
    FENCED,
    GOLDEN,
    ID,
    INVALID_ARGUMENT,
    LAYOUTS,
    LIMIT_EXCEEDED,
    MESSAGE,
    NOT_FOUND,
    NOT_MEMBER,
    PRECONDITION_FAILED,
    RECEIPT,
    SEQUENCE_MISMATCH,
    TOKEN,
    Expected,
    bad,
    data,
    err,
    null,
    ok,
    push,
    req,
    vector,
)
from tests.vectors.wire import NO_RESPONSE, b, frame, u8, u32

BATCH = 0x41
SET, GET, DEL, INCR, DELX, INCRX = 0x02, 0x03, 0x04, 0x05, 0x09, 0x0A
QUEUE_CREATE, PUSH, CONSUME, QUEUE_ACK, SETTLE, PUSHX = 0x10, 0x11, 0x12, 0x13, 0x1D, 0x1E
PUB, SUB = 0x21, 0x22
STREAM_PUB, FETCH, STREAM_ACK, ACK_MANY, EXTENDED = 0x31, 0x32, 0x34, 0x3E, 0x3F

QUEUE = req(QUEUE_CREATE, 's\'q\' 04 \'{"durability":"memory","messages_max":2}\'', 1)
JOB = (QUEUE, req(PUSH, f"s'q' u32=1 00 {any_of('job')}", 2), req(CONSUME, "s'q' u32=1 u32=0", 3))
SET_K = (SET, "s'k' 00 00 'v'")
PUSH_X = (PUSH, f"s'q' u32=1 00 {any_of('x')}")
EMPTY = req(CONSUME, "s'q' u32=9 u32=0")

Command = tuple[int, str]


def body(*commands: Command, require: tuple[str, ...] = ()) -> bytes:
    """The payload of a BATCH."""
    parts = [u8(0), u32(len(require)), *map(b, require), u32(len(commands))]
    for opcode, payload in commands:
        content = b(payload)
        parts += [u8(opcode), u32(len(content)), content]
    return b"".join(parts)


def batch(*commands: Command, require: tuple[str, ...] = ()) -> bytes:
    return req(BATCH, body(*commands, require=require))


def answers(*each: str | None) -> Expected:
    """The answer to a batch: of each command its payload, None for OK."""
    found = f"u32={len(each)}"
    for one in each:
        size = len(b(re.sub(r"\?(\d+)", lambda free: "00" * int(free[1]), one))) if one else 0
        found += f" {'00' if one is None else '03'} u32={size} {one or ''}"
    return data(found)


def refusal(
    place: int, code: int, message: str, what: str = "command", details: object = None
) -> dict[str, object]:
    """The details of BATCH_REFUSED."""
    found: dict[str, object] = {what: place, "code": code, "message": message}
    return found if details is None else {**found, "details": details}


def refused(
    name: str,
    *commands: Command,
    place: int,
    code: int,
    message: str,
    what: str = "command",
    details: object = None,
    require: tuple[str, ...] = (),
    setup: tuple[bytes, ...] = (),
    after: tuple[bytes, ...] = (),
    still: tuple[Expected, ...] = (),
    exact: bool = True,
) -> None:
    """A batch that is refused; `after` it the store has no key k, and what `still` says.

    Not `exact`: its error has a version, which depends on what the server did before.
    """
    vector(
        name,
        batch(*commands, require=require) + req(GET, "s'k'") + b"".join(after),
        err(BATCH_REFUSED, message, details=refusal(place, code, message, what, details) if exact else None),
        null(),
        *still,
        setup=setup,
    )


GOLDEN += [
    (
        "BATCH: MAP_SET of k and MAP_INCR of n if there is no key k",
        "09 01 41 fedcba98 00000036 00 00000001 01 00000001 6b 0000000000000000"
        " 00000002 02 00000008 00000001 6b 00 00 76 05 0000000d 00000001 6e 0000000000000002",
        "09 02 03 fedcba98 00000017 00000002 00 00000000 03 00000009 03 0000000000000002",
    ),
    (
        "BATCH: MAP_DELX of a key that has another version",
        "09 01 41 fedcba98 0000001c 00 00000000 00000001 09 0000000e 00000001 6b 01 0000000000000007",
        "09 02 01 fedcba98 00000084 11 0000002e"
        + b"command 0 of the batch: key 'k' does not exist".hex()
        + b'{"command":0,"code":18,"message":"key \'k\' does not exist","details":{"actual":0}}'.hex(),
    ),
]

vector("BATCH of nothing", batch(), answers())
vector(
    "BATCH of preconditions alone",
    batch(require=("01 s'k' i0", "03 s'q'", "04 s's'", "05 s's' i1")),
    answers(),
    setup=(QUEUE, create(), published("a")),
)
vector(
    "BATCH without response", frame(NO_RESPONSE, BATCH, ID, body(SET_K)) + req(GET, "s'k'"), data("00 'v'")
)
vector(
    "BATCH of every store command",
    batch(
        SET_K,
        (SET, "s'k' 10 00 'w'"),
        (SET, "s'a' 22 i0 00 'w'"),
        (DEL, "s'a'"),
        (DELX, "s'k' 02"),
        (DELX, "s'none' 00"),
        (INCR, "s'n' i5"),
        (INCRX, "s'n' 02 i-2 i9"),
        (INCRX, "s'n' 0a i100 i9"),
    )
    + req(GET, "s'n'"),
    answers(
        None,
        "01 ?8 00 'v'",
        "01 ?8",
        None,
        "01 ?8 00 'w'",
        "00 i0",
        "03 i5",
        "i3 i-2 ?8 i0 i0",
        "i9 i6 ?8 i0 i0",
    ),
    data("03 i9"),
)
vector(
    "BATCH: push, publish, append",
    batch(
        PUSH_X, (PUSHX, f"s'q' u32=1 00 {any_of('y')}"), (PUB, "s't' 00 01 'm'"), (PUB, "s'r' 01 01 'kept'")
    )
    + req(CONSUME, "s'q' u32=2 u32=0")
    + req(SUB, "s'r'")
    + req(PUB, "s'r' 04 00"),
    Expected(2, 3, ID, [b("u32=4 00 u32=0 03 u32=21 u32=1 01"), 16, b("00 u32=0 00 u32=0")]),
    push("s't' 01 'm'"),
    data(f"u32=2 ?24 {any_of('x')} ?24 {any_of('y')}"),
    ok(),
    push("s'r' 01 'kept'"),
    ok(),
    setup=(QUEUE, req(SUB, "s't'", 2)),
)
vector(
    "BATCH: clear what is retained",
    batch((PUB, "s'r' 04 00")) + req(SUB, "s'r'"),
    answers(None),
    ok(),
    setup=(req(PUB, "s'r' 01 01 'kept'", 1),),
)
vector(
    "BATCH: append",
    batch(
        (STREAM_PUB, f"s's' u32=2 0000 {any_of('a')} 0001 'k' {any_of('b')}"),
        (EXTENDED, f"02 s's' 01 i2 u32=1 0000 u32=0 {any_of('c')}"),
        (EXTENDED, f"02 s's' 02 0001 'p' i7 u32=1 0000 u32=0 {any_of('d')}"),
    ),
    answers("u32=2 i1 i2", "i3 u32=1 00", "i4 u32=1 00"),
    setup=(create(),),
)
vector(
    "BATCH: ack of a job, then nothing is left",
    batch((QUEUE_ACK, f"{MESSAGE} {TOKEN} s'q'"), SET_K)
    + req(QUEUE_ACK, f"{MESSAGE} {TOKEN} s'q'")
    + req(GET, "s'k'"),
    answers(None, None),
    err(FENCED, "lease"),
    data("00 'v'"),
    setup=JOB,
)
vector("BATCH: SETTLE", batch((SETTLE, f"s'q' 00 u32=1 {MESSAGE} {TOKEN}")), answers("u32=0"), setup=JOB)
for _name, _command, _answer in (
    ("ACK", (STREAM_ACK, f"{MEMBER} i1 {RECEIPT}"), None),
    ("ACK_MANY", (ACK_MANY, f"{MEMBER} u32=1 i1 {RECEIPT}"), "u32=0"),
):
    vector(
        f"BATCH: stream {_name}",
        batch(_command) + req(STREAM_ACK, f"{MEMBER} i1 {RECEIPT}"),
        answers(_answer),
        err(FENCED, "sequence 1"),
        setup=leased("a"),
    )

# What is refused. Before each command that is, there is one that would have been done.

refused("BATCH: a version that is not", require=("01 s'none' i3",), place=0, code=PRECONDITION_FAILED,
    message="key 'none' does not exist", what="precondition", details={"actual": 0})  # fmt: skip
refused("BATCH: a key that is not there", SET_K, require=("01 s'k' i0", "02 s'none'"), place=1,
    code=PRECONDITION_FAILED, message="key 'none' does not exist", what="precondition", details={"actual": 0})  # fmt: skip
refused("BATCH: a queue that is not there", SET_K, require=("03 s'q'",), place=0, code=NOT_FOUND,
    message="queue 'q' does not exist", what="precondition")  # fmt: skip
refused("BATCH: a stream that is not there", SET_K, require=("04 s's'",), place=0, code=NOT_FOUND,
    message="there is no stream s", what="precondition")  # fmt: skip
refused("BATCH: another last sequence", SET_K, require=("05 s's' i2",), place=0, code=SEQUENCE_MISMATCH,
    message="the last sequence is 1, not 2", what="precondition", details={"actual": 1},
    setup=(create(), published("a")))  # fmt: skip
refused("BATCH: an empty key in a precondition", SET_K, require=("02 s''",), place=0, code=INVALID_ARGUMENT,
    message="a key must not be empty", what="precondition")  # fmt: skip
refused("BATCH: only if absent, of a key that the batch has set", SET_K, (SET, "s'k' 02 00 'w'"), place=1,
    code=PRECONDITION_FAILED, message="key 'k' has version", exact=False)  # fmt: skip
refused("BATCH: only if present", (INCR, "s'n' i1"), (SET, "s'k' 04 00 'w'"), place=1,
    code=PRECONDITION_FAILED, message="key 'k' does not exist", details={"actual": 0})  # fmt: skip
refused("BATCH: an old version", SET_K, (SET, "s'o' 20 i999999999 00 'w'"), place=1, code=PRECONDITION_FAILED,
    message="key 'o' has version", exact=False, setup=(req(SET, "s'o' 00 00 'v'", 1),))  # fmt: skip
refused("BATCH: DELX of another version", SET_K, (DELX, "s'o' 01 i999999999"), place=1, code=PRECONDITION_FAILED,
    message="key 'o' has version", exact=False, setup=(req(SET, "s'o' 00 00 'v'", 1),))  # fmt: skip
refused("BATCH: a counter past its bound", (INCR, "s'n' i5"), (INCRX, "s'n' 02 i5 i9"), place=1,
    code=PRECONDITION_FAILED, message="counter 'n' is 5, and +5 is past a bound", details={"actual": 5})  # fmt: skip
refused("BATCH: a counter past 64 bits", (INCR, "s'n' i9223372036854775807"), (INCR, "s'n' i1"), place=1,
    code=INVALID_ARGUMENT, message="9223372036854775807 +1 is outside the range of a 64-bit integer")  # fmt: skip
refused("BATCH: a counter that is text", (SET, "s't' 00 01 'x'"), SET_K, (INCR, "s't' i1"), place=2,
    code=INVALID_ARGUMENT, message="the value is not an integer")  # fmt: skip
refused("BATCH: an empty key", SET_K, (SET, "s'' 00 00 'v'"), place=1, code=INVALID_ARGUMENT,
    message="a key must not be empty")  # fmt: skip
refused("BATCH: a push to no queue", SET_K, PUSH_X, place=1, code=NOT_FOUND,
    message="queue 'q' does not exist")  # fmt: skip
refused("BATCH: pushes to a queue that is full after two", SET_K, PUSH_X, PUSH_X, PUSH_X, place=3,
    code=LIMIT_EXCEEDED, message="queue 'q' is full: messages_max (2), and it holds 0", setup=(QUEUE,),
    after=(EMPTY,), still=(data("u32=0"),))  # fmt: skip
refused("BATCH: a fenced ack", SET_K, (QUEUE_ACK, f"{MESSAGE} i77 s'q'"), place=1, code=FENCED,
    message="the lease of message 1 has ended: it ran out, was settled, or another delivery has followed",
    setup=JOB, after=(req(QUEUE_ACK, f"{MESSAGE} {TOKEN} s'q'"),), still=(ok(),))  # fmt: skip
refused("BATCH: the same ack twice", SET_K, *[(QUEUE_ACK, f"{MESSAGE} {TOKEN} s'q'")] * 2, place=2, code=FENCED,
    message="the lease of message 1 has ended: it ran out, was settled, or another delivery has followed",
    setup=JOB, after=(req(QUEUE_ACK, f"{MESSAGE} {TOKEN} s'q'"),), still=(ok(),))  # fmt: skip
refused("BATCH: an action that is no ack", SET_K, (SETTLE, f"s'q' 01 i0 u32=1 {MESSAGE} {TOKEN}"), place=1,
    code=INVALID_ARGUMENT, message="action 1 of SETTLE cannot be in a batch: acks can", setup=JOB)  # fmt: skip
refused("BATCH: a topic that is a filter", SET_K, (PUB, "s'a/#' 00 00 'x'"), place=1, code=INVALID_ARGUMENT,
    message="a topic holds no wildcard: + and # belong in a filter")  # fmt: skip
refused("BATCH: PUB that counts", SET_K, (PUB, "s'a' 20 00 'x'"), place=1, code=INVALID_ARGUMENT,
    message="in a batch a message is sent later, and its receivers are not counted")  # fmt: skip
refused("BATCH: an append after another sequence", (STREAM_PUB, f"s's' u32=1 0000 {any_of('a')}"), SET_K,
    (EXTENDED, f"02 s's' 01 i0 u32=1 0000 u32=0 {any_of('c')}"), place=2, code=SEQUENCE_MISMATCH,
    message="the last sequence is 1, not 0", details={"actual": 1}, setup=(create(),),
    after=(req(STREAM_PUB, f"s's' u32=1 0000 {any_of('a')}"),), still=(data("u32=1 i1"),))  # fmt: skip
refused("BATCH: a producer's numbers that do not rise", SET_K,
    *[(EXTENDED, f"02 s's' 02 0001 'p' i7 u32=1 0000 u32=0 {any_of('c')}")] * 2, place=2, code=INVALID_ARGUMENT,
    message="append 7 of a producer after its append 7 in the same batch", setup=(create(),))  # fmt: skip
refused("BATCH: another stream command", SET_K, (EXTENDED, "01 s's'"), place=1, code=INVALID_ARGUMENT,
    message="stream command 0x01 cannot be in a batch", setup=(create(),))  # fmt: skip
refused("BATCH: a stream ack of no member", SET_K, (STREAM_ACK, f"s's' s'g' s'who' i1 i1 {RECEIPT}"), place=1,
    code=NOT_MEMBER, message="who is not a member of group g", setup=leased("a"))  # fmt: skip
refused("BATCH: the same stream ack twice", SET_K, *[(STREAM_ACK, f"{MEMBER} i1 {RECEIPT}")] * 2, place=2,
    code=FENCED, message="sequence 1 is acked twice in the same batch", setup=leased("a"))  # fmt: skip
for _opcode in (0x00, 0x01, 0x03, 0x0C, 0x10, 0x12, 0x1A, 0x22, 0x30, 0x40, BATCH, 0xFF):
    refused(f"BATCH: opcode 0x{_opcode:02x}", SET_K, (_opcode, ""), place=1, code=INVALID_ARGUMENT,
        message=f"opcode 0x{_opcode:02x} cannot be in a batch")  # fmt: skip
refused("BATCH: a command that ends early", SET_K, (INCR, "s'n' 00"), place=1, code=INVALID_ARGUMENT,
    message="the payload ends before the delta")  # fmt: skip
refused("BATCH: a command that is too long", SET_K, (DEL, "s'n' 00"), place=1, code=INVALID_ARGUMENT,
    message="1 bytes follow the end of the payload")  # fmt: skip

# What is no batch.

bad("BATCH with an unknown flag", req(BATCH, "01 u32=0 u32=0"), "flags")
for _kind in ("00", "06", "ff"):
    bad(f"BATCH with a precondition of kind {_kind}", req(BATCH, f"00 u32=1 {_kind} s'k' u32=0"), "kind")
bad("BATCH of 1,001 commands", req(BATCH, "00 u32=0 u32=1001"), "batch_commands_max", LIMIT_EXCEEDED)
bad("BATCH of 1,001 preconditions", req(BATCH, "00 u32=1001"), "batch_commands_max", LIMIT_EXCEEDED)
vector(
    "BATCH of 1,000 commands",
    req(BATCH, body(*[(INCR, "s'n' i1")] * 1_000)) + req(GET, "s'n'"),
    answers(*[f"03 i{count}" for count in range(1, 1_001)]),
    data("03 i1000"),
)
vector(
    "BATCH of 4 MiB",
    req(BATCH, body((SET, f"s'k' 00 00 {bytes(4 * 1024 * 1024 - 21).hex()}"))),
    answers(None),
)
bad(
    "BATCH of 4 MiB and a byte",
    req(BATCH, body((SET, f"s'k' 00 00 {bytes(4 * 1024 * 1024 - 20).hex()}"))),
    "batch_bytes_max",
    LIMIT_EXCEEDED,
)
LAYOUTS.append(("BATCH", BATCH, body(SET_K, require=("01 s'k' i0", "04 s's'")), True))
