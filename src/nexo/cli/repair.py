"""`nexo repair`: make a damaged data directory one that a broker starts with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from nexo.cli import exits
from nexo.cli.link import json_option
from nexo.cli.values import write_json, write_lines
from nexo.cli.verify import data_dir_option, on_disk

if TYPE_CHECKING:
    from nexo.storage.repair import Plan


@click.command()
@data_dir_option
@click.option("--yes", is_flag=True, help="Do it; without this the plan is printed, and nothing is changed.")
@json_option
def command(folder: str, yes: bool, as_json: bool) -> int:
    """Move away what a broker cannot start with.

    Everything before the damage stays; what is damaged and all that was written after it is moved to files named
    FILE.damaged-OFFSET beside it. Nothing is deleted. Ends with 0 when nothing is left to do, with 1 when there
    is a plan that was not carried out.

    \b
    Examples:
      nexo repair                                print what would be lost
      nexo repair --yes                          do it
      nexo repair --data-dir /var/lib/nexo --yes
    """
    from nexo.storage.repair import apply, repair

    plan: Plan = on_disk(repair, folder)
    wanted = bool(plan.moves or plan.empty_files)
    if not as_json:
        write_lines(described(plan) if wanted else [f"{plan.folder}: nothing to repair"])
    if wanted and yes:
        on_disk(apply, plan)
    if as_json:
        write_json({**msgspec.to_builtins(plan), "done": wanted and yes})
    elif wanted:
        write_lines(["done" if yes else "nothing was changed; --yes does it"])
    return exits.NEGATIVE if wanted and not yes else exits.OK


def described(plan: Plan) -> list[str]:
    """The plan, a line for each step, and what it costs."""
    from nexo.storage.format import log_name

    lines = []
    for move in plan.moves:
        lines.append(
            f"{move.name}: bytes {move.offset} to {move.offset + move.size} "
            f"({move.records} whole records) go to {move.target}: {move.reason}"
        )
    for number in plan.empty_files:
        lines.append(
            f"{log_name(number)}: is missing and gets an empty file in its place: bodies in it are lost"
        )
    lines.append(f"{plan.records} whole records would be lost, {plan.bytes} bytes moved away")
    return lines
