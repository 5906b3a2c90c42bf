"""`nexo sub`: print messages as they come, for people and for pipes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from nexo.cli import exits
from nexo.cli.link import Target, client_options, talk
from nexo.cli.values import DURATION, for_json, header_pairs, kind_of, to_bytes, write
from nexo.errors import NotConnectedError

if TYPE_CHECKING:
    from nexo.client import Client, Message


def text_line(message: Message) -> bytes:
    """`topic message`."""
    return message.topic.encode() + b" " + to_bytes(message.data) + b"\n"


def json_line(message: Message) -> bytes:
    """An object with topic, type, data (base64 for bytes) and headers."""
    fields = {"topic": message.topic, "type": kind_of(message.data), "data": for_json(message.data)}
    return msgspec.json.encode({**fields, "headers": header_pairs(message.headers)}) + b"\n"


def hex_line(message: Message) -> bytes:
    """`topic` and the message's bytes in hexadecimal: one line, whatever it holds."""
    return message.topic.encode() + b" " + to_bytes(message.data).hex().encode() + b"\n"


FORMATS: Final[dict[str, Callable[[Any], bytes]]] = {"text": text_line, "json": json_line, "hex": hex_line}


class Printer:
    """Prints messages in the order in which they come, until there were enough of them."""

    def __init__(self, line: Callable[[Any], bytes], count: int | None) -> None:
        self._line = line
        self._count = count
        self._filters: list[str] = []
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.printed = 0

    async def subscribe(self, client: Client, pattern: str, group: str | None, *, retained: bool) -> None:
        """One more filter. A message that an earlier one matches has been printed there."""
        earlier = [] if group is not None else list(self._filters)
        self._filters.append(pattern)

        def received(message: Message) -> None:
            if not any(matches(other, message.topic) for other in earlier):
                self._print(message)

        await client.pubsub.subscribe(pattern, received, group=group, retained=retained)

    async def done(self) -> None:
        """Until the count is reached; BrokenPipeError when nobody reads what is printed."""
        await self._finished

    def _print(self, message: Message) -> None:
        if self._finished.done():
            return
        try:
            write(self._line(message))
        except BrokenPipeError as error:
            self._finished.set_exception(error)
            return
        self.printed += 1
        if self.printed == self._count:
            self._finished.set_result(None)


def matches(pattern: str, topic: str) -> bool:
    """Whether a filter matches a topic: `+` one level, `#` the rest, its parent included."""
    if topic.startswith("$") and pattern[:1] in ("+", "#"):
        return False
    levels, wanted = topic.split("/"), pattern.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in ("+", levels[index]):
            return False
    return len(levels) == len(wanted)


async def lost(client: Client) -> None:
    """Raises NotConnectedError when the connection is gone: there is no other for a command."""
    from nexo.client import Disconnected

    async for event in client.events:
        if isinstance(event, Disconnected):
            raise NotConnectedError(f"the connection was lost: {event.reason}")


@click.command()
@click.argument("filters", nargs=-1, required=True, metavar="FILTER...")
@click.option("-n", "--count", type=click.IntRange(1), help="End after this many messages.")
@click.option("--for", "duration", type=DURATION, help="End after this time, as 10s or 5m.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="text: topic and message; json: an object on each line; hex: topic and bytes.",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("--group", help="Share the messages with the other members of this group.")
@click.option("--no-retained", is_flag=True, help="Only what is published from now on.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on standard error when subscribed.")
@client_options
def command(
    target: Target,
    filters: tuple[str, ...],
    count: int | None,
    duration: int | None,
    form: str,
    group: str | None,
    no_retained: bool,
    quiet: bool,
) -> int:
    """Print the messages that match one or more filters, until Ctrl-C.

    In a filter + stands for one level and # for all that follow. A message is printed once, however
    many of the filters match it. Messages that the server had to drop because this command was too
    slow are counted on standard error. Ends with 1 when --for is over and nothing came.

    \b
    Examples:
      nexo sub 'sensors/+/temperature'
      nexo sub 'orders/#' 'invoices/#' --json | jq .data
      nexo sub jobs/new --group workers
      nexo sub status/db --count 1 --for 5s       wait for one message
    """

    async def work(client: Client) -> int:
        printer = Printer(FORMATS[form], count)
        for pattern in filters:
            await printer.subscribe(client, pattern, group, retained=not no_retained)
        if not quiet:
            click.echo(f"nexo: subscribed to {' '.join(filters)}", err=True)
        waits = {asyncio.ensure_future(printer.done()), asyncio.ensure_future(lost(client))}
        seconds = duration / 1000 if duration is not None else None
        ended, others = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in others:
            one.cancel()
        for one in ended:
            one.result()
        return exits.OK if printer.printed else exits.NEGATIVE

    return talk(target, work)
