"""`nexo config`: the settings that a broker would have, has, or could have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from nexo.cli import exits
from nexo.cli.link import Target, client_command, json_option, talk
from nexo.cli.serve import config_options, describe
from nexo.cli.tables import write_table
from nexo.cli.values import write_json, write_lines
from nexo.server.config import DEFAULT, PREFIX, SETTINGS, resolve

if TYPE_CHECKING:
    from nexo.client import Client

SERVER_FLAG: Final = "--server"


class ConfigGroup(click.Group):
    """With --server, `show` is another command: --host and --port say where the server is, as everywhere."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[:1] == ["show"] and SERVER_FLAG in args:
            return "show", show_server, [one for one in args[1:] if one != SERVER_FLAG]
        return super().resolve_command(ctx, args)


@click.group("config", cls=ConfigGroup)
def command() -> None:
    """Show and check the settings of a broker.

    \b
    Examples:
      nexo config show --config nexo.toml
      nexo config show --server
      nexo config check nexo.toml
    """


@command.command("show")
@config_options
@click.option("--config", "file", metavar="FILE", help=f"TOML file with settings; also {PREFIX}CONFIG.")
@click.option(
    SERVER_FLAG, "server", is_flag=True, help="Ask a running server; then --host and --port say which."
)
@json_option
def show(file: str | None, server: bool, as_json: bool, **flags: str | None) -> int:
    """Print the settings that `nexo serve` would have with the same flags, environment and file, and their sources.

    With --server, those that a running server has: see `nexo config show --server -h`.

    \b
    Examples:
      nexo config show
      nexo config show --config nexo.toml --port 7655
      nexo config show --server --host broker.example
    """
    effective = resolve(file, os.environ, flags)
    if as_json:
        for name in SETTINGS:
            value, source = getattr(effective.config, name), effective.sources[name]
            write_json({"name": name, "value": value, "source": source})
    else:
        write_lines([describe(effective)])
    return exits.OK


@client_command("show")
def show_server(target: Target, as_json: bool) -> int:
    """Print the settings that a running server has: name, value, source.

    \b
    Examples:
      nexo config show --server
    """

    async def work(client: Client) -> int:
        settings = await client.server.config()
        if as_json:
            for one in settings:
                write_json({"name": one.name, "value": one.value, "source": one.source})
        else:
            write_table(
                ("SETTING", "VALUE", "SOURCE"), ((one.name, one.value, one.source) for one in settings)
            )
        return exits.OK

    return talk(target, work)


@command.command("check")
@click.argument("file", type=click.Path())
@json_option
def check(file: str, as_json: bool) -> int:
    """Check a file of settings, alone, without the environment. Ends with 2 when a server could not be started with it.

    \b
    Examples:
      nexo config check nexo.toml
    """
    effective = resolve(file, {}, {})
    given = [name for name, source in effective.sources.items() if source != DEFAULT]
    if as_json:
        write_json({"file": file, "settings": {name: getattr(effective.config, name) for name in given}})
    else:
        write_lines([f"{file}: valid, {len(given)} settings"])
    return exits.OK
