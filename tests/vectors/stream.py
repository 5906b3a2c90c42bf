"""The Stream commands of the native protocol: every command and every answer, byte for byte. See table.py."""

from __future__ import annotations

import json

from tests.vectors.table import (
    CONFLICT,
    CONSUMER,
    CONVERSATIONS,
    FENCED,
    GENERATION,
    ID,
    LAYOUTS,
    LIMIT_EXCEEDED,
    NOT_FOUND,
    NOT_MEMBER,
    RECEIPT,
    SEQUENCE_MISMATCH,
    bad,
    data,
    err,
    ok,
    req,
    vector,
)
from tests.vectors.wire import NO_RESPONSE, b, frame, header_block, string, u8, u16, u32

CREATE, PUB, FETCH, JOIN, ACK, EXISTS, DELETE, DESCRIBE = 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37
SEEK, LEAVE, PEEK_DLS, MOVE_TO_STREAM, DELETE_DLS, PURGE_DLS = 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D
ACK_MANY, EXTENDED = 0x3E, 0x3F
READ, APPEND, FETCHX, NACK, SEEKX, ADMIN, RELEASE = "01", "02", "03", "04", "05", "06", "07"

REST = "i10000 i30000 u32=5"
"""Of a definition: max ack pending, ack wait, max deliveries."""
WEEK_MS = 604_800_000
MEMBER = f"s's' s'g' {CONSUMER} {GENERATION}"
UNKNOWN = "there is no stream"
NO_GROUP = "no group"


# What the vectors begin with.
def create(**options: object) -> bytes:
    """The stream s at level memory: what is appended is visible when its turn ends, and answers come in order."""
    given = json.dumps({"durability": "memory", **options}).encode()
    return req(CREATE, string("s") + u8(0x04) + given, 1)


def any_of(text: str) -> str:
    """A STRING value with its length."""
    return f"u32={1 + len(text.encode())} 01 '{text}'"


def published(*values: str, key: str = "") -> bytes:
    each = "".join(f"{u16(len(key)).hex()} '{key}' {any_of(value)}" for value in values)
    return req(PUB, f"s's' u32={len(values)} {each}", 2)


def fetch(count: int = 10, wait_ms: int = 0, correlation: int = ID) -> bytes:
    return req(FETCH, f"{MEMBER} u32={count} u32={wait_ms}", correlation)


def fetched(seq: int, value: str, key: str = "") -> str:
    """One message as FETCH answers it."""
    return f"i{seq} ?16 ?8 {u16(len(key)).hex()} '{key}' {any_of(value)}"


def joined(*values: str, key: str = "", **options: object) -> tuple[bytes, ...]:
    """A stream with records, and a group whose member the connection is."""
    publishing = (published(*values, key=key),) if values else ()
    return (create(**options), *publishing, req(JOIN, "s's' s'g'", 3))


def leased(*values: str, key: str = "", **options: object) -> tuple[bytes, ...]:
    """The same, and all that may go out has: RECEIPT is that of the first."""
    return (*joined(*values, key=key, **options), fetch(correlation=4))


def release(seq: int = 1, delay_ms: int = 0) -> bytes:
    return req(EXTENDED, f"{RELEASE} {MEMBER} i{delay_ms} u32=1 i{seq} {RECEIPT}")


def nack(seq: int = 1, delay_ms: int = 0, reason: str = "why") -> bytes:
    return req(EXTENDED, f"{NACK} {MEMBER} i{delay_ms} s'{reason}' u32=1 i{seq} {RECEIPT}")


def dead(*values: str, key: str = "") -> tuple[bytes, ...]:
    """Records that are dead letters of the group, each after one delivery."""
    each = [
        (published(value, key=key), fetch(1, correlation=4), nack(seq)) for seq, value in enumerate(values, 1)
    ]
    return (*joined(max_deliveries=1), *(step for steps in each for step in steps))


def admin(action: str, arguments: str = "", name: str = "s", group: str = "g") -> bytes:
    return req(
        EXTENDED, f"{ADMIN} s'{name}' s'{group}' s'{action}'" + (f" '{arguments}'" if arguments else "")
    )


# ------------------------------------------------------------------------------------------------
# Definitions.

