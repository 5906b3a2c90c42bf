"""`nexo queue …`: the queues themselves, and pushing. Consuming is in queue_jobs.py, the dead in queue_dead.py."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits, queue_dead, queue_jobs
from nexo.cli.definitions import COUNT, SIZE, SPAN, WORDS, Setting, creating, deleting, describing
from nexo.cli.link import Target, client_command, talk
from nexo.cli.naming import named_argument
from nexo.cli.pub import header_option, line_batches
from nexo.cli.pushing import given
from nexo.cli.tables import confirmed, write_number, write_struct, write_table
from nexo.cli.values import (
    DURATION,
    Moment,
    from_bytes,
    type_option,
    write_json,
    write_lines,
)

if TYPE_CHECKING:
    from nexo.client import Client, Pushed, Queue, QueueInfo

PUSHES_PER_REQUEST_MAX: Final = 10_000

SETTINGS: Final = (
    Setting("visibility_timeout_ms", SPAN, "How long a message is lent. 30s unless given."),
    Setting("max_deliveries", COUNT, "So many deliveries, then it is a dead letter. 5 unless given."),
    Setting("durability", WORDS(["memory", "flush", "fsync"]), "When a push is confirmed."),
    Setting("backoff", WORDS(["none", "fixed", "exponential"]), "How a message that failed stays away."),
    Setting("backoff_ms", SPAN, "How long, after the first failure."),
    Setting("backoff_max_ms", SPAN, "The longest of an exponential backoff."),
    Setting("backoff_jitter_percent", COUNT, "How much chance may shorten it."),
    Setting("dedup_window_ms", SPAN, "How long a dedup key is remembered."),
    Setting("messages_max", COUNT, "So many messages at most; 0 is no bound."),
    Setting("bytes_max", SIZE, "So many bytes at most, as 512mb; 0 is no bound."),
    Setting("overflow", WORDS(["reject", "drop_oldest", "dead_letter"]), "What a push past a bound does."),
    Setting("in_flight_max", COUNT, "So many are lent at once; 0 is no bound."),
    Setting("on_expiry", WORDS(["drop", "dead_letter"]), "What becomes of one that outlives its time."),
    Setting("dead_retention_ms", SPAN, "How long dead letters stay."),
    Setting("dead_letters_max", COUNT, "So many dead letters stay, the newest."),
)


@click.group("queue")
def command() -> None:
    """Push, consume and look after jobs.

    \b
    Examples:
      nexo queue create mail --max-deliveries 3 --backoff exponential
      nexo queue push mail '{"to": "ada"}' --type json
      nexo queue consume mail --exec ./send-mail
      nexo queue redrive mail
    """


for module in (queue_jobs, queue_dead):
    for one in module.COMMANDS:
        command.add_command(one)


def register(sub: click.Command) -> click.Command:
    """One more subcommand."""
    command.add_command(sub)
    return sub


@register
@client_command("list")
@click.argument("prefix", default="")
def list_(target: Target, as_json: bool, prefix: str) -> int:
    """Print the queues whose names begin with PREFIX: name, ready, delayed, leased, held, dead.

    Ends with 1 when there is none.

    \b
    Examples:
      nexo queue list
      nexo queue list mail --json | jq .ready
    """

    async def work(client: Client) -> int:
        found = [info async for info in client.queue.list(prefix)]
        if as_json:
            for info in found:
                write_struct(info, True)
        else:
            write_table(("NAME", "READY", "DELAYED", "LEASED", "HELD", "DEAD"), map(row, found))
        return exits.OK if found else exits.NEGATIVE

    return talk(target, work)


def row(info: QueueInfo) -> tuple[str | int, ...]:
    """A queue in a list."""
    return info.name, info.ready, info.delayed, info.leased, info.held, info.dead_letters


CREATE_HELP: Final = """Create the queue NAME, and print "created", or "unchanged" when it was there.

    When it is there with other options than those given, the differences are told, and it ends with 3.

    \b
    Examples:
      nexo queue create mail
      nexo queue create mail --visibility-timeout 5m --max-deliveries 3
      nexo queue create calls --backoff exponential --backoff-time 1s --backoff-max 10m
      nexo queue create frames --durability memory --messages-max 1000 --overflow drop_oldest
    """
DESCRIBE_HELP: Final = """Print all options of a queue, what it holds, and what it has done. Ends with 1 when there is none.

    \b
    Examples:
      nexo queue describe mail
      nexo queue describe mail --json | jq .dead_letters
    """
DELETE_HELP: Final = """Delete a queue with all its messages. Ends with 1 when there is none.

    \b
    Examples:
      nexo queue delete mail
    """

for sub in (
    creating("queue", SETTINGS, CREATE_HELP),
    describing("queue", DESCRIBE_HELP),
    deleting("queue", DELETE_HELP),
):
    register(sub)


@register
@client_command("purge")
@named_argument("queue")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(target: Target, as_json: bool, name: str, yes: bool) -> int:
    """Delete all messages but the dead letters, and print how many there were. On a terminal it asks first.

    \b
    Examples:
      nexo queue purge mail --yes
    """
    confirmed(f"Delete all messages of queue {name}?", yes)

    async def work(client: Client) -> int:
        write_number("removed", await (await client.queue.get(name)).purge(), as_json)
        return exits.OK

    return talk(target, work)


@register
@client_command("pause")
@named_argument("queue")
@click.option("--for", "duration", type=DURATION, help="Resume by itself after this time, as 10m.")
def pause(target: Target, as_json: bool, name: str, duration: int | None) -> int:
    """Lend nothing until `resume`. Pushes and acks go on.

    \b
    Examples:
      nexo queue pause mail --for 10m
    """

    async def work(client: Client) -> int:
        await (await client.queue.get(name)).pause(duration)
        if as_json:
            write_json({"name": name, "paused": True, "ms": duration})
        return exits.OK

    return talk(target, work)


@register
@client_command("resume")
@named_argument("queue")
def resume(target: Target, as_json: bool, name: str) -> int:
    """Lend again.

    \b
    Examples:
      nexo queue resume mail
    """

    async def work(client: Client) -> int:
        await (await client.queue.get(name)).resume()
        if as_json:
            write_json({"name": name, "paused": False})
        return exits.OK

    return talk(target, work)


@register
@client_command("push")
@named_argument("queue")
@click.argument("value", required=False)
@click.option("--file", metavar="FILE", help="Push the lines of a file; - is standard input.")
@click.option("--whole", is_flag=True, help="The file or standard input is one message, not lines.")
@type_option
@click.option("--priority", type=click.IntRange(0, 255), default=0, help="0 to 255, higher first.")
@click.option("--delay", "delay_ms", type=DURATION, default=0, help="Lend it after this time, as 10m.")
@click.option("--at", type=Moment(), help="Lend it from this time on, as 2026-01-31T12:00.")
@click.option("--dedup", help="Do nothing when one with this key was pushed lately; for one message.")
@click.option("--group", help="Messages of one group are lent one at a time, in order.")
@header_option
@click.option("--ttl", "ttl_ms", type=DURATION, help="How long it may wait before it expires.")
def push(
    target: Target,
    as_json: bool,
    name: str,
    value: str | None,
    file: str | None,
    whole: bool,
    kind: str,
    delay_ms: int,
    at: datetime | None,
    dedup: str | None,
    **others: Any,
) -> int:
    """Push VALUE, or each line of standard input, to the queue NAME.

    Without VALUE, or with - for it, every line is a message that leaves as soon as it is there. Of one
    message the id is printed; with --json also whether it was a duplicate, and of lines how many they were.

    \b
    Examples:
      nexo queue push mail 'hello' --delay 10m
      nexo queue push mail '{"to": "ada"}' --type json --dedup order-7
      nexo queue push mail --file letter.txt --whole --priority 9
      cat addresses | nexo queue push mail
    """
    if delay_ms and at is not None:
        raise click.UsageError("either --delay or --at")
    values, lines = given(value, file, whole, kind)
    if dedup is not None and lines is not None:
        raise click.UsageError("--dedup is for one message: VALUE, or --whole")
    options = {**others, "delay_ms": delay_ms, "at": at, "dedup": dedup}
    options["headers"] = list(options["headers"])

    async def work(client: Client) -> int:
        queue = await client.queue.get(name)
        if lines is None:
            pushed = (await push_all(queue, values, options))[0]
            if as_json:
                write_json({"id": pushed.id, "duplicate": pushed.duplicate})
            else:
                write_lines([str(pushed.id)])
            return exits.OK
        count = 0
        async for some in line_batches(lines):
            for start in range(0, len(some), PUSHES_PER_REQUEST_MAX):
                part = [from_bytes(line, kind) for line in some[start : start + PUSHES_PER_REQUEST_MAX]]
                count += len(await push_all(queue, part, options))
        if as_json:
            write_json({"name": name, "pushed": count})
        return exits.OK

    return talk(target, work)


async def push_all(queue: Queue, values: list[Any], options: dict[str, Any]) -> list[Pushed]:
    """Push values with the same options, in one step."""
    from nexo.client import Push

    return await queue.push_batch([Push(value=value, **options) for value in values], want_ids=True)
