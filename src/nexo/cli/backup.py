"""`nexo backup`: a broker's data directory as one file, while it runs or while it does not."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from nexo._version import __version__
from nexo.cli import exits
from nexo.cli.link import Target, client_options, json_option, talk
from nexo.cli.values import write_json, write_lines
from nexo.cli.verify import on_disk, show_problems

if TYPE_CHECKING:
    from nexo.client import Backup, BackupProgress, Client

PROGRESS_SECONDS = 1.0
"""How often a line of progress is written, or the one on a terminal is replaced."""


@click.command()
@click.option(
    "--to",
    "path",
    metavar="FILE|DIR",
    required=True,
    help="The file, which must not be there yet; in a directory it is called nexo-TIME-BATCH.tar.",
)
@click.option(
    "--data-dir", "folder", metavar="DIR", help="Back up the directory of a broker that is not running."
)
@client_options
@json_option
@click.pass_context
def command(context: click.Context, target: Target, path: str, folder: str | None, as_json: bool) -> int:
    """Back up a broker while it runs.

    The backup holds everything that was confirmed before the command began: queues and streams, and nothing that is
    kept in memory only. It is one tar file. Every byte is checked on its way, the file gets its name when it is on
    disk, and then it is read once more as `nexo restore --check` does. Ends with 1 when something in it is damaged,
    as it was in the data directory.

    \b
    Examples:
      nexo backup --to /backups
      nexo backup --host broker.example --to nexo.tar
      nexo backup --data-dir /var/lib/nexo --to /backups    while the broker is down
      nexo backup --to /backups --json | jq 'select(.file)'
    """
    progress = Progress(as_json)
    if folder is not None:
        for name in ("host", "port"):
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--data-dir and --{name} exclude each other")
        made = on_disk(_at_rest, folder, path, progress)
    else:
        made = _running(target, path, progress)
    progress.end()
    return _checked(made, as_json, progress)


class Progress:
    """Lines on standard error for a person, on standard output as JSON, neither in a pipe's way."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._shown = as_json or sys.stderr.isatty()
        self._began = time.monotonic()
        self._told = self._began
        self._line = ""

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def tell(self, progress: BackupProgress) -> None:
        """How far it is."""
        now = time.monotonic()
        if not self._shown or (now - self._told < PROGRESS_SECONDS and progress.bytes < progress.total):
            return
        self._told = now
        percent = 100 * progress.bytes / progress.total
        rate = progress.bytes / max(self.seconds, 1e-3)
        if self._as_json:
            write_json(
                {
                    "bytes": progress.bytes,
                    "total": progress.total,
                    "percent": round(percent, 1),
                    "bytes_per_second": round(rate),
                }
            )
        else:
            self._replace(
                f"{progress.bytes} of {progress.total} bytes, {percent:.1f} %, {rate / 1e6:.1f} MB/s"
            )

    def end(self) -> None:
        """No more progress."""
        if self._line:
            self._replace("")

    def _replace(self, line: str) -> None:
        click.echo(f"\r{line:<{len(self._line)}}\r{line}", nl=False, err=True)
        self._line = line


def _running(target: Target, path: str, progress: Progress) -> Backup:
    made: list[Backup] = []

    async def work(client: Client) -> int:
        made.append(await client.backup(path, on_progress=progress.tell))
        return exits.OK

    talk(target, work)
    return made[0]


def _at_rest(folder: str, path: str, progress: Progress) -> Backup:
    """Of a directory whose lock is ours meanwhile."""
    from nexo.client.backup import place, result
    from nexo.client.backupinfo import BackupProgress
    from nexo.limits import SCAN_BYTES
    from nexo.storage.backup import Source, Target, at_rest
    from nexo.storage.files import Files

    files = Files(folder)
    files.lock(shared=True)
    try:
        entries, batch = at_rest(files)
        time_ms = time.time_ns() // 1_000_000
        source = Source(files, entries, batch, __version__, time_ms)
        where, name = place(path, batch, time_ms)
        with Target(Files(where), name) as target:
            while data := source.read(SCAN_BYTES):
                target.write(data)
                progress.tell(BackupProgress(source.position, source.size))
            target.finish()
        return result(target.reader.manifest, os.path.join(where, name), source.size)
    finally:
        files.unlock()


def _checked(made: Backup, as_json: bool, progress: Progress) -> int:
    """Say what was made, and whether what is in it is whole."""
    from nexo.cli.restore import read_archive

    archive = on_disk(read_archive, made.path)
    damaged = archive.report.damaged
    if as_json:
        write_json({**described(made), "seconds": round(progress.seconds, 3), "damaged": damaged})
    else:
        write_lines(
            [
                f"{made.path}: everything up to batch {made.batch}, {made.files} files, {made.bytes} bytes "
                f"in {progress.seconds:.1f} s"
            ]
        )
    show_problems(archive.report, as_json)
    return exits.NEGATIVE if damaged else exits.OK


def described(made: Backup) -> dict[str, Any]:
    """A backup in a JSON line."""
    return {
        "file": made.path,
        "bytes": made.bytes,
        "batch": made.batch,
        "files": made.files,
        "time": made.time.isoformat(timespec="milliseconds"),
        "version": made.version,
    }
