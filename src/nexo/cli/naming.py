"""Arguments that name a queue or a stream: a shell completes them with what the server has.

A person waits for it, so the server gets half a second, and whatever fails completes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.cli.link import shared_parameters, talk, target_of
from nexo.errors import NexoError

if TYPE_CHECKING:
    from nexo.client import Client

PATIENCE_SECONDS: Final = 0.5
NAMES_MAX: Final = 200
"""Names to choose from: more than fit on a screen help nobody."""

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def defaults(ctx: click.Context) -> dict[str, Any]:
    """What the shared options are when they are not given; None for what has no default."""
    found: dict[str, Any] = {}
    for one in shared_parameters():
        value = one.value_from_envvar(ctx) or one.get_default(ctx)
        # click has an object of its own for "no default".
        given = isinstance(value, str | int)
        found[one.name or ""] = one.type_cast_value(ctx, value) if given else None
    return found


def completing(broker: str) -> Complete:
    """Names of a broker's things ("queue" or "stream") that begin as what is there already."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        found: list[str] = []

        async def work(client: Client) -> int:
            async for info in getattr(client, broker).list(incomplete):
                found.append(info.name)
                if len(found) == NAMES_MAX:
                    break
            return exits.OK

        with suppress(NexoError, OSError, click.ClickException):
            given = {name: ctx.params.get(name) or default for name, default in defaults(ctx).items()}
            if "NEXO_PASSWORD" not in os.environ:
                given["user"] = None  # nobody is asked for a password in the middle of a line
            talk(target_of(**given)._replace(timeout_seconds=PATIENCE_SECONDS), work)
        return found

    return complete


def named_argument(broker: str, argument: str = "name", **settings: Any) -> Callable[[Any], Any]:
    """An argument that names a queue or a stream that there is."""
    return click.argument(argument, shell_complete=completing(broker), **settings)
