"""`nexo stream groups, lag, consume, seek, delete-group`: the groups of a stream."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.cli.consuming import Consuming, consume, consuming_options
from nexo.cli.link import Target, client_command, talk
from nexo.cli.naming import named_argument
from nexo.cli.places import PLACE, record_line
from nexo.cli.tables import write_struct, write_table
from nexo.cli.values import write_json

if TYPE_CHECKING:
    from nexo.client import Client, GroupMessage


@client_command("groups")
@named_argument("stream")
def groups(target: Target, as_json: bool, name: str) -> int:
    """Print the groups of a stream: name, settled up to, messages behind, ms behind, leased, members, dead.

    Ends with 1 when there is none.

    \b
    Examples:
      nexo stream groups events
    """

    async def work(client: Client) -> int:
        found = await (await client.stream.get(name)).groups()
        if as_json:
            for info in found:
                write_struct(info, True)
        else:
            heading = ("NAME", "SETTLED", "BEHIND", "MS", "LEASED", "MEMBERS", "DEAD")
            rows = [
                (
                    one.name,
                    one.ack_floor,
                    one.lag_messages,
                    one.lag_ms,
                    one.leased,
                    one.members,
                    one.dead,
                )
                for one in found
            ]
            write_table(heading, rows)
        return exits.OK if found else exits.NEGATIVE

    return talk(target, work)


@client_command("lag")
@named_argument("stream")
@click.argument("group", required=False)
def lag(target: Target, as_json: bool, name: str, group: str | None) -> int:
    """Print how far a group, or each group, is behind: name, messages, ms since the oldest of them came.

    Ends with 1 when there is no such group, or none at all.

    \b
    Examples:
      nexo stream lag events billing
      nexo stream lag events | awk '$2 > 1000'      groups far behind
    """

    async def work(client: Client) -> int:
        stream = await client.stream.get(name)
        found = await stream.groups() if group is None else [await stream.group(group).describe()]
        if as_json:
            for one in found:
                write_json({"group": one.name, "messages": one.lag_messages, "ms": one.lag_ms})
        else:
            write_table(
                ("GROUP", "MESSAGES", "MS"), [(one.name, one.lag_messages, one.lag_ms) for one in found]
            )
        return exits.OK if found else exits.NEGATIVE

    return talk(target, work)


@client_command("consume", json=False)
@named_argument("stream")
@click.argument("group")
@consuming_options
def consume_(target: Target, name: str, group: str, how: Consuming) -> int:
    """Print what GROUP of the stream NAME gets, as it comes, and ack what was printed, until Ctrl-C.

    A group that is not there yet begins at the beginning; `nexo stream seek` says otherwise. --no-ack gives
    all back at the end, to come again at once, without counting the delivery; --nack to come again after the
    stream's backoff, as failed. With --exec a command is run for each message, one after another, with NEXO_MESSAGE_ID
    (the sequence) and NEXO_MESSAGE_ATTEMPTS in its environment; a message whose command fails is nacked.
    Ends with 1 when nothing came, or a command failed.

    In tsv the columns are sequence, when it was appended, key, value.

    \b
    Examples:
      nexo stream consume events billing --count 1 --for 5s
      nexo stream consume events billing --json | jq .value
      nexo stream consume events billing --exec ./bill
    """

    async def work(client: Client) -> int:
        stream = await client.stream.get(name)
        messages = stream.group(group).consume(batch_size=how.batch())
        return await consume(messages, how, lambda message: record_line(how.form, message), release)

    return talk(target, work)


def release(message: GroupMessage) -> Awaitable[None]:
    """Give it back, to come again at once, without counting the delivery."""
    return message.nack(release=True)


@client_command("seek")
@named_argument("stream")
@click.argument("group")
@click.argument("place", type=PLACE)
def seek(target: Target, as_json: bool, name: str, group: str, place: Any) -> int:
    """Let GROUP go on from PLACE: beginning, end, a sequence, a time, or 10m (ten minutes ago).

    A group that is not there yet is made.

    \b
    Examples:
      nexo stream seek events billing beginning
      nexo stream seek events billing 4711
      nexo stream seek events billing 2026-01-31T12:00
    """

    async def work(client: Client) -> int:
        it = (await client.stream.get(name)).group(group)
        await it.seek(place)
        if as_json:
            write_json({"group": group, "ack_floor": (await it.describe()).ack_floor})
        return exits.OK

    return talk(target, work)


@client_command("delete-group")
@named_argument("stream")
@click.argument("group")
def delete_group(target: Target, as_json: bool, name: str, group: str) -> int:
    """Delete a group with its place and its dead letters. Ends with 1 when there is none.

    \b
    Examples:
      nexo stream delete-group events billing
    """

    async def work(client: Client) -> int:
        await (await client.stream.get(name)).delete_group(group)
        if as_json:
            write_json({"group": group, "status": "deleted"})
        return exits.OK

    return talk(target, work)


COMMANDS: Final = (groups, lag, consume_, seek, delete_group)
