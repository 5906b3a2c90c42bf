"""`nexo user`: the accounts of a server, in their file. A running server sees a change within a second."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.cli.definitions import SIZE
from nexo.cli.link import json_option
from nexo.cli.tables import confirmed, write_table
from nexo.cli.values import DURATION, write_json, write_lines
from nexo.errors import ConfigError
from nexo.server.config import resolve

if TYPE_CHECKING:
    from nexo.server.accounts.book import Account

Function = Callable[..., Any]

PASSWORD_BYTES: Final = 15
"""Random ones of a password that is made: 120 bits, 20 characters."""


@click.group("user")
def command() -> None:
    """Make and change the accounts of a server.

    They stand in a file: the one that the setting accounts_file names, or accounts.toml in data_dir. A server
    that runs sees a change within a second. As soon as there is one account, whoever connects must log in.

    \b
    Permissions, in any number; * stands for any characters, topics have + and #:
      admin                                   everything
      monitor                                 see the state of the server, and names, but no contents
      store:read|write|manage app/*           keys that begin with app/
      queue:push|consume|browse|manage mail.* queues
      pubsub:publish|subscribe sensors/#      topics
      stream:append|read|consume|manage log   streams
      store:* {user}/*                        all verbs; {user} is the account's own name

    \b
    Examples:
      nexo user add ann --admin
      nexo user add shop --permission 'queue:push mail.*' --permission 'store:* shop/*'
      nexo user token shop ci --expires 90d
      nexo user list
    """


def file_options(function: Function) -> Function:
    """`--accounts-file`, `--data-dir` and `--config`, found as a server finds them; the command gets a `file`."""

    @wraps(function)
    def with_file(
        *, accounts_file: str | None, data_dir: str | None, config: str | None, **others: Any
    ) -> Any:
        settings = resolve(config, os.environ, {"accounts_file": accounts_file, "data_dir": data_dir}).config
        return function(file=settings.accounts_path, **others)

    for option in (
        click.option("--config", metavar="FILE", help="The server's configuration file, which may name it."),
        click.option("--data-dir", metavar="DIR", help="Where the server keeps its data; the file is in it."),
        click.option("--accounts-file", metavar="FILE", help="The file itself."),
    ):
        with_file = option(with_file)
    return with_file


def password_options(function: Function) -> Function:
    """How a password comes in; the command gets `password`, None when there shall be none, and what is made of it
    as `made`."""

    @wraps(function)
    def with_password(*, stdin: bool, generate: bool, no_password: bool, **others: Any) -> Any:
        if stdin + generate + no_password > 1:
            raise click.UsageError("only one of --password-stdin, --generate and --no-password")
        if no_password:
            return function(password=None, made={}, **others)
        password = _password(stdin, generate)
        return function(password=password, made={"generated": password} if generate else {}, **others)

    for option in (
        click.option("--no-password", is_flag=True, help="Let it log in with tokens or a certificate only."),
        click.option("--generate", is_flag=True, help="Make one, and print it."),
        click.option(
            "--password-stdin", "stdin", is_flag=True, help="Read it from standard input, one line."
        ),
    ):
        with_password = option(with_password)
    return with_password


def _password(stdin: bool, generate: bool) -> str:
    if generate:
        return secrets.token_urlsafe(PASSWORD_BYTES)
    if stdin or not sys.stdin.isatty():
        given = sys.stdin.readline().rstrip("\r\n")
    else:
        given = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if not given:
        raise click.UsageError("an empty password: --no-password is for none, --generate makes one")
    return str(given)


def _told(file: Path, name: str, as_json: bool, made: Mapping[str, str] = MappingProxyType({})) -> int:
    """The account as it is now, as JSON; else only what was made for it."""
    from nexo.server.accounts.book import read_book

    if as_json:
        write_json({"name": name, **_shown(read_book(file).accounts[name]), **made})
    else:
        write_lines(made.values())
    return exits.OK


@command.command("add")
@click.argument("name")
@click.option("--permission", "-p", "permissions", multiple=True, metavar="PERMISSION", help="Any number.")
@click.option("--admin", is_flag=True, help="The permission for everything.")
@click.option("--certificate", metavar="NAME", help="Log in whoever shows a TLS certificate of this name.")
@click.option("--monitor", is_flag=True, help="The permission to see the state of the server.")
@password_options
@json_option
@file_options
def add(
    file: Path,
    as_json: bool,
    name: str,
    permissions: tuple[str, ...],
    admin: bool,
    monitor: bool,
    certificate: str | None,
    password: str | None,
    made: Mapping[str, str],
) -> int:
    """Make an account. The password is asked for unless one of the options says where it comes from.

    Account `anonymous` is what connections may do that have not logged in; it has no password.

    \b
    Examples:
      nexo user add ann --admin
      nexo user add metrics --monitor --generate
      nexo user add gateway --no-password --certificate gateway.example.org -p 'pubsub:* sensors/#'
      nexo user add anonymous --no-password --permission 'pubsub:subscribe public/#'
      echo "$SECRET" | nexo user add shop --password-stdin -p 'queue:push mail.*'
    """
    from nexo.server.accounts.editing import editing

    with editing(file) as accounts:
        account = accounts.add(name)
        if password is not None:
            account["password"] = _hashed(password)
        if certificate is not None:
            account["certificate"] = certificate
        account["permissions"] = [
            *permissions,
            *(["monitor"] if monitor else []),
            *(["admin"] if admin else []),
        ]
    return _told(file, name, as_json, made)


@command.command("passwd")
@click.argument("name")
@password_options
@json_option
@file_options
def passwd(file: Path, as_json: bool, name: str, password: str | None, made: Mapping[str, str]) -> int:
    """Give an account another password. Connections that are open stay.

    \b
    Examples:
      nexo user passwd ann
      nexo user passwd metrics --generate
    """
    from nexo.server.accounts.editing import editing

    with editing(file) as accounts:
        account = accounts.get(name)
        if password is None:
            account.pop("password", None)
        else:
            account["password"] = _hashed(password)
    return _told(file, name, as_json, made)


def _hashed(password: str) -> str:
    from nexo.server.accounts.secrets import hash_password

    return hash_password(password)


@command.command("grant")
@click.argument("name")
@click.argument("permissions", nargs=-1, required=True, metavar="PERMISSION...")
@json_option
@file_options
def grant(file: Path, as_json: bool, name: str, permissions: tuple[str, ...]) -> int:
    """Allow an account more. Its connections have it at once.

    \b
    Examples:
      nexo user grant shop 'stream:append orders' 'store:read prices/*'
    """
    from nexo.server.accounts.editing import editing

    with editing(file) as accounts:
        account = accounts.get(name)
        account["permissions"] = list(dict.fromkeys([*account.get("permissions", []), *permissions]))
    return _told(file, name, as_json)


@command.command("revoke")
@click.argument("name")
@click.argument("permissions", nargs=-1, required=True, metavar="PERMISSION...")
@json_option
@file_options
def revoke(file: Path, as_json: bool, name: str, permissions: tuple[str, ...]) -> int:
    """Allow an account no longer what `nexo user list` shows. Its connections are closed, and may log in again.

    Ends with 1 when it has no such permission.

    \b
    Examples:
      nexo user revoke shop 'stream:append orders'
    """
    from nexo.server.accounts.editing import editing

    with editing(file) as accounts:
        account = accounts.get(name)
        held = [str(one) for one in account.get("permissions", [])]
        for one in permissions:
            if one not in held:
                click.echo(f"nexo: account {name!r} has no permission {one!r}", err=True)
                return exits.NEGATIVE
        account["permissions"] = [one for one in held if one not in permissions]
    return _told(file, name, as_json)


@command.command("limit")
@click.argument("name")
@click.option("--connections", "connections_max", type=click.IntRange(0), help="Open ones at a time.")
@click.option("--commands-per-second", type=click.IntRange(0), help="Of all its connections together.")
@click.option("--bytes-per-second", type=SIZE, help="The same in bytes, such as 10mb.")
@json_option
@file_options
def limit(file: Path, as_json: bool, name: str, **bounds: int | None) -> int:
    """Bound what an account does. 0 takes a bound away; what is not given stays as it is.

    \b
    Examples:
      nexo user limit shop --connections 50 --commands-per-second 2000
      nexo user limit shop --connections 0
    """
    from nexo.server.accounts.editing import editing

    given = {bound: value for bound, value in bounds.items() if value is not None}
    if not given:
        raise click.UsageError("give at least one bound")
    with editing(file) as accounts:
        account = accounts.get(name)
        for bound, value in given.items():
            if value:
                account[bound] = value
            else:
                account.pop(bound, None)
    return _told(file, name, as_json)


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@file_options
def remove(file: Path, as_json: bool, name: str, yes: bool) -> int:
    """Delete an account with its tokens. Its connections are closed.

    The last one cannot be removed while a server runs: it keeps it until it is started again.

    \b
    Examples:
      nexo user remove shop --yes
    """
    from nexo.server.accounts.editing import editing

    confirmed(f"Delete the account {name}?", yes)
    with editing(file) as accounts:
        accounts.remove(name)
    if as_json:
        write_json({"name": name, "removed": True})
    return exits.OK


@command.command("list")
@json_option
@file_options
def list_accounts(file: Path, as_json: bool) -> int:
    """Print the accounts: name, how they log in, permissions. Ends with 1 when there are none.

    \b
    Examples:
      nexo user list
      nexo user list --json | jq .name
    """
    from nexo.server.accounts.book import read_book

    accounts = read_book(file).accounts
    if as_json:
        for name, account in accounts.items():
            write_json({"name": name, **_shown(account)})
    else:
        rows = (
            (name, ",".join(_ways(account)) or None, "; ".join(account.permissions) or None)
            for name, account in accounts.items()
        )
        write_table(("NAME", "LOGIN", "PERMISSIONS"), rows)
    return exits.OK if accounts else exits.NEGATIVE


def _ways(account: Account) -> list[str]:
    ways = ["password"] if account.password else []
    ways += [f"token {id}" for id in account.tokens]
    return ways + ([f"certificate {account.certificate}"] if account.certificate else [])


def _shown(account: Account) -> dict[str, Any]:
    return {
        "permissions": account.permissions,
        "password": bool(account.password),
        "tokens": [
            {"id": id, "expires": token.expires.isoformat() if token.expires is not None else None}
            for id, token in account.tokens.items()
        ],
        "certificate": account.certificate or None,
        "connections_max": account.connections_max,
        "commands_per_second": account.commands_per_second,
        "bytes_per_second": account.bytes_per_second,
    }


@command.command("token")
@click.argument("name")
@click.argument("id")
@click.option("--expires", type=DURATION, help="For how long it is good, such as 90d; for ever unless given.")
@click.option("--revoke", is_flag=True, help="Delete the token instead. Its connections are closed.")
@json_option
@file_options
def token(file: Path, as_json: bool, name: str, id: str, expires: int | None, revoke: bool) -> int:
    """Make a token for an account and print it: the only time that it can be seen. ID is what it is called.

    \b
    Examples:
      nexo user token shop ci --expires 90d
      nexo user token shop ci --revoke
    """
    from nexo.server.accounts.editing import add_token, editing, tokens_of
    from nexo.server.accounts.secrets import digest, new_token

    made = new_token()
    until = datetime.now(UTC) + timedelta(milliseconds=expires) if expires is not None else None
    with editing(file) as accounts:
        account = accounts.get(name)
        if not revoke:
            add_token(account, id, digest(made.encode()), until)
        elif id in (tokens := tokens_of(account)):
            del tokens[id]
        else:
            raise ConfigError(f"account {name!r} has no token {id!r}")
    return _told(file, name, as_json, {} if revoke else {"token": made})
