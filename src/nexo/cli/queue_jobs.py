"""`nexo queue consume, browse, get, remove`: what is in a queue, lent or only looked at."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.cli.consuming import Consuming, consume, consuming_options
from nexo.cli.link import Target, client_command, talk
from nexo.cli.naming import named_argument
from nexo.cli.tables import message_line, moment, write_number, write_table
from nexo.cli.values import described, header_pairs, kind_of, to_bytes, write, write_json

if TYPE_CHECKING:
    from nexo.client import Client, Job, StoredMessage

STATES: Final = ("ready", "leased", "delayed", "held", "dead")


@client_command("consume", json=False)
@named_argument("queue")
@consuming_options
def consume_(target: Target, name: str, how: Consuming) -> int:
    """Print the jobs of the queue NAME as they come, and ack what was printed, until Ctrl-C.

    --no-ack gives all back at the end, without counting the delivery; --nack as failed. With --exec a
    command is run for each job, one after another, with NEXO_MESSAGE_ID and NEXO_MESSAGE_ATTEMPTS in its
    environment; a job whose command fails is nacked. Ends with 1 when nothing came, or a command failed.

    In tsv the columns are id, attempts, priority, value.

    \b
    Examples:
      nexo queue consume mail --count 1 --for 5s
      nexo queue consume mail --json | jq .value
      nexo queue consume mail --exec ./send-mail
      nexo queue consume mail --no-ack --count 3
    """

    async def work(client: Client) -> int:
        queue = await client.queue.get(name)
        jobs = queue.consume(batch_size=how.batch())
        return await consume(jobs, how, lambda job: job_line(how.form, job), release)

    return talk(target, work)


def release(job: Job) -> Awaitable[None]:
    """Give it back without counting."""
    return job.nack(release=True)


def job_line(form: str, job: Job) -> bytes:
    """A job that is lent."""
    fields = {
        "id": job.id,
        "attempts": job.attempts,
        "priority": job.priority,
        "group": job.group,
        "enqueued_at_ms": job.enqueued_at_ms,
        "headers": header_pairs(job.headers),
    }
    return message_line(form, job.data, (job.id, job.attempts, job.priority), fields)


@client_command("browse")
@named_argument("queue")
@click.option("--state", type=click.Choice(STATES), default="ready", show_default=True, help="Which of them.")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
def browse(target: Target, as_json: bool, name: str, state: Any, limit: int | None) -> int:
    """Print the messages of a queue that are in a state, oldest first; nothing is lent.

    The columns are id, attempts, priority, when it was pushed, value. Ends with 1 when there is none.

    \b
    Examples:
      nexo queue browse mail --limit 10
      nexo queue browse mail --state dead --json | jq .reason
    """

    async def work(client: Client) -> int:
        queue = await client.queue.get(name)
        rows: list[tuple[Any, ...]] = []
        printed = 0
        async for message in queue.browse(state, limit=limit):
            printed += 1
            if as_json:
                write_json(stored(message))
                continue
            pushed_at = moment(message.enqueued_at)
            rows.append((message.id, message.attempts, message.priority, pushed_at, message.data))
        if not as_json:
            write_table(("ID", "ATTEMPTS", "PRIORITY", "PUSHED", "VALUE"), rows)
        return exits.OK if printed else exits.NEGATIVE

    return talk(target, work)


def stored(message: StoredMessage) -> dict[str, Any]:
    """A message as it lies in its queue, for JSON."""
    return {
        "id": message.id,
        "state": message.state,
        "attempts": message.attempts,
        "priority": message.priority,
        "group": message.group or None,
        "enqueued_at_ms": message.enqueued_at,
        "due_at_ms": message.due_at or None,
        "expires_at_ms": message.expires_at or None,
        "died_at_ms": message.died_at or None,
        "reason": message.reason,
        "headers": header_pairs(message.headers),
        **described(message.data),
    }


@client_command("get")
@named_argument("queue")
@click.argument("id", type=click.IntRange(1))
def get(target: Target, as_json: bool, name: str, id: int) -> int:
    """Print the value of one message, whatever its state; with --json all that is known of it.

    Ends with 1 when there is none of this id.

    \b
    Examples:
      nexo queue get mail 7
      nexo queue get mail 7 --json | jq .state
    """

    async def work(client: Client) -> int:
        message = await (await client.queue.get(name)).get(id)
        if as_json:
            write_json(stored(message))
        else:
            write(to_bytes(message.data) + (b"" if kind_of(message.data) == "bytes" else b"\n"))
        return exits.OK

    return talk(target, work)


@client_command("remove")
@named_argument("queue")
@click.argument("ids", type=click.IntRange(1), nargs=-1, required=True, metavar="ID...")
def remove(target: Target, as_json: bool, name: str, ids: tuple[int, ...]) -> int:
    """Delete messages, whatever their state, and print how many there were. Ends with 1 when there was none.

    \b
    Examples:
      nexo queue remove mail 7
      nexo queue browse mail | cut -f1 | xargs nexo queue remove mail
    """

    async def work(client: Client) -> int:
        queue = await client.queue.get(name)
        removed = 0
        for id in ids:
            removed += await queue.remove(id)
        write_number("removed", removed, as_json)
        return exits.OK if removed else exits.NEGATIVE

    return talk(target, work)


COMMANDS: Final = (consume_, browse, get, remove)
