"""The native protocol's connection, Store and Pub/Sub: every command and every answer, byte for byte. See table.py."""

from __future__ import annotations

from tests.vectors.table import (
    GOLDEN,
    ID,
    INVALID_ARGUMENT,
    LAYOUTS,
    LIMIT_EXCEEDED,
    NO_RESPONDERS,
    NOT_AUTHORIZED,
    NOT_FOUND,
    PROTOCOL_ERROR,
    REPLY_TIMEOUT,
    Expected,
    bad,
    data,
    err,
    event,
    null,
    ok,
    push,
    req,
    vector,
)
from tests.vectors.wire import EVENT, NO_RESPONSE, b, frame, header_block, string, u8, u32

PING, HELLO, BACKUP, SERVER_ADMIN = 0x40, 0x01, 0x43, 0x44
SET, GET, DEL, INCR, CLEAR_ALL, CLEAR_PREFIX = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
GETX, DELX, INCRX, MGET, MSET, SCAN, WATCH, UNWATCH = 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
PUB, SUB, UNSUB, SUBX, UNSUBX, DROPPED, ASK, REPLY = 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28


# What other vectors begin with. Setup requests have small ids, and must not fail.
def put(key: str, value: str = "00 'v'", correlation: int = 1) -> bytes:
    return req(SET, f"s'{key}' 00 {value}", correlation)


def number(key: str, value: int, correlation: int = 1) -> bytes:
    return put(key, f"03 i{value}", correlation)


# ------------------------------------------------------------------------------------------------
# Whole frames, header included, as a packet dump would show them.

GOLDEN += [
    (
        "MAP_SET and MAP_GET of a string",
        "09 01 02 fedcba98 0000000e 00000003 6b6579 00 01 76616c7565"
        "09 01 03 fedcba98 00000007 00000003 6b6579",
        "09 02 00 fedcba98 00000000  09 02 03 fedcba98 00000006 01 76616c7565",
    ),
    (
        "MAP_INCR of a missing key",
        "09 01 05 fedcba98 0000000d 00000001 6e ffffffffffffffff",
        "09 02 03 fedcba98 00000009 03 ffffffffffffffff",
    ),
    ("MAP_GET of a missing key", "09 01 03 00000000 00000005 00000001 78", "09 02 02 00000000 00000000"),
    (
        "SUB and PUB to itself",
        "09 01 22 00000001 00000007 00000003 612f23  09 01 21 ffffffff 00000008 00000001 61 00 00 ff",
        "09 02 00 00000001 00000000  09 02 00 ffffffff 00000000  09 03 00 00000000 00000007 00000001 61 00 ff",
    ),
    ("PING", "09 01 40 00000007 00000002 0102", "09 02 03 00000007 00000002 0102"),
    (
        "BACKUP: reading one that there is not",
        "09 01 43 00000007 00000009 02 0000000000000001",
        "09 02 01 00000007 00000024 02 0000001f 'this' 20 'connection' 20 'has' 20 'no' 20 'backup' 20 '1'",
    ),
]

# ------------------------------------------------------------------------------------------------
# Connection.

vector("PING without bytes", req(PING), data(""))
vector("PING of 300 bytes", req(PING, bytes(range(256)) + b"x" * 44), data(bytes(range(256)) + b"x" * 44))
vector(
    "HELLO",
    req(HELLO, "s'vectors' ffffffff 00"),
    data(
        "s'nexo' ?s 00000000 00000009"
        " s'frame_bytes_max' 0000000000a00000 s'key_bytes_max' 0000000000010000"
        " s'topic_bytes_max' 000000000000ffff s'topic_levels_max' 0000000000000080"
        " s'headers_bytes_max' 0000000000010000 s'keys_per_command_max' 0000000000002710"
        " s'scan_keys_max' 0000000000002710 s'batch_commands_max' 00000000000003e8"
        " s'batch_bytes_max' 0000000000400000"
    ),
)
bad("HELLO twice", req(HELLO, "s'x' 00000000 00"), "HELLO", hello=True)
bad("HELLO after SUB", req(HELLO, "s'x' 00000000 00"), "HELLO", setup=(req(SUB, "s'a'", 1),))
bad("HELLO after SUBX", req(HELLO, "s'x' 00000000 00"), "HELLO", setup=(req(SUBX, "s'a' 00", 1),))
vector(
    "HELLO after SUB and UNSUB",
    req(HELLO, "s'x' 00000000 00"),
    data("s'nexo' ?s ?*"),
    setup=(req(SUB, "s'a'", 1), req(UNSUB, "s'a'", 2)),
)
bad("HELLO with a name that is not UTF-8", req(HELLO, "00000001 ff 00000000 00"), "UTF-8")
bad("HELLO with a password", req(HELLO, "s'x' 00000000 01 s'me' s'secret'"), code=NOT_AUTHORIZED)
bad("HELLO with a token", req(HELLO, "s'x' 00000000 02 s'token'"), code=NOT_AUTHORIZED)
bad("HELLO with unknown credentials", req(HELLO, "s'x' 00000000 07"), "credentials")
for _command in ("02", "03"):
    bad(f"BACKUP {_command} of none", req(BACKUP, f"{_command} i7"), "no backup 7", NOT_FOUND)
