"""The Queue commands of the native protocol: every command and every answer, byte for byte. See table.py."""

from __future__ import annotations

import json

from tests.vectors.table import (
    CONFLICT,
    CONVERSATIONS,
    FENCED,
    INVALID_ARGUMENT,
    LAYOUTS,
    LIMIT_EXCEEDED,
    MESSAGE,
    NOT_FOUND,
    TOKEN,
    bad,
    data,
    err,
    ok,
    req,
    vector,
)
from tests.vectors.wire import NO_RESPONSE, b, frame, header_block, string, u8, u16, u32, u64

CREATE, PUSH, CONSUME, ACK, EXISTS, DELETE = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
PEEK_DLQ, MOVE_TO_QUEUE, DELETE_DLQ, PURGE_DLQ, NACK, DESCRIBE = 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B
RECEIVE, SETTLE, PUSHX, ADMIN = 0x1C, 0x1D, 0x1E, 0x1F

DEFINITION = "s'q' i30000 u32=5"
UNKNOWN = "does not exist"
NO_MESSAGE = "0000000000000001 00000000000000ff"


# What the vectors begin with.
def create(visibility_ms: int = 0, deliveries: int = 0, **options: object) -> bytes:
    """The queue q at level memory: what is pushed is there at once, and answers come in order."""
    flags = 0x04 | (visibility_ms > 0) * 0x01 | (deliveries > 0) * 0x02
    numbers = (u64(visibility_ms) if visibility_ms else b"") + (u32(deliveries) if deliveries else b"")
    given = json.dumps({"durability": "memory", **options}).encode()
    return req(CREATE, string("q") + u8(flags) + numbers + given, 1)


def pushed(*values: str, correlation: int = 2) -> bytes:
    """Text messages without options."""
    return req(
        PUSH, f"s'q' u32={len(values)} " + " ".join(f"00 {any_of(value)}" for value in values), correlation
    )


def any_of(text: str) -> str:
    """A STRING value with its length."""
    return f"u32={1 + len(text.encode())} 01 '{text}'"


def lent(*values: str, visibility_ms: int = 0, deliveries: int = 0, **options: object) -> tuple[bytes, ...]:
    """A queue whose messages are lent to the connection; the first is the one that MESSAGE and TOKEN mean."""
    return (
        create(visibility_ms, deliveries, **options),
        pushed(*values),
        req(RECEIVE, f"s'q' u32={len(values)} u32=0", 3),
    )


def dead(*values: str) -> tuple[bytes, ...]:
    """A queue whose only messages are dead letters."""
    settle = req(SETTLE, f"s'q' 03 s'broken' u32=1 {MESSAGE} {TOKEN}", 5)
    each = [(pushed(value), req(RECEIVE, "s'q' u32=1 u32=0", 4), settle) for value in values]
    return (create(), *(step for steps in each for step in steps))


def admin(action: str, arguments: str = "", name: str = "q") -> bytes:
    return req(ADMIN, f"s'{name}' s'{action}'" + (f" '{arguments}'" if arguments else ""))


# ------------------------------------------------------------------------------------------------
# Definitions.

