"""`nexo status`: a screenful that a person on call reads at a glance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from nexo.cli import exits
from nexo.cli.figures import number, rate, size, span
from nexo.cli.link import Target, client_command, talk
from nexo.cli.values import DURATION, write_json, write_lines

if TYPE_CHECKING:
    from nexo.client import Client, ServerStatus


@client_command("status")
@click.option("-w", "--watch", is_flag=True, help="Again and again, until Ctrl-C, with rates.")
@click.option(
    "-i",
    "--interval",
    type=DURATION,
    default="2s",
    show_default=True,
    help="Pause between two, with --watch.",
)
def command(target: Target, as_json: bool, watch: bool, interval: int) -> int:
    """Say how a broker does: ready or why not, alarms, memory, disk, clients, and what its brokers hold.

    Ends with 0 when it is ready, with 1 when it is not, with 3 when it cannot be reached.

    \b
    Examples:
      nexo status
      nexo status --watch
      nexo status --json | jq .alarms
    """

    async def work(client: Client) -> int:
        before: ServerStatus | None = None
        while True:
            status = await client.server.status()
            if as_json:
                write_json(msgspec.structs.asdict(status))
            else:
                write_lines(lines(status, f"{target.host}:{target.port}", before))
            if not watch:
                return exits.OK if status.ready else exits.NEGATIVE
            before = status
            await asyncio.sleep(interval / 1000)
            if not as_json:
                write_lines([""])

    return talk(target, work)


def lines(status: ServerStatus, where: str, before: ServerStatus | None = None) -> list[str]:
    """The screenful. With an earlier status, what has come each second since."""
    state = "ready" if status.ready else "NOT READY: " + "; ".join(status.reasons)
    build = "compiled" if status.compiled else "interpreted"
    shown = [f"nexo {status.version} ({build}) on {where}, up {span(status.uptime_ms)}: {state}"]
    shown += [f"  {alarm.level.upper()} {alarm.message}" for alarm in status.alarms]
    memory, disk, loop, open_ = status.memory, status.storage, status.loop, status.connections
    bound = f" of {size(memory['store_max_bytes'])}" if memory["store_max_bytes"] else ""
    shown.append(
        f"memory   {size(memory['rss_bytes'])} resident: store {size(memory['store_bytes'])}{bound}, "
        f"queues {size(memory['queue_bytes'])}, stream cache {size(memory['stream_cache_bytes'])}, "
        f"retained {size(memory['retained_bytes'])}"
    )
    shown.append(
        f"disk     {disk['state']}, {number(disk['files'])} log files, {size(disk['pending_bytes'])} to be written, "
        f"last sync {disk['last_sync_ms']:.1f} ms"
    )
    shown.append(f"loop     {loop['lag_ms']:.1f} ms late, at worst {loop['lag_max_ms']:.1f} ms")
    shown.append(
        f"clients  {number(open_['open'])} of {number(open_['max'])}, {number(open_['accepted'])} accepted, "
        f"{number(open_['refused'])} refused, {number(open_['http'])} of HTTP"
    )
    store, queues, pubsub, streams = status.store, status.queues, status.pubsub, status.streams
    shown.append(f"store    {told(store, 'keys', 'expired', 'evicted', 'rejected')}")
    shown.append(f"queues   {told(queues, 'queues', 'ready', 'leased', 'delayed', 'held', 'dead')}")
    shown.append(f"pubsub   {told(pubsub, 'subscriptions', 'retained', 'published', 'delivered', 'dropped')}")
    shown.append(f"streams  {told(streams, 'streams', 'records', 'groups', 'pending', 'dead')}")
    if before is not None:
        shown.append("rates    " + rates(before, status))
    return shown


def told(counts: dict[str, int], *names: str) -> str:
    """Some counts, each with its name."""
    return ", ".join(f"{number(counts[name])} {name}" for name in names)


def rates(before: ServerStatus, now: ServerStatus) -> str:
    """What came each second between two."""
    seconds = (now.at - before.at) / 1000
    parts = (
        ("changed keys", before.store["version"], now.store["version"]),
        ("pushed", before.queues["pushed"], now.queues["pushed"]),
        ("acked", before.queues["acked"], now.queues["acked"]),
        ("published", before.pubsub["published"], now.pubsub["published"]),
        ("appended", before.streams["appended"], now.streams["appended"]),
    )
    return ", ".join(f"{number(rate(first, last, seconds))} {name}/s" for name, first, last in parts)
