"""`nexo verify`: is everything in a data directory as it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nexo.cli import exits
from nexo.cli.link import json_option
from nexo.cli.values import write_json, write_lines
from nexo.errors import StorageError

if TYPE_CHECKING:
    from nexo.storage.verify import Report

data_dir_option = click.option(
    "--data-dir",
    "folder",
    envvar="NEXO_DATA_DIR",
    metavar="DIR",
    default="./data",
    show_default=True,
    help="The data directory of a broker that is not running.",
)


@click.command()
@data_dir_option
@json_option
def command(folder: str, as_json: bool) -> int:
    """Check every record in a data directory.

    Reads everything and changes nothing. Ends with 0 when all is as it was written; what a crash has left at
    the end of the last file is cut by the next start and counts as such. Ends with 1 when something is damaged
    or missing.

    \b
    Examples:
      nexo verify
      nexo verify --data-dir /var/lib/nexo
      nexo verify --json | jq 'select(.problem)'
    """
    from nexo.storage.verify import verify

    report = on_disk(verify, folder)
    show(report, as_json)
    return exits.NEGATIVE if report.damaged else exits.OK


def on_disk(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives; an error of the operating system becomes one of ours."""
    try:
        return function(*arguments)
    except OSError as error:
        raise StorageError(f"{error.filename or arguments[0]}: {error.strerror or error}") from None


def show(report: Report, as_json: bool) -> None:
    """A line for each file and for each problem."""
    for entry in report.files:
        if as_json:
            write_json(
                {
                    "file": entry.name,
                    "role": entry.role,
                    "bytes": entry.size,
                    "records": entry.records,
                    "first_batch": entry.first_batch,
                    "last_batch": entry.last_batch,
                }
            )
        else:
            write_lines([f"{entry.name}: {entry.role}, {entry.records} records, {entry.size} bytes"])
    show_problems(report, as_json)
    if not as_json and not report.problems:
        write_lines([f"{report.folder}: nothing is damaged"])


def show_problems(report: Report, as_json: bool) -> None:
    """A line for each problem."""
    for problem in report.problems:
        kind = "torn" if problem.torn else "damaged" if problem.stops else "bodies"
        if as_json:
            write_json(
                {"file": problem.name, "offset": problem.offset, "problem": kind, "reason": problem.reason}
            )
        else:
            write_lines([f"{problem.name}: {SAID[kind]} byte {problem.offset}: {problem.reason}"])


SAID = {
    "torn": "torn by a crash, the next start cuts it at",
    "damaged": "DAMAGED, a broker does not start with it, at",
    "bodies": "DAMAGED, a broker starts all the same, at",
}
"""How a problem is told."""
