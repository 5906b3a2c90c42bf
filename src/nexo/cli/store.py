"""`nexo store …`: read, write and watch keys. The maps that keep them on disk are in store_maps.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from nexo.cli import exits, store_maps
from nexo.cli.link import Target, client_options, json_option, talk
from nexo.cli.values import (
    DURATION,
    STDIN,
    described,
    from_bytes,
    from_text,
    kind_of,
    read_whole,
    to_bytes,
    type_option,
    write,
    write_json,
    write_lines,
)

if TYPE_CHECKING:
    from nexo.client import Change, Client, Map

Function = Callable[..., Any]


@click.group("store")
def command() -> None:
    """Read, write and watch keys.

    \b
    Examples:
      nexo store set greeting hello --ttl 10m
      nexo store get greeting
      nexo store scan user: --values
      nexo store watch user:
    """


for one in store_maps.COMMANDS:
    command.add_command(one)


def talk_map(target: Target, work: Callable[[Map], Awaitable[int]]) -> int:
    """As `talk`, with the store's map."""

    def with_map(client: Client) -> Awaitable[int]:
        return work(client.store.map)

    return talk(target, with_map)


def missing(key: str) -> int:
    """The answer when there is no such key."""
    click.echo(f"nexo: no such key: {key}", err=True)
    return exits.NEGATIVE


def client_command(name: str, **settings: Any) -> Callable[[Function], click.Command]:
    """A subcommand with the options of a client."""

    def declare(function: Function) -> click.Command:
        return command.command(name, **settings)(client_options(json_option(function)))

    return declare


@client_command("get")
@click.argument("key")
@click.option("-N", "--no-newline", is_flag=True, help="No line end after text.")
def get(target: Target, as_json: bool, key: str, no_newline: bool) -> int:
    """Print the value of KEY.

    Text and JSON are followed by a line end, bytes are printed as they are. Ends with 1 when there is
    no such key.

    \b
    Examples:
      nexo store get greeting
      nexo store get picture > picture.png
      nexo store get user:7 | jq .name
    """

    async def work(store: Map) -> int:
        entry = await store.entry(key)
        if entry is None:
            return missing(key)
        if as_json:
            write_json(
                {"key": key, **described(entry.value), "version": entry.version, "ttl_ms": entry.ttl_ms}
            )
        else:
            bare = no_newline or kind_of(entry.value) == "bytes"
            write(to_bytes(entry.value) + (b"" if bare else b"\n"))
        return exits.OK

    return talk_map(target, work)


@client_command("mget")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def mget(target: Target, as_json: bool, keys: tuple[str, ...]) -> int:
    """Print several keys and their values in one go, a JSON object on each line.

    A key that does not exist has null for its type. Ends with 1 when none exists.

    \b
    Examples:
      nexo store mget user:7 user:8
    """

    async def work(store: Map) -> int:
        found = await store.get_many(list(keys))
        for key in keys:
            write_json(
                {"key": key, **(described(found[key]) if key in found else {"type": None, "value": None})}
            )
        return exits.OK if found else exits.NEGATIVE

    return talk_map(target, work)


@client_command("set")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--file", metavar="FILE", help="Take the value from a file; - is standard input.")
@type_option
@click.option("--ttl", type=DURATION, help="Time to live: 500ms, 10s, 5m, 1h, 7d. Without it: for ever.")
@click.option("--keep-ttl", is_flag=True, help="Leave the time to live as it is.")
@click.option("--if-absent", is_flag=True, help="Only when there is no such key.")
@click.option("--if-present", is_flag=True, help="Only when there is one.")
@click.option("--version", type=click.IntRange(0), help="Only when the key has this version (0: is absent).")
def set_(
    target: Target,
    as_json: bool,
    key: str,
    value: str | None,
    file: str | None,
    kind: str,
    ttl: int | None,
    **conditions: Any,
) -> int:
    """Set KEY to VALUE, a file's content or, with -, standard input.

    Ends with 1 when a condition is not met. With --json, prints whether it was applied, and the
    version.

    \b
    Examples:
      nexo store set greeting hello
      nexo store set user:7 '{"name": "Ada"}' --type json --ttl 1h
      nexo store set picture --file picture.png --type bytes
      date | nexo store set started - --if-absent
      nexo store set -- -5 negative               a key that begins with a dash
    """
    if (value is None) == (file is None):
        raise click.UsageError("either VALUE or --file")
    for one, other in (("if_absent", "if_present"), ("keep_ttl", "ttl"), ("if_absent", "version")):
        given = {**conditions, "ttl": ttl}
        if given[one] and given[other] not in (None, False):
            raise click.UsageError(f"--{one} and --{other} exclude each other".replace("_", "-"))
    content: Any
    if file is not None or value == STDIN:
        content = from_bytes(read_whole(file if file is not None else STDIN), kind)
    else:
        assert value is not None
        content = from_text(value, kind)

    async def work(store: Map) -> int:
        result = await store.put(key, content, ttl_ms=ttl, **conditions)
        if as_json:
            write_json({"key": key, "applied": result.applied, "version": result.version})
        elif not result.applied:
            state = f"it has version {result.version}" if result.version else "there is no such key"
            click.echo(f"nexo: {key} was not set: {state}", err=True)
        return exits.OK if result.applied else exits.NEGATIVE

    return talk_map(target, work)