vector("STREAM CREATE", req(CREATE, "s's' 00"), data(f"01 s's' 03 i{WEEK_MS} i{1 << 30} {REST}"))
vector(
    "STREAM CREATE with both options",
    req(CREATE, "s's' 03 i5000 i9000"),
    data(f"01 s's' 03 i5000 i9000 {REST}"),
)
vector("STREAM CREATE without bounds", req(CREATE, "s's' 03 i0 i0"), data(f"01 s's' 00 {REST}"))
vector(
    "STREAM CREATE compares what is given",
    req(CREATE, "s's' 01 i5000"),
    data(f"02 s's' 03 i5000 i{1 << 30} {REST}"),
    setup=(create(max_age_ms=5000),),
)
vector(
    "STREAM CREATE with JSON options",
    req(
        CREATE,
        's\'s\' 05 i5000 \'{"max_deliveries":9,"ack_wait_ms":77,"max_ack_pending":3,"durability":"flush"}\'',
    ),
    data(f"01 s's' 03 i5000 i{1 << 30} i3 i77 u32=9"),
)
vector(
    "STREAM CREATE with another definition",
    req(CREATE, "s's' 03 i1 i9000") + req(DESCRIBE, "s's'"),
    err(
        CONFLICT,
        "max_age_ms",
        details={
            "resourceKind": "stream",
            "resourceName": "s",
            "requested": {"max_age_ms": 1, "max_bytes": 9000},
            "actual": {"max_age_ms": 5000, "max_bytes": 9000},
            "differences": [{"path": "max_age_ms", "requested": 1, "actual": 5000}],
        },
    ),
    data(f"s's' 03 i5000 i9000 {REST}"),
    setup=(create(max_age_ms=5000, max_bytes=9000),),
)
bad(
    "STREAM CREATE with another durability",
    req(CREATE, "s's' 04 '{\"durability\":\"fsync\"}'"),
    "durability",
    CONFLICT,
    setup=(create(),),
)
vector(
    "STREAM CREATE with a name of 65,536 bytes",
    req(CREATE, string("n" * 65_536) + b"\0"),
    data(b"\1" + string("n" * 65_536) + b(f"03 i{WEEK_MS} i{1 << 30} {REST}")),
)
bad(
    "STREAM CREATE with a name of 65,537 bytes",
    req(CREATE, string("n" * 65_537) + b"\0"),
    "key_bytes_max",
    LIMIT_EXCEEDED,
)
bad("STREAM CREATE without a name", req(CREATE, "s'' 00"), "name")
bad("STREAM CREATE with a name that is not UTF-8", req(CREATE, "00000002 c328 00"), "UTF-8")
bad("STREAM CREATE with an age of 2^63", req(CREATE, "s's' 01 8000000000000000"), "2^63")
bad("STREAM CREATE with an age above 2^53", req(CREATE, "s's' 01 i9007199254740993"), "max_age_ms")
bad("STREAM CREATE with bytes above 2^62", req(CREATE, "s's' 02 i4611686018427387905"), "max_bytes")
bad("STREAM CREATE with an unknown option", req(CREATE, "s's' 04 '{\"color\":1}'"), "color")
bad(
    "STREAM CREATE with an option of the wrong type",
    req(CREATE, "s's' 04 '{\"max_bytes\":\"9\"}'"),
    "integer",
)
bad(
    "STREAM CREATE with an unknown durability",
    req(CREATE, "s's' 04 '{\"durability\":\"hope\"}'"),
    "memory, flush, fsync",
)
bad("STREAM CREATE with options that are no JSON", req(CREATE, "s's' 04 '{'"), "the options")
bad("STREAM CREATE with an unknown flag", req(CREATE, "s's' 08"), "flags")
vector("STREAM EXISTS", req(EXISTS, "s's'") + req(EXISTS, "s'S'"), data("01"), data("00"), setup=(create(),))
vector("STREAM DELETE", req(EXISTS, "s's'"), data("00"), setup=(*leased("a"), req(DELETE, "s's'")))
vector(
    "STREAM DELETE ends a FETCH that waits",
    fetch(1, 60_000) + req(DELETE, "s's'"),
    err(NOT_FOUND),
    ok(),
    setup=joined(),
)
vector(
    "STREAM DELETE ends a READ that waits",
    req(EXTENDED, f"{READ} s's' 01 i0 u32=0 u32=0 u32=60000") + req(DELETE, "s's'"),
    err(NOT_FOUND),
    ok(),
    setup=joined(),
)

# Every command on a stream, and on a group, that is not there.
_CONSUMER = "s'who' i1"
for _name, _opcode, _start, _grouped, _rest in (
    ("PUB", PUB, "", False, f"u32=1 0000 {any_of('x')}"),
    ("FETCH", FETCH, "", True, f"{_CONSUMER} u32=1 u32=60000"),
    ("JOIN", JOIN, "", False, "s'g'"),
    ("ACK", ACK, "", True, f"{_CONSUMER} i1 i1 i1"),
    ("DELETE", DELETE, "", False, ""),
    ("DESCRIBE", DESCRIBE, "", False, ""),
    ("SEEK", SEEK, "", True, "00"),
    ("LEAVE", LEAVE, "", True, _CONSUMER),
    ("PEEK_DLS", PEEK_DLS, "", True, "u32=1 u32=0"),
    ("MOVE_TO_STREAM", MOVE_TO_STREAM, "", True, "i1"),
    ("DELETE_DLS", DELETE_DLS, "", True, "i1"),
    ("PURGE_DLS", PURGE_DLS, "", True, ""),
    ("ACK_MANY", ACK_MANY, "", True, f"{_CONSUMER} u32=0"),
    ("READ", EXTENDED, READ, False, "00 i0 u32=0 u32=0 u32=0"),
    ("APPEND", EXTENDED, APPEND, False, "00 u32=0"),
    ("FETCHX", EXTENDED, FETCHX, True, f"{_CONSUMER} u32=1 u32=0"),
    ("NACK", EXTENDED, NACK, True, f"{_CONSUMER} i0 s'' u32=0"),
    ("RELEASE", EXTENDED, RELEASE, True, f"{_CONSUMER} i0 u32=0"),
    ("SEEKX", EXTENDED, SEEKX, True, "00 i0"),
    ("ADMIN", EXTENDED, ADMIN, True, "s'group'"),
):
    _group = "s'none'" if _grouped else ""
    bad(
        f"STREAM {_name} of an unknown stream",
        req(_opcode, f"{_start} s'none' {_group} {_rest}"),
        UNKNOWN,
        NOT_FOUND,
    )
    vector(
        f"STREAM {_name} of an unknown stream without response",
        frame(NO_RESPONSE, _opcode, 7, b(f"{_start} s'none' {_group} {_rest}")),
    )
    if _grouped:
        bad(
            f"STREAM {_name} of an unknown group",
            req(_opcode, f"{_start} s's' s'none' {_rest}"),
            NO_GROUP,
            NOT_FOUND,
            setup=(create(),),
        )

# ------------------------------------------------------------------------------------------------
# Publishing.

