"""`nexo stream dead, dead-move, dead-delete, dead-purge`: what a group has given up, and its way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.cli.link import Target, client_command, talk
from nexo.cli.naming import named_argument
from nexo.cli.places import shown_key
from nexo.cli.tables import confirmed, moment, write_number, write_table
from nexo.cli.values import described, header_pairs, write_json
from nexo.errors import ResourceNotFoundError

if TYPE_CHECKING:
    from nexo.client import Client, DeadRecord, Group

PAGE: Final = 1_000


async def found_group(client: Client, name: str, group: str) -> Group:
    """ResourceNotFoundError unless there is such a group: its commands alone do not always tell."""
    it = (await client.stream.get(name)).group(group)
    await it.describe()
    return it


async def letters(group: Group, limit: int | None) -> list[DeadRecord]:
    """The dead letters, at most `limit`, in the order of their deaths."""
    found: list[DeadRecord] = []
    while limit is None or len(found) < limit:
        page = await group.dls.peek(PAGE if limit is None else min(PAGE, limit - len(found)), len(found))
        found += page
        if len(page) < PAGE:
            break
    return found


@client_command("dead")
@named_argument("stream")
@click.argument("group")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
def dead(target: Target, as_json: bool, name: str, group: str, limit: int | None) -> int:
    """Print the dead letters of a group: sequence, attempts, when it died, reason, key, value.

    Ends with 1 when there is none.

    \b
    Examples:
      nexo stream dead events billing
      nexo stream dead events billing --json | jq .reason
    """

    async def work(client: Client) -> int:
        found = await letters(await found_group(client, name, group), limit)
        if as_json:
            for one in found:
                write_json(letter(one))
        else:
            rows: list[tuple[Any, ...]] = [
                (one.seq, one.attempts, moment(one.died_at), one.reason, shown_key(one.key), one.data)
                for one in found
            ]
            write_table(("SEQ", "ATTEMPTS", "DIED", "REASON", "KEY", "VALUE"), rows)
        return exits.OK if found else exits.NEGATIVE

    return talk(target, work)


def letter(one: DeadRecord) -> dict[str, Any]:
    """A dead letter, for JSON."""
    return {
        "seq": one.seq,
        "attempts": one.attempts,
        "key": shown_key(one.key),
        "timestamp_ms": one.timestamp,
        "died_at_ms": one.died_at,
        "reason": one.reason,
        "headers": header_pairs(one.headers),
        **described(one.data),
    }


@client_command("dead-move")
@named_argument("stream")
@click.argument("group")
@click.argument("sequences", type=click.IntRange(1), nargs=-1, metavar="[SEQ]...")
@click.option("--all", "everything", is_flag=True, help="All that are there now.")
def dead_move(
    target: Target, as_json: bool, name: str, group: str, sequences: tuple[int, ...], everything: bool
) -> int:
    """Append dead letters to the stream again, and print how many. Ends with 1 when there was none.

    They get new sequences, and go to all groups.

    \b
    Examples:
      nexo stream dead-move events billing 7 9
      nexo stream dead-move events billing --all
    """
    if everything == bool(sequences):
        raise click.UsageError("either SEQ or --all")

    async def work(client: Client) -> int:
        it = await found_group(client, name, group)
        wanted = [one.seq for one in await letters(it, None)] if everything else list(sequences)
        moved = 0
        for seq in wanted:
            try:
                await it.dls.move_to_stream(seq)
            except ResourceNotFoundError as error:
                click.echo(f"nexo: {error}", err=True)
            else:
                moved += 1
        write_number("moved", moved, as_json)
        return exits.OK if moved else exits.NEGATIVE

    return talk(target, work)


@client_command("dead-delete")
@named_argument("stream")
@click.argument("group")
@click.argument("sequences", type=click.IntRange(1), nargs=-1, required=True, metavar="SEQ...")
def dead_delete(target: Target, as_json: bool, name: str, group: str, sequences: tuple[int, ...]) -> int:
    """Delete dead letters of a group, and print how many there were. Ends with 1 when there was none.

    \b
    Examples:
      nexo stream dead-delete events billing 7
    """

    async def work(client: Client) -> int:
        it = await found_group(client, name, group)
        there = {one.seq for one in await letters(it, None)} & set(sequences)
        for seq in sorted(there):
            await it.dls.delete(seq)
        write_number("removed", len(there), as_json)
        return exits.OK if there else exits.NEGATIVE

    return talk(target, work)


@client_command("dead-purge")
@named_argument("stream")
@click.argument("group")
@click.option("--yes", is_flag=True, help="Do not ask.")
def dead_purge(target: Target, as_json: bool, name: str, group: str, yes: bool) -> int:
    """Delete all dead letters of a group, and print how many there were. On a terminal it asks first.

    \b
    Examples:
      nexo stream dead-purge events billing --yes
    """
    confirmed(f"Delete all dead letters of group {group} of stream {name}?", yes)

    async def work(client: Client) -> int:
        write_number("removed", await (await found_group(client, name, group)).dls.purge(), as_json)
        return exits.OK

    return talk(target, work)


COMMANDS: Final = (dead, dead_move, dead_delete, dead_purge)