vector("CREATE", req(CREATE, "s'q' 00"), data(f"01 {DEFINITION}"))
vector("CREATE with both options", req(CREATE, "s'q' 03 i1500 u32=7"), data("01 s'q' i1500 u32=7"))
vector("DESCRIBE", req(DESCRIBE, "s'q'"), data("s'q' i1500 u32=7"), setup=(create(1500, 7),))
vector(
    "CREATE of a queue that is there",
    req(CREATE, "s'q' 00"),
    data("02 s'q' i1500 u32=5"),
    setup=(create(1500),),
)
vector(
    "CREATE compares what is given",
    req(CREATE, "s'q' 02 u32=5"),
    data("02 s'q' i1500 u32=5"),
    setup=(create(1500),),
)
vector(
    "CREATE with another definition",
    req(CREATE, "s'q' 03 i9 u32=5") + req(DESCRIBE, "s'q'"),
    err(
        CONFLICT,
        "visibility_timeout_ms is 1500",
        details={
            "resourceKind": "queue",
            "resourceName": "q",
            "requested": {"visibility_timeout_ms": 9, "max_deliveries": 5},
            "actual": {"visibility_timeout_ms": 1500, "max_deliveries": 5},
            "differences": [{"path": "visibility_timeout_ms", "requested": 9, "actual": 1500}],
        },
    ),
    data("s'q' i1500 u32=5"),
    setup=(create(1500),),
)
vector(
    "CREATE with JSON options",
    req(CREATE, 's\'q\' 05 i1500 \'{"durability":"flush","backoff":"fixed","messages_max":9}\''),
    data("01 s'q' i1500 u32=5"),
)
bad(
    "CREATE with other JSON options",
    req(CREATE, "s'q' 04 '{\"durability\":\"fsync\"}'"),
    "durability is memory",
    CONFLICT,
    setup=(create(),),
)
vector(
    "CREATE with the largest number of deliveries",
    req(CREATE, "s'q' 02 ffffffff"),
    data("01 s'q' i30000 ffffffff"),
)
vector(
    "CREATE with a name of 255 bytes",
    req(CREATE, string("n" * 255) + b"\0"),
    data(b"\1" + string("n" * 255) + b("i30000 u32=5")),
)
bad("CREATE with a name of 256 bytes", req(CREATE, string("n" * 256) + b"\0"), "255")
bad("CREATE without a name", req(CREATE, "s'' 00"), "name")
bad("CREATE with a name that is not UTF-8", req(CREATE, "00000002 c328 00"), "UTF-8")
bad("CREATE with a visibility timeout of 0", req(CREATE, "s'q' 01 i0"), "visibility_timeout_ms 0")
bad("CREATE with a visibility timeout of 2^63", req(CREATE, "s'q' 01 8000000000000000"), "2^63")
bad("CREATE with a visibility timeout above a week", req(CREATE, "s'q' 01 i604800001"), "604800000")
bad("CREATE with 0 deliveries", req(CREATE, "s'q' 02 u32=0"), "max_deliveries 0")
bad("CREATE with an unknown option", req(CREATE, "s'q' 04 '{\"color\":1}'"), "'color' is no option")
bad("CREATE with an option of the wrong type", req(CREATE, "s'q' 04 '{\"messages_max\":\"9\"}'"), "integer")
bad(
    "CREATE with an option that is no word of it", req(CREATE, "s'q' 04 '{\"overflow\":\"burst\"}'"), "reject"
)
bad("CREATE with options that are no JSON", req(CREATE, "s'q' 04 '{'"), "the options")
bad("CREATE with options that are not UTF-8", req(CREATE, "s'q' 04 '{\"' c328 '\":1}'"), "the options")
bad("CREATE with options that are no object", req(CREATE, "s'q' 04 '[1]'"), "the options")
bad("CREATE with an unknown flag", req(CREATE, "s'q' 08"), "flags")
vector("EXISTS", req(EXISTS, "s'q'") + req(EXISTS, "s'Q'"), data("01"), data("00"), setup=(create(),))
vector(
    "DELETE",
    req(EXISTS, "s'q'") + req(PUSH, f"s'q' u32=1 00 {any_of('x')}"),
    data("00"),
    err(NOT_FOUND, UNKNOWN),
    setup=(create(), pushed("a"), req(DELETE, "s'q'")),
)
vector(
    "DELETE ends a CONSUME that waits",
    req(CONSUME, "s'q' u32=1 u32=60000") + req(DELETE, "s'q'"),
    err(NOT_FOUND, "deleted"),
    ok(),
    setup=(create(),),
)
vector(
    "DELETE and CREATE again is empty",
    req(CONSUME, "s'q' u32=9 u32=0"),
    data("u32=0"),
    setup=(create(), pushed("a"), req(DELETE, "s'q'"), create()),
)

# Every command on a queue that is not there.
for _name, _opcode, _rest in (
    ("PUSH", PUSH, f"u32=1 00 {any_of('x')}"),
    ("PUSHX", PUSHX, f"u32=1 00 {any_of('x')}"),
    ("CONSUME", CONSUME, "u32=1 u32=0"),
    ("RECEIVE", RECEIVE, "u32=1 u32=60000"),
    ("SETTLE", SETTLE, "00 u32=0"),
    ("DELETE", DELETE, ""),
    ("DESCRIBE", DESCRIBE, ""),
    ("PEEK_DLQ", PEEK_DLQ, "u32=1 u32=0"),
    ("MOVE_TO_QUEUE", MOVE_TO_QUEUE, NO_MESSAGE),
    ("DELETE_DLQ", DELETE_DLQ, NO_MESSAGE),
    ("PURGE_DLQ", PURGE_DLQ, ""),
    ("QUEUE_ADMIN", ADMIN, "s'describe'"),
):
    bad(f"{_name} of an unknown queue", req(_opcode, f"s'none' {_rest}"), UNKNOWN, NOT_FOUND)
    vector(
        f"{_name} of an unknown queue without response", frame(NO_RESPONSE, _opcode, 7, b(f"s'none' {_rest}"))
    )
bad("ACK of an unknown queue", req(ACK, f"{NO_MESSAGE} i1 s'none'"), UNKNOWN, NOT_FOUND)
bad("NACK of an unknown queue", req(NACK, f"{NO_MESSAGE} i1 s'none' s'why'"), UNKNOWN, NOT_FOUND)

# ------------------------------------------------------------------------------------------------
# Pushing and consuming.

for _type, _value in (
    ("RAW", "00 00ff7f"),
    ("STRING", "01 'grün'"),
    ("JSON", "02 '{\"a\":[1,2]}'"),
    ("INT", "03 i-2"),
    ("empty RAW", "00"),
    ("empty STRING", "01"),
):
    _sized = f"u32={len(b(_value))} {_value}"
    vector(
        f"PUSH and CONSUME of {_type}",
        req(PUSH, f"s'q' u32=1 00 {_sized}") + req(CONSUME, "s'q' u32=10 u32=0"),
        ok(),
        data(f"u32=1 ?16 ?8 {_sized}"),
        setup=(create(),),
    )
