"""Creating, describing and deleting queues and streams: an option of the command line for each option of a definition.

Owns how a definition is given and how a conflict is told. Which options there are is the subcommand's table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nexo.cli import exits
from nexo.cli.link import Target, client_command, talk
from nexo.cli.naming import named_argument
from nexo.cli.tables import cell, write_struct
from nexo.cli.values import Duration, Size, write_json, write_lines
from nexo.errors import ResourceConfigConflictError

if TYPE_CHECKING:
    from nexo.client import Client

Function = Callable[..., Any]


class Setting(NamedTuple):
    """One option of a definition: the server's name for it, how it is given, what it says."""

    name: str
    kind: click.ParamType[Any] | type[int]
    help: str

    @property
    def flag(self) -> str:
        """The server counts durations in milliseconds; a person gives them a unit."""
        if self.name == "backoff_ms":
            return "--backoff-time"  # --backoff is which kind of backoff
        name = self.name.removesuffix("_ms") if isinstance(self.kind, Duration) else self.name
        return "--" + name.replace("_", "-")


WORDS = click.Choice
COUNT = click.IntRange(0)
SPAN = Duration(zero=True)
SIZE = Size()


def definition_options(settings: Sequence[Setting]) -> Callable[[Function], Function]:
    """An option for each; the command gets all of them by the server's names, None for those not given."""

    def declare(function: Function) -> Function:
        for one in reversed(settings):
            function = click.option(one.flag, one.name, type=one.kind, help=one.help)(function)
        return function

    return declare


async def create(
    make: Callable[..., Awaitable[Any]], name: str, options: dict[str, Any], as_json: bool
) -> int:
    """Create, and say whether it was there already, or in what it differs."""
    try:
        made = await make(name, **options)
    except ResourceConfigConflictError as error:
        details = error.details if isinstance(error.details, dict) else {}
        differences = details.get("differences", [])
        click.echo(f"nexo: {error}", err=True)
        for one in differences:
            asked, actual = cell(one.get("requested")), cell(one.get("actual"))
            click.echo(f"  {one.get('path')}: is {actual}, asked for {asked}", err=True)
        if as_json:
            write_json({"name": name, "status": "conflict", "differences": differences})
        return exits.FAILED
    if as_json:
        write_json({"name": name, "status": made.status})
    else:
        write_lines([made.status])
    return exits.OK


def creating(broker: str, settings: Sequence[Setting], help: str) -> click.Command:
    """The subcommand `create` of a broker of the client ("queue" or "stream")."""

    @client_command("create", help=help)
    @click.argument("name")
    @definition_options(settings)
    def command(target: Target, as_json: bool, name: str, **options: Any) -> int:
        return talk(target, lambda client: create(getattr(client, broker).create, name, options, as_json))

    return command


def describing(broker: str, help: str) -> click.Command:
    """The subcommand `describe`."""

    @client_command("describe", help=help)
    @named_argument(broker)
    def command(target: Target, as_json: bool, name: str) -> int:
        async def work(client: Client) -> int:
            write_struct(await getattr(client, broker).describe(name), as_json)
            return exits.OK

        return talk(target, work)

    return command


def deleting(broker: str, help: str) -> click.Command:
    """The subcommand `delete`."""

    @client_command("delete", help=help)
    @named_argument(broker)
    def command(target: Target, as_json: bool, name: str) -> int:
        async def work(client: Client) -> int:
            await getattr(client, broker).delete(name)
            if as_json:
                write_json({"name": name, "status": "deleted"})
            return exits.OK

        return talk(target, work)

    return command
