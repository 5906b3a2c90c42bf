"""What all client commands share: where the server is, and one connection for one command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from nexo.cli import exits
from nexo.cli.values import DURATION
from nexo.errors import ResourceNotFoundError

if TYPE_CHECKING:
    from nexo.client import Client

Function = Callable[..., Any]


class Target(NamedTuple):
    """Where a command goes, and how long it waits for an answer."""

    host: str
    port: int
    timeout_seconds: float
    tls: bool
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    user: str | None
    password: str | None
    token: str | None


SHARED: Final = (
    click.option(
        "--host", envvar="NEXO_HOST", default="127.0.0.1", show_default=True, help="Where the server is."
    ),
    click.option(
        "--port",
        envvar="NEXO_PORT",
        type=click.IntRange(1, 65535),
        default=7654,
        show_default=True,
        help="Its port.",
    ),
    click.option(
        "--timeout",
        envvar="NEXO_TIMEOUT",
        type=DURATION,
        default="5s",
        show_default=True,
        help="Longest wait for the connection, and for each answer.",
    ),
    click.option(
        "--tls/--no-tls", envvar="NEXO_TLS", default=False, help="Connect with TLS; so do the files below."
    ),
    click.option("--ca-file", envvar="NEXO_CA_FILE", metavar="FILE", help="CAs to trust, not the system's."),
    click.option("--cert-file", envvar="NEXO_CERT_FILE", metavar="FILE", help="A certificate of our own."),
    click.option("--key-file", envvar="NEXO_KEY_FILE", metavar="FILE", help="Its key, if not in the same."),
    click.option(
        "--user",
        envvar="NEXO_USER",
        help="The account; NEXO_PASSWORD has its password, or it is asked for. NEXO_TOKEN has a token.",
    ),
)
"""What all client commands share, and what a context may hold: an option that is added here is in both."""


def shared_options(function: Function) -> Function:
    """The options of SHARED, and `--context`, whose table stands between the environment and the defaults."""
    for option in reversed((context_option, *SHARED)):
        function = option(function)
    return function


def shared_parameters() -> list[click.Option]:
    """The options of SHARED as click has them."""

    def nothing() -> None:
        """Only carries the options."""

    for option in reversed(SHARED):
        nothing = option(nothing)
    return [one for one in click.command()(nothing).params if isinstance(one, click.Option)]


def shared_names() -> list[str]:
    """The names that a context may have."""
    return [one.name for one in shared_parameters() if one.name]


def target_of(
    *,
    host: str,
    port: int,
    timeout: int,
    tls: bool,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    user: str | None,
) -> Target:
    """The shared options together. Asks for a password when there is a user, and no variable has one."""
    # Whoever names a file of TLS wants TLS.
    tls = tls or any((ca_file, cert_file, key_file))
    return Target(host, port, timeout / 1000, tls, ca_file, cert_file, key_file, *credentials(user))


def client_options(function: Function) -> Function:
    """The shared options; the command gets them as `target`."""

    @wraps(function)
    def with_target(*, context: str | None, **given: Any) -> Any:
        shared = {name: given.pop(name) for name in shared_names()}
        return function(target=target_of(**shared), **given)

    return shared_options(with_target)


def credentials(user: str | None) -> tuple[str | None, str | None, str | None]:
    """User, password and token. No secret is ever a flag: others see those in the list of processes."""
    token = os.environ.get("NEXO_TOKEN") or None
    if user is None or token is not None:
        return None, None, token
    password = os.environ.get("NEXO_PASSWORD")
    if password is None:
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return user, password, None


def _use_context(ctx: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    # Imported here so that a command line without a file of contexts reads none.
    from nexo.cli.contexts import table

    ctx.default_map = {**(ctx.default_map or {}), **table(name)}
    return name


context_option = click.option(
    "--context",
    envvar="NEXO_CONTEXT",
    is_eager=True,
    callback=_use_context,
    metavar="NAME",
    help="Take what is not given from this context (`nexo context list`).",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, an object on each line.")


def talk(target: Target, work: Callable[[Client], Awaitable[int]]) -> int:
    """Connect, do the work of one command, disconnect. NexoError when any of that fails."""
    return asyncio.run(_talk(target, work))


def client_command(name: str, *, json: bool = True, **settings: Any) -> Callable[[Function], click.Command]:
    """A subcommand with the options of a client, `as_json` among them unless it has formats of its own.

    What does not exist at the server is a negative answer: one line, and 1.
    """

    def declare(function: Function) -> click.Command:
        @wraps(function)
        def answered(**given: Any) -> Any:
            try:
                return function(**given)
            except ResourceNotFoundError as error:
                click.echo(f"nexo: {error}", err=True)
                return exits.NEGATIVE

        shared = client_options(json_option(answered) if json else answered)
        return click.command(name, cls=click.Command, **settings)(shared)

    return declare


async def _talk(target: Target, work: Callable[[Client], Awaitable[int]]) -> int:
    # Imported here so that --help needs no client.
    from nexo.client import Client, Tls

    client = await Client.connect(
        host=target.host,
        port=target.port,
        tls=target.tls and Tls(ca_file=target.ca_file, cert_file=target.cert_file, key_file=target.key_file),
        timeout=target.timeout_seconds,
        name="nexo-cli",
        user=target.user,
        password=target.password,
        token=target.token,
        reconnect=False,
    )
    async with client:
        return await work(client)
