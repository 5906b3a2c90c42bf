"""`nexo pub`: publish an argument, lines as they come, or a file."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.cli.link import Target, client_options, json_option, talk
from nexo.cli.values import DURATION, STDIN, from_bytes, from_text, read_whole, type_option, write_json
from nexo.limits import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from nexo.client import Client

CHUNK_BYTES: Final = 65_536
CHUNKS_AHEAD: Final = 4
"""How far standard input may be read ahead of the server's answers."""


class Header(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """`name=value`."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, bytes]:
        name, equals, content = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not name=value", param, ctx)
        return name, content.encode(errors="surrogateescape")


HEADER: Final = Header()

header_option = click.option(
    "--header", "headers", type=HEADER, multiple=True, help="A header; may be repeated."
)


@click.command()
@click.argument("topic")
@click.argument("message", required=False)
@click.option("--file", metavar="FILE", help="Publish the lines of a file; - is standard input.")
@click.option("--whole", is_flag=True, help="The file or standard input is one message, not lines.")
@click.option("--retain", is_flag=True, help="Keep the last message for those who subscribe later.")
@click.option("--ttl", type=DURATION, help="How long it is kept, as 10s, 5m, 1h; with --retain.")
@click.option("--clear", is_flag=True, help="Publish nothing and forget what is retained.")
@header_option
@type_option
@client_options
@json_option
def command(
    target: Target,
    topic: str,
    message: str | None,
    file: str | None,
    whole: bool,
    retain: bool,
    ttl: int | None,
    clear: bool,
    headers: tuple[tuple[str, bytes], ...],
    kind: str,
    as_json: bool,
) -> int:
    """Publish to TOPIC: MESSAGE, or each line of standard input.

    Without MESSAGE, or with - for it, every line is a message that leaves as soon as it is there.
    With --json, prints how many messages were published and how many receivers they had.

    \b
    Examples:
      nexo pub sensors/kitchen 21.5
      nexo pub sensors/kitchen '{"celsius": 21.5}' --type json --header unit=C
      tail -f access.log | nexo pub logs/web
      nexo pub images/last --file picture.png --whole --type bytes --retain --ttl 1h
      nexo pub images/last --clear
    """
    if ttl is not None and not retain:
        raise click.UsageError("--ttl is of no effect without --retain")
    if message == STDIN:
        message, file = None, STDIN
    elif message is not None and file is not None:
        raise click.UsageError("either MESSAGE or --file, not both")
    elif message is None and file is None:
        if not clear and sys.stdin.isatty():
            raise click.UsageError("no MESSAGE, and standard input is a terminal; - reads it all the same")
        file = STDIN
    if clear:
        return talk(target, lambda client: forget(client, topic))

    one = from_text(message, kind) if message is not None else None
    if whole and file is not None:
        one, file = from_bytes(read_whole(file), kind), None
    options = {"retain": retain, "ttl_ms": ttl, "headers": list(headers)}

    async def work(client: Client) -> int:
        published = Published(client, topic, options)
        if file is None:
            await published.send([one])
        else:
            async for lines in line_batches(file):
                await published.send([from_bytes(line, kind) for line in lines])
        if as_json:
            write_json({"topic": topic, "published": published.messages, "receivers": published.receivers})
        return exits.OK

    return talk(target, work)


async def forget(client: Client, topic: str) -> int:
    """Clear what is retained."""
    await client.pubsub.topic(topic).clear_retained()
    return exits.OK


class Published:
    """Sends values to one topic, and counts."""

    def __init__(self, client: Client, topic: str, options: dict[str, Any]) -> None:
        self._topic = client.pubsub.topic(topic)
        self._options = options
        self.messages = 0
        self.receivers = 0

    async def send(self, values: list[Any]) -> None:
        """Publish them in order, together; done when the server has answered for each."""
        counts = await asyncio.gather(
            *(self._topic.publish(value, count=True, **self._options) for value in values)
        )
        self.messages += len(values)
        self.receivers += sum(counts)


async def line_batches(file: str) -> AsyncIterator[list[bytes]]:
    """The lines of a file (`-`: standard input), without their ends: those that are there, together."""
    try:
        descriptor = 0 if file == STDIN else os.open(file, os.O_RDONLY)
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
    rest = b""
    async for chunk in chunks(descriptor):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > FRAME_BYTES_MAX:
            raise click.UsageError(f"a line of more than {FRAME_BYTES_MAX} bytes is no message")
        if lines:
            yield lines
    if rest:
        yield [rest]


async def chunks(descriptor: int) -> AsyncIterator[bytes]:
    """What a descriptor yields, as it comes.

    A thread of its own reads: the loop cannot wait for a plain file, and making a shared standard
    input non-blocking would surprise its other readers. It is a daemon, so that Ctrl-C need not wait.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(CHUNKS_AHEAD)

    def read() -> None:
        chunk = b"-"
        while chunk:
            room.acquire()
            chunk = os.read(descriptor, CHUNK_BYTES)
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(queue.put_nowait, chunk)

    threading.Thread(target=read, name="nexo-stdin", daemon=True).start()
    while chunk := await queue.get():
        yield chunk
        room.release()
