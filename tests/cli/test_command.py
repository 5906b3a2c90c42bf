"""The command as a whole: help, version, exit codes without a server, and how fast it starts."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nexo.cli import exits, main
from nexo.cli.group import COMMANDS, nexo
from tests.cli.processes import run

DOCS = Path(__file__).parents[2] / "docs"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name."""
    context = nexo.make_context("nexo", ["--"], resilient_parsing=True)
    for name in COMMANDS:
        found = nexo.get_command(context, name)
        assert found is not None
        yield name, found
        if isinstance(found, click.Group):
            yield from (
                (f"{name} {sub}", command) for sub, command in found.commands.items() if name != "bench"
            )


@pytest.mark.parametrize(("name", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_every_command_has_help_with_examples(name: str, command: click.Command) -> None:
    top = nexo.make_context("nexo", ["--"], resilient_parsing=True)
    text = command.get_help(click.Context(command, parent=top, info_name=name))
    assert f"nexo {name}" in text.partition("\n  Examples:\n")[2]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.name} has no help"


WITHOUT_JSON = {"serve"}
"""Their output is no answer: one line says that a server is ready."""


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, however deep."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from leaves(f"{name} {sub}".strip(), found)
        if not command.invoke_without_command:
            return
    yield name, command


def test_every_command_can_print_json() -> None:
    without = set()
    for name, command in leaves("", nexo):
        if not any("--json" in one.opts for one in command.params):
            without.add(name)
    assert without == WITHOUT_JSON


def test_one_line_for_each_command_is_what_its_help_begins_with() -> None:
    listed = run("--help")
    assert listed.code == 0
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", listed.text, re.MULTILINE)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_both_spellings_of_help(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([flag], ["store", flag], ["store", "get", flag], ["sub", flag]):
        assert main(arguments) == exits.OK
        assert "Usage: nexo" in capsys.readouterr().out


def test_version() -> None:
    done = run("--version")
    version = ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(rf"nexo \d+\.\d+\.\d+\S* \((compiled|interpreted)\), Python {version}\n", done.text)
    assert run("-V") == done


def test_wrong_command_lines_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        [],
        ["pong"],
        ["store"],
        ["store", "get"],
        ["ping", "--port", "0"],
        ["ping", "--timeout", "soon"],
        ["sub"],
        ["set", "a", "b"],
        ["store", "set", "k"],
        ["store", "set", "k", "v", "--file", "f"],
        ["store", "set", "k", "--file", "/nowhere/at/all"],
        ["pub", "t", "m", "--file", "f"],
        ["pub", "t", "m", "--header", "name"],
        ["request", "t"],
    ):
        assert main(arguments) == exits.USAGE, arguments
        written = capsys.readouterr()
        assert written.out == ""
        assert written.err


def test_no_server_is_one_line_and_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    done = run("ping", "--port", port)
    assert (done.code, done.out) == (exits.FAILED, b"")
    assert port in done.err
    assert done.err.count("\n") == 1


def test_a_server_that_says_nothing_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run("ping", "--port", str(silent.getsockname()[1]), "--timeout", "300ms")
    assert (done.code, done.out) == (exits.FAILED, b"")
    assert done.err.count("\n") == 1


def test_help_and_version_import_little() -> None:
    """What makes `nexo --help` quick: neither asyncio nor a command's module is imported for it."""
    program = (
        "import sys; from nexo.cli import main; main(['--help']); sys.stderr.write(' '.join(sys.modules))"
    )
    import subprocess

    from tests.surroundings import environment

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    modules = set(done.stderr.split())
    assert not modules & {
        "asyncio",
        "msgspec",
        "uvloop",
        "nexo.cli.store",
        "nexo.server.config",
        "nexo.client",
    }


def test_the_page_has_the_exit_codes_and_every_command() -> None:
    page = (DOCS / "cli.md").read_text()
    for name in ("OK", "NEGATIVE", "USAGE", "FAILED", "INTERRUPTED"):
        assert f"\n| {getattr(exits, name)} | " in page
    for name, _ in commands():
        top, _, sub = name.partition(" ")
        assert f"`nexo {top}`" in page
        if top in ("store", "queue", "stream") and sub:
            assert f"`{sub} " in page