@client_command("del")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--version", type=click.IntRange(1), help="Only when the key has this version.")
def del_(target: Target, as_json: bool, keys: tuple[str, ...], version: int | None) -> int:
    """Delete keys, and print how many there were. Ends with 1 when there was none.

    \b
    Examples:
      nexo store del greeting
      nexo store scan tmp: | xargs nexo store del
    """

    async def work(store: Map) -> int:
        results = await asyncio.gather(*(store.remove(key, version=version) for key in keys))
        deleted = sum(results)
        report(as_json, "deleted", deleted)
        return exits.OK if deleted else exits.NEGATIVE

    return talk_map(target, work)


@client_command("exists")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def exists(target: Target, as_json: bool, keys: tuple[str, ...]) -> int:
    """Print how many of the keys exist. Ends with 1 unless all do.

    \b
    Examples:
      nexo store exists lock:deploy && echo locked
    """

    async def work(store: Map) -> int:
        found = sum(await asyncio.gather(*(store.exists(key) for key in keys)))
        report(as_json, "exists", found)
        return exits.OK if found == len(keys) else exits.NEGATIVE

    return talk_map(target, work)


# A negative DELTA is no option.
@client_command("incr", context_settings={"ignore_unknown_options": True})
@click.argument("key")
@click.argument("delta", type=int, default=1)
@click.option("--min", "minimum", type=int, help="Change nothing below this.")
@click.option("--max", "maximum", type=int, help="Change nothing above this.")
@click.option("--saturate", is_flag=True, help="Stop at the bound instead.")
@click.option("--ttl", type=DURATION, help="Time to live, set only when the key is created.")
def incr(
    target: Target,
    as_json: bool,
    key: str,
    delta: int,
    minimum: int | None,
    maximum: int | None,
    saturate: bool,
    ttl: int | None,
) -> int:
    """Add DELTA (1) to the integer KEY, which starts at 0, and print the new value.

    Ends with 1 when a bound stood in the way and nothing was changed.

    \b
    Examples:
      nexo store incr visits
      nexo store incr stock:apples -3 --min 0
      nexo store incr calls:ada --max 100 --ttl 1m      100 calls a minute
    """

    async def work(store: Map) -> int:
        result = await store.incr_bounded(
            key, delta, minimum=minimum, maximum=maximum, saturate=saturate, ttl_ms=ttl
        )
        if as_json:
            write_json(
                {"key": key, "value": result.value, "applied": result.applied, "version": result.version}
            )
        else:
            write_lines([str(result.value)])
        return exits.OK if result.applied or not delta else exits.NEGATIVE

    return talk_map(target, work)


@client_command("ttl")
@click.argument("key")
def ttl_(target: Target, as_json: bool, key: str) -> int:
    """Print the milliseconds that KEY has left, or "forever". Ends with 1 when there is no such key.

    \b
    Examples:
      nexo store ttl greeting
    """

    async def work(store: Map) -> int:
        entry = await store.entry(key)
        if entry is None:
            return missing(key)
        if as_json:
            write_json({"key": key, "ttl_ms": entry.ttl_ms, "expires_at_ms": entry.expires_at_ms})
        else:
            write_lines(["forever" if entry.ttl_ms is None else str(entry.ttl_ms)])
        return exits.OK

    return talk_map(target, work)


@client_command("expire")
@click.argument("key")
@click.argument("ttl", type=DURATION, metavar="TTL")
def expire(target: Target, as_json: bool, key: str, ttl: int) -> int:
    """Give KEY a time to live: 500ms, 10s, 5m, 1h, 7d. Ends with 1 when there is no such key.

    \b
    Examples:
      nexo store expire greeting 10m
    """

    async def work(store: Map) -> int:
        return exits.OK if await store.expire(key, ttl_ms=ttl) else missing(key)

    return talk_map(target, work)


@client_command("persist")
@click.argument("key")
def persist(target: Target, as_json: bool, key: str) -> int:
    """Take the time to live from KEY, so that it stays. Ends with 1 when there is no such key.

    \b
    Examples:
      nexo store persist greeting
    """

    async def work(store: Map) -> int:
        return exits.OK if await store.persist(key) else missing(key)

    return talk_map(target, work)


@client_command("mset")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY VALUE...")
@type_option
@click.option("--ttl", type=DURATION, help="Time to live of all of them.")
@click.option("--if-absent", is_flag=True, help="Only when none of the keys exists.")
def mset(
    target: Target, as_json: bool, pairs: tuple[str, ...], kind: str, ttl: int | None, if_absent: bool
) -> int:
    """Set several keys at once: all of them or, if it cannot be, none.

    \b
    Examples:
      nexo store mset color red size 7
    """
    if len(pairs) % 2:
        raise click.UsageError(f"the last key, {pairs[-1]!r}, has no value")
    values = {key: from_text(text, kind) for key, text in zip(pairs[::2], pairs[1::2], strict=True)}

    async def work(store: Map) -> int:
        applied = await store.set_many(values, ttl_ms=ttl, if_absent=if_absent)
        if as_json:
            write_json({"keys": len(values), "applied": applied})
        elif not applied:
            click.echo("nexo: nothing was set: at least one of the keys exists", err=True)
        return exits.OK if applied else exits.NEGATIVE

    return talk_map(target, work)


