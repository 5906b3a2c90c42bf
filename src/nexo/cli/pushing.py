"""What `queue push` and `stream append` are given: one value, or lines."""

from __future__ import annotations

import sys
from typing import Any

import click

from nexo.cli.values import STDIN, from_bytes, from_text, read_whole


def given(value: str | None, file: str | None, whole: bool, kind: str) -> tuple[list[Any], str | None]:
    """One value, or the file whose lines are meant."""
    if value == STDIN:
        value, file = None, STDIN
    elif value is not None and file is not None:
        raise click.UsageError("either VALUE or --file, not both")
    elif value is None and file is None:
        if sys.stdin.isatty():
            raise click.UsageError("no VALUE, and standard input is a terminal; - reads it all the same")
        file = STDIN
    if value is not None:
        return [from_text(value, kind)], None
    assert file is not None
    return ([from_bytes(read_whole(file), kind)], None) if whole else ([], file)
