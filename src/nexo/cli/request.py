"""`nexo request`: ask whoever answers on a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexo.cli import exits
from nexo.cli.link import Target, client_options, json_option, talk
from nexo.cli.pub import header_option
from nexo.cli.values import (
    STDIN,
    for_json,
    from_bytes,
    from_text,
    header_pairs,
    kind_of,
    read_whole,
    to_bytes,
    type_option,
    write,
    write_json,
)
from nexo.errors import NoRespondersError, ReplyTimeoutError

if TYPE_CHECKING:
    from nexo.client import Client


@click.command()
@click.argument("topic")
@click.argument("message")
@header_option
@type_option
@client_options
@json_option
def command(
    target: Target, topic: str, message: str, headers: tuple[tuple[str, bytes], ...], kind: str, as_json: bool
) -> int:
    """Send MESSAGE as a request to TOPIC and print the first reply. - reads it from standard input.

    Waits for the reply as long as --timeout says. Ends with 1 when nobody answers on the topic, or
    nobody did in time.

    \b
    Examples:
      nexo request prices/quote EURUSD
      nexo request math/add '[1, 2]' --type json --timeout 500ms
    """
    value = from_bytes(read_whole(STDIN), kind) if message == STDIN else from_text(message, kind)

    async def work(client: Client) -> int:
        try:
            reply = await client.pubsub.topic(topic).request(
                value, timeout=target.timeout_seconds, headers=list(headers)
            )
        except (NoRespondersError, ReplyTimeoutError) as error:
            click.echo(f"nexo: {error}", err=True)
            return exits.NEGATIVE
        if as_json:
            fields = {"type": kind_of(reply.data), "data": for_json(reply.data)}
            write_json({**fields, "headers": header_pairs(reply.headers)})
        else:
            write(to_bytes(reply.data) + (b"" if kind_of(reply.data) == "bytes" else b"\n"))
        return exits.OK

    return talk(target, work)
