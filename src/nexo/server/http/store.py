"""The store's keys over HTTP."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import UNSET, UnsetType
from starlette.responses import Response

from nexo.brokers.entry import Entry
from nexo.errors import InvalidArgumentError, ResourceNotFoundError, VersionMismatchError
from nexo.limits import PAGE_BYTES_MAX
from nexo.protocols.grants import STORE_READ, STORE_WRITE
from nexo.protocols.native.frames import check_key
from nexo.protocols.native.jsonadmin import shown_value
from nexo.server.http.permissions import asked, on
from nexo.server.http.routing import DATA, NUMBER_MAX, PAGED, Call, Route, answer, page
from nexo.server.http.values import Valued, public, quoted, time_to_live

KEYS: Final = "/api/v1/store/keys"
NAMES: Final = ("bytes", "str", "json", "int")
"""Types by the byte that a value begins with."""


class Put(Valued, kw_only=True):
    """A value for a key, and conditions."""

    ttl_ms: int | UnsetType = UNSET
    keep_ttl: bool = False
    if_version: int | UnsetType = UNSET


def shown(
    key: bytes, entry: Entry, now: int, with_value: bool, value_bytes_max: int = 0
) -> dict[str, object]:
    """A key for an answer."""
    expires_at = int(entry.expires_at)
    found: dict[str, object] = {"key": key.decode(errors="replace"), "path": quoted(key)}
    if with_value:
        found.update(public(shown_value(entry.value), value_bytes_max))
    else:
        found["type"] = NAMES[entry.value[0]]
    found["bytes"] = len(entry.value) - 1
    found["version"] = int(entry.version)
    found["expires_at"] = expires_at
    found["ttl_ms"] = expires_at - now if expires_at else None
    return found


async def keys(call: Call) -> Response:
    prefix = call.text("prefix").encode()
    call.grants.check_prefix(STORE_READ, prefix)
    after, limit = call.after(), call.limit()
    with_values, value_bytes_max = call.flag("values"), call.number("value_bytes_max", 0)
    store = call.access.node.store
    now = call.access.begin()
    while not store.ready():  # turns bring the order of keys about
        await asyncio.sleep(0)
        now = call.access.begin()
    found = store.scan(prefix, after, limit, PAGE_BYTES_MAX, now, with_values)
    items = [
        shown(key, entry, now, with_values, value_bytes_max)
        for key, entry in zip(found.keys, found.entries, strict=True)
    ]
    return page(items, quoted(found.keys[-1]) if found.more else None, count=int(store.count(prefix, now)))


def missing(key: bytes) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"there is no key {key.decode(errors='replace')!r}")


def mismatch(key: bytes, version: int) -> VersionMismatchError:
    return VersionMismatchError(f"key {key.decode(errors='replace')!r} has version {version}", version)


async def get(call: Call) -> Response:
    key = call.name("key")
    now = call.access.begin()
    entry = call.access.node.store.lookup(key, now)
    if entry is None:
        raise missing(key)
    return answer(shown(key, entry, now, True, call.number("value_bytes_max", 0)))


async def put(call: Call) -> Response:
    key = call.name("key")
    check_key(key)
    body = await call.body(Put)
    value = body.typed()
    ttl = time_to_live(body.ttl_ms, "key")
    if ttl and body.keep_ttl:
        raise InvalidArgumentError("ttl_ms and keep_ttl exclude each other")
    expected = body.if_version if isinstance(body.if_version, int) else -1
    if body.if_version is not UNSET and not 0 <= expected <= NUMBER_MAX:
        raise InvalidArgumentError(f"if_version {expected}: it is a version, or 0 for none")
    now = await call.access.writable()
    level = call.access.node.store.level_of(key)
    call.access.check_write(level)
    result = call.access.node.store.put(
        key,
        value,
        now,
        expires_at=now + ttl if ttl else 0,
        keep_ttl=body.keep_ttl,
        expected_version=expected,
    )
    if not result.applied:
        raise mismatch(key, int(result.version))
    await call.access.durable(level)
    return answer(
        {
            "key": key.decode(errors="replace"),
            "path": quoted(key),
            "version": int(result.version),
            "created": result.old is None,
        }
    )


async def delete(call: Call) -> Response:
    key = call.name("key")
    expected = call.number("if_version", -1)
    now = await call.access.writable()
    result = call.access.node.store.delete_if(key, now, expected)
    if not result.deleted:
        raise missing(key) if result.old is None else mismatch(key, int(result.version))
    await call.access.durable(call.access.node.store.level_of(key))
    return answer({"deleted": True, "version": int(result.version)})


VALUE_BYTES: Final = {"value_bytes_max": "shorten values that are longer; 0 is no bound"}
LISTED: Final = dict(zip(PAGED, ("the `next` of the page before", "items at most, 1 to 1,000"), strict=True))

ROUTES: Final = [
    Route(
        "GET", KEYS, keys, asked, "Keys in byte order",
        {"prefix": "keys that begin so", "values": "true: with values", **LISTED, **VALUE_BYTES},
    ),
    Route("GET", KEYS + "/{key}", get, on(STORE_READ, "key"), "A key with its value", VALUE_BYTES),
    Route("PUT", KEYS + "/{key}", put, on(STORE_WRITE, "key"), "Set a key", body=Put, audit=DATA),
    Route(
        "DELETE", KEYS + "/{key}", delete, on(STORE_WRITE, "key"), "Delete a key",
        {"if_version": "only if the key has this version"},
        audit=DATA,
    ),
]  # fmt: skip
