"""What all client commands share: where the server is, and one connection for one command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

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


def client_options(function: Function) -> Function:
    """`--host`, `--port`, `--timeout`, those of TLS and `--user`; the command gets them as `target`."""

    @wraps(function)
    def with_target(
        *,
        host: str,
        port: int,
        timeout: int,
        tls: bool,
        ca_file: str | None,
        cert_file: str | None,
        key_file: str | None,
        user: str | None,
        **others: Any,
    ) -> Any:
        # Whoever names a file of TLS wants TLS.
        tls = tls or any((ca_file, cert_file, key_file))
        files = (ca_file, cert_file, key_file)
        target = Target(host, port, timeout / 1000, tls, *files, *credentials(user))
        return function(target=target, **others)

    options = (
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
            "--tls/--no-tls",
            envvar="NEXO_TLS",
            default=False,
            help="Connect with TLS; so do the files below.",
        ),
        click.option(
            "--ca-file", envvar="NEXO_CA_FILE", metavar="FILE", help="CAs to trust, not the system's."
        ),
        click.option(
            "--cert-file", envvar="NEXO_CERT_FILE", metavar="FILE", help="A certificate of our own."
        ),
        click.option(
            "--key-file", envvar="NEXO_KEY_FILE", metavar="FILE", help="Its key, if not in the same."
        ),
        click.option(
            "--user",
            envvar="NEXO_USER",
            help="The account; NEXO_PASSWORD has its password, or it is asked for. NEXO_TOKEN has a token.",
        ),
    )
    for option in reversed(options):
        with_target = option(with_target)
    return with_target


def credentials(user: str | None) -> tuple[str | None, str | None, str | None]:
    """User, password and token. No secret is ever a flag: others see those in the list of processes."""
    token = os.environ.get("NEXO_TOKEN") or None
    if user is None or token is not None:
        return None, None, token
    password = os.environ.get("NEXO_PASSWORD")
    if password is None:
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return user, password, None


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
