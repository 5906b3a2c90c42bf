"""Consuming from a queue or a group: print what comes, or run a command with it, and settle it.

Owns when what is settled how. Where messages come from, and how they look, is the subcommand's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import click

from nexo.cli import exits
from nexo.cli.tables import FORMATS
from nexo.cli.values import DURATION, to_bytes, write
from nexo.errors import FencedError, RequestTimeoutError
from nexo.server.program import environ_outside

Function = Callable[..., Any]

GIVEN_BACK: Final = "given back at the command line"
BATCH: Final = 10
"""How many messages are borrowed at once when they are only printed."""


class Consuming(NamedTuple):
    """What the options say."""

    form: str
    limit: int | None
    seconds: float | None
    ack: bool
    nack: bool
    command: str | None

    def batch(self, most: int = BATCH) -> int:
        """How many to borrow at once: what a command has not got to yet is left to other consumers."""
        return 1 if self.command is not None else min(most, self.limit or most)


def format_options(function: Function) -> Function:
    """`--format` and `--json`; the command gets `form`."""
    function = click.option("--json", "form", flag_value="json", help="The same as --format json.")(function)
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="text",
        show_default=True,
        help="text: the value alone; tsv: columns and the value; json: an object on each line.",
    )(function)


def bound_options(function: Function) -> Function:
    """`--count` and `--for`; the command gets `count` and `duration`."""
    function = click.option("--for", "duration", type=DURATION, help="End after this time, as 10s or 5m.")(
        function
    )
    return click.option("-n", "--count", type=click.IntRange(1), help="End after this many messages.")(
        function
    )


def consuming_options(function: Function) -> Function:
    """All of them; the command gets `how`."""

    def with_how(
        *,
        form: str,
        count: int | None,
        duration: int | None,
        no_ack: bool,
        nack: bool,
        execute: str | None,
        **others: Any,
    ) -> Any:
        if no_ack + nack + (execute is not None) > 1:
            raise click.UsageError("only one of --no-ack, --nack and --exec")
        if execute is not None and form != "text":
            raise click.UsageError("with --exec the command is what prints")
        seconds = None if duration is None else duration / 1000
        return function(how=Consuming(form, count, seconds, not (no_ack or nack), nack, execute), **others)

    with_how.__doc__ = function.__doc__
    with_how.__dict__.update(function.__dict__)
    declared: Function = click.option(
        "--exec",
        "execute",
        metavar="CMD",
        help="Run CMD in a shell for each, with the value as its standard input: acked when it ends with 0.",
    )(with_how)
    declared = click.option("--nack", is_flag=True, help="Give back what was printed, as failed.")(declared)
    declared = click.option("--no-ack", is_flag=True, help="Give back what was printed, at the end.")(
        declared
    )
    return bound_options(format_options(declared))


async def consume(
    deliveries: Any, how: Consuming, line: Callable[[Any], bytes], release: Callable[[Any], Awaitable[None]]
) -> int:
    """Until there were enough, or the time is over; 1 when nothing came, or a command failed."""
    handled = failed = 0
    kept: list[Any] = []
    deadline = None if how.seconds is None else asyncio.get_running_loop().time() + how.seconds
    async with deliveries:
        try:
            while handled != how.limit:
                try:
                    async with asyncio.timeout_at(deadline):
                        message = await anext(deliveries)
                except RequestTimeoutError:
                    raise
                except (TimeoutError, StopAsyncIteration):
                    break
                handled += 1
                if how.command is not None:
                    reason = await execute(how.command, message)
                    if reason:
                        failed += 1
                        click.echo(f"nexo: {reason}", err=True)
                        await fenced_or(message.nack(reason))
                    continue  # asking for the next acks this one
                try:
                    write(line(message))
                except BrokenPipeError:
                    await fenced_or(release(message))  # nobody has seen it
                    raise
                if not how.ack:
                    # Kept until the end: given back at once, it would come again and again.
                    message.settled = True
                    kept.append(message)
        finally:
            back = [message.nack(GIVEN_BACK) if how.nack else release(message) for message in kept]
            await asyncio.gather(*map(fenced_or, back))
    return exits.OK if handled and not failed else exits.NEGATIVE


async def fenced_or(settling: Awaitable[None]) -> None:
    """Settle; if it is lent to somebody else by now, that is theirs to do."""
    try:
        await settling
    except FencedError as error:
        click.echo(f"nexo: {error}", err=True)


async def execute(command: str, message: Any) -> str:
    """Run a command with a message's value on its standard input; why it failed, or nothing."""
    number = message.id if hasattr(message, "id") else message.seq
    about = {"NEXO_MESSAGE_ID": str(number), "NEXO_MESSAGE_ATTEMPTS": str(message.attempts)}
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, env={**environ_outside(), **about}
    )
    try:
        await process.communicate(to_bytes(message.data))
    except asyncio.CancelledError:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        raise
    code = process.returncode or 0
    if not code:
        return ""
    return f"{command}: " + (f"ended with {code}" if code > 0 else f"killed by signal {-code}")
