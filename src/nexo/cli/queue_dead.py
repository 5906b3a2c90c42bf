"""`nexo queue dlq, redrive, dlq-delete, dlq-purge`: what a queue has given up, and its way back."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import click

from nexo.cli import exits
from nexo.cli.link import Target, client_command, talk
from nexo.cli.naming import named_argument
from nexo.cli.queue_jobs import stored
from nexo.cli.tables import confirmed, moment, write_number, write_table
from nexo.cli.values import write_json

if TYPE_CHECKING:
    from nexo.client import Client, Redriven


@client_command("dlq")
@named_argument("queue")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
def dlq(target: Target, as_json: bool, name: str, limit: int | None) -> int:
    """Print the dead letters of a queue, oldest first: id, attempts, when it died, reason, value.

    Ends with 1 when there is none.

    \b
    Examples:
      nexo queue dlq mail
      nexo queue dlq mail | cut -f4 | sort | uniq -c      what they failed with
    """

    async def work(client: Client) -> int:
        queue = await client.queue.get(name)
        letters = [letter async for letter in queue.browse("dead", limit=limit)]
        if as_json:
            for letter in letters:
                write_json(stored(letter))
        else:
            rows = [(one.id, one.attempts, moment(one.died_at), one.reason, one.data) for one in letters]
            write_table(("ID", "ATTEMPTS", "DIED", "REASON", "VALUE"), rows)
        return exits.OK if letters else exits.NEGATIVE

    return talk(target, work)


@client_command("redrive")
@named_argument("queue")
@click.argument("ids", type=click.IntRange(1), nargs=-1, metavar="[ID]...")
@click.option("--reason", default="", help="Only those whose reason has this text in it.")
def redrive(target: Target, as_json: bool, name: str, ids: tuple[int, ...], reason: str) -> int:
    """Bring dead letters back to the queue: these, or all; prints how many came back.

    They are new messages, with no attempts counted. What dies meanwhile stays dead. How far it is, is
    told on standard error. Ends with 1 when there was none.

    \b
    Examples:
      nexo queue redrive mail
      nexo queue redrive mail 7 9
      nexo queue redrive mail --reason timeout
    """
    if ids and reason:
        raise click.UsageError("either ID or --reason")

    async def work(client: Client) -> int:
        queue = await client.queue.get(name)
        moved = 0
        if ids:
            for id in ids:
                moved += await queue.dlq.move_to_queue(id)
        else:
            # How many match a reason is only known in the end.
            total = (await queue.describe()).dead_letters if not reason else None
            moved = await watched(queue.dlq.redrive(reason=reason), total)
        write_number("moved", moved, as_json)
        return exits.OK if moved else exits.NEGATIVE

    return talk(target, work)


async def watched(steps: AsyncIterator[Redriven], total: int | None) -> int:
    """Go through a redrive, with a bar on a terminal and a line for each step elsewhere; how many moved."""
    moved = 0
    if total is not None and sys.stderr.isatty():
        with click.progressbar(length=total, label="redriving", file=sys.stderr, show_pos=True) as bar:
            async for step in steps:
                bar.update(step.moved - moved)
                moved = step.moved
        return moved
    async for step in steps:
        moved = step.moved
        if not step.done:
            of = f" of {total}" if total is not None else ""
            click.echo(f"nexo: {moved}{of} dead letters are back", err=True)
    return moved


@client_command("dlq-delete")
@named_argument("queue")
@click.argument("ids", type=click.IntRange(1), nargs=-1, required=True, metavar="ID...")
def dlq_delete(target: Target, as_json: bool, name: str, ids: tuple[int, ...]) -> int:
    """Delete dead letters, and print how many there were. Ends with 1 when there was none.

    \b
    Examples:
      nexo queue dlq-delete mail 7
    """

    async def work(client: Client) -> int:
        queue = await client.queue.get(name)
        removed = 0
        for id in ids:
            removed += await queue.dlq.delete(id)
        write_number("removed", removed, as_json)
        return exits.OK if removed else exits.NEGATIVE

    return talk(target, work)


@client_command("dlq-purge")
@named_argument("queue")
@click.option("--yes", is_flag=True, help="Do not ask.")
def dlq_purge(target: Target, as_json: bool, name: str, yes: bool) -> int:
    """Delete all dead letters, and print how many there were. On a terminal it asks first.

    \b
    Examples:
      nexo queue dlq-purge mail --yes
    """
    confirmed(f"Delete all dead letters of queue {name}?", yes)

    async def work(client: Client) -> int:
        write_number("removed", await (await client.queue.get(name)).dlq.purge(), as_json)
        return exits.OK

    return talk(target, work)


COMMANDS: Final = (dlq, redrive, dlq_delete, dlq_purge)