vector(
    "PUSH without response",
    frame(NO_RESPONSE, PUSH, 7, b(f"s'q' u32=1 00 {any_of('a')}")) + req(ADMIN, "s'q' s'resume'"),
    data("02 '{\"paused\":false}'"),
    setup=(create(),),
)
vector("PUSH of nothing", req(PUSH, "s'q' u32=0"), ok(), setup=(create(),))
vector(
    "PUSH of three with priorities",
    req(PUSH, f"s'q' u32=3 01 01 {any_of('low')} 01 ff {any_of('high')} 00 {any_of('zero')}")
    + req(CONSUME, "s'q' u32=10 u32=0"),
    ok(),
    data(f"u32=3 ?16 ?8 {any_of('high')} ?16 ?8 {any_of('low')} ?16 ?8 {any_of('zero')}"),
    setup=(create(),),
)
vector(
    "CONSUME of fewer than there are",
    req(CONSUME, "s'q' u32=2 u32=0") + req(CONSUME, "s'q' u32=2 u32=1000") + req(CONSUME, "s'q' u32=2 u32=0"),
    data(f"u32=2 ?16 ?8 {any_of('a')} ?16 ?8 {any_of('b')}"),
    data(f"u32=1 ?16 ?8 {any_of('c')}"),
    data("u32=0"),
    setup=(create(), pushed("a", "b", "c")),
)
vector(
    "CONSUME that times out", req(CONSUME, "s'q' u32=5 u32=30"), data("u32=0"), setup=(create(),), wait_ms=60
)
vector(
    "CONSUME that waits and wakes",
    req(CONSUME, "s'q' u32=5 u32=60000") + req(PUSH, f"s'q' u32=1 00 {any_of('a')}"),
    ok(),
    data(f"u32=1 ?16 ?8 {any_of('a')}"),
    setup=(create(),),
)
bad(
    "CONSUME of 0 messages",
    req(CONSUME, "s'q' u32=0 u32=0"),
    "DELIVERIES_PER_RECEIVE_MAX",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
bad(
    "CONSUME of 10,001 messages",
    req(CONSUME, "s'q' u32=10001 u32=9"),
    "DELIVERIES_PER_RECEIVE_MAX",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
vector(
    "CONSUME without response lends nothing",
    frame(NO_RESPONSE, CONSUME, 7, b("s'q' u32=1 u32=0")) + req(CONSUME, "s'q' u32=1 u32=0"),
    data(f"u32=1 ?16 ?8 {any_of('a')}"),
    setup=(create(), pushed("a")),
)
bad(
    "PUSH of 10,001 messages",
    req(PUSH, b("s'q' u32=10001") + b("00 00000001 00") * 10_001),
    "messages_per_push_max",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
bad(
    "PUSH that claims 2^32 - 1 messages",
    req(PUSH, "s'q' ffffffff 00 00000001 00"),
    code=LIMIT_EXCEEDED,
    setup=(create(),),
)
bad("PUSH of fewer messages than it says", req(PUSH, "s'q' u32=2 00 00000001 00"), "ends", setup=(create(),))
bad(
    "PUSH of more messages than it says",
    req(PUSH, "s'q' u32=1 00 00000001 00 00"),
    "follow",
    setup=(create(),),
)
bad("PUSH of a message without a value", req(PUSH, "s'q' u32=1 00 00000000"), "data type", setup=(create(),))
bad("PUSH of an unknown data type", req(PUSH, "s'q' u32=1 00 00000001 04"), "data type", setup=(create(),))
bad(
    "PUSH of an INT of 7 bytes",
    req(PUSH, "s'q' u32=1 00 00000008 03 00000000000000"),
    "INT",
    setup=(create(),),
)
for _flags in ("40", "80", "ff"):
    bad(
        f"PUSH with flags {_flags}",
        req(PUSH, f"s'q' u32=1 {_flags} {any_of('a')}"),
        "flags",
        setup=(create(),),
    )
_LARGE = b("s'q' u32=1 00") + u32(10 * 1024 * 1024 - 128 * 1024 + 1)
bad(
    "PUSH of a value that is too large",
    req(PUSH, _LARGE + bytes(10 * 1024 * 1024 - 128 * 1024 + 1)),
    "MESSAGE_BYTES_MAX",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
vector(
    "PUSH of all or none",
    req(PUSH, f"s'q' u32=2 00 {any_of('a')} 20 i0 {any_of('b')}") + req(CONSUME, "s'q' u32=5 u32=0"),
    err(INVALID_ARGUMENT, "time to live"),
    data("u32=0"),
    setup=(create(),),
)
bad(
    "PUSH to a full queue",
    req(PUSH, f"s'q' u32=1 00 {any_of('b')}"),
    "messages_max (1)",
    LIMIT_EXCEEDED,
    setup=(create(messages_max=1), pushed("a")),
)
vector(
    "PUSH to a full queue that drops its oldest",
    req(PUSH, f"s'q' u32=1 00 {any_of('b')}") + req(CONSUME, "s'q' u32=5 u32=0"),
    ok(),
    data(f"u32=1 ?16 ?8 {any_of('b')}"),
    setup=(create(messages_max=1, overflow="drop_oldest"), pushed("a")),
)

# Items with options.
vector(
    "PUSH with a delay is not there yet",
    req(PUSH, f"s'q' u32=1 02 i60000 {any_of('a')}") + req(CONSUME, "s'q' u32=5 u32=0"),
    ok(),
    data("u32=0"),
    setup=(create(),),
)
vector(
    "PUSH with a delay comes when it is due",
    req(PUSH, f"s'q' u32=1 02 i40 {any_of('a')}") + req(CONSUME, "s'q' u32=5 u32=60000"),
    ok(),
    data(f"u32=1 ?16 ?8 {any_of('a')}"),
    setup=(create(),),
    wait_ms=80,
)
_ALL_FIELDS = (
    b("s'q' u32=1 3f 09 i0 0003 'one' 0003 'two'") + header_block((b"n", b"v")) + b(f"i60000 {any_of('a')}")
)
vector(
    "PUSH with every option, RECEIVE",
    req(PUSH, _ALL_FIELDS) + req(RECEIVE, "s'q' u32=5 u32=0"),
    ok(),
    data(f"u32=1 ?16 ?8 u32=1 09 ?8 0003 'two' 00000006 0001 'n' 0001 'v' {any_of('a')}"),
    setup=(create(),),
)
bad(
    "PUSH with a delay above 2^53",
    req(PUSH, f"s'q' u32=1 02 i9007199254740993 {any_of('a')}"),
    "delay_ms",
    setup=(create(),),
)
bad(
    "PUSH with a delay of 2^63",
    req(PUSH, f"s'q' u32=1 02 8000000000000000 {any_of('a')}"),
    "2^63",
    setup=(create(),),
)
bad(
    "PUSH with a time to live of 0",
    req(PUSH, f"s'q' u32=1 20 i0 {any_of('a')}"),
    "time to live",
    setup=(create(),),
)
bad(
    "PUSH with a time to live above 2^53",
    req(PUSH, f"s'q' u32=1 20 i9007199254740993 {any_of('a')}"),
    "ttl_ms",
    setup=(create(),),
)
bad(
    "PUSH with a dedup key of 1,025 bytes",
    req(PUSH, b("s'q' u32=1 04") + u16(1025) + b"k" * 1025 + b(any_of("a"))),
    "QUEUE_KEY_BYTES_MAX",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
bad(
    "PUSH with headers that end early",
    req(PUSH, f"s'q' u32=1 10 00000003 0001 'n' {any_of('a')}"),
    "headers",
    setup=(create(),),
)
vector(
    "PUSH with a group key: one after the other",
    req(CONSUME, "s'q' u32=5 u32=0") + req(ACK, f"{MESSAGE} {TOKEN} s'q'") + req(CONSUME, "s'q' u32=5 u32=0"),
    data("u32=0"),
    ok(),
    data(f"u32=1 ?16 ?8 {any_of('b')}"),
    setup=(
        create(),
        req(PUSH, f"s'q' u32=2 08 0001 'g' {any_of('a')} 08 0001 'g' {any_of('b')}", 2),
        req(CONSUME, "s'q' u32=1 u32=0", 3),
    ),
)
vector(
    "PUSHX",
    req(PUSHX, f"s'q' u32=2 00 {any_of('a')} 01 05 {any_of('b')}"),
    data("u32=2 01 ?16 01 ?16"),
    setup=(create(),),
)
vector("PUSHX of nothing", req(PUSHX, "s'q' u32=0"), data("u32=0"), setup=(create(),))
vector(
    "PUSHX with a dedup key twice",
    req(PUSHX, f"s'q' u32=2 04 0001 'k' {any_of('a')} 04 0001 'k' {any_of('b')}")
    + req(CONSUME, "s'q' u32=5 u32=0"),
    data("u32=2 01 ?16 02 ?16"),
    data(f"u32=1 ?16 ?8 {any_of('a')}"),
    setup=(create(),),
)
bad(
    "PUSHX of 10,001 messages",
    req(PUSHX, b("s'q' u32=10001") + b("00 00000001 00") * 10_001),
    "messages_per_push_max",
    LIMIT_EXCEEDED,
    setup=(create(),),
)

# ------------------------------------------------------------------------------------------------
# Settling.

vector(
    "ACK",
    req(ACK, f"{MESSAGE} {TOKEN} s'q'") + req(CONSUME, "s'q' u32=1 u32=0"),
    ok(),
    data("u32=0"),
    setup=lent("a"),
)
vector("ACK again is confirmed again", req(ACK, f"{MESSAGE} {TOKEN} s'q'") * 2, ok(), ok(), setup=lent("a"))
vector(
    "ACK without response",
    frame(NO_RESPONSE, ACK, 7, b(f"{MESSAGE} {TOKEN} s'q'"))
    + req(ADMIN, "s'q' s'browse' '{\"state\":\"leased\"}'"),
    data('02 \'{"messages":[],"after":0}\''),
    setup=lent("a"),
)
vector(
    "ACK of another queue's message",
    req(ACK, f"{MESSAGE} {TOKEN} s'other'"),
    err(FENCED),
    setup=(*lent("a"), req(CREATE, "s'other' 00", 4)),
)
bad("ACK with another token", req(ACK, f"{MESSAGE} i5 s'q'"), "lease", FENCED, setup=lent("a"))
bad(
    "ACK of a message that is not there",
    req(ACK, f"{NO_MESSAGE} {TOKEN} s'q'"),
    "lease",
    FENCED,
    setup=lent("a"),
)
vector("a late ACK without response", frame(NO_RESPONSE, ACK, 7, b(f"{MESSAGE} i5 s'q'")), setup=lent("a"))
vector(
    "NACK comes back",
    req(NACK, f"{MESSAGE} {TOKEN} s'q' s'why'") + req(RECEIVE, "s'q' u32=1 u32=0"),
    ok(),
    data(f"u32=1 ?16 ?8 u32=2 00 ?8 0000 00000000 {any_of('a')}"),
    setup=lent("a"),
)
vector(
    "NACK without response comes back",
    frame(NO_RESPONSE, NACK, 7, b(f"{MESSAGE} {TOKEN} s'q' s'why'")) + req(CONSUME, "s'q' u32=1 u32=0"),
    data(f"u32=1 ?16 ?8 {any_of('a')}"),
    setup=lent("a"),
)
vector(
    "NACK of the last delivery",
    req(NACK, f"{MESSAGE} {TOKEN} s'q' s'too bad'")
    + req(CONSUME, "s'q' u32=1 u32=0")
    + req(PEEK_DLQ, "s'q' u32=9 u32=0"),
    ok(),
    data("u32=0"),
    data(f"u32=1 u32=1 ?16 {any_of('a')} u32=1 s'too bad'"),
    setup=lent("a", deliveries=1),
)
vector(
    "NACK without a reason",
    req(NACK, f"{MESSAGE} {TOKEN} s'q' s''") + req(PEEK_DLQ, "s'q' u32=9 u32=0"),
    ok(),
    data(f"u32=1 u32=1 ?16 {any_of('a')} u32=1 s'refused without a reason'"),
    setup=lent("a", deliveries=1),
)
bad("NACK twice", req(NACK, f"{MESSAGE} i5 s'q' s'why'"), "lease", FENCED, setup=lent("a"))
bad(
    "NACK with a reason that is not UTF-8",
    req(NACK, f"{MESSAGE} {TOKEN} s'q' 00000001 ff"),
    "UTF-8",
    setup=lent("a"),
)
vector(
    "a lease that runs out",
    req(RECEIVE, "s'q' u32=1 u32=60000"),
    data(f"u32=1 ?16 ?8 u32=2 00 ?8 0000 00000000 {any_of('a')}"),
    setup=lent("a", visibility_ms=50),
    wait_ms=100,
)
vector("SETTLE of nothing", req(SETTLE, "s'q' 00 u32=0"), data("u32=0"), setup=(create(),))
vector(
    "SETTLE: ack",
    req(SETTLE, f"s'q' 00 u32=3 {MESSAGE} {TOKEN} {MESSAGE} i5 {NO_MESSAGE} i6"),
    data("u32=2 u32=1 05 u32=2 05"),
    setup=lent("a"),
)
vector(
    "SETTLE: release",
    req(SETTLE, f"s'q' 01 i0 u32=1 {MESSAGE} {TOKEN}") + req(RECEIVE, "s'q' u32=1 u32=0"),
    data("u32=0"),
    data(f"u32=1 ?16 ?8 u32=1 00 ?8 0000 00000000 {any_of('a')}"),
    setup=lent("a"),
)
vector(
    "SETTLE: release with a delay",
    req(SETTLE, f"s'q' 01 i60000 u32=1 {MESSAGE} {TOKEN}") + req(RECEIVE, "s'q' u32=1 u32=0"),
    data("u32=0"),
    data("u32=0"),
    setup=lent("a"),
)
vector(
    "SETTLE: failed",
    req(SETTLE, f"s'q' 02 i0 s'why' u32=1 {MESSAGE} {TOKEN}") + req(RECEIVE, "s'q' u32=1 u32=0"),
    data("u32=0"),
    data(f"u32=1 ?16 ?8 u32=2 00 ?8 0000 00000000 {any_of('a')}"),
    setup=lent("a"),
)
vector(
    "SETTLE: failed by the queue's backoff",
    req(SETTLE, f"s'q' 02 i-1 s'why' u32=1 {MESSAGE} {TOKEN}") + req(RECEIVE, "s'q' u32=1 u32=0"),
    data("u32=0"),
    data("u32=0"),
    setup=lent("a", backoff="exponential"),
)
vector(
    "SETTLE: fatal",
    req(SETTLE, f"s'q' 03 s'broken' u32=1 {MESSAGE} {TOKEN}") + req(PEEK_DLQ, "s'q' u32=9 u32=0"),
    data("u32=0"),
    data(f"u32=1 u32=1 ?16 {any_of('a')} u32=1 s'broken'"),
    setup=lent("a"),
)
vector(
    "SETTLE: extend",
    req(SETTLE, f"s'q' 04 i60000 u32=2 {MESSAGE} {TOKEN} {MESSAGE} i5") + req(RECEIVE, "s'q' u32=1 u32=600"),
    data("u32=1 u32=1 05"),
    data("u32=0"),
    setup=lent("a", visibility_ms=500),
    wait_ms=700,
)
bad(
    "SETTLE: extend by 0",
    req(SETTLE, f"s'q' 04 i0 u32=1 {MESSAGE} {TOKEN}"),
    "lease of 0 ms",
    setup=lent("a"),
)
bad(
    "SETTLE: extend by more than a week",
    req(SETTLE, f"s'q' 04 i604800001 u32=1 {MESSAGE} {TOKEN}"),
    "604800000",
    setup=lent("a"),
)
bad(
    "SETTLE: release with a delay of -2",
    req(SETTLE, f"s'q' 01 i-2 u32=1 {MESSAGE} {TOKEN}"),
    "delay_ms -2",
    setup=lent("a"),
)
bad(
    "SETTLE: an unknown action",
    req(SETTLE, f"s'q' 05 u32=1 {MESSAGE} {TOKEN}"),
    "unknown action 5",
    setup=lent("a"),
)
bad(
    "SETTLE: failed with a reason that is not UTF-8",
    req(SETTLE, f"s'q' 02 i0 00000001 ff u32=1 {MESSAGE} {TOKEN}"),
    "UTF-8",
    setup=lent("a"),
)
bad(
    "SETTLE of 10,001 deliveries",
    req(SETTLE, b("s'q' 00 u32=10001") + bytes(24 * 10_001)),
    "deliveries_per_receive_max",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
bad(
    "SETTLE that claims 2^32 - 1 deliveries",
    req(SETTLE, "s'q' 00 ffffffff"),
    code=LIMIT_EXCEEDED,
    setup=(create(),),
)

# ------------------------------------------------------------------------------------------------
# Dead letters.

vector("PEEK_DLQ of nothing", req(PEEK_DLQ, "s'q' u32=9 u32=0"), data("u32=0 u32=0"), setup=(create(),))
vector(
    "PEEK_DLQ in pages",
    req(PEEK_DLQ, "s'q' u32=2 u32=0")
    + req(PEEK_DLQ, "s'q' u32=2 u32=2")
    + req(PEEK_DLQ, "s'q' u32=2 u32=3")
    + req(PEEK_DLQ, "s'q' u32=2 ffffffff")
    + req(PEEK_DLQ, "s'q' u32=0 u32=0"),
    data(f"u32=3 u32=2 ?16 {any_of('a')} u32=1 s'broken' ?16 {any_of('b')} u32=1 s'broken'"),
    data(f"u32=3 u32=1 ?16 {any_of('c')} u32=1 s'broken'"),
    data("u32=3 u32=0"),
    data("u32=3 u32=0"),
    data("u32=3 u32=0"),
    setup=dead("a", "b", "c"),
)
vector(
    "MOVE_TO_QUEUE",
    req(MOVE_TO_QUEUE, f"s'q' {MESSAGE}") * 2
    + req(RECEIVE, "s'q' u32=9 u32=0")
    + req(PEEK_DLQ, "s'q' u32=9 u32=0"),
    data("01"),
    data("00"),
    data(f"u32=1 ?16 ?8 u32=1 00 ?8 0000 00000000 {any_of('a')}"),
    data("u32=0 u32=0"),
    setup=dead("a"),
)
vector(
    "MOVE_TO_QUEUE of no dead letter",
    req(MOVE_TO_QUEUE, f"s'q' {MESSAGE}") + req(MOVE_TO_QUEUE, f"s'q' {NO_MESSAGE}"),
    data("00"),
    data("00"),
    setup=lent("a"),
)
vector(
    "DELETE_DLQ",
    req(DELETE_DLQ, f"s'q' {MESSAGE}") * 2 + req(MOVE_TO_QUEUE, f"s'q' {MESSAGE}"),
    data("01"),
    data("00"),
    data("00"),
    setup=dead("a"),
)
vector("DELETE_DLQ of no dead letter", req(DELETE_DLQ, f"s'q' {MESSAGE}"), data("00"), setup=lent("a"))
vector(
    "PURGE_DLQ",
    req(PURGE_DLQ, "s'q'") * 2 + req(DELETE_DLQ, f"s'q' {MESSAGE}"),
    data("u32=2"),
    data("u32=0"),
    data("00"),
    setup=dead("a", "b"),
)

# ------------------------------------------------------------------------------------------------
# QUEUE_ADMIN.

vector("ADMIN list of nothing", admin("list", name="no-such-"), data("02 '[]'"))
vector("ADMIN list", admin("list"), data('02 \'[{"name":"q",\' ?*'), setup=(create(),))
vector(
    "ADMIN list after a name", admin("list", '{"after":"q","limit":5}'), data("02 '[]'"), setup=(create(),)
)
vector(
    "ADMIN describe",
    admin("describe"),
    data('02 \'{"name":"q","visibility_timeout_ms":30000,\' ?*'),
    setup=(create(),),
)
vector(
    "ADMIN browse",
    admin("browse", '{"state":"ready","limit":1}'),
    data('02 \'{"messages":[{"id":\' ?*'),
    setup=(create(), pushed("a", "b")),
)
vector(
    "ADMIN browse of nothing", admin("browse"), data('02 \'{"messages":[],"after":0}\''), setup=(create(),)
)
for _state in ("held", "delayed", "leased", "dead"):
    vector(
        f"ADMIN browse of what is {_state}",
        admin("browse", f'{{"state":"{_state}"}}'),
        data('02 \'{"messages":[],"after":0}\''),
        setup=(create(), pushed("a")),
    )
vector(
    "ADMIN browse past the end",
    admin("browse", '{"state":"dead","after":9223372036854775807}'),
    data('02 \'{"messages":[],"after":0}\''),
    setup=dead("a", "b"),
)
vector(
    "ADMIN browse of ready past the end",
    admin("browse", '{"after":9223372036854775807}'),
    data('02 \'{"messages":[],"after":0}\''),
    setup=(create(), pushed("a")),
)
bad("ADMIN get of no message", admin("get", '{"id":77}'), "no message 77", NOT_FOUND, setup=(create(),))
vector(
    "ADMIN remove of no message",
    admin("remove", '{"id":77}'),
    data("02 '{\"removed\":false}'"),
    setup=(create(),),
)
vector(
    "ADMIN purge",
    admin("purge") + req(CONSUME, "s'q' u32=9 u32=0"),
    data("02 '{\"removed\":2}'"),
    data("u32=0"),
    setup=(create(), pushed("a", "b")),
)
vector(
    "ADMIN pause and resume",
    admin("pause") + req(CONSUME, "s'q' u32=9 u32=0") + admin("resume") + req(CONSUME, "s'q' u32=9 u32=0"),
    data("02 '{\"paused\":true}'"),
    data("u32=0"),
    data("02 '{\"paused\":false}'"),
    data(f"u32=1 ?16 ?8 {any_of('a')}"),
    setup=(create(), pushed("a")),
)
bad(
    "ADMIN pause for ever and longer",
    admin("pause", '{"ms":9223372036854775807}'),
    "pause",
    setup=(create(),),
)
vector(
    "ADMIN redrive",
    admin("redrive") + req(CONSUME, "s'q' u32=9 u32=0"),
    data('02 \'{"moved":2,"after":0,\' ?*'),
    data(f"u32=2 ?16 ?8 {any_of('a')} ?16 ?8 {any_of('b')}"),
    setup=dead("a", "b"),
)
vector(
    "ADMIN redrive of nothing",
    admin("redrive", '{"reason":"other"}'),
    data("02 '{\"moved\":0,' ?*"),
    setup=dead("a"),
)
vector(
    "ADMIN redrive of no such letter",
    admin("redrive", '{"id":5}'),
    data('02 \'{"moved":0,"after":0}\''),
    setup=(create(),),
)
bad("ADMIN: an unknown action", admin("explode"), "unknown action 'explode'", setup=(create(),))
bad("ADMIN: an unknown argument", admin("describe", '{"x":1}'), "unknown arguments: x", setup=(create(),))
bad("ADMIN: arguments of the wrong type", admin("browse", '{"state":1}'), "text", setup=(create(),))
bad("ADMIN: arguments that are no JSON", admin("browse", "{"), "arguments", setup=(create(),))
bad("ADMIN: a state that there is not", admin("browse", '{"state":"lost"}'), "lost", setup=(create(),))
bad("ADMIN: a number that is too large", admin("get", '{"id":9223372036854775808}'), "id", setup=(create(),))

# ------------------------------------------------------------------------------------------------
# Layouts. The queue is there.

LAYOUTS += [
    ("QUEUE_CREATE", CREATE, b("s'new' 03 i1500 u32=7"), True),
    ("PUSH", PUSH, b("s'q' u32=2 01 05 00000002 00 'v' 00 00000001 01"), True),
    ("PUSH with options", PUSH, _ALL_FIELDS, True),
    ("CONSUME", CONSUME, b("s'q' u32=1 u32=5"), True),
    ("QUEUE_ACK", ACK, b("i1 i1 i1 s'q'"), True),
    ("QUEUE_EXISTS", EXISTS, b("s'q'"), True),
    ("QUEUE_DELETE", DELETE, b("s'q'"), True),
    ("PEEK_DLQ", PEEK_DLQ, b("s'q' u32=1 u32=0"), True),
    ("MOVE_TO_QUEUE", MOVE_TO_QUEUE, b("s'q' i1 i1"), True),
    ("DELETE_DLQ", DELETE_DLQ, b("s'q' i1 i1"), True),
    ("PURGE_DLQ", PURGE_DLQ, b("s'q'"), True),
    ("QUEUE_NACK", NACK, b("i1 i1 i1 s'q' s'why'"), True),
    ("QUEUE_DESCRIBE", DESCRIBE, b("s'q'"), True),
    ("RECEIVE", RECEIVE, b("s'q' u32=1 u32=5"), True),
    ("SETTLE: ack", SETTLE, b("s'q' 00 u32=1 i1 i1 i1"), True),
    ("SETTLE: release", SETTLE, b("s'q' 01 i0 u32=1 i1 i1 i1"), True),
    ("SETTLE: failed", SETTLE, b("s'q' 02 i0 s'why' u32=1 i1 i1 i1"), True),
    ("SETTLE: fatal", SETTLE, b("s'q' 03 s'why' u32=1 i1 i1 i1"), True),
    ("SETTLE: extend", SETTLE, b("s'q' 04 i5 u32=1 i1 i1 i1"), True),
    ("PUSHX", PUSHX, b("s'q' u32=1 3f 05 i5 0001 'd' 0001 'g' 00000005 0001 'n' 0000 i5 00000001 00"), True),
    ("QUEUE_ADMIN", ADMIN, b("s'q' s'describe'"), True),
]

# ------------------------------------------------------------------------------------------------
# Whole frames, header included; the last request is the command that the conversation is for.

CONVERSATIONS += [
    (
        "QUEUE_CREATE",
        "09 01 10 00000001 00000012 00000001 71 03 00000000000005dc 00000007",
        "09 02 03 00000001 00000012 01000000017100000000000005dc00000007",
    ),
    (
        "PUSH",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 0000001f 00000001 71 00000002 00 00000002 01 61 01 ff 00000009 03"
        " fffffffffffffffe",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005 09 02 00 00000002 00000000",
    ),
    (
        "CONSUME",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 12 00000003 0000000d 00000001 71 0000000a 00000000",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000022 00000001000000000000000100000000000000010000000000000001000000020161",
    ),
    (
        "QUEUE_ACK",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 00000001 00000000\n"
        "09 01 13 00000004 0000001d 0000000000000001 0000000000000001 0000000000000001 00000001 71",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000035 0000000100000000000000010000000000000001000000000000000100000001000000018bcfe568"
        " 00000000000000000000020161"
        " 09 02 00 00000004 00000000",
    ),
    (
        "QUEUE_EXISTS",
        "09 01 10 00000001 00000006 00000001 71 00\n09 01 14 00000002 00000005 00000001 71",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005 09 02 03 00000002 00000001 01",
    ),
    (
        "QUEUE_DELETE",
        "09 01 10 00000001 00000006 00000001 71 00\n09 01 15 00000002 00000005 00000001 71",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005 09 02 00 00000002 00000000",
    ),
    (
        "PEEK_DLQ",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 00000001 00000000\n"
        "09 01 1d 00000004 00000027 00000001 71 03 00000001 78 00000001 0000000000000001 0000000000000001"
        " 0000000000000001\n"
        "09 01 16 00000005 0000000d 00000001 71 0000000a 00000000",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000035 0000000100000000000000010000000000000001000000000000000100000001000000018bcfe568"
        " 00000000000000000000020161"
        " 09 02 03 00000004 00000004 00000000"
        " 09 02 03 00000005 00000027"
        " 000000010000000100000000000000010000000000000001000000020161000000010000000178",
    ),
    (
        "MOVE_TO_QUEUE",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 00000001 00000000\n"
        "09 01 1d 00000004 00000027 00000001 71 03 00000001 78 00000001 0000000000000001 0000000000000001"
        " 0000000000000001\n"
        "09 01 17 00000005 00000015 00000001 71 0000000000000001 0000000000000001",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000035 0000000100000000000000010000000000000001000000000000000100000001000000018bcfe568"
        " 00000000000000000000020161"
        " 09 02 03 00000004 00000004 00000000"
        " 09 02 03 00000005 00000001 01",
    ),
    (
        "DELETE_DLQ",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 00000001 00000000\n"
        "09 01 1d 00000004 00000027 00000001 71 03 00000001 78 00000001 0000000000000001 0000000000000001"
        " 0000000000000001\n"
        "09 01 18 00000005 00000015 00000001 71 0000000000000001 0000000000000001",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000035 0000000100000000000000010000000000000001000000000000000100000001000000018bcfe568"
        " 00000000000000000000020161"
        " 09 02 03 00000004 00000004 00000000"
        " 09 02 03 00000005 00000001 01",
    ),
    (
        "PURGE_DLQ",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 00000001 00000000\n"
        "09 01 1d 00000004 00000027 00000001 71 03 00000001 78 00000001 0000000000000001 0000000000000001"
        " 0000000000000001\n"
        "09 01 19 00000005 00000005 00000001 71",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000035 0000000100000000000000010000000000000001000000000000000100000001000000018bcfe568"
        " 00000000000000000000020161"
        " 09 02 03 00000004 00000004 00000000"
        " 09 02 03 00000005 00000004 00000001",
    ),
    (
        "QUEUE_NACK",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 00000001 00000000\n"
        "09 01 1a 00000004 00000024 0000000000000001 0000000000000001 0000000000000001 00000001 71"
        " 00000003 776879",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000035 0000000100000000000000010000000000000001000000000000000100000001000000018bcfe568"
        " 00000000000000000000020161"
        " 09 02 00 00000004 00000000",
    ),
    (
        "QUEUE_DESCRIBE",
        "09 01 10 00000001 00000006 00000001 71 00\n09 01 1b 00000002 00000005 00000001 71",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 03 00000002 00000011 0000000171000000000000753000000005",
    ),
    (
        "RECEIVE",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 0000001e 00000001 71 00000001 19 05 0001 67 00000006 0001 6e 0001 76 00000002"
        " 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 0000000a 00000000",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 0000003c 0000000100000000000000010000000000000001000000000000000100000001050000018bcfe568"
        " 000001670000000600016e000176000000020161",
    ),
    (
        "SETTLE",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1c 00000003 0000000d 00000001 71 00000001 00000000\n"
        "09 01 1d 00000004 0000003a 00000001 71 00 00000002 0000000000000001 0000000000000001"
        " 0000000000000001 0000000000000001 0000000000000001 0000000000000002",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 00000035 0000000100000000000000010000000000000001000000000000000100000001000000018bcfe568"
        " 00000000000000000000020161"
        " 09 02 03 00000004 00000009 000000010000000105",
    ),
    (
        "PUSHX",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 1e 00000002 0000001d 00000001 71 00000002 04 0001 64 00000002 01 61 04 0001 64 00000002 01"
        " 61",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 03 00000002 00000026"
        " 0000000201000000000000000100000000000000010200000000000000010000000000000001",
    ),
    (
        "QUEUE_ADMIN",
        "09 01 10 00000001 00000006 00000001 71 00\n"
        "09 01 11 00000002 00000010 00000001 71 00000001 00 00000002 01 61\n"
        "09 01 1f 00000003 0000000e 00000001 71 00000005 7075726765",
        "09 02 03 00000001 00000012 010000000171000000000000753000000005"
        " 09 02 00 00000002 00000000"
        " 09 02 03 00000003 0000000e 027b2272656d6f766564223a317d",
    ),
]
