"""`nexo completion`: the script that makes a shell complete commands, options and names.

The script asks `nexo` itself, which knows its parsers (and, for names, the server): click does the work.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from nexo.cli import exits
from nexo.cli.group import COMPLETION, nexo
from nexo.cli.link import json_option
from nexo.cli.values import write_json, write_lines


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def command(shell: str, as_json: bool) -> int:
    """Print the script that makes a shell complete commands, options, and names that the server knows.

    \b
    Examples:
      nexo completion bash > ~/.local/share/bash-completion/completions/nexo
      nexo completion zsh > ~/.zfunc/_nexo
      nexo completion fish > ~/.config/fish/completions/nexo.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "the choices are click's own"
    maker = kind(nexo, {}, "nexo", COMPLETION)
    # Not maker.source(), which runs the bash that is here to see its version.
    script = maker.source_template % maker.source_vars()
    if as_json:
        write_json({"shell": shell, "script": script})
    else:
        write_lines([script.strip()])
    return exits.OK
