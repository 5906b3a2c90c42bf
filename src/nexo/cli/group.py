"""The tree of subcommands, each in a module of its own that is imported when it is called.

Owns how an error becomes a message and an exit code. Knows the names of the commands, not what they do.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Final

import click

from nexo.cli import exits
from nexo.errors import ConfigError, NexoError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "serve": ("nexo.cli.serve", "Run a broker."),
    "ping": ("nexo.cli.ping", "Measure round trips to a broker."),
    "store": ("nexo.cli.store", "Read, write and watch keys."),
    "pub": ("nexo.cli.pub", "Publish messages: an argument, lines of standard input, a file."),
    "sub": ("nexo.cli.sub", "Receive the messages of one or more filters."),
    "request": ("nexo.cli.request", "Send a request and print its reply."),
    "queue": ("nexo.cli.queue", "Push, consume and look after jobs."),
    "stream": ("nexo.cli.stream", "Append to, read and look after streams, and their groups."),
    "user": ("nexo.cli.user", "Make and change the accounts of a server."),
    "backup": ("nexo.cli.backup", "Back up a broker while it runs."),
    "restore": ("nexo.cli.restore", "Bring a data directory back from a backup."),
    "verify": ("nexo.cli.verify", "Check every record in a data directory."),
    "repair": ("nexo.cli.repair", "Move away what a broker cannot start with."),
    "status": ("nexo.cli.status", "Say how a broker does."),
    "clients": ("nexo.cli.clients", "List the connections of a broker, and close one."),
    "top": ("nexo.cli.top", "Watch what is busy in a broker."),
    "config": ("nexo.cli.config", "Show and check the settings of a broker."),
    "context": ("nexo.cli.context", "Name servers, and choose one."),
    "completion": ("nexo.cli.completion", "Print what completes commands in a shell."),
    "bench": ("nexo.cli.bench", "Load a broker and measure it."),
}
"""Name → (module with a click command called `command`, one line of help)."""

CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

COMPLETION: Final = "_NEXO_COMPLETE"
"""Set by the shell function that `_NEXO_COMPLETE=bash_source nexo` prints; click answers it."""


class LazyGroup(click.Group):
    """Lists its commands from the table, and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        try:
            found: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise click.UsageError(f"`nexo {cmd_name}` is not part of this installation") from None
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from nexo.cli.version import version_line

        click.echo(version_line())
        ctx.exit()


@click.group("nexo", cls=LazyGroup, context_settings=CONTEXT)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="What runs here.",
)
def nexo() -> None:
    """Nexo: a key-value store, publish/subscribe, queues and streams behind one port.

    \b
    Examples:
      nexo serve                              run a broker on 127.0.0.1:7654
      nexo store set greeting hello           write a key
      nexo sub 'sensors/#'                    print what is published there
      nexo pub sensors/kitchen 21.5           publish a message
      nexo queue push mail hello              push a job
      nexo stream tail events                 print records as they are appended
      nexo COMMAND -h                         more about one command
    """


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name; every expected error ends as one line and an exit code."""
    if COMPLETION in os.environ:
        nexo.main(arguments, prog_name="nexo")
    try:
        # Not nexo.main: it has views of its own on closed pipes and Ctrl-C.
        with nexo.make_context("nexo", list(arguments)) as context:
            result = nexo.invoke(context)
        return result if isinstance(result, int) else exits.OK
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return exits.USAGE
    except click.ClickException as error:
        error.show()
        return exits.USAGE
    except click.Abort:
        return exits.INTERRUPTED
    except ConfigError as error:
        return _fail(str(error), exits.USAGE)
    except NexoError as error:
        return _fail(str(error) or type(error).__name__, exits.FAILED)


def _fail(message: str, code: int) -> int:
    click.echo(f"nexo: {message}", err=True)
    return code
