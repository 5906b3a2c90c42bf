"""The native protocol's declared maps of the store: MAP_ADMIN, and writes to keys that are kept. See table.py."""

from __future__ import annotations

from tests.vectors.table import (
    CONFLICT,
    GOLDEN,
    LIMIT_EXCEEDED,
    NOT_FOUND,
    bad,
    data,
    null,
    ok,
    req,
    vector,
)
from tests.vectors.wire import b, string

MAP_ADMIN = 0x48
SET, GET, DEL, INCR, CLEAR_PREFIX, GETX, DELX, MSET = 0x02, 0x03, 0x04, 0x05, 0x07, 0x08, 0x09, 0x0C

GOLDEN += [
    (
        "MAP_ADMIN create, and a MAP_SET of one of its keys",
        "09 01 48 fedcba98 00000026 00000002 642f 00000006 637265617465"
        "7b226475726162696c697479223a22666c757368227d"
        "09 01 02 fedcba98 0000000b 00000003 642f31 00 01 7676",
        "09 02 03 fedcba98 0000004b 02"
        "7b22737461747573223a2263726561746564222c22707265666978223a22642f222c"
        "226475726162696c697479223a22666c757368222c226b657973223a302c226279746573223a307d"
        "09 02 00 fedcba98 00000000",
    ),
]


def admin(action: str, prefix: str = "d/", arguments: str = "", correlation: int | None = None) -> bytes:
    payload = string(prefix) + string(action) + arguments.encode()
    return req(MAP_ADMIN, payload) if correlation is None else req(MAP_ADMIN, payload, correlation)


def shown(
    status: str = "", prefix: str = "d/", durability: str = "fsync", keys: int = 0, size: int = 0
) -> str:
    first = f'"status":"{status}",' if status else ""
    return f'{{{first}"prefix":"{prefix}","durability":"{durability}","keys":{keys},"bytes":{size}}}'


CREATE = admin("create", correlation=1)
KEYS = '{"keys":true}'
PUT = req(SET, "s'd/k' 00 00 'v'", 2)

vector("MAP_ADMIN list of nothing", admin("list"), data("02 '[]'"))
vector("MAP_ADMIN create", admin("create"), data(f"02 '{shown('created')}'"))
vector("MAP_ADMIN create again", admin("create"), data(f"02 '{shown('unchanged')}'"), setup=(CREATE,))
vector(
    "MAP_ADMIN create over keys that are there",
    admin("create"),
    data(f"02 '{shown('created', keys=1, size=208 + 3 + 2)}'"),
    setup=(PUT,),
)
vector(
    "MAP_ADMIN create of everything in memory",
    admin("create", "", '{"durability":"memory"}'),
    data(f"02 '{shown('created', prefix='', durability='memory')}'"),
)
bad(
    "MAP_ADMIN create otherwise",
    admin("create", arguments='{"durability":"flush"}'),
    "durability is fsync",
    CONFLICT,
    setup=(CREATE,),
)
bad("MAP_ADMIN create of no level", admin("create", arguments='{"durability":"disk"}'), "durability 'disk'")
bad("MAP_ADMIN create with more", admin("create", arguments='{"ttl":1}'), "unknown arguments: ttl")
bad("MAP_ADMIN create of a long prefix", admin("create", "p" * 256), "map_prefix_bytes_max", LIMIT_EXCEEDED)
bad("MAP_ADMIN create of no UTF-8", req(MAP_ADMIN, "00000001 ff s'create'"), "UTF-8")
vector("MAP_ADMIN list", admin("list", ""), data(f"02 '[{shown()}]'"), setup=(CREATE,))
vector("MAP_ADMIN list of others", admin("list", "e"), data("02 '[]'"), setup=(CREATE,))
vector(
    "MAP_ADMIN describe",
    admin("describe"),
    data(f"02 '{shown(keys=1, size=208 + 3 + 2)}'"),
    setup=(CREATE, PUT),
)
bad("MAP_ADMIN describe of nothing", admin("describe", "d"), "'d'", NOT_FOUND, setup=(CREATE,))
DELETED = '02 \'{"status":"deleted"}\''
vector("MAP_ADMIN delete", admin("delete"), data(DELETED), setup=(CREATE, PUT))
vector("keys stay", req(GET, "s'd/k'"), data("00 'v'"), setup=(CREATE, PUT, admin("delete", correlation=3)))
vector("MAP_ADMIN delete with its keys", admin("delete", arguments=KEYS), data(DELETED), setup=(CREATE, PUT))
vector(
    "keys go", req(GET, "s'd/k'"), null(), setup=(CREATE, PUT, admin("delete", arguments=KEYS, correlation=3))
)
bad("MAP_ADMIN delete of nothing", admin("delete"), "'d/'", NOT_FOUND)
bad(
    "MAP_ADMIN delete, said wrongly",
    admin("delete", arguments='{"keys":1}'),
    "true or false",
    setup=(CREATE,),
)
bad("MAP_ADMIN does not know", admin("alter"), "list, describe, create, delete")
bad("MAP_ADMIN without an action", req(MAP_ADMIN, "s'd/'"))

vector("MAP_SET of a key that is kept", req(SET, "s'd/k' 00 00 'w'"), ok(), setup=(CREATE,))
vector("MAP_SET that is versioned", req(SET, "s'd/k' 20 i0 00 'w'"), data("01 ?8"), setup=(CREATE,))
vector("MAP_DEL of a key that is kept", req(DEL, "s'd/k'"), ok(), setup=(CREATE, PUT))
vector("MAP_DELX of a key that is kept", req(DELX, "s'd/k' 02"), data("01 ?8 00 'v'"), setup=(CREATE, PUT))
vector("MAP_INCR of a key that is kept", req(INCR, "s'd/n' i5"), data("03 i5"), setup=(CREATE,))
vector("MAP_GETX that changes the TTL", req(GETX, "s'd/k' 04"), data("?8 i0 i0 00 'v'"), setup=(CREATE, PUT))
vector(
    "MAP_MSET of keys of which some are kept",
    req(MSET, b("00 u32=2 s'a' 00000002 00 'v' s'd/k' 00000002 00 'v'")),
    data("01 ?8"),
    setup=(CREATE,),
)
vector(
    "MAP_CLEAR_PREFIX of keys that are kept", req(CLEAR_PREFIX, "s'd/'"), data("03 i1"), setup=(CREATE, PUT)
)
