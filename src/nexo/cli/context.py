"""`nexo context`: names for servers, and what the client commands are to know of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from nexo.cli import exits
from nexo.cli.contexts import NAME, Contexts, load, named, save
from nexo.cli.link import json_option, shared_options, shared_parameters
from nexo.cli.tables import cell, write_table
from nexo.cli.values import write_json, write_lines

SECRETS: Final = ("password", "token")
"""Options whose values are never shown."""
SCHEME: Final = "nexo"
Function = Callable[..., Any]


class Checked(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A value that an option would take, as it was written."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.name = kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        self.kind.convert(value, param, ctx)
        return value


def given_options(function: Function) -> Function:
    """Each shared option once more, to be kept: without a default, and whatever the environment says."""
    for one in reversed(shared_parameters()):
        kind = one.type if one.is_flag else Checked(one.type)
        function = click.option(
            *one.opts,
            *one.secondary_opts,
            one.name or "",
            type=kind,
            is_flag=one.is_flag,
            default=None,
            help=one.help,
        )(function)
    return function


def address(server: str) -> dict[str, Any]:
    """Host and port of `nexo://HOST[:PORT]` or `HOST[:PORT]`. click.UsageError when it is none."""
    try:
        parts = urlsplit(server if "://" in server else f"{SCHEME}://{server}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme != SCHEME or parts.path not in ("", "/") or parts.query or parts.username:
        raise click.UsageError(f"{server!r} is not {SCHEME}://HOST or {SCHEME}://HOST:PORT")
    return {"host": host} if port is None else {"host": host, "port": port}


@click.group("context")
def command() -> None:
    """Name servers, and choose one.

    A value is taken from the first that has it: the flag, the environment, the context, the default.

    \b
    Examples:
      nexo context add production --server nexo://broker.example:7654
      nexo context use production
      nexo queue list --context staging
    """


@command.command("add")
@click.argument("name")
@click.option("--server", metavar="URL", help="Where it is: nexo://HOST:PORT, for --host and --port.")
@given_options
@json_option
def add(name: str, server: str | None, as_json: bool, **given: Any) -> int:
    """Add the context NAME, or replace it.

    \b
    Examples:
      nexo context add production --server nexo://broker.example:7654 --timeout 2s
    """
    if not NAME.fullmatch(name):
        raise click.UsageError(f"{name!r}: a name is up to 64 letters, digits, dots, dashes and underscores")
    table = {key: value for key, value in given.items() if value is not None}
    if server is not None:
        if "host" in table or "port" in table:
            raise click.UsageError("either --server, or --host and --port")
        table = {**address(server), **table}
    contexts = load()
    status = "replaced" if name in contexts.tables else "created"
    save(Contexts(contexts.current, {**contexts.tables, name: table}))
    return tell(name, status, as_json)


def tell(name: str, status: str, as_json: bool) -> int:
    """Say what became of a context."""
    if as_json:
        write_json({"name": name, "status": status})
    else:
        write_lines([status])
    return exits.OK


def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For a shell to complete."""
    return [name for name in load().tables if name.startswith(incomplete)]


@command.command("list")
@json_option
def list_(as_json: bool) -> int:
    """Print the contexts: whether it is the current one (*), name, options. Ends with 1 when there is none.

    \b
    Examples:
      nexo context list
    """
    contexts = load()
    if as_json:
        for name, table in contexts.tables.items():
            write_json({"name": name, "current": name == contexts.current, **shown(table)})
    else:
        rows = (
            (
                "*" if name == contexts.current else "",
                name,
                " ".join(f"{k}={v}" for k, v in shown(table).items()),
            )
            for name, table in contexts.tables.items()
        )
        write_table(("CURRENT", "NAME", "OPTIONS"), rows)
    return exits.OK if contexts.tables else exits.NEGATIVE


def shown(table: dict[str, Any]) -> dict[str, Any]:
    """Options as they may be seen."""
    return {key: "***" if key in SECRETS and value else value for key, value in table.items()}


@command.command("use")
@click.argument("name", shell_complete=names)
@json_option
def use(name: str, as_json: bool) -> int:
    """Make NAME the context of all commands that name none.

    \b
    Examples:
      nexo context use production
    """
    contexts = load()
    named(contexts, name)
    save(Contexts(name, contexts.tables))
    return tell(name, "current", as_json)


@command.command("remove")
@click.argument("name", shell_complete=names)
@json_option
def remove(name: str, as_json: bool) -> int:
    """Forget the context NAME. If it is the current one, there is none then.

    \b
    Examples:
      nexo context remove staging
    """
    contexts = load()
    named(contexts, name)
    rest = {key: table for key, table in contexts.tables.items() if key != name}
    save(Contexts("" if name == contexts.current else contexts.current, rest))
    return tell(name, "removed", as_json)


@command.command("show")
@shared_options
@json_option
@click.pass_context
def show(ctx: click.Context, /, context: str | None, as_json: bool, **_: Any) -> int:
    """Print what a client command would use, and where each value comes from.

    \b
    Examples:
      nexo context show
      nexo context show --context staging --port 7655
    """
    chosen = context or load().current
    rows = []
    for one in shared_parameters():
        name = one.name or ""
        value = ctx.params[name]
        if name == "timeout":
            value = f"{value / 1000:g}s"
        rows.append((name, shown({name: value})[name], source(ctx, one, chosen)))
    if as_json:
        for name, value, origin in rows:
            write_json({"name": name, "value": value, "source": origin})
    else:
        write_table(
            ("OPTION", "VALUE", "SOURCE"), ((name, cell(value), origin) for name, value, origin in rows)
        )
    return exits.OK


def source(ctx: click.Context, option: click.Option, chosen: str) -> str:
    """Where the value of an option comes from."""
    found = ctx.get_parameter_source(option.name or "")
    if found is ParameterSource.COMMANDLINE:
        return option.opts[0]
    if found is ParameterSource.ENVIRONMENT:
        return str(option.envvar)
    return f"context {chosen}" if found is ParameterSource.DEFAULT_MAP else "default"
