"""`nexo stream …`: the streams themselves, appending and reading. Groups are in stream_groups.py, the dead in
stream_dead.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits, stream_dead, stream_groups
from nexo.cli.consuming import bound_options, format_options
from nexo.cli.definitions import COUNT, SIZE, SPAN, WORDS, Setting, creating, deleting, describing
from nexo.cli.link import Target, client_command, talk
from nexo.cli.naming import named_argument
from nexo.cli.places import PLACE, record_line
from nexo.cli.pub import header_option, line_batches
from nexo.cli.pushing import given
from nexo.cli.tables import write_struct, write_table
from nexo.cli.values import from_bytes, type_option, write, write_json, write_lines
from nexo.errors import RequestTimeoutError, SequenceMismatchError

if TYPE_CHECKING:
    from nexo.client import Client, Stream, StreamInfo

RECORDS_PER_APPEND_MAX: Final = 65_536

SETTINGS: Final = (
    Setting("max_age_ms", SPAN, "How long records stay. 7d unless given; 0 is no bound."),
    Setting("max_bytes", SIZE, "So many bytes stay, as 10gb. 1gb unless given; 0 is no bound."),
    Setting("max_records", COUNT, "So many records stay; 0, the default, is no bound."),
    Setting("max_ack_pending", COUNT, "So many a group lends at once. 10000 unless given."),
    Setting("ack_wait_ms", SPAN, "How long a group lends a message. 30s unless given."),
    Setting(
        "max_deliveries", COUNT, "So many deliveries, then it is a dead letter of the group. 5 unless given."
    ),
    Setting("backoff_ms", SPAN, "How long a message that failed stays away. 1s unless given."),
    Setting("backoff_max_ms", SPAN, "The longest of that, as it doubles. 15m unless given."),
    Setting("group_idle_ms", SPAN, "A group that nobody uses so long is deleted; 0, the default: never."),
    Setting("durability", WORDS(["memory", "flush", "fsync"]), "When a record is confirmed."),
)


@click.group("stream")
def command() -> None:
    """Append to, read and look after streams, and their groups.

    \b
    Examples:
      nexo stream create events --max-age 30d
      nexo stream append events '{"n": 1}' --type json --key ada
      nexo stream tail events --json
      nexo stream consume events billing --exec ./bill
    """


for module in (stream_groups, stream_dead):
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
    """Print the streams whose names begin with PREFIX: name, records, bytes, first, last, groups.

    First and last are sequences. Ends with 1 when there is none.

    \b
    Examples:
      nexo stream list
      nexo stream list events --json | jq .last_seq
    """

    async def work(client: Client) -> int:
        found = [info async for info in client.stream.list(prefix)]
        if as_json:
            for info in found:
                write_struct(info, True)
        else:
            write_table(("NAME", "RECORDS", "BYTES", "FIRST", "LAST", "GROUPS"), map(row, found))
        return exits.OK if found else exits.NEGATIVE

    return talk(target, work)


def row(info: StreamInfo) -> tuple[str | int, ...]:
    """A stream in a list."""
    return info.name, info.records, info.bytes, info.first_seq, info.last_seq, info.groups


CREATE_HELP: Final = """Create the stream NAME, and print "created", or "unchanged" when it was there.

    When it is there with other options than those given, the differences are told, and it ends with 3.

    \b
    Examples:
      nexo stream create events
      nexo stream create events --max-age 30d --max-bytes 10gb
      nexo stream create metrics --durability memory --max-records 100000
    """
DESCRIBE_HELP: Final = """Print all options of a stream, and what it holds. Ends with 1 when there is none.

    \b
    Examples:
      nexo stream describe events
      nexo stream describe events --json | jq .records
    """
DELETE_HELP: Final = """Delete a stream with its records and groups. Ends with 1 when there is none.

    \b
    Examples:
      nexo stream delete events
    """

for sub in (
    creating("stream", SETTINGS, CREATE_HELP),
    describing("stream", DESCRIBE_HELP),
    deleting("stream", DELETE_HELP),
):
    register(sub)


@register
@client_command("append")
@named_argument("stream")
@click.argument("value", required=False)
@click.option("--file", metavar="FILE", help="Append the lines of a file; - is standard input.")
@click.option("--whole", is_flag=True, help="The file or standard input is one record, not lines.")
@type_option
@click.option("--key", help="Records with the same key go to a group one after another.")
@header_option
@click.option(
    "--expected", type=click.IntRange(0), help="Only if this is the last sequence (0: it is empty)."
)
def append(
    target: Target,
    as_json: bool,
    name: str,
    value: str | None,
    file: str | None,
    whole: bool,
    kind: str,
    key: str | None,
    headers: tuple[tuple[str, bytes], ...],
    expected: int | None,
) -> int:
    """Append VALUE, or each line of standard input, to the stream NAME.

    Without VALUE, or with - for it, every line is a record that leaves as soon as it is there. Of one record
    the sequence is printed; with --json, of lines too, how many there were and the last sequence. Ends with
    1 when --expected is not the last sequence; of lines it is meant for the first, and nobody else may
    append between them.

    \b
    Examples:
      nexo stream append events 'started' --key web-1
      tail -F access.log | nexo stream append access
      nexo stream append ledger '{"sum": 5}' --type json --expected 41
    """
    values, lines = given(value, file, whole, kind)

    async def work(client: Client) -> int:
        appending = Appending(await client.stream.get(name), key, headers, expected)
        try:
            if lines is None:
                await appending.add(values)
            else:
                async for some in line_batches(lines):
                    await appending.add([from_bytes(line, kind) for line in some])
        except SequenceMismatchError as error:
            click.echo(f"nexo: {error}", err=True)
            return exits.NEGATIVE
        if as_json:
            write_json({"name": name, "appended": appending.count, "last_seq": appending.last_seq})
        elif lines is None:
            write_lines([str(appending.last_seq)])
        return exits.OK

    return talk(target, work)


class Appending:
    """Appends values with the same key and headers, and knows the last sequence."""

    def __init__(
        self, stream: Stream, key: str | None, headers: tuple[tuple[str, bytes], ...], expected: int | None
    ) -> None:
        self._stream = stream
        self._key = key
        self._headers = list(headers)
        self._expected = expected
        self.count = 0
        self.last_seq: int | None = None

    async def add(self, values: list[Any]) -> None:
        """Append these, in as few steps as the server takes. SequenceMismatchError."""
        from nexo.client import Publish

        for start in range(0, len(values), RECORDS_PER_APPEND_MAX):
            part = values[start : start + RECORDS_PER_APPEND_MAX]
            records = [Publish(value=value, key=self._key, headers=self._headers) for value in part]
            sequences = await self._stream.publish_batch(records, expected_seq=self._expected)
            self.count += len(sequences)
            self.last_seq = sequences[-1]
            if self._expected is not None:
                self._expected = self.last_seq


@register
@client_command("read", json=False)
@named_argument("stream")
@click.option(
    "--from", "start", type=PLACE, help="beginning, end, a sequence, a time, or 10m: ten minutes ago."
)
@click.option("--last", type=click.IntRange(1), help="The last so many records.")
@click.option("-n", "--count", type=click.IntRange(1), help="At most this many.")
@format_options
def read(target: Target, name: str, start: Any, last: int | None, count: int | None, form: str) -> int:
    """Print the records that a stream has, from its beginning or another place on.

    In tsv the columns are sequence, when it was appended, key, value. Ends with 1 when there is none.

    \b
    Examples:
      nexo stream read events --last 10
      nexo stream read events --from 1h --json | jq .value
      nexo stream read events --from 2026-01-31T12:00 --count 100 --format tsv
    """
    place = begun_at(start, last, "beginning")

    async def work(client: Client) -> int:
        stream = await client.stream.get(name)
        printed = 0
        async for record in stream.read(place, limit=count):
            write(record_line(form, record))
            printed += 1
        return exits.OK if printed else exits.NEGATIVE

    return talk(target, work)


@register
@client_command("tail", json=False)
@named_argument("stream")
@click.option("--from", "start", type=PLACE, help="beginning, a sequence, a time, or 10m: ten minutes ago.")
@click.option("--last", type=click.IntRange(1), help="Begin with the last so many records.")
@bound_options
@format_options
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on standard error when it begins.")
def tail(
    target: Target,
    name: str,
    start: Any,
    last: int | None,
    count: int | None,
    duration: int | None,
    form: str,
    quiet: bool,
) -> int:
    """Print the records of a stream as they are appended, until Ctrl-C.

    In tsv the columns are sequence, when it was appended, key, value. Ends with 1 when --for is over and
    nothing came.

    \b
    Examples:
      nexo stream tail events
      nexo stream tail events --last 10 --json | jq .value
      nexo stream tail events --count 1 --for 1m      wait for a record
    """
    place = begun_at(start, last, "end")

    async def work(client: Client) -> int:
        stream = await client.stream.get(name)
        begin = (await stream.describe()).last_seq + 1 if place == "end" else place
        if not quiet:
            click.echo(f"nexo: following {name}", err=True)
        printed = 0
        try:
            async with asyncio.timeout(duration / 1000 if duration is not None else None):
                async for record in stream.read(begin, limit=count, follow=True):
                    write(record_line(form, record))
                    printed += 1
        except RequestTimeoutError:
            raise
        except TimeoutError:
            pass
        return exits.OK if printed else exits.NEGATIVE

    return talk(target, work)


def begun_at(start: Any, last: int | None, otherwise: str) -> Any:
    """The place that the options name."""
    if start is not None and last is not None:
        raise click.UsageError("either --from or --last")
    if last is None:
        return otherwise if start is None else start
    from nexo.client import Last

    return Last(last)
