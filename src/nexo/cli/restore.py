"""`nexo restore`: a data directory from a backup; or only whether the backup is good."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nexo.cli import exits
from nexo.cli.link import json_option
from nexo.cli.values import write_json, write_lines
from nexo.cli.verify import data_dir_option, on_disk, show_problems
from nexo.errors import DamagedBackupError

if TYPE_CHECKING:
    from nexo.client import Backup
    from nexo.storage.archive import ArchiveReader
    from nexo.storage.files import Files
    from nexo.storage.verify import Report


@click.command()
@click.argument("path", metavar="FILE")
@data_dir_option
@click.option("--check", is_flag=True, help="Only say whether the backup is as it was written.")
@click.option(
    "--force",
    is_flag=True,
    help="Move what is in the data directory to a folder in it, before-restore-TIME, instead of refusing.",
)
@json_option
def command(path: str, folder: str, check: bool, force: bool, as_json: bool) -> int:
    """Bring a data directory back from a backup.

    First every byte of the backup is compared with its checksums, and every record in it is checked as `nexo verify`
    does. A directory in which there is something is refused. Nothing is deleted, and a restore that is interrupted
    leaves the directory as it was, or as one that no broker starts with. At the end the directory is verified.

    Ends with 0 when the directory, or with --check the backup, is good, with 1 when something is damaged.

    \b
    Examples:
      nexo restore --check /backups/nexo-20260131T020000Z-81220.tar
      nexo restore nexo.tar --data-dir /var/lib/nexo
      nexo restore nexo.tar --data-dir /var/lib/nexo --force
    """
    try:
        archive: Archive = on_disk(read_archive, path)
    except DamagedBackupError as error:
        click.echo(f"nexo: {error}", err=True)
        return exits.NEGATIVE
    stops = any(problem.stops for problem in archive.report.problems)
    if check or stops:
        _tell(archive.info, as_json, {"damaged": archive.report.damaged})
        show_problems(archive.report, as_json)
        if stops and not check:
            click.echo("nexo: nothing was restored; tar takes the files out, and nexo repair mends", err=True)
        return exits.NEGATIVE if archive.report.damaged else exits.OK
    code: int = on_disk(_restore, folder, archive, force, as_json)
    return code


class Archive(NamedTuple):
    """A backup that has been checked: its bytes are good, and `report` is about what is in it."""

    files: Files
    name: str
    reader: ArchiveReader
    report: Report
    info: Backup


def read_archive(path: str) -> Archive:
    """Check a backup. Raises DamagedBackupError, NewerFormatError, OSError."""
    from nexo.client.backup import result
    from nexo.storage.backup import check_bytes, check_contents
    from nexo.storage.files import Files

    folder, name = os.path.split(path)
    files = Files(folder or ".")
    try:
        reader = check_bytes(files, name)
        report = check_contents(files, name, reader)
    finally:
        files.unlock()
    return Archive(files, name, reader, report, result(reader.manifest, path, reader.layout.size))


def _restore(folder: str, archive: Archive, force: bool, as_json: bool) -> int:
    from nexo.storage.backup import ArchiveFiles
    from nexo.storage.files import Files
    from nexo.storage.restore import restore

    source = ArchiveFiles(archive.files, archive.name, archive.reader)
    aside = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) if force else ""
    try:
        done = restore(source, archive.reader, archive.report, Files(folder), aside)
    finally:
        archive.files.unlock()
    _tell(archive.info, as_json, {"data_dir": folder, "moved_to": done.aside, "damaged": done.report.damaged})
    if not as_json:
        if done.aside:
            write_lines([f"{folder}: what was there is in {os.path.join(folder, done.aside)}"])
        if not done.report.problems:
            write_lines([f"{folder}: restored, nothing is damaged"])
    show_problems(done.report, as_json)
    return exits.NEGATIVE if done.report.damaged else exits.OK


def _tell(info: Backup, as_json: bool, more: dict[str, Any]) -> None:
    from nexo.cli.backup import described

    if as_json:
        write_json({**described(info), **more})
    else:
        time = info.time.isoformat(timespec="seconds")
        write_lines(
            [
                f"{info.path}: everything up to batch {info.batch}, of {time} by Nexo {info.version}, "
                f"{info.files} files, {info.bytes} bytes"
            ]
        )
