"""`nexo serve`: a broker in this process, until a signal ends it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nexo._version import __version__
from nexo.cli import exits
from nexo.cli.version import build
from nexo.server.allocator import with_huge_pages
from nexo.server.config import PREFIX, SETTINGS, Effective, Setting, resolve
from nexo.server.logs import configure
from nexo.server.program import part_from_loader, start_again
from nexo.server.units import format_bytes

if TYPE_CHECKING:
    from nexo.server.app import Server

log = logging.getLogger("nexo.serve")

Function = Callable[..., Any]


def config_options(function: Function) -> Function:
    """A flag for each setting; the configuration checks what it is given, not click."""
    for setting in reversed(SETTINGS.values()):
        shown = format_bytes(setting.default) if setting.unit == "bytes" else setting.default
        metavar = {"bytes": "SIZE", "seconds": "SECONDS"}.get(setting.unit) or setting.name.split("_")[
            -1
        ].upper()
        text = f"{setting.help}  [{', '.join([*setting.choices, f'default: {shown}'])}]"
        function = click.option(setting.flag, setting.name, metavar=metavar, help=text)(function)
    return function


@click.command()
@config_options
@click.option("--config", "file", metavar="FILE", help=f"TOML file with settings; also {PREFIX}CONFIG.")
@click.option(
    "--check", is_flag=True, help="Print the settings in effect and where each comes from, and end."
)
def command(file: str | None, check: bool, **flags: str | None) -> int:
    """Run a broker.

    Each setting is also an environment variable (--http-port: NEXO_HTTP_PORT) and a key of the TOML
    file (http_port). A flag wins over the environment, the environment over the file.

    Prints one line when it is ready. The first SIGTERM or SIGINT ends it in order: what was read is
    answered, clients are told. The second ends it at once.

    \b
    Examples:
      nexo serve
      nexo serve --port 0                              pick a free port and print it
      nexo serve --memory-max-bytes 512mb --eviction lru
      nexo serve --config nexo.toml --check
    """
    effective = resolve(file, os.environ, flags)
    if check:
        click.echo(describe(effective))
        return exits.OK
    part_from_loader()
    if effective.config.huge_pages == "auto" and (environ := with_huge_pages(os.environ)) is not None:
        start_again(environ)
    return run(effective)


def describe(effective: Effective) -> str:
    """The settings in effect as a TOML file, each with its source in a comment."""
    lines = [
        (f"{name} = {_toml(setting, getattr(effective.config, name))}", effective.sources[name])
        for name, setting in SETTINGS.items()
    ]
    width = max(len(line) for line, _ in lines)
    return "\n".join(f"{line:<{width}}  # {source}" for line, source in lines)


def _toml(setting: Setting, value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def run(effective: Effective) -> int:
    """Serve until a signal; returns the exit code."""
    config = effective.config
    configure(config.log_level, config.log_format)
    # Imported here so that --help and --check need none of the broker.
    from nexo.server.app import AddressError, serve

    try:
        _loop_runner()(serve(effective, announce))
    except AddressError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        click.echo(
            f"nexo: cannot listen on {error.filename or _address(config.host, config.port)}: {reason}",
            err=True,
        )
        return exits.NEGATIVE
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        click.echo(f"nexo: {what}{error.strerror or error}", err=True)
        return exits.FAILED
    return exits.OK


def announce(server: Server) -> None:
    """Say on standard output that connections are accepted; scripts wait for this line."""
    where = _address(server.host, server.port)
    if not ipaddress.ip_address(server.host.partition("%")[0]).is_loopback and not server.doorkeeper.on:
        log.warning("%s can be reached from other machines, and there are no accounts:", where)
        log.warning("whoever reaches the port may read and change everything; keep it behind a firewall")
    click.echo(f"nexo {__version__} ready on {where} ({build()}), pid {os.getpid()}")
    sys.stdout.flush()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _loop_runner() -> Callable[[Any], Any]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
