"""`nexo bench`: load a broker, or one of the servers it is compared with, and print what it did.

Owns options and printing; the loads are in nexo.bench.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.errors import NexoError

if TYPE_CHECKING:
    from nexo.bench.histogram import Histogram

PROTOCOLS: Final = ("nexo", "redis", "nats", "memcached")
KEEPERS: Final = ("nexo", "redis", "nats", "beanstalkd", "rabbitmq")
PORTS: Final = {
    "nexo": 7654,
    "redis": 6379,
    "nats": 4222,
    "memcached": 11211,
    "beanstalkd": 11300,
    "rabbitmq": 5672,
}
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
BAR_WIDTH: Final = 40

Function = Callable[..., Any]


def _common(function: Function) -> Function:
    for option in reversed(
        (
            click.option("--host", default="127.0.0.1", show_default=True, help="Where the server is."),
            click.option(
                "--port", type=click.IntRange(1, 65535), help="Its port.  [default: the protocol's own]"
            ),
            click.option(
                "--protocol",
                type=click.Choice(PROTOCOLS),
                default="nexo",
                show_default=True,
                help="What it speaks.",
            ),
            click.option(
                "--seconds",
                type=click.FloatRange(0.1, 3600),
                default=5.0,
                show_default=True,
                help="Measured time.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        )
    ):
        function = option(function)
    return function


@click.group("bench")
def command() -> None:
    """Load a broker and measure it.

    The load comes from this process over loopback or the network; give generator and server a core
    each (taskset) for steady figures. Keys are written as key:000000000000 and are left behind; the
    queue or stream called bench is deleted before and after.

    \b
    Examples:
      nexo bench store --op get --pipeline 16
      nexo bench store --op set --rate 20000          latency at a fixed load
      nexo bench pubsub --subscribers 100
      nexo bench queue --op push --durability flush
      nexo bench stream --op delay --rate 10000       from a write to a reader that waits
      nexo bench store --protocol redis --port 6379   the same load on another server
    """


@command.command("store")
@_common
@click.option("--connections", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option(
    "--pipeline",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Requests under way on each.",
)
@click.option(
    "--size", type=click.IntRange(1, 1 << 20), default=64, show_default=True, help="Bytes in a value."
)
@click.option("--keys", type=click.IntRange(1, 100_000_000), default=100_000, show_default=True)
@click.option("--op", type=click.Choice(["set", "get", "mixed"]), default="get", show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(1),
    help="Requests a second, whatever the server does.  [default: all it can]",
)
@click.option("--fill/--no-fill", default=True, show_default=True, help="Write every key first.")
@click.option("--fill-only", is_flag=True, help="Write every key and end.")
def store_command(
    host: str,
    port: int | None,
    protocol: str,
    seconds: float,
    as_json: bool,
    connections: int,
    pipeline: int,
    size: int,
    keys: int,
    op: str,
    rate: float | None,
    fill: bool,
    fill_only: bool,
) -> int:
    """Read and write keys drawn at random.

    Each connection sends as many requests as --pipeline says and waits for all their replies. A
    latency is the time of one such exchange; with --rate it counts from when the request was due.
    """
    from nexo.bench import store
    from nexo.bench.dialects import dialect

    if rate is not None and pipeline != 1:
        raise click.UsageError("--rate sends single requests: leave --pipeline at 1")
    _allow_files(connections + 64)
    load = store.StoreLoad(
        dialect(protocol),
        host,
        port or PORTS[protocol],
        connections=connections,
        pipeline=pipeline,
        size=size,
        keys=keys,
        operation=op,
        seconds=seconds,
    )
    began = time.monotonic()
    with _failing():
        if fill or fill_only:
            store.check(load)
            store.fill(load)
        if fill_only:
            _print({"keys": keys, "seconds": time.monotonic() - began}, None, as_json)
            return exits.OK
        result = store.run(load) if rate is None else store.run_at_rate(load, rate)
    what = {
        "load": "store",
        "protocol": protocol,
        "op": op,
        "connections": connections,
        "pipeline": pipeline,
        "value_bytes": size,
        "requests": result.replies,
        "seconds": result.seconds,
        "requests_per_second": result.rate(),
    }
    _print(what, result.latency, as_json)
    return exits.OK


@command.command("pubsub")
@_common
@click.option("--subscribers", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option(
    "--size", type=click.IntRange(8, 65_536), default=32, show_default=True, help="Bytes in a message."
)
@click.option(
    "--others",
    type=click.IntRange(0, 200_000),
    default=0,
    show_default=True,
    help="Subscriptions that do not match.",
)
@click.option(
    "--topics",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="Publish to so many in turn.",
)
@click.option(
    "--window", type=click.IntRange(1), default=16_384, show_default=True, help="Messages under way."
)
@click.option(
    "--chunk", type=click.IntRange(1), default=1_024, show_default=True, help="Messages in one write."
)
@click.option("--latency", "latency_mode", is_flag=True, help="One message at a time, until the last has it.")
def pubsub_command(
    host: str,
    port: int | None,
    protocol: str,
    seconds: float,
    as_json: bool,
    subscribers: int,
    size: int,
    others: int,
    topics: int,
    window: int,
    chunk: int,
    latency_mode: bool,
) -> int:
    """One publisher, and subscribers on a connection of their own each.

    The publisher stays within --window of the slowest subscriber, so that nothing has to be
    dropped. Every byte is counted where it arrives; a missing message is an error.
    """
    from nexo.bench import pubsub
    from nexo.bench.dialects import dialect

    _allow_files(subscribers + 64)
    load = pubsub.PubSubLoad(
        dialect(protocol),
        host,
        port or PORTS[protocol],
        subscribers=subscribers,
        size=size,
        seconds=seconds,
        others=others,
        topics=topics,
        window=window,
        chunk=chunk,
    )
    with _failing():
        result = pubsub.run_latency(load) if latency_mode else pubsub.run(load)
    what = {
        "load": "pubsub",
        "protocol": protocol,
        "subscribers": subscribers,
        "other_subscriptions": others,
        "message_bytes": size,
        "published": result.published,
        "delivered": result.delivered,
        "seconds": result.seconds,
        "published_per_second": result.published / result.seconds,
        "delivered_per_second": result.rate(),
    }
    _print(what, result.latency if latency_mode else None, as_json)
    return exits.OK


def _keeping(function: Function) -> Function:
    """The options that queues and streams share."""
    for option in reversed(
        (
            click.option("--host", default="127.0.0.1", show_default=True, help="Where the server is."),
            click.option(
                "--port", type=click.IntRange(1, 65535), help="Its port.  [default: the protocol's own]"
            ),
            click.option(
                "--protocol",
                type=click.Choice(KEEPERS),
                default="nexo",
                show_default=True,
                help="What it speaks.",
            ),
            click.option("--name", default="bench", show_default=True, help="Of the queue or stream."),
            click.option(
                "--durability",
                type=click.Choice(["memory", "flush", "fsync"]),
                default="flush",
                show_default=True,
                help="What a confirmation promises. Nexo only: the others are configured.",
            ),
            click.option("--connections", type=click.IntRange(1, 10_000), default=1, show_default=True),
            click.option(
                "--window",
                type=click.IntRange(1, 1_000_000),
                default=2_000,
                show_default=True,
                help="Writes under way, over all connections.",
            ),
            click.option(
                "--size",
                type=click.IntRange(20, 1 << 16),
                default=100,
                show_default=True,
                help="Bytes in a message.",
            ),
            click.option(
                "--messages",
                type=click.IntRange(1, 1_000_000_000),
                help="Write so many, whatever time it takes; read so many.  [default for reading: 100,000]",
            ),
            click.option(
                "--seconds",
                type=click.FloatRange(0.1, 3600),
                default=5.0,
                show_default=True,
                help="Measured time of writing.",
            ),
            click.option(
                "--rate",
                type=click.FloatRange(1),
                default=10_000.0,
                show_default=True,
                help="Messages a second of --op delay.",
            ),
            click.option(
                "--fill/--no-fill",
                default=True,
                show_default=True,
                help="Make it anew, and fill it before reading.",
            ),
            click.option("--keep", is_flag=True, help="Leave the queue or stream behind."),
            click.option(
                "--pid", type=click.IntRange(0), default=0, help="The server's process: count its CPU time."
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        )
    ):
        function = option(function)
    return function


@command.command("queue")
@_keeping
@click.option("--op", type=click.Choice(["push", "receive", "delay"]), default="push", show_default=True)
def queue_command(**options: Any) -> int:
    """Push messages, receive and acknowledge them, or measure the delay to a consumer that waits.

    Every message is pushed by a request of its own and confirmed by the server; --window of them
    are under way. A consumer takes batches of 100 and acknowledges each message, in bulk where the
    protocol has that. Every answer is checked.
    """
    return _keep(False, **options)


@command.command("stream")
@_keeping
@click.option("--op", type=click.Choice(["append", "read", "delay"]), default="append", show_default=True)
def stream_command(**options: Any) -> int:
    """Append records, read them back from the beginning, or measure the delay to a reader that waits.

    Appends are as the pushes of `nexo bench queue`; each of --connections readers reads everything,
    a thousand records at a time.
    """
    return _keep(True, **options)


def _keep(
    stream: bool,
    *,
    op: str,
    host: str,
    port: int | None,
    protocol: str,
    name: str,
    durability: str,
    connections: int,
    window: int,
    size: int,
    messages: int | None,
    seconds: float,
    rate: float,
    fill: bool,
    keep: bool,
    pid: int,
    as_json: bool,
) -> int:
    """A load on a queue or a stream."""
    from nexo.bench import kept

    _allow_files(connections + 64)
    reading = op in ("receive", "read")

    def load(connections: int, messages: int) -> kept.KeptLoad:
        return kept.KeptLoad(
            kept.wire(protocol, name.encode(), size, durability),
            host,
            port or PORTS[protocol],
            stream=stream,
            connections=connections,
            window=window,
            messages=messages,
            seconds=seconds,
            pid=pid,
        )

    with _failing():
        wanted = messages or (kept.MESSAGES_DEFAULT if reading else 0)
        this = load(connections, wanted)
        if fill:
            kept.create(this)
        if op == "delay":
            result = kept.delay(this, rate)
        elif reading:
            if fill:
                kept.write(load(1, wanted))
            result = kept.read(this)
        else:
            result = kept.write(this)
        if not keep:
            kept.delete(this)
    what: dict[str, Any] = {
        "load": "stream" if stream else "queue",
        "protocol": protocol,
        "op": op,
        "connections": connections,
        "window": window,
        "message_bytes": size,
        "messages": int(result.messages),
        "seconds": result.seconds,
        "messages_per_second": result.rate(),
    }
    if protocol == "nexo":
        what["durability"] = durability
    if pid:
        what["server_cpu_us_per_message"] = result.cpu_us()
    if result.tenths and as_json:
        what["tenths_per_second"] = result.tenths
    _print(what, result.latency, as_json)
    return exits.OK


@contextmanager
def _failing() -> Iterator[None]:
    """Turns what stops a load into a message and exit code FAILED."""
    from nexo.bench.dialects import BenchError

    try:
        yield
    except (BenchError, OSError) as error:
        raise NexoError(str(error)) from error


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _print(what: dict[str, Any], latency: Histogram | None, as_json: bool) -> None:
    if as_json:
        if latency is not None and latency.count:
            what["latency_us"] = {
                f"p{percent:g}": latency.percentile(percent) / 1000 for percent in PERCENTILES
            }
            what["latency_us"] |= {"mean": latency.mean() / 1000, "max": int(latency.maximum) / 1000}
        click.echo(json.dumps(what))
        return
    for name, value in what.items():
        shown = (
            f"{value:,.2f}"
            if name in ("seconds", "server_cpu_us_per_message")
            else f"{value:,.0f}"
            if isinstance(value, (int, float))
            else value
        )
        click.echo(f"{name.replace('_', ' '):<22} {shown}")
    if latency is not None and latency.count:
        click.echo(describe(latency))


def describe(latency: Histogram) -> str:
    """Percentiles, and a bar for each doubling of the time."""
    lines = [
        f"{'latency':<22} {'  '.join(f'p{p:g} {_duration(latency.percentile(p))}' for p in PERCENTILES)}"
    ]
    doublings = latency.doublings()
    most = max(count for _, count in doublings)
    for bound, count in doublings:
        bar = "#" * round(BAR_WIDTH * count / most)
        lines.append(f"  below {_duration(bound):>9} {count:>12,}  {bar}".rstrip())
    return "\n".join(lines)


def _duration(ns: int) -> str:
    if ns < 1_000_000:
        return f"{ns / 1000:.1f} µs"
    return f"{ns / 1_000_000:.1f} ms" if ns < 1_000_000_000 else f"{ns / 1e9:.1f} s"