vector(
    "STREAM PUB",
    req(PUB, f"s's' u32=1 0000 {any_of('a')}") * 2,
    data("u32=1 i1"),
    data("u32=1 i2"),
    setup=(create(),),
)
vector(
    "STREAM PUB of three, with keys",
    req(PUB, f"s's' u32=3 0001 'k' {any_of('a')} 0000 {any_of('b')} 0003 00ff7f {any_of('c')}"),
    data("u32=3 i1 i2 i3"),
    setup=(create(),),
)
vector("STREAM PUB of nothing", req(PUB, "s's' u32=0"), data("u32=0"), setup=(create(),))
vector(
    "STREAM PUB without response",
    frame(NO_RESPONSE, PUB, 7, b(f"s's' u32=1 0000 {any_of('a')}"))
    + req(PUB, f"s's' u32=1 0000 {any_of('b')}"),
    data("u32=1 i2"),
    setup=(create(),),
)
vector(
    "STREAM PUB at level fsync",
    req(PUB, f"s's' u32=1 0000 {any_of('a')}"),
    data("u32=1 i1"),
    setup=(req(CREATE, "s's' 00", 1),),
)
bad(
    "STREAM PUB of 65,537 records",
    req(PUB, b("s's' u32=65537") + b("0000 00000001 00") * 65_537),
    "append_records_max",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
bad(
    "STREAM PUB that claims 2^32 - 1 records",
    req(PUB, "s's' ffffffff 0000 00000001 00"),
    code=LIMIT_EXCEEDED,
    setup=(create(),),
)
bad(
    "STREAM PUB of fewer records than it says",
    req(PUB, "s's' u32=2 0000 00000001 00"),
    "ends",
    setup=(create(),),
)
bad(
    "STREAM PUB of more records than it says",
    req(PUB, "s's' u32=1 0000 00000001 00 00"),
    "follow",
    setup=(create(),),
)
bad(
    "STREAM PUB of a record without a value",
    req(PUB, "s's' u32=1 0000 00000000"),
    "data type",
    setup=(create(),),
)
bad(
    "STREAM PUB of an unknown data type",
    req(PUB, "s's' u32=1 0000 00000001 04"),
    "data type",
    setup=(create(),),
)
_SIZE = 10 * 1024 * 1024 - 128 * 1024 + 1
bad(
    "STREAM PUB of a value that is too large",
    req(PUB, b("s's' u32=1 0000") + u32(_SIZE) + bytes(_SIZE)),
    "message_bytes_max",
    LIMIT_EXCEEDED,
    setup=(create(),),
)

# ------------------------------------------------------------------------------------------------
# Groups.

vector(
    "STREAM JOIN",
    req(JOIN, "s's' s'g'") * 2,
    data("i0 i1 ?s"),
    data("i0 i2 ?s"),
    setup=(create(), published("a")),
)
vector(
    "STREAM JOIN tells the floor",
    req(JOIN, "s's' s'g'"),
    data("i1 i2 ?s"),
    setup=(*leased("a", "b"), req(ACK, f"{MEMBER} i1 {RECEIPT}", 5)),
)
bad("STREAM JOIN without a group", req(JOIN, "s's' s''"), "group", setup=(create(),))
bad("STREAM JOIN of a group that is not UTF-8", req(JOIN, "s's' 00000002 c328"), "UTF-8", setup=(create(),))
bad(
    "STREAM JOIN of a group of 65,537 bytes",
    req(JOIN, b("s's'") + string("g" * 65_537)),
    "key_bytes_max",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
vector("STREAM FETCH", fetch(), data(f"u32=2 {fetched(1, 'a')} {fetched(2, 'b')}"), setup=joined("a", "b"))
vector(
    "STREAM FETCH with keys", fetch(), data(f"u32=1 {fetched(1, 'a', 'key')}"), setup=joined("a", key="key")
)
vector(
    "STREAM FETCH of fewer than there are",
    fetch(1) * 2,
    data(f"u32=1 {fetched(1, 'a')}"),
    data(f"u32=1 {fetched(2, 'b')}"),
    setup=joined("a", "b"),
)
vector("STREAM FETCH of nothing", fetch(), data("u32=0"), setup=joined())
vector("STREAM FETCH of 0", fetch(0), data("u32=0"), setup=joined("a"))
vector("STREAM FETCH that times out", fetch(5, 30), data("u32=0"), setup=joined(), wait_ms=60)
vector(
    "STREAM FETCH that waits and wakes",
    fetch(5, 60_000) + req(PUB, f"s's' u32=1 0000 {any_of('a')}"),
    data("u32=1 i1"),
    data(f"u32=1 {fetched(1, 'a')}"),
    setup=joined(),
)
vector(
    "STREAM FETCH in the order of a key",
    fetch() + req(ACK, f"{MEMBER} i1 {RECEIPT}") + fetch(),
    data("u32=0"),
    ok(),
    data(f"u32=1 {fetched(2, 'b', 'k')}"),
    setup=leased("a", "b", key="k"),
)
vector(
    "STREAM FETCH up to max_ack_pending", fetch(), data("u32=0"), setup=leased("a", "b", max_ack_pending=1)
)
vector(
    "STREAM FETCH without response leases nothing",
    frame(NO_RESPONSE, FETCH, 7, b(f"{MEMBER} u32=1 u32=0")) + fetch(),
    data(f"u32=1 {fetched(1, 'a')}"),
    setup=joined("a"),
)
bad(
    "STREAM FETCH of a stranger",
    req(FETCH, f"s's' s'g' s'who' {GENERATION} u32=1 u32=0"),
    "who is not a member",
    NOT_MEMBER,
    setup=joined("a"),
)
bad(
    "STREAM FETCH of another generation",
    req(FETCH, f"s's' s'g' {CONSUMER} i77 u32=1 u32=0"),
    "fenced",
    FENCED,
    setup=joined("a"),
)
bad(
    "STREAM FETCH after a seek", fetch(), "fenced", FENCED, setup=(*joined("a"), req(SEEK, "s's' s'g' 00", 5))
)
vector(
    "STREAM FETCH that waits is fenced by a seek",
    fetch(1, 60_000) + req(SEEK, "s's' s'g' 00"),
    err(FENCED),
    ok(),
    setup=joined(),
)
vector(
    "STREAM: a lease that runs out",
    req(EXTENDED, f"{FETCHX} {MEMBER} u32=5 u32=60000"),
    data(f"u32=1 i1 ?16 u32=2 ?8 0000 {any_of('a')} u32=0"),
    setup=leased("a", ack_wait_ms=50),
    wait_ms=100,
)
vector("STREAM ACK", req(ACK, f"{MEMBER} i1 {RECEIPT}") + fetch(), ok(), data("u32=0"), setup=leased("a"))
bad(
    "STREAM ACK twice",
    req(ACK, f"{MEMBER} i1 {RECEIPT}"),
    "lease",
    FENCED,
    setup=(*leased("a"), req(ACK, f"{MEMBER} i1 {RECEIPT}", 5)),
)
bad("STREAM ACK with another receipt", req(ACK, f"{MEMBER} i1 i1 i77"), "lease", FENCED, setup=leased("a"))
bad(
    "STREAM ACK of another sequence",
    req(ACK, f"{MEMBER} i2 {RECEIPT}"),
    "lease",
    FENCED,
    setup=leased("a", "b"),
)
bad(
    "STREAM ACK of a sequence that is not there",
    req(ACK, f"{MEMBER} i9223372036854775807 {RECEIPT}"),
    "lease",
    FENCED,
    setup=leased("a"),
)
bad(
    "STREAM ACK of a stranger",
    req(ACK, f"s's' s'g' s'who' {GENERATION} i1 {RECEIPT}"),
    "not a member",
    NOT_MEMBER,
    setup=leased("a"),
)
bad(
    "STREAM ACK after a seek",
    req(ACK, f"{MEMBER} i1 {RECEIPT}"),
    "fenced",
    FENCED,
    setup=(*leased("a"), req(SEEK, "s's' s'g' 00", 5)),
)
vector(
    "STREAM ACK without response",
    frame(NO_RESPONSE, ACK, 7, b(f"{MEMBER} i1 {RECEIPT}")) + req(JOIN, "s's' s'g'"),
    data("i1 i2 ?s"),
    setup=leased("a"),
)
vector(
    "STREAM ACK_MANY",
    req(ACK_MANY, f"{MEMBER} u32=3 i1 {RECEIPT} i2 {RECEIPT} i9 i1 i1"),
    data("u32=2 i2 i9"),
    setup=leased("a", "b"),
)
vector(
    "STREAM ACK_MANY that is refused, at level fsync",
    req(ACK_MANY, f"{MEMBER} u32=1 i1 i1 i77"),
    data("u32=1 i1"),
    # The FETCH before it recorded at a lower level, which nobody syncs.
    setup=(req(CREATE, "s's' 00", 1), published("a"), req(JOIN, "s's' s'g'", 3), fetch(1, 5_000, 4)),
)
vector("STREAM ACK_MANY of nothing", req(ACK_MANY, f"{MEMBER} u32=0"), data("u32=0"), setup=joined())
bad(
    "STREAM ACK_MANY of a stranger",
    req(ACK_MANY, f"s's' s'g' s'who' {GENERATION} u32=0"),
    "not a member",
    NOT_MEMBER,
    setup=joined(),
)
bad(
    "STREAM ACK_MANY of another generation",
    req(ACK_MANY, f"s's' s'g' {CONSUMER} i77 u32=0"),
    "fenced",
    FENCED,
    setup=joined(),
)
bad(
    "STREAM ACK_MANY that claims 2^32 - 1",
    req(ACK_MANY, f"{MEMBER} ffffffff"),
    code=LIMIT_EXCEEDED,
    setup=joined(),
)
vector(
    "STREAM SEEK to the beginning",
    req(SEEK, "s's' s'g' 00") + req(JOIN, "s's' s'g'"),
    ok(),
    data("i0 i3 ?s"),
    setup=(*leased("a"), req(ACK, f"{MEMBER} i1 {RECEIPT}", 5)),
)
vector(
    "STREAM SEEK to the end",
    req(SEEK, "s's' s'g' 01") + req(JOIN, "s's' s'g'"),
    ok(),
    data("i2 i3 ?s"),
    setup=joined("a", "b"),
)
for _place in ("02", "04", "ff"):
    bad(f"STREAM SEEK to place {_place}", req(SEEK, f"s's' s'g' {_place}"), "unknown place", setup=joined())
vector("STREAM LEAVE", req(LEAVE, MEMBER) + fetch(), ok(), err(NOT_MEMBER), setup=joined("a"))
bad(
    "STREAM LEAVE twice",
    req(LEAVE, MEMBER),
    "not a member",
    NOT_MEMBER,
    setup=(*joined("a"), req(LEAVE, MEMBER, 5)),
)
bad(
    "STREAM LEAVE of another generation",
    req(LEAVE, f"s's' s'g' {CONSUMER} i77"),
    "fenced",
    FENCED,
    setup=joined(),
)
vector(
    "STREAM LEAVE ends a FETCH that waits",
    fetch(1, 60_000) + req(LEAVE, MEMBER),
    err(NOT_MEMBER),
    ok(),
    setup=joined(),
)

# ------------------------------------------------------------------------------------------------
# Dead letters.

vector("PEEK_DLS of nothing", req(PEEK_DLS, "s's' s'g' u32=9 u32=0"), data("u32=0"), setup=joined())
vector(
    "PEEK_DLS in pages",
    req(PEEK_DLS, "s's' s'g' u32=2 u32=0")
    + req(PEEK_DLS, "s's' s'g' u32=2 u32=2")
    + req(PEEK_DLS, "s's' s'g' ffffffff ffffffff"),
    data("u32=2 i1 s'why' u32=1 0001 'k' i2 s'why' u32=1 0001 'k'"),
    data("u32=1 i3 s'why' u32=1 0001 'k'"),
    data("u32=0"),
    setup=dead("a", "b", "c", key="k"),
)
vector(
    "MOVE_TO_STREAM",
    req(MOVE_TO_STREAM, "s's' s'g' i1") + req(PEEK_DLS, "s's' s'g' u32=9 u32=0") + fetch(5, 60_000),
    ok(),
    data("u32=0"),
    data(f"u32=1 {fetched(2, 'a', 'k')}"),
    setup=dead("a", key="k"),
)
bad(
    "MOVE_TO_STREAM of no dead letter",
    req(MOVE_TO_STREAM, "s's' s'g' i2"),
    "no dead letter",
    NOT_FOUND,
    setup=dead("a"),
)
vector(
    "DELETE_DLS",
    req(DELETE_DLS, "s's' s'g' i1") * 2 + req(PEEK_DLS, "s's' s'g' u32=9 u32=0"),
    ok(),
    ok(),
    data("u32=0"),
    setup=dead("a"),
)
vector("PURGE_DLS", req(PURGE_DLS, "s's' s'g'") * 2, data("u32=2"), data("u32=0"), setup=dead("a", "b"))

# ------------------------------------------------------------------------------------------------
# EXTENDED.


def read(place: str, value: int = 0, records: int = 0, size: int = 0, wait_ms: int = 0) -> bytes:
    return req(EXTENDED, f"{READ} s's' {place} i{value} u32={records} u32={size} u32={wait_ms}")


def record(value: str, key: str = "") -> str:
    return f"?8 {u16(len(key)).hex()} '{key}' {any_of(value)} u32=0"


_A, _B, _C = record("a"), record("b"), record("c")
_EACH = 8 + 2 + 6 + 4
_THREE = (create(), published("a", "b", "c"))
vector("READ of an empty stream", read("00"), data("i1 i1 i0 u32=0"), setup=(create(),))
vector(
    "READ from the beginning",
    read("00"),
    data(f"i4 i1 i3 u32=1 i1 u32=3 u32={3 * _EACH} {_A} {_B} {_C}"),
    setup=_THREE,
)
vector("READ at the end", read("01"), data("i4 i1 i3 u32=0"), setup=_THREE)
vector(
    "READ from a sequence",
    read("02", 2),
    data(f"i4 i1 i3 u32=1 i2 u32=2 u32={2 * _EACH} {_B} {_C}"),
    setup=_THREE,
)
vector(
    "READ from sequence 0", read("02", 0, 1), data(f"i2 i1 i3 u32=1 i1 u32=1 u32={_EACH} {_A}"), setup=_THREE
)
vector("READ past the end", read("02", 1 << 62), data("i4 i1 i3 u32=0"), setup=_THREE)
vector(
    "READ from a time",
    read("03", 0, 2),
    data(f"i3 i1 i3 u32=1 i1 u32=2 u32={2 * _EACH} {_A} {_B}"),
    setup=_THREE,
)
vector("READ from a time to come", read("03", 1 << 53), data("i4 i1 i3 u32=0"), setup=_THREE)
vector(
    "READ of the last two",
    read("04", 2),
    data(f"i4 i1 i3 u32=1 i2 u32=2 u32={2 * _EACH} {_B} {_C}"),
    setup=_THREE,
)
vector(
    "READ of the last 2^62",
    read("04", 1 << 62, 1),
    data(f"i2 i1 i3 u32=1 i1 u32=1 u32={_EACH} {_A}"),
    setup=_THREE,
)
vector(
    "READ up to a number of bytes",
    read("00", 0, 0, 2 * _EACH),
    data(f"i3 i1 i3 u32=1 i1 u32=2 u32={2 * _EACH} {_A} {_B}"),
    setup=_THREE,
)
vector(
    "READ of at least one",
    read("00", 0, 0, 1),
    data(f"i2 i1 i3 u32=1 i1 u32=1 u32={_EACH} {_A}"),
    setup=_THREE,
)
vector("READ that times out", read("01", 0, 0, 0, 30), data("i1 i1 i0 u32=0"), setup=(create(),), wait_ms=60)
vector(
    "READ that waits and wakes",
    read("01", 0, 0, 0, 60_000) + req(PUB, f"s's' u32=1 0000 {any_of('a')}"),
    data("u32=1 i1"),
    data(f"i2 i1 i1 u32=1 i1 u32=1 u32={_EACH} {_A}"),
    setup=(create(),),
)
bad("READ from an unknown place", read("05"), "unknown place 5", setup=(create(),))

_HEADERS = header_block((b"n", b"v"))
vector(
    "APPEND",
    req(
        EXTENDED,
        b(f"{APPEND} s's' 00 u32=2 0001 'k'") + _HEADERS + b(f"{any_of('a')} 0000 u32=0 {any_of('b')}"),
    ),
    data("i1 u32=2 00"),
    setup=(create(),),
)
vector(
    "APPEND and READ of headers",
    read("00"),
    data(
        f"i2 i1 i1 u32=1 i1 u32=1 u32={8 + 3 + 6 + 10} ?8 0001 'k' {any_of('a')} 00000006 0001 'n' 0001 'v'"
    ),
    setup=(create(), req(EXTENDED, b(f"{APPEND} s's' 00 u32=1 0001 'k'") + _HEADERS + b(any_of("a")), 2)),
)
_ONE = f"u32=1 0000 u32=0 {any_of('a')}"
vector("APPEND of nothing", req(EXTENDED, f"{APPEND} s's' 00 u32=0"), data("i1 u32=0 00"), setup=(create(),))
vector(
    "APPEND at the expected sequence",
    req(EXTENDED, f"{APPEND} s's' 01 i3 {_ONE}"),
    data("i4 u32=1 00"),
    setup=_THREE,
)
vector(
    "APPEND at another sequence",
    req(EXTENDED, f"{APPEND} s's' 01 i2 {_ONE}"),
    err(SEQUENCE_MISMATCH, "3, not 2", details={"actual": 3}),
    setup=_THREE,
)
vector(
    "APPEND of a producer that repeats itself",
    req(EXTENDED, f"{APPEND} s's' 02 0001 'p' i0 {_ONE}") * 2
    + req(EXTENDED, f"{APPEND} s's' 02 0001 'p' i1 {_ONE}"),
    data("i1 u32=1 00"),
    data("i1 u32=1 01"),
    data("i2 u32=1 00"),
    setup=(create(),),
)
bad(
    "APPEND of a producer with a long id",
    req(EXTENDED, b(f"{APPEND} s's' 02 0101") + b"p" * 257 + b(f"i0 {_ONE}")),
    "producer_id_bytes_max",
    LIMIT_EXCEEDED,
    setup=(create(),),
)
bad(
    "APPEND of a producer's number 2^63",
    req(EXTENDED, f"{APPEND} s's' 02 0001 'p' 8000000000000000 {_ONE}"),
    "2^63",
    setup=(create(),),
)
bad("APPEND with an unknown flag", req(EXTENDED, f"{APPEND} s's' 04 {_ONE}"), "flags", setup=(create(),))
bad(
    "APPEND with headers that end early",
    req(EXTENDED, f"{APPEND} s's' 00 u32=1 0000 00000003 0001 'n' {any_of('a')}"),
    "headers",
    setup=(create(),),
)
bad(
    "APPEND that claims 2^32 - 1 records",
    req(EXTENDED, f"{APPEND} s's' 00 ffffffff"),
    code=LIMIT_EXCEEDED,
    setup=(create(),),
)
vector(
    "FETCHX",
    req(EXTENDED, f"{FETCHX} {MEMBER} u32=5 u32=0"),
    data(f"u32=1 i1 ?16 u32=1 ?8 0001 'k' {any_of('a')} u32=0"),
    setup=joined("a", key="k"),
)
vector(
    "NACK comes again, STREAM",
    nack() + req(EXTENDED, f"{FETCHX} {MEMBER} u32=5 u32=0"),
    data("u32=0"),
    data(f"u32=1 i1 ?16 u32=2 ?8 0000 {any_of('a')} u32=0"),
    setup=leased("a"),
)
vector(
    "NACK with a delay, STREAM",
    nack(delay_ms=60_000) + fetch(),
    data("u32=0"),
    data("u32=0"),
    setup=leased("a"),
)
vector(
    "NACK by the stream's backoff",
    nack(delay_ms=-1) + fetch(),
    data("u32=0"),
    data("u32=0"),
    setup=leased("a"),
)
vector(
    "NACK of the last delivery, STREAM",
    nack(reason="too bad") + req(PEEK_DLS, "s's' s'g' u32=9 u32=0"),
    data("u32=0"),
    data("u32=1 i1 s'too bad' u32=1 0000"),
    setup=leased("a", max_deliveries=1),
)
vector("NACK of what is not leased, STREAM", nack(2), data("u32=1 i2"), setup=leased("a"))
vector(
    "NACK of nothing, STREAM", req(EXTENDED, f"{NACK} {MEMBER} i0 s'' u32=0"), data("u32=0"), setup=joined()
)
bad(
    "NACK of a stranger, STREAM",
    req(EXTENDED, f"{NACK} s's' s'g' s'who' {GENERATION} i0 s'' u32=1 i1 {RECEIPT}"),
    "not a member",
    NOT_MEMBER,
    setup=leased("a"),
)
bad(
    "NACK of another generation, STREAM",
    req(EXTENDED, f"{NACK} s's' s'g' {CONSUMER} i77 i0 s'' u32=1 i1 {RECEIPT}"),
    "fenced",
    FENCED,
    setup=leased("a"),
)
for _delay in (0, -1):
    vector(
        f"RELEASE comes again and has not counted, delay {_delay}",
        release(delay_ms=_delay) + req(EXTENDED, f"{FETCHX} {MEMBER} u32=5 u32=0"),
        data("u32=0"),
        data(f"u32=1 i1 ?16 u32=1 ?8 0000 {any_of('a')} u32=0"),
        setup=leased("a"),
    )
vector(
    "RELEASE of the last delivery makes no dead letter",
    release() + req(PEEK_DLS, "s's' s'g' u32=9 u32=0"),
    data("u32=0"),
    data("u32=0"),
    setup=leased("a", max_deliveries=1),
)
vector(
    "RELEASE with a delay",
    release(delay_ms=60_000) + fetch(),
    data("u32=0"),
    data("u32=0"),
    setup=leased("a"),
)
vector("RELEASE of what is not leased", release(2), data("u32=1 i2"), setup=leased("a"))
bad(
    "RELEASE of a stranger",
    req(EXTENDED, f"{RELEASE} s's' s'g' s'who' {GENERATION} i0 u32=1 i1 {RECEIPT}"),
    "not a member",
    NOT_MEMBER,
    setup=leased("a"),
)
bad("RELEASE with a delay of -2", release(delay_ms=-2), "delay_ms", setup=leased("a"))
bad("NACK with a delay above 2^53, STREAM", nack(delay_ms=9007199254740993), "delay_ms", setup=leased("a"))
bad("NACK with a delay of -2, STREAM", nack(delay_ms=-2), "delay_ms", setup=leased("a"))
bad(
    "NACK with a reason that is not UTF-8, STREAM",
    req(EXTENDED, f"{NACK} {MEMBER} i0 00000001 ff u32=1 i1 {RECEIPT}"),
    "UTF-8",
    setup=leased("a"),
)
for _place, _value, _floor in (
    ("00", 0, 0),
    ("01", 0, 3),
    ("02", 2, 1),
    ("02", 0, 0),
    ("02", 1 << 62, 3),
    ("03", 0, 0),
    ("03", 1 << 53, 3),
):
    vector(
        f"SEEKX to place {_place}, {_value}",
        req(EXTENDED, f"{SEEKX} s's' s'g' {_place} i{_value}") + req(JOIN, "s's' s'g'"),
        ok(),
        data(f"i{_floor} i3 ?s"),
        setup=joined("a", "b", "c"),
    )
for _place in ("04", "05", "ff"):
    bad(
        f"SEEKX to place {_place}",
        req(EXTENDED, f"{SEEKX} s's' s'g' {_place} i1"),
        "unknown place",
        setup=joined(),
    )
for _command in ("00", "08", "ff"):
    bad(
        f"EXTENDED command {_command}",
        req(EXTENDED, f"{_command} s's'"),
        "unknown stream command",
        setup=(create(),),
    )

vector("STREAM ADMIN list of nothing", admin("list", name="no-such-"), data("02 '[]'"))
vector("STREAM ADMIN list", admin("list", '{"limit":5}'), data('02 \'[{"name":"s",\' ?*'), setup=(create(),))
vector(
    "STREAM ADMIN describe",
    admin("describe"),
    data('02 \'{"name":"s","max_age_ms":604800000,\' ?*'),
    setup=(create(),),
)
vector(
    "STREAM ADMIN groups",
    admin("groups"),
    data('02 \'[{"name":"g","ack_floor":0,"lag_messages":1,\' ?*'),
    setup=joined("a"),
)
vector(
    "STREAM ADMIN group",
    admin("group"),
    data('02 \'{"name":"g","ack_floor":0,"lag_messages":1,\' ?*'),
    setup=joined("a"),
)
vector(
    "STREAM ADMIN dead",
    admin("dead", '{"limit":1}'),
    data('02 \'{"messages":[{"seq":1,"attempts":1,\' ?*'),
    setup=dead("a", "b"),
)
vector(
    "STREAM ADMIN dead past the end",
    admin("dead", '{"after":9223372036854775807}'),
    data('02 \'{"messages":[],"after":0}\''),
    setup=dead("a"),
)
vector(
    "STREAM ADMIN delete_group",
    admin("delete_group") + fetch(),
    data("02 '{\"deleted\":true}'"),
    err(NOT_FOUND, NO_GROUP),
    setup=joined("a"),
)
bad("STREAM ADMIN: an unknown action", admin("explode"), "unknown action 'explode'", setup=(create(),))
bad(
    "STREAM ADMIN: an unknown argument",
    admin("describe", '{"x":1}'),
    "unknown arguments: x",
    setup=(create(),),
)
bad("STREAM ADMIN: arguments that are no JSON", admin("describe", "{"), "arguments", setup=(create(),))

# ------------------------------------------------------------------------------------------------
# Layouts. The stream and the group are there.

_WHO = "s's' s'g' s'who' i1"
LAYOUTS += [
    ("STREAM_CREATE", CREATE, b("s'new' 03 i1500 i7"), True),
    ("STREAM_PUB", PUB, b("s's' u32=2 0001 'k' 00000002 00 'v' 0000 00000001 01"), True),
    ("STREAM_FETCH", FETCH, b(f"{_WHO} u32=1 u32=0"), True),
    ("JOIN", JOIN, b("s's' s'g'"), True),
    ("STREAM_ACK", ACK, b(f"{_WHO} i1 i1 i1"), True),
    ("STREAM_EXISTS", EXISTS, b("s's'"), True),
    ("STREAM_DELETE", DELETE, b("s's'"), True),
    ("STREAM_DESCRIBE", DESCRIBE, b("s's'"), True),
    ("SEEK", SEEK, b("s's' s'g' 00"), True),
    ("LEAVE", LEAVE, b(_WHO), True),
    ("PEEK_DLS", PEEK_DLS, b("s's' s'g' u32=1 u32=0"), True),
    ("MOVE_TO_STREAM", MOVE_TO_STREAM, b("s's' s'g' i1"), True),
    ("DELETE_DLS", DELETE_DLS, b("s's' s'g' i1"), True),
    ("PURGE_DLS", PURGE_DLS, b("s's' s'g'"), True),
    ("ACK_MANY", ACK_MANY, b(f"{_WHO} u32=1 i1 i1 i1"), True),
    ("READ", EXTENDED, b(f"{READ} s's' 00 i0 u32=0 u32=0 u32=0"), True),
    (
        "APPEND",
        EXTENDED,
        b(f"{APPEND} s's' 03 i1 0001 'p' i1 u32=1 0000 00000005 0001 'n' 0000 00000001 00"),
        True,
    ),
    ("FETCHX", EXTENDED, b(f"{FETCHX} {_WHO} u32=1 u32=0"), True),
    ("STREAM_NACK", EXTENDED, b(f"{NACK} {_WHO} i0 s'why' u32=1 i1 i1 i1"), True),
    ("STREAM_RELEASE", EXTENDED, b(f"{RELEASE} {_WHO} i0 u32=1 i1 i1 i1"), True),
    ("SEEKX", EXTENDED, b(f"{SEEKX} s's' s'g' 00 i0"), True),
    ("STREAM_ADMIN", EXTENDED, b(f"{ADMIN} s's' s'g' s'describe'"), True),
]

# ------------------------------------------------------------------------------------------------
# Whole frames, header included; the last request is the command that the conversation is for.

CONVERSATIONS += [
    (
        "STREAM_CREATE",
        "09 01 30 00000001 00000016 00000001 73 03 0000000000001388 0000000000002328",
        "09 02 03 00000001 0000002b 01000000017303000000000000138800000000000023280000000000002710000000000000753000"
        " 000005",
    ),
    (
        "STREAM_PUB",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 0000001a 00000001 73 00000002 0001 6b 00000002 01 61 0000 00000002 01 61",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 00000014 0000000200000000000000010000000000000002",
    ),
    (
        "STREAM_FETCH",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161",
    ),
    (
        "JOIN",
        "09 01 30 00000001 00000006 00000001 73 00\n09 01 33 00000002 0000000a 00000001 73 00000001 67",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364",
    ),
    (
        "STREAM_ACK",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 34 00000005 00000042 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000000000001"
        " 00000000000000010000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 00 00000005 00000000",
    ),
    (
        "STREAM_EXISTS",
        "09 01 30 00000001 00000006 00000001 73 00\n09 01 35 00000002 00000005 00000001 73",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 00000001 01",
    ),
    (
        "STREAM_DELETE",
        "09 01 30 00000001 00000006 00000001 73 00\n09 01 36 00000002 00000005 00000001 73",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 00 00000002 00000000",
    ),
    (
        "STREAM_DESCRIBE",
        "09 01 30 00000001 00000006 00000001 73 00\n09 01 37 00000002 00000005 00000001 73",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000002a 00000001730300000000240c84000000000040000000000000000000271000000000000075300000"
        " 0005",
    ),
    (
        "SEEK",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 33 00000002 0000000a 00000001 73 00000001 67\n"
        "09 01 38 00000003 0000000b 00000001 73 00000001 67 01",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 00 00000003 00000000",
    ),
    (
        "LEAVE",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 33 00000002 0000000a 00000001 73 00000001 67\n"
        "09 01 39 00000003 0000002a 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 00 00000003 00000000",
    ),
    (
        "PEEK_DLS",
        "09 01 30 00000001 0000001a 00000001 73 04 7b226d61785f64656c69766572696573223a317d\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 3f 00000005 00000054 04 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000000000000 00000001 78 00000001"
        " 0000000000000001 00000000000000010000000000000001\n"
        "09 01 3a 00000006 00000012 00000001 73 00000001 67 0000000a 00000000",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000001"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 03 00000005 00000004 00000000"
        " 09 02 03 00000006 00000018 00000001000000000000000100000001780000000100016b",
    ),
    (
        "MOVE_TO_STREAM",
        "09 01 30 00000001 0000001a 00000001 73 04 7b226d61785f64656c69766572696573223a317d\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 3f 00000005 00000054 04 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000000000000 00000001 78 00000001"
        " 0000000000000001 00000000000000010000000000000001\n"
        "09 01 3b 00000006 00000012 00000001 73 00000001 67 0000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000001"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 03 00000005 00000004 00000000"
        " 09 02 00 00000006 00000000",
    ),
    (
        "DELETE_DLS",
        "09 01 30 00000001 0000001a 00000001 73 04 7b226d61785f64656c69766572696573223a317d\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 3f 00000005 00000054 04 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000000000000 00000001 78 00000001"
        " 0000000000000001 00000000000000010000000000000001\n"
        "09 01 3c 00000006 00000012 00000001 73 00000001 67 0000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000001"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 03 00000005 00000004 00000000"
        " 09 02 00 00000006 00000000",
    ),
    (
        "PURGE_DLS",
        "09 01 30 00000001 0000001a 00000001 73 04 7b226d61785f64656c69766572696573223a317d\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 3f 00000005 00000054 04 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000000000000 00000001 78 00000001"
        " 0000000000000001 00000000000000010000000000000001\n"
        "09 01 3d 00000006 0000000a 00000001 73 00000001 67",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000001"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 03 00000005 00000004 00000000"
        " 09 02 03 00000006 00000004 00000001",
    ),
    (
        "ACK_MANY",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 3e 00000005 0000005e 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 00000002 0000000000000001"
        " 00000000000000010000000000000001 0000000000000002 00000000000000010000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 03 00000005 0000000c 000000010000000000000002",
    ),
    (
        "READ",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 3f 00000003 0000001b 01 00000001 73 00 0000000000000000 00000000 00000000 00000000",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000041 00000000000000020000000000000001000000000000000100000001000000000000000100000001"
        " 000000150000018bcfe5680000016b00000002016100000000",
    ),
    (
        "APPEND",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 3f 00000002 00000031 02 00000001 73 03 0000000000000000 0001 70 0000000000000000 00000001"
        " 0001 6b 00000006 0001 6e 0001 76 00000002 01 61",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000d 00000000000000010000000100",
    ),
    (
        "FETCHX",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 3f 00000004 00000033 03 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 00000035 00000001000000000000000100000000000000010000000000000001000000010000018bcfe56800"
        " 00016b00000002016100000000",
    ),
    (
        "STREAM_NACK",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 3f 00000005 00000056 04 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000000000000 00000003 776879"
        " 00000001 0000000000000001 00000000000000010000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 03 00000005 00000004 00000000",
    ),
    (
        "STREAM_RELEASE",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 32 00000004 00000032 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000a 00000000\n"
        "09 01 3f 00000005 0000004f 07 00000001 73 00000001 67 00000014"
        " 312d312d36323966366662656438326330376364 0000000000000001 0000000000000000"
        " 00000001 0000000000000001 00000000000000010000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000004 0000002d 000000010000000000000001000000000000000100000000000000010000018bcfe5680000016b00"
        " 0000020161"
        " 09 02 03 00000005 00000004 00000000",
    ),
    (
        "SEEKX",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 31 00000002 00000012 00000001 73 00000001 0001 6b 00000002 01 61\n"
        "09 01 33 00000003 0000000a 00000001 73 00000001 67\n"
        "09 01 3f 00000004 00000014 05 00000001 73 00000001 67 02 0000000000000001",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 0000000c 000000010000000000000001"
        " 09 02 03 00000003 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 00 00000004 00000000",
    ),
    (
        "STREAM_ADMIN",
        "09 01 30 00000001 00000006 00000001 73 00\n"
        "09 01 33 00000002 0000000a 00000001 73 00000001 67\n"
        "09 01 3f 00000003 0000001b 06 00000001 73 00000001 67 0000000c 64656c6574655f67726f7570",
        "09 02 03 00000001 0000002b 0100000001730300000000240c840000000000400000000000000000002710000000000000753000"
        " 000005"
        " 09 02 03 00000002 00000028"
        " 0000000000000000000000000000000100000014312d312d36323966366662656438326330376364"
        " 09 02 03 00000003 00000011 027b2264656c65746564223a747275657d",
    ),
]
