"""`nexo clients`: who is connected, and closing a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from click.core import ParameterSource

from nexo.cli import exits
from nexo.cli.figures import rate, size, span
from nexo.cli.link import Target, client_command, client_options, json_option, talk
from nexo.cli.tables import write_table
from nexo.cli.values import Duration, write_json

if TYPE_CHECKING:
    from nexo.client import Client, ConnectionInfo

HEADING: Final = ("ID", "PROTOCOL", "ADDRESS", "NAME", "AGE", "IN/S", "OUT/S", "PENDING", "DROPPED")
SORTS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "id": lambda one: one["id"],
    "name": lambda one: one["name"],
    "age": lambda one: one["since"],
    "in": lambda one: -one["received_bytes_per_second"],
    "out": lambda one: -one["sent_bytes_per_second"],
    "pending": lambda one: -one["pending_bytes"],
    "dropped": lambda one: -one["dropped"],
}
"""What `--sort` takes: the oldest, or the most, first."""


@click.group("clients", invoke_without_command=True)
@click.option("--filter", "part", default="", help="Only those with this in their name, address or protocol.")
@click.option(
    "--sort", type=click.Choice(list(SORTS)), default="id", show_default=True, help="What comes first."
)
@click.option(
    "--over",
    type=Duration(zero=True),
    default="500ms",
    show_default=True,
    help="Measure rates for so long; 0: since each connected.",
)
@client_options
@json_option
@click.pass_context
def command(ctx: click.Context, target: Target, as_json: bool, part: str, sort: str, over: int) -> int:
    """Print the connections of a broker: id, protocol, address, name, age, bytes in and out, what waits, what was lost.

    Ends with 1 when there is none.

    \b
    Examples:
      nexo clients
      nexo clients --sort pending --filter worker
      nexo clients close 17
    """
    if ctx.invoked_subcommand is not None:
        for name in ctx.params:
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"options stand after {ctx.invoked_subcommand}")
        return exits.OK

    async def work(client: Client) -> int:
        rows = await measured(client, part, over / 1000)
        rows.sort(key=SORTS[sort])
        if as_json:
            for row in rows:
                write_json(row)
        else:
            write_table(HEADING, map(line, rows))
        return exits.OK if rows else exits.NEGATIVE

    return talk(target, work)


async def measured(client: Client, part: str, seconds: float) -> list[dict[str, Any]]:
    """The connections, with bytes per second, and their age in ms by the server's clock."""
    before: dict[int, ConnectionInfo] = {}
    begun = time.monotonic()
    if seconds:
        before = {one.id: one async for one in client.server.connections(part)}
        await asyncio.sleep(seconds)
    rows = []
    passed = time.monotonic() - begun
    at = (await client.server.status()).at
    async for one in client.server.connections(part):
        age = max(at - one.since, 0)
        # One that has come meanwhile, and any of them without `seconds`, is measured since it connected.
        first, during = before.get(one.id), passed
        if first is None:
            during = age / 1000
        row = {**msgspec.structs.asdict(one), "age_ms": age}
        for name in ("received_bytes", "sent_bytes"):
            was = getattr(first, name) if first is not None else 0
            row[f"{name}_per_second"] = round(rate(was, row[name], during), 1)
        rows.append(row)
    return rows


def line(row: dict[str, Any]) -> tuple[object, ...]:
    """A connection in the table."""
    moved = (size(row[f"{name}_bytes_per_second"]) for name in ("received", "sent"))
    who = (row["id"], row["protocol"], row["address"], row["name"] or "-", span(row["age_ms"]))
    return (*who, *moved, size(row["pending_bytes"]), row["dropped"])


@client_command("close")
@click.argument("id", type=click.IntRange(1))
def close(target: Target, as_json: bool, id: int) -> int:
    """Close the connection ID in order: its client is told, and may come back. Ends with 1 when there is none.

    \b
    Examples:
      nexo clients close 17
    """

    async def work(client: Client) -> int:
        await client.server.close_connection(id)
        if as_json:
            write_json({"id": id, "status": "closed"})
        return exits.OK

    return talk(target, work)


command.add_command(close)