bad("an unknown command of BACKUP", req(BACKUP, "09"), "unknown command 0x09 of BACKUP")
vector("BACKUP without response", frame(NO_RESPONSE, BACKUP, ID, b"\x01"))
bad("SERVER_ADMIN without an action", req(SERVER_ADMIN), "the action")
bad("SERVER_ADMIN of an unknown action", req(SERVER_ADMIN, "s'stop'"), "unknown action 'stop'")
bad(
    "SERVER_ADMIN with an unknown argument",
    req(SERVER_ADMIN, "s'status' '{\"x\":1}'"),
    "unknown arguments: x",
)
bad("SERVER_ADMIN with text for a number", req(SERVER_ADMIN, "s'top' '{\"limit\":\"a\"}'"), "limit 'a'")
vector("SERVER_ADMIN status", req(SERVER_ADMIN, "s'status'"), data("02 ?*"))
vector("SERVER_ADMIN top", req(SERVER_ADMIN, "s'top' '{\"limit\":1}'"), data("02 ?*"))
vector("SERVER_ADMIN without response", frame(NO_RESPONSE, SERVER_ADMIN, ID, b("s'status'")))
for _opcode in (0x00, 0x20, 0x26, 0x29, 0x2F, 0x42, 0x50, 0x80, 0xFF):
    bad(f"unknown opcode 0x{_opcode:02x}", req(_opcode), "opcode")
vector("a request without response that fails", frame(NO_RESPONSE, GET, ID, b"\x00"))
vector("an unknown opcode without response", frame(NO_RESPONSE, 0xFF, ID))
vector(
    "MAP_SET without response, then MAP_GET",
    frame(NO_RESPONSE, SET, ID, b("s'k' 00 00 'v'")) + req(GET, "s'k'"),
    data("00 'v'"),
)
vector("MAP_GET without response", frame(NO_RESPONSE, GET, ID, b("s'k'")), setup=(put("k"),))

# What is not a frame ends the connection. The correlation id is the frame's when its header was whole.
_PING = req(PING, "'first'", 1)
vector(
    "wrong version",
    b("08 01 40 fedcba98 00000000"),
    err(PROTOCOL_ERROR, "version", None),
    setup=(_PING,),
    closes=True,
)
for _kind in (0x00, 0x02, 0x03, 0x05, 0x06, 0xFF):
    vector(
        f"frame type 0x{_kind:02x}",
        frame(_kind, PING, ID),
        err(PROTOCOL_ERROR, "type"),
        setup=(_PING,),
        closes=True,
    )
