"""Creating queues and streams: an option of the command line for each option of a definition.

Owns how a definition is given and how a conflict is told. Which options there are is the subcommand's table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import click

from nexo.cli import exits
from nexo.cli.tables import cell
from nexo.cli.values import Duration, Size, write_json, write_lines
from nexo.errors import ResourceConfigConflictError

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
