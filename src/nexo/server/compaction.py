"""Compaction: the log up to a file becomes a snapshot, and the files that nothing refers to go.

It is a recovery that writes down what it found: the complete log files are replayed into brokers of their
own, whose state is the new snapshot. That runs in a process of its own, so no turn of the server waits for it,
and nothing that the server does meanwhile can be half in it. Bodies are not copied: the snapshot says where
they lie, and names the files that must stay.

The process inherits the lock of the data directory and ends with the server, whose end it hears of on standard
input: the next server never reads a directory in which files are being removed.

    nexo __compaction FOLDER FILE        everything before log file FILE; in no help, for the server alone
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from librt.strings import BytesWriter

from nexo.brokers.journal import Journal
from nexo.brokers.mapreplay import DumpJob
from nexo.errors import NexoError
from nexo.node import Driver, Node, make_node
from nexo.server.program import COMPACTION, this_program
from nexo.server.replaying import replay
from nexo.storage.batch import Hooks
from nexo.storage.files import Files
from nexo.storage.log import Log
from nexo.storage.recovery import Recovery
from nexo.storage.snapshot import SnapshotWriter

log: Final = logging.getLogger("nexo.storage")

DUMP_BUDGET: Final = 1_000
NICENESS: Final = 10
"""The server and its clients come first."""


class Dump(Protocol):
    """A broker writing down its state."""

    def step(self, budget: int) -> bool: ...


class Standstill(Driver):
    """Time does not pass for brokers that only do again what was done."""

    def now(self) -> int:
        return 0

    def turn_opened(self) -> None:
        pass


def compact(files: Files, before: int) -> list[str]:
    """Write the snapshot of everything before a log file; the names of the files that are gone.

    Raises DamagedError, StorageError, and OSError when the disk refuses: then nothing has changed.
    """
    recovery = Recovery(files, before)
    node = make_node(Standstill(), Log(files, Hooks()))
    replay(recovery, node)
    end = recovery.start
    snapshot = SnapshotWriter(files, int(end.batch) - 1, int(end.epoch) - 1, before)
    keep = write_down(node, snapshot)
    return snapshot.finish(keep)


def write_down(node: Node, snapshot: SnapshotWriter) -> set[int]:
    """Add the state of the brokers to a snapshot; the numbers of the log files that it refers to."""
    out = Journal(keeping=True)
    queues = node.queues.dump(out, node.now, with_memory=False)
    streams = node.streams.dump(out)
    store = DumpJob(out, node.store)
    node.pubsub.kept.dump(out)
    jobs: list[Dump] = [queues, streams, store]
    for job in jobs:
        done = False
        while not done:
            done = job.step(DUMP_BUDGET)
            if len(out.out) > 0:
                snapshot.add(out.out.getvalue())
                out.out = BytesWriter()
    return queues.files | streams.files


class Compactor:
    """Starts compactions, one at a time."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    def start(self, before: int, done: Callable[[list[str]], None]) -> None:
        """Begin with what is before a log file. `done` gets the names of the files that are left, none if it failed."""
        self._task = asyncio.get_running_loop().create_task(self._run(before, done))

    async def _run(self, before: int, done: Callable[[list[str]], None]) -> None:
        names: list[str] = []
        try:
            command = [*this_program(), COMPACTION, self._files.folder, str(before)]
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,  # held open: it ends when we do
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(self._files.lock_handle,),
            )
            assert self._process.stderr is not None
            complaint = await self._process.stderr.read()
            await self._process.wait()
            if self._process.returncode == 0:
                # A file that is open is not gone, and giving it back may take the system a while.
                loop = asyncio.get_running_loop()
                names = await loop.run_in_executor(None, self._files.forget_removed)
            elif self._process.returncode is not None and self._process.returncode > 0:
                text = complaint.decode(errors="replace").strip()
                log.error("the log before file %d could not be compacted: %s", before, text)
        except OSError as error:
            log.error("a compaction could not be started: %s", error.strerror or error)
        finally:
            self._process = None
            done(names)

    async def stop(self) -> None:
        """End the one that runs: the next start does not miss it."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has ended, and nobody has looked yet
                self._process.kill()
        if self._task is not None:
            await self._task


def end_with_the_server() -> None:
    """Wait for the end of standard input, which the server holds open, and end at once."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main(arguments: list[str]) -> int:
    """One compaction; the complaint goes to standard error."""
    folder, before = arguments
    os.nice(NICENESS)
    threading.Thread(target=end_with_the_server, daemon=True).start()
    try:
        compact(Files(folder), int(before))
    except (NexoError, OSError) as error:
        os.write(2, f"{error}\n".encode())
        return 1
    return 0