for _length in (10 * 1024 * 1024 + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
    vector(
        f"payload of {_length} bytes",
        b"\x09\x01\x40" + u32(ID) + u32(_length),
        err(PROTOCOL_ERROR, "frame_bytes_max"),
        closes=True,
    )

# ------------------------------------------------------------------------------------------------
# Store.

for _type, _value in (
    ("RAW", "00 00ff7f"),
    ("STRING", "01 'grün'"),
    ("JSON", "02 '{\"a\":[1,2]}'"),
    ("INT", "03 i-2"),
    ("empty RAW", "00"),
    ("empty STRING", "01"),
    ("empty JSON", "02"),
):
    vector(
        f"MAP_SET and MAP_GET of {_type}",
        req(SET, f"s'k' 00 {_value}") + req(GET, "s'k'"),
        ok(),
        data(_value),
    )
vector("MAP_GET of a key of 65,536 bytes", req(GET, string(b"k" * 65_536)), null())
vector("MAP_GET of a UTF-8 key", req(GET, "s'schlüssel'"), data("00 'v'"), setup=(put("schlüssel"),))
bad("MAP_GET of a key of 65,537 bytes", req(GET, string(b"k" * 65_537)), "key_bytes_max", LIMIT_EXCEEDED)
bad(
    "MAP_SET of a key of 65,537 bytes",
    req(SET, string(b"k" * 65_537) + b"\0\0"),
    "key_bytes_max",
    LIMIT_EXCEEDED,
)
for _opcode, _rest in (
    (SET, "00 00 'v'"),
    (GET, ""),
    (DEL, ""),
    (INCR, "i1"),
    (GETX, "00"),
    (DELX, "00"),
    (INCRX, "00 i1"),
):
    bad(f"opcode 0x{_opcode:02x}: empty key", req(_opcode, f"00000000 {_rest}"), "empty")
    bad(f"opcode 0x{_opcode:02x}: key not UTF-8", req(_opcode, f"00000002 c328 {_rest}"), "UTF-8")
    bad(f"opcode 0x{_opcode:02x}: key longer than the payload", req(_opcode, f"7fffffff 'k' {_rest}"))
    bad(f"opcode 0x{_opcode:02x}: key length above 2^31", req(_opcode, f"ffffffff 'k' {_rest}"))
bad("MAP_SET without a value", req(SET, "s'k' 00"), "ends")
bad("MAP_SET of an unknown data type", req(SET, "s'k' 00 04 'v'"), "data type")
bad("MAP_SET of an INT of 7 bytes", req(SET, "s'k' 00 03 00000000000000"), "INT")
bad("MAP_SET of an INT of 9 bytes", req(SET, "s'k' 00 03 000000000000000000"), "INT")
vector(
    "MAP_SET with a TTL in seconds",
    req(SET, "s'k' 01 000000000000003c 00 'v'") + req(GETX, "s'k' 00"),
    ok(),
    data("?8 ?8 ?8 00 'v'"),
)
vector(
    "MAP_SET with a TTL in ms",
    req(SET, "s'k' 41 000000000000ea60 00 'v'") + req(GETX, "s'k' 08"),
    ok(),
    data("?8 ?8 ?8"),
)
vector(
    "MAP_SET until a point in time",
    req(SET, "s'k' 81 0000100000000000 00 'v'") + req(GETX, "s'k' 08"),
    ok(),
    data("?8 0000100000000000 ?8"),
)
vector(
    "MAP_SET until a time that has passed deletes",
    req(SET, "s'k' 81 0000000000000001 00 'new'") + req(GET, "s'k'"),
    ok(),
    null(),
    setup=(put("k"),),
)
vector(
    "MAP_SET without TTL clears it",
    req(SET, "s'k' 00 00 'w'") + req(GETX, "s'k' 00"),
    ok(),
    data("?8 i0 i0 00 'w'"),
    setup=(req(SET, "s'k' 81 0000100000000000 00 'v'", 1),),
)
vector(
    "MAP_SET that keeps the TTL",
    req(SET, "s'k' 08 00 'w'") + req(GETX, "s'k' 00"),
    ok(),
    data("?8 0000100000000000 ?8 00 'w'"),
    setup=(req(SET, "s'k' 81 0000100000000000 00 'v'", 1),),
)
vector("MAP_SET expires", req(SET, "s'k' 41 0000000000000014 00 'v'"), ok(), wait_ms=30)
bad("MAP_SET with a TTL of 0 s", req(SET, "s'k' 01 0000000000000000 00 'v'"), "TTL")
bad("MAP_SET with a TTL of 0 ms", req(SET, "s'k' 41 0000000000000000 00 'v'"), "TTL")
bad("MAP_SET at time 0", req(SET, "s'k' 81 0000000000000000 00 'v'"))
bad("MAP_SET with a TTL of 2^63", req(SET, "s'k' 01 8000000000000000 00 'v'"))
bad("MAP_SET with a TTL of 2^63 - 1 s", req(SET, "s'k' 01 7fffffffffffffff 00 'v'"))
bad("MAP_SET with a TTL of 2^54 ms", req(SET, "s'k' 41 0040000000000000 00 'v'"))
bad("MAP_SET only if absent and only if present", req(SET, "s'k' 06 00 'v'"))
bad("MAP_SET with a TTL that keeps the TTL", req(SET, "s'k' 09 000000000000003c 00 'v'"))
vector("MAP_SET only if absent: applied", req(SET, "s'k' 02 00 'v'"), data("01 ?8"))
vector(
    "MAP_SET only if absent: there",
    req(SET, "s'k' 02 00 'new'") + req(GET, "s'k'"),
    data("00 ?8"),
    data("00 'v'"),
    setup=(put("k"),),
)
vector(
    "MAP_SET only if present: missing",
    req(SET, "s'k' 04 00 'v'") + req(GET, "s'k'"),
    data("00 i0"),
    null(),
)
vector("MAP_SET only if present: applied", req(SET, "s'k' 04 00 'v'"), data("01 ?8"), setup=(put("k"),))
vector("MAP_SET that returns no old value", req(SET, "s'k' 10 00 'v'"), data("01 ?8"))
vector(
    "MAP_SET that returns the old value",
    req(SET, "s'k' 10 00 'w'"),
    data("01 ?8 01 'old'"),
    setup=(put("k", "01 'old'"),),
)
vector(
    "MAP_SET only if absent that returns what is there",
    req(SET, "s'k' 12 00 'w'"),
    data("00 ?8 01 'old'"),
    setup=(put("k", "01 'old'"),),
)
vector("MAP_SET at version 0 of a missing key", req(SET, "s'k' 20 i0 00 'v'"), data("01 ?8"))
vector(
    "MAP_SET at version 0 of a key that is there",
    req(SET, "s'k' 20 i0 00 'v'"),
    data("00 ?8"),
    setup=(put("k"),),
)
vector(
    "MAP_SET at another version",
    req(SET, "s'k' 20 i4611686018427387904 00 'v'"),
    data("00 ?8"),
    setup=(put("k"),),
)
vector("MAP_SET at a version of a missing key", req(SET, "s'k' 20 i7 00 'v'"), data("00 i0"))
vector("MAP_SET at a version with a TTL", req(SET, "s'k' 61 000000000000ea60 i0 00 'v'"), data("01 ?8"))

vector("MAP_DEL", req(DEL, "s'k'") + req(GET, "s'k'"), ok(), null(), setup=(put("k"),))
vector("MAP_DEL of a missing key", req(DEL, "s'k'"), ok())

vector("MAP_INCR from 0", req(INCR, "s'n' i5"), data("03 i5"))
vector("MAP_INCR below 0", req(INCR, "s'n' i-10"), data("03 i-3"), setup=(number("n", 7),))
vector(
    "MAP_INCR to the upper end",
    req(INCR, "s'n' i1"),
    data("03 i9223372036854775807"),
    setup=(number("n", 2**63 - 2),),
)
for _start, _delta in ((2**63 - 1, 1), (-(2**63), -1), (2**62, 2**62), (-(2**62) - 1, -(2**62))):
    vector(
        f"MAP_INCR of {_start} by {_delta}",
        req(INCR, f"s'n' i{_delta}") + req(GET, "s'n'"),
        err(INVALID_ARGUMENT),
        data(f"03 i{_start}"),
        setup=(number("n", _start),),
    )
for _value in ("00 'v'", "01 '12'", "02 '12'", "00 0000000000000001", "01 '12345678'"):
    vector(
        f"MAP_INCR of the value {_value}",
        req(INCR, "s'k' i1") + req(GET, "s'k'"),
        err(INVALID_ARGUMENT),
        data(_value),
        setup=(put("k", _value),),
    )
vector(
    "MAP_INCR keeps the TTL",
    req(INCR, "s'n' i1") + req(GETX, "s'n' 00"),
    data("03 i2"),
    data("?8 0000100000000000 ?8 03 i2"),
    setup=(req(SET, "s'n' 81 0000100000000000 03 i1", 1),),
)
vector("MAP_CLEAR_ALL of nothing", req(CLEAR_ALL), data("03 i0"))
vector("MAP_CLEAR_ALL", req(CLEAR_ALL) + req(GET, "s'a'"), data("03 i2"), null(), setup=(put("a"), put("b")))
vector(
    "MAP_CLEAR_PREFIX is exact",
    req(CLEAR_PREFIX, "s'a:'") + req(SCAN, "00000000 00000000 00000000 02"),
    data("03 i2"),
    data("i3"),
    setup=tuple(put(key) for key in ("a", "a:", "a:1", "a;", "b")),
)
vector("MAP_CLEAR_PREFIX of nothing", req(CLEAR_PREFIX, "s'zz'"), data("03 i0"), setup=(put("a"),))
vector("MAP_CLEAR_PREFIX of all", req(CLEAR_PREFIX, "00000000"), data("03 i2"), setup=(put("a"), put("b")))

vector("MAP_GETX of a missing key", req(GETX, "s'k' 00"), null())
vector("MAP_GETX", req(GETX, "s'k' 00"), data("?8 i0 i0 00 'v'"), setup=(put("k"),))
vector("MAP_GETX without the value", req(GETX, "s'k' 08"), data("?8 i0 i0"), setup=(put("k"),))
vector(
    "MAP_GETX that sets a TTL", req(GETX, "s'k' 01 i60000"), data("?8 ?8 i60000 00 'v'"), setup=(put("k"),)
)
vector(
    "MAP_GETX that sets a time",
    req(GETX, "s'k' 0a 0000100000000000"),
    data("?8 0000100000000000 ?8"),
    setup=(put("k"),),
)
vector(
    "MAP_GETX at a time that has passed",
    req(GETX, "s'k' 02 i1") + req(GET, "s'k'"),
    null(),
    null(),
    setup=(put("k"),),
)
vector(
    "MAP_GETX that removes the TTL",
    req(GETX, "s'k' 04"),
    data("?8 i0 i0 00 'v'"),
    setup=(req(SET, "s'k' 81 0000100000000000 00 'v'", 1),),
)
vector("MAP_GETX that sets the TTL of a missing key", req(GETX, "s'k' 01 i60000"), null())
bad("MAP_GETX with a TTL of 0", req(GETX, "s'k' 01 i0"), "TTL", setup=(put("k"),))
for _flags, _rest in (("03", "i5 i5"), ("05", "i5"), ("06", "i5"), ("07", "i5 i5")):
    bad(f"MAP_GETX with flags {_flags}", req(GETX, f"s'k' {_flags} {_rest}"), setup=(put("k"),))

vector("MAP_DELX of a missing key", req(DELX, "s'k' 00"), data("00 i0"))
vector("MAP_DELX", req(DELX, "s'k' 00") + req(GET, "s'k'"), data("01 ?8"), null(), setup=(put("k"),))
vector("MAP_DELX that returns the old value", req(DELX, "s'k' 02"), data("01 ?8 00 'v'"), setup=(put("k"),))
vector(
    "MAP_DELX at another version",
    req(DELX, "s'k' 01 i4611686018427387904") + req(GET, "s'k'"),
    data("00 ?8"),
    data("00 'v'"),
    setup=(put("k"),),
)
vector(
    "MAP_DELX at another version that returns what is there",
    req(DELX, "s'k' 03 i4611686018427387904"),
    data("00 ?8 00 'v'"),
    setup=(put("k"),),
)

vector("MAP_INCRX from 0", req(INCRX, "s'n' 00 i5"), data("i5 i5 ?8 i0 i0"))
vector(
    "MAP_INCRX inside its bounds",
    req(INCRX, "s'n' 03 i5 i0 i10"),
    data("i10 i5 ?8 i0 i0"),
    setup=(number("n", 5),),
)
vector(
    "MAP_INCRX past the upper bound",
    req(INCRX, "s'n' 02 i6 i10"),
    data("i5 i0 ?8 i0 i0"),
    setup=(number("n", 5),),
)
vector(
    "MAP_INCRX past the lower bound",
    req(INCRX, "s'n' 01 i-6 i0"),
    data("i5 i0 ?8 i0 i0"),
    setup=(number("n", 5),),
)
vector(
    "MAP_INCRX that stops at the bound",
    req(INCRX, "s'n' 0a i6 i10"),
    data("i10 i5 ?8 i0 i0"),
    setup=(number("n", 5),),
)
vector(
    "MAP_INCRX down that stops at the bound",
    req(INCRX, "s'n' 09 i-6 i0"),
    data("i0 i-5 ?8 i0 i0"),
    setup=(number("n", 5),),
)
vector(
    "MAP_INCRX past a bound creates nothing",
    req(INCRX, "s'n' 06 i6 i5 i60000") + req(GET, "s'n'"),
    data("i0 i0 i0 i0 i0"),
    null(),
)
vector("MAP_INCRX with a TTL creates", req(INCRX, "s'n' 04 i1 i60000"), data("i1 i1 ?8 ?8 i60000"))
vector(
    "MAP_INCRX with a TTL leaves that of an old key",
    req(INCRX, "s'n' 04 i1 i60000"),
    data("i6 i1 ?8 i0 i0"),
    setup=(number("n", 5),),
)
vector(
    "MAP_INCRX past the i64 range",
    req(INCRX, "s'n' 00 i1") + req(GET, "s'n'"),
    err(INVALID_ARGUMENT),
    data("03 i9223372036854775807"),
    setup=(number("n", 2**63 - 1),),
)
bad("MAP_INCRX of a string", req(INCRX, "s'k' 00 i1"), setup=(put("k", "01 '5'"),))
bad("MAP_INCRX with its bounds crossed", req(INCRX, "s'n' 03 i1 i5 i4"))
bad("MAP_INCRX with a TTL of 0", req(INCRX, "s'n' 04 i1 i0"), "TTL")

vector("MAP_MGET of nothing", req(MGET, "00000000"), data("00000000"))
vector(
    "MAP_MGET",
    req(MGET, "00000004 s'a' s'missing' s'b' s'a'"),
    data("00000004 00000002 00 'v' 00000000 00000009 03 i9 00000002 00 'v'"),
    setup=(put("a"), number("b", 9)),
)
bad(
    "MAP_MGET of 10,001 keys",
    req(MGET, u32(10_001) + string("k") * 10_001),
    "keys_per_command_max",
    LIMIT_EXCEEDED,
)
bad("MAP_MGET that claims 2^32 - 1 keys", req(MGET, "ffffffff s'a'"), code=LIMIT_EXCEEDED)
bad("MAP_MGET with fewer keys than it says", req(MGET, "00000002 s'a'"))
bad("MAP_MGET with an empty key", req(MGET, "00000002 s'a' s''"), "empty")
vector(
    "MAP_MSET",
    req(MSET, "00 00000002 s'a' 00000002 01 'x' s'b' 00000009 03 i4") + req(MGET, "00000002 s'a' s'b'"),
    data("01 ?8"),
    data("00000002 00000002 01 'x' 00000009 03 i4"),
)
vector(
    "MAP_MSET with a TTL",
    req(MSET, "01 i60000 00000001 s'a' 00000001 00") + req(GETX, "s'a' 08"),
    data("01 ?8"),
    data("?8 ?8 ?8"),
)
vector(
    "MAP_MSET only if none exists: one does",
    req(MSET, "02 00000002 s'new' 00000001 00 s'a' 00000001 00") + req(MGET, "00000002 s'new' s'a'"),
    data("00 ?8"),
    data("00000002 00000000 00000002 00 'v'"),
    setup=(put("a"),),
)
vector("MAP_MSET only if none exists", req(MSET, "02 00000001 s'a' 00000001 00"), data("01 ?8"))
bad("MAP_MSET of an empty value", req(MSET, "00 00000001 s'a' 00000000"))
bad("MAP_MSET of an unknown data type", req(MSET, "00 00000001 s'a' 00000001 09"), "data type")
bad("MAP_MSET with a TTL of 0", req(MSET, "01 i0 00000001 s'a' 00000001 00"), "TTL")
bad("MAP_MSET of 10,001 keys", req(MSET, b"\0" + u32(10_001)), "keys_per_command_max", LIMIT_EXCEEDED)
vector(
    "MAP_MSET with a bad key changes nothing",
    req(MSET, "00 00000002 s'a' 00000001 00 s'' 00000001 00") + req(GET, "s'a'"),
    err(INVALID_ARGUMENT),
    null(),
)

_KEYS = tuple(put(key, f"01 '{key}'") for key in ("b", "a:2", "a:1", "a:10", "a"))
vector(
    "MAP_SCAN in byte order",
    req(SCAN, "s'a:' 00000000 00000000 00"),
    data("00 00000003 s'a:1' ?8 i0 s'a:10' ?8 i0 s'a:2' ?8 i0"),
    setup=_KEYS,
)
vector(
    "MAP_SCAN with values",
    req(SCAN, "s'a:1' 00000000 00000000 01"),
    data("00 00000002 s'a:1' ?8 i0 00000004 01 'a:1' s'a:10' ?8 i0 00000005 01 'a:10'"),
    setup=_KEYS,
)
vector(
    "MAP_SCAN of a page",
    req(SCAN, "00000000 00000000 00000002 00") + req(SCAN, "00000000 s'a:1' 00000003 00"),
    data("01 00000002 s'a' ?8 i0 s'a:1' ?8 i0"),
    data("00 00000003 s'a:10' ?8 i0 s'a:2' ?8 i0 s'b' ?8 i0"),
    setup=_KEYS,
)
vector("MAP_SCAN that counts", req(SCAN, "s'a:' 00000000 00000000 02"), data("i3"), setup=_KEYS)
vector("MAP_SCAN of nothing", req(SCAN, "s'zz' 00000000 00000000 00"), data("00 00000000"), setup=_KEYS)
bad(
    "MAP_SCAN of a page of 10,001 keys",
    req(SCAN, "00000000 00000000 00002711 00"),
    "scan_keys_max",
    LIMIT_EXCEEDED,
)

bad("MAP_WATCH without HELLO", req(WATCH, "s'k' 00"), "HELLO")
vector(
    "MAP_WATCH of a key",
    req(WATCH, "s'w:1' 00") + req(SET, "s'w:2' 00 00 'v'") + req(SET, "s'w:1' 00 00 'v'"),
    data("?8"),
    ok(),
    ok(),
    event(WATCH, "00000001 01 ?8 s'w:1' i0 00000002 00 'v'", ID),
    hello=True,
)
vector(
    "MAP_WATCH sees a deletion",
    req(DEL, "s'w:1'"),
    ok(),
    event(WATCH, "00000001 02 ?8 s'w:1' i0 00000000", 7),
    setup=(put("w:1"), req(WATCH, "s'w:1' 00", 7)),
    hello=True,
)
vector(
    "MAP_WATCH of a prefix",
    req(WATCH, "s'w:' 01") + req(INCR, "s'w:n' i3"),
    data("?8"),
    data("03 i3"),
    event(WATCH, "00000001 01 ?8 s'w:n' i0 00000009 03 i3", ID),
    hello=True,
)
vector(
    "MAP_WATCH sees an expiry",
    req(WATCH, "s'w:' 01") + req(SET, "s'w:t' 41 i20 00 'v'"),
    data("?8"),
    ok(),
    event(WATCH, "00000001 01 ?8 s'w:t' ?8 00000002 00 'v'", ID),
    event(WATCH, "00000001 03 ?8 s'w:t' ?8 00000000", ID),
    hello=True,
    wait_ms=40,
)
bad("MAP_WATCH of an empty key", req(WATCH, "s'' 00"), "empty", hello=True)
bad("MAP_WATCH with an id in use", req(WATCH, "s'k' 00"), setup=(req(WATCH, "s'k' 00"),), hello=True)
vector("MAP_UNWATCH", req(UNWATCH, u32(ID)), ok(), setup=(req(WATCH, "s'k' 00"),), hello=True)
vector(
    "MAP_UNWATCH ends the events",
    req(UNWATCH, u32(ID)) + req(SET, "s'k' 00 00"),
    ok(),
    ok(),
    setup=(req(WATCH, "s'k' 00"),),
    hello=True,
)
bad("MAP_UNWATCH of no watch", req(UNWATCH, "00000009"), code=NOT_FOUND, hello=True)

# ------------------------------------------------------------------------------------------------
# Pub/Sub.

vector("PUB to nobody", req(PUB, "s't' 00 00 'm'"), ok())
vector("PUB that counts nobody", req(PUB, "s't' 20 00 'm'"), data("00000000"))
vector("SUB", req(SUB, "s'a/+/#'"), ok())
for _filter, _topic in (
    ("a/b", "a/b"),
    ("a/+", "a/b"),
    ("a/+", "a/"),
    ("+/+", "/b"),
    ("a/#", "a"),
    ("a/#", "a/b/c"),
    ("#", "a/b/c"),
    ("$sys/#", "$sys/x"),
    ("$sys/+", "$sys/x"),
    ("/", "/"),
    ("grün/+", "grün/ä"),
):
    vector(
        f"filter {_filter} matches {_topic}",
        req(PUB, f"s'{_topic}' 20 01 'm'"),
        data("00000001"),
        push(f"s'{_topic}' 01 'm'"),
        setup=(req(SUB, f"s'{_filter}'", 1),),
    )
for _filter, _topic in (
    ("a/b", "a/c"),
    ("a/+", "a"),
    ("a/+", "a/b/c"),
    ("+", "a/b"),
    ("a/#", "ab"),
    ("#", "$sys/x"),
    ("+/x", "$sys/x"),
    ("A", "a"),
    ("a", "a/"),
):
    vector(
        f"filter {_filter} does not match {_topic}",
        req(PUB, f"s'{_topic}' 20 01 'm'"),
        data("00000000"),
        setup=(req(SUB, f"s'{_filter}'", 1),),
    )
vector(
    "one copy for overlapping filters",
    req(PUB, "s'a/b' 20 00 'm'"),
    data("00000001"),
    push("s'a/b' 00 'm'"),
    setup=tuple(req(SUB, f"s'{one}'", 1) for one in ("a/b", "a/+", "a/#", "#")),
)
vector(
    "pushes keep the order of publication",
    b"".join(
        req(PUB, f"s'{topic}' 00 03 i{index}") for index, topic in enumerate(("a", "b", "a", "c", "b", "a"))
    ),
    *[ok()] * 6,
    *[push(f"s'{topic}' 03 i{index}") for index, topic in enumerate(("a", "b", "a", "c", "b", "a"))],
    setup=(req(SUB, "s'a'", 1), req(SUB, "s'b'", 1), req(SUB, "s'#'", 1)),
)
vector(
    "UNSUB",
    req(UNSUB, "s'a'") + req(PUB, "s'a' 00 00"),
    ok(),
    ok(),
    setup=(req(SUB, "s'a'", 1),),
)
vector("UNSUB of what was not subscribed", req(UNSUB, "s'a'"), ok())

_RETAINED = (req(PUB, "s'r/1' 01 00 'one'", 1), req(PUB, "s'r/2' 01 00 'two'", 2))
_CLEAR = (req(PUB, "s'r/1' 04", 8), req(PUB, "s'r/2' 04", 9))
vector(
    "retained messages to a wildcard",
    req(SUB, "s'r/+'"),
    ok(),
    push("s'r/1' 00 'one'"),
    push("s'r/2' 00 'two'"),
    setup=_CLEAR + _RETAINED,
)
vector(
    "SUB again sends the retained messages again",
    req(SUB, "s'r/1'") * 2,
    ok(),
    push("s'r/1' 00 'one'"),
    ok(),
    push("s'r/1' 00 'one'"),
    setup=_CLEAR + _RETAINED,
)
vector("retained messages not wanted", req(SUBX, "s'r/#' 10"), ok(), setup=_CLEAR + _RETAINED)
vector(
    "a retained message is replaced",
    req(PUB, "s'r/1' 01 00 'new'") + req(SUB, "s'r/1'"),
    ok(),
    ok(),
    push("s'r/1' 00 'new'"),
    setup=_CLEAR + _RETAINED,
)
vector(
    "clear what is retained",
    req(PUB, "s'r/1' 04 02 'null'") + req(SUB, "s'r/#'"),
    ok(),
    ok(),
    push("s'r/2' 00 'two'"),
    setup=_CLEAR + _RETAINED,
)
vector(
    "clearing what is retained sends nothing",
    req(PUB, "s'r/1' 24 00"),
    data("00000000"),
    setup=(*_CLEAR, req(SUB, "s'r/1'", 1), _RETAINED[1]),
)
vector(
    "a retained message with a TTL in seconds",
    req(PUB, "s'r/1' 03 0000003c 00 'm'") + req(SUB, "s'r/1'"),
    ok(),
    ok(),
    push("s'r/1' 00 'm'"),
    setup=_CLEAR,
)
vector(
    "a TTL without retain has no effect",
    req(PUB, "s'r/1' 02 0000003c 00 'm'") + req(SUB, "s'r/1'"),
    ok(),
    ok(),
    setup=_CLEAR,
)
bad("PUB with a TTL of 0 s", req(PUB, "s'r/1' 03 00000000 00 'm'"), "TTL")
bad("PUB with a TTL of 0 ms", req(PUB, "s'r/1' 13 i0 00 'm'"), "TTL")
bad("PUB with a TTL of 0 s, not retained", req(PUB, "s'r/1' 02 00000000 00 'm'"), "TTL")
bad("PUB without a value", req(PUB, "s't' 00"))
bad("PUB of an unknown data type", req(PUB, "s't' 00 04"), "data type")
bad("PUB of a short INT", req(PUB, "s't' 00 03 00"), "INT")

_HEADERS = header_block((b"trace", b"\x00\x01"), (b"trace", b""))
vector(
    "a message with headers, after HELLO",
    req(PUB, b("s't' 08") + _HEADERS + b"\x01m"),
    ok(),
    event(PUB, b("s't'") + _HEADERS + b"\x01m"),
    setup=(req(SUB, "s't'", 1),),
    hello=True,
)
vector(
    "a message with headers, without HELLO",
    req(PUB, b("s't' 08") + _HEADERS + b"\x01m"),
    ok(),
    push("s't' 01 'm'"),
    setup=(req(SUB, "s't'", 1),),
)
vector(
    "a message without headers, after HELLO",
    req(PUB, "s't' 00 01 'm'"),
    ok(),
    push("s't' 01 'm'"),
    setup=(req(SUB, "s't'", 1),),
    hello=True,
)
vector(
    "a retained message keeps its headers",
    req(SUB, "s'r/1'"),
    ok(),
    event(PUB, b("s'r/1'") + _HEADERS + b"\x01m"),
    setup=(*_CLEAR, req(PUB, b("s'r/1' 09") + _HEADERS + b"\x01m", 1)),
    hello=True,
)
for _name, _block in (
    ("an empty name", "00000004 0000 0000"),
    ("a name that is not UTF-8", "00000005 0001 ff 0000"),
    ("a name longer than the block", "00000004 0005 'ab'"),
    ("a name without a value", "00000003 0001 'a'"),
    ("a value longer than the block", "00000006 0001 'a' 0004 'x'"),
    ("half a length", "00000001 00"),
):
    bad(f"headers with {_name}", req(PUB, f"s't' 08 {_block} 00 'm'"), "header")
bad(
    "headers of 65,537 bytes",
    req(PUB, b("s't' 08") + u32(65_537) + b"x" * 65_537 + b"\0"),
    "headers_bytes_max",
    LIMIT_EXCEEDED,
)
vector(
    "headers of 65,536 bytes",
    req(PUB, b("s't' 08") + header_block((b"n", b"v" * 65_531)) + b"\0"),
    ok(),
)

_LEVELS_128 = "/".join("l" * 128)
for _name, _topic, _code in (
    ("empty", b"", INVALID_ARGUMENT),
    ("+", b"a/+", INVALID_ARGUMENT),
    ("#", b"a/#", INVALID_ARGUMENT),
    ("NUL", b"a\x00b", INVALID_ARGUMENT),
    ("not UTF-8", b"a/\xff", INVALID_ARGUMENT),
    ("129 levels", _LEVELS_128.encode() + b"/x", LIMIT_EXCEEDED),
    ("65,536 bytes", b"t" * 65_536, LIMIT_EXCEEDED),
):
    for _flags in (0x00, 0x01, 0x20):
        bad(f"topic {_name}, flags {_flags}", req(PUB, string(_topic) + u8(_flags) + b"\0m"), "topic", _code)
    bad(f"request to topic {_name}", req(ASK, string(_topic) + u32(100) + b"\0\0m"), "topic", _code)
for _name, _filter_bytes, _code in (
    ("empty", b"", INVALID_ARGUMENT),
    ("a/#/b", b"a/#/b", INVALID_ARGUMENT),
    ("a+", b"a+", INVALID_ARGUMENT),
    ("a/b+/c", b"a/b+/c", INVALID_ARGUMENT),
    ("a#", b"a#", INVALID_ARGUMENT),
    ("#/a", b"#/a", INVALID_ARGUMENT),
    ("++", b"++", INVALID_ARGUMENT),
    ("NUL", b"a\x00b", INVALID_ARGUMENT),
    ("not UTF-8", b"a/\xc3\x28", INVALID_ARGUMENT),
    ("129 levels", _LEVELS_128.encode() + b"/#", LIMIT_EXCEEDED),
    ("65,536 bytes", b"t" * 65_536, LIMIT_EXCEEDED),
):
    bad(f"filter {_name}", req(SUB, string(_filter_bytes)), "filter", _code)
    bad(f"filter {_name} of SUBX", req(SUBX, string(_filter_bytes) + b"\0"), "filter", _code)
    bad(f"filter {_name} of UNSUB", req(UNSUB, string(_filter_bytes)), "filter", _code)
vector("a topic of 128 levels", req(PUB, f"s'{_LEVELS_128}' 00 00"), ok())
vector("a topic of 65,535 bytes", req(PUB, string(b"t" * 65_535) + b"\0\0"), ok())
vector("a filter of 128 levels", req(SUB, f"s'{_LEVELS_128[:-1]}#'"), ok())

for _policy in range(4):
    vector(
        f"SUBX with bounds and policy {_policy}",
        req(SUBX, f"s'a' 0e 00000010 i65536 {_policy:02x}") + req(PUB, "s'a' 00 00 'm'"),
        ok(),
        ok(),
        push("s'a' 00 'm'"),
    )
bad("SUBX with policy 4", req(SUBX, "s'a' 08 04"), "policy")
bad("SUBX with 0 pending messages", req(SUBX, "s'a' 02 00000000"))
bad("SUBX with 0 pending bytes", req(SUBX, "s'a' 04 i0"))
bad("SUBX shared without HELLO", req(SUBX, "s'a' 01 s'group'"), "HELLO")
bad("SUBX shared without a group", req(SUBX, "s'a' 01 s''"), "group", hello=True)
bad("SUBX with a group that is not UTF-8", req(SUBX, "s'a' 01 00000001 ff"), hello=True)
vector(
    "a shared subscription",
    req(SUBX, "s'jobs/+' 01 s'workers'") + req(PUB, "s'jobs/1' 20 00 'm'"),
    ok(),
    data("00000001"),
    event(SUBX, "s'jobs/1' 00000000 00 'm'", ID),
    hello=True,
)
vector(
    "a shared and an ordinary subscription on one connection",
    req(PUB, "s'jobs/1' 20 00 'm'"),
    data("00000002"),
    push("s'jobs/1' 00 'm'"),
    event(SUBX, "s'jobs/1' 00000000 00 'm'", 5),
    setup=(req(SUBX, "s'jobs/+' 01 s'workers'", 5), req(SUB, "s'jobs/1'", 6)),
    hello=True,
)
vector(
    "UNSUBX of a shared subscription",
    req(UNSUBX, "s'jobs' s'workers'") + req(PUB, "s'jobs' 20 00"),
    ok(),
    data("00000000"),
    setup=(req(SUBX, "s'jobs' 01 s'workers'", 5),),
    hello=True,
)
vector(
    "UNSUBX of an ordinary subscription",
    req(UNSUBX, "s'a' s''") + req(PUB, "s'a' 20 00"),
    ok(),
    data("00000000"),
    setup=(req(SUB, "s'a'", 5),),
)

bad("REQUEST that nobody answers", req(ASK, "s'q' u32=100 00 00"), code=NO_RESPONDERS)
bad(
    "REQUEST to a subscriber without HELLO",
    req(ASK, "s'q' u32=100 00 00"),
    code=NO_RESPONDERS,
    setup=(req(SUB, "s'q'", 1),),
)
bad("REQUEST with a timeout of 0", req(ASK, "s'q' u32=0 00 00"), "timeout")
bad("REQUEST with a timeout above an hour", req(ASK, "s'q' u32=3600001 00 00"), "timeout")
vector(
    "REQUEST that times out",
    req(ASK, b("s'q' u32=30 08") + _HEADERS + b"\x01?"),
    Expected(EVENT, ASK, 0, [8, b("s'q'") + _HEADERS + b"\x01?"]),
    err(REPLY_TIMEOUT),
    setup=(req(SUB, "s'q'", 1),),
    hello=True,
    wait_ms=60,
)
vector(
    "REQUEST to a shared subscription",
    req(ASK, "s'q' u32=30 00 01 '?'"),
    event(ASK, "?8 s'q' 00000000 01 '?'", 7),
    err(REPLY_TIMEOUT),
    setup=(req(SUBX, "s'q' 01 s'g'", 7),),
    hello=True,
    wait_ms=60,
)
bad("REPLY to no request", req(REPLY, "i1 00 00 'm'"), code=NOT_FOUND)
bad("REPLY to request 0", req(REPLY, "i0 00 00 'm'"), code=NOT_FOUND)

# ------------------------------------------------------------------------------------------------
# Layouts.

LAYOUTS += [
    ("HELLO", HELLO, b("s'name' 00000000 00"), True),
    ("BACKUP begin", BACKUP, b("01"), True),
    ("BACKUP read", BACKUP, b("02 i1"), True),
    ("BACKUP end", BACKUP, b("03 i1"), True),
    ("SERVER_ADMIN", SERVER_ADMIN, b("s'status'"), False),
    ("MAP_SET", SET, b("s'key' 61 000000000000ea60 i0 00"), False),
    ("MAP_GET", GET, b("s'key'"), True),
    ("MAP_DEL", DEL, b("s'key'"), True),
    ("MAP_INCR", INCR, b("s'key' i1"), True),
    ("MAP_CLEAR_ALL", CLEAR_ALL, b"", True),
    ("MAP_CLEAR_PREFIX", CLEAR_PREFIX, b("s'key'"), True),
    ("MAP_GETX", GETX, b("s'key' 01 i5"), True),
    ("MAP_DELX", DELX, b("s'key' 01 i5"), True),
    ("MAP_INCRX", INCRX, b("s'key' 0f i1 i0 i5 i5000"), True),
    ("MAP_MGET", MGET, b("00000002 s'a' s'b'"), True),
    ("MAP_MSET", MSET, b("01 i5000 00000001 s'a' 00000002 00 'v'"), True),
    ("MAP_SCAN", SCAN, b("s'pre' s'cursor' 00000001 00"), True),
    ("MAP_WATCH", WATCH, b("s'pre' 03 i0"), True),
    ("MAP_UNWATCH", UNWATCH, b("00000001"), True),
    ("PUB", PUB, b("s'topic' 0b 00000005 00000005 0001 'n' 0000 00"), False),
    ("SUB", SUB, b("s'a/+'"), True),
    ("UNSUB", UNSUB, b("s'a/+'"), True),
    ("SUBX", SUBX, b("s'a/+' 0f s'group' 00000005 i5000 00"), True),
    ("UNSUBX", UNSUBX, b("s'a/+' s'group'"), True),
    ("REQUEST", ASK, b("s'topic' 00000005 08 00000005 0001 'n' 0000 00"), False),
    ("REPLY", REPLY, b("i1 08 00000005 0001 'n' 0000 00"), False),
]
