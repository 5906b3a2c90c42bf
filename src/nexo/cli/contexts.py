"""The file of contexts: names for servers, each with options that the client commands then need not be given.

    current = "production"

    [context.production]
    host = "broker.example"
    timeout = "2s"

Owns where the file is, who may read it, and what it may say. Which options there are is link.py's table.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Table = dict[str, Any]


class Contexts(NamedTuple):
    """What the file says. `current` is the name of the one that is used unless another is named, or ""."""

    current: str
    tables: dict[str, Table]


def path() -> Path:
    """Where the file is, or would be: nexo/contexts.toml in $XDG_CONFIG_HOME, which is ~/.config unless it is set."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "nexo" / "contexts.toml"


def load() -> Contexts:
    """The contexts there are; none when there is no file. click.UsageError when it cannot be read."""
    file = path()
    try:
        with file.open("rb") as stream:
            read = tomllib.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return Contexts("", {})
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} is not TOML: {error}") from None
    current, tables = read.pop("current", ""), read.pop("context", {})
    if read or not isinstance(current, str) or not isinstance(tables, dict):
        raise click.UsageError(f"{file}: it has `current` and tables [context.NAME], nothing else")
    for name, one in tables.items():
        _check(file, name, one)
    return Contexts(current, tables)


def _check(file: Path, name: str, one: Any) -> None:
    from nexo.cli.link import shared_names

    if not isinstance(one, dict):
        raise click.UsageError(f"{file}: context {name} is a table")
    known = shared_names()
    for key, value in one.items():
        if key not in known:
            raise click.UsageError(f"{file}: context {name} has {key!r}; known are {', '.join(known)}")
        if not isinstance(value, str | int):
            raise click.UsageError(f"{file}: {key} of context {name} is text, a number, true or false")


def save(contexts: Contexts) -> None:
    """Write the file anew, whole or not at all; only its owner may read it. click.ClickException when it fails."""
    file = path()
    lines = [f"current = {_toml(contexts.current)}"] if contexts.current else []
    for name, one in contexts.tables.items():
        lines += ["", f"[context.{_toml(name)}]", *(f"{key} = {_toml(value)}" for key, value in one.items())]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp's files are for their owner alone from the beginning.
        number, made = tempfile.mkstemp(dir=file.parent, prefix=".contexts-")
        with open(number, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines).lstrip("\n") + "\n")
        os.replace(made, file)
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror or error}") from None


def _toml(value: Any) -> str:
    # What JSON makes of text and numbers is TOML, too, but for one character.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def named(contexts: Contexts, name: str) -> Table:
    """The table of a context. click.UsageError when there is none."""
    found = contexts.tables.get(name)
    if found is None:
        known = ", ".join(contexts.tables) or "none"
        raise click.UsageError(f"there is no context {name!r} in {path()}; there are: {known}")
    return found


def table(name: str | None) -> Table:
    """The options of the context that is named, or of the current one, or none."""
    contexts = load()
    chosen = name or contexts.current
    return named(contexts, chosen) if chosen else {}