@client_command("scan")
@click.argument("prefix", default="")
@click.option("--values", is_flag=True, help="The values too, after a tab.")
@click.option("--limit", type=click.IntRange(1), help="At most this many keys.")
def scan(target: Target, as_json: bool, prefix: str, values: bool, limit: int | None) -> int:
    """Print the keys that begin with PREFIX (all keys without one) in byte order.

    Ends with 1 when there is none.

    \b
    Examples:
      nexo store scan user:
      nexo store scan user: --values --limit 10
      nexo store scan user: --values --json
    """

    async def work(store: Map) -> int:
        printed = 0
        async for entry in store.scan(prefix, values=values, limit=limit):
            if as_json:
                shown = described(entry.value) if values else {}
                write_json({"key": entry.key, **shown, "version": entry.version})
            else:
                write(entry.key.encode() + (b"\t" + to_bytes(entry.value) if values else b"") + b"\n")
            printed += 1
        return exits.OK if printed else exits.NEGATIVE

    return talk_map(target, work)


@client_command("count")
@click.argument("prefix", default="")
def count(target: Target, as_json: bool, prefix: str) -> int:
    """Print how many keys begin with PREFIX (how many there are without one).

    \b
    Examples:
      nexo store count user:
    """

    async def work(store: Map) -> int:
        report(as_json, "count", await store.count(prefix))
        return exits.OK

    return talk_map(target, work)


@client_command("clear")
@click.argument("prefix", required=False)
@click.option("--all", "everything", is_flag=True, help="Every key there is.")
def clear(target: Target, as_json: bool, prefix: str | None, everything: bool) -> int:
    """Delete the keys that begin with PREFIX, or with --all every key; prints how many there were.

    \b
    Examples:
      nexo store clear session:
      nexo store clear --all
    """
    if everything == bool(prefix):
        raise click.UsageError("either PREFIX or --all")

    async def work(store: Map) -> int:
        deleted = await (store.clear_all() if everything else store.clear_with_prefix(prefix or ""))
        report(as_json, "deleted", deleted)
        return exits.OK

    return talk_map(target, work)


@client_command("watch")
@click.argument("prefix", default="")
@click.option("--key", is_flag=True, help="PREFIX is one whole key.")
@click.option("-n", "--count", type=click.IntRange(1), help="End after this many changes.")
@click.option("--for", "duration", type=DURATION, help="End after this time, as 10s or 5m.")
@click.option("--from", "version", type=click.IntRange(0), help="Begin with the changes after this version.")
def watch(
    target: Target,
    as_json: bool,
    prefix: str,
    key: bool,
    count: int | None,
    duration: int | None,
    version: int | None,
) -> int:
    """Print the changes of the keys that begin with PREFIX (of all keys without one) as they come.

    A line has the kind (set, deleted, expired, evicted), the key, the version and, of a key that was
    set, the value, with tabs between. Ends with 1 when --for is over and nothing changed.

    \b
    Examples:
      nexo store watch user:
      nexo store watch --key config --count 1 --for 1m     wait for a change
      nexo store watch user: --from 4711 --json            go on where one left off
    """
    if key and not prefix:
        raise click.UsageError("--key needs a key")

    async def work(store: Map) -> int:
        seen = 0
        watching = store.watch(prefix, prefix=not key, from_version=version)
        async with watching:
            click.echo(f"nexo: watching {prefix or 'all keys'}", err=True)
            try:
                async with asyncio.timeout(duration / 1000 if duration is not None else None):
                    async for change in watching:
                        write(json_change(change) if as_json else text_change(change))
                        seen += 1
                        if seen == count:
                            break
            except TimeoutError:
                pass
        return exits.OK if seen else exits.NEGATIVE

    return talk_map(target, work)


def text_change(change: Change) -> bytes:
    """Kind, key, version and, of a key that was set, the value."""
    line = f"{change.kind}\t{change.key}\t{change.version}".encode()
    return line + (b"\t" + to_bytes(change.value) if change.kind == "set" else b"") + b"\n"


def json_change(change: Change) -> bytes:
    """The same as an object, with the time of expiry."""
    fields = {"kind": change.kind, "key": change.key, "version": change.version}
    if change.kind == "set":
        fields |= {**described(change.value), "expires_at_ms": change.expires_at_ms}
    return msgspec.json.encode(fields) + b"\n"


def report(as_json: bool, name: str, number: int) -> None:
    """A number as the only thing to say."""
    if as_json:
        write_json({name: number})
    else:
        write_lines([str(number)])
