"""A log from recovery to its end, as a node runs it, and what its clients were told. For tests."""

from __future__ import annotations

from dataclasses import dataclass

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.errors import NexoError
from nexo.limits import LOG_FILE_BYTES
from nexo.storage.batch import Batch, Hooks
from nexo.storage.files import Files
from nexo.storage.format import operations
from nexo.storage.log import Log
from nexo.storage.recovery import Recovery
from nexo.storage.snapshot import SnapshotWriter
from nexo.storage.writer import SteppedWriter, Writer

KIND = 0x10
LEVELS = (MEMORY, FLUSH, FSYNC)


@dataclass
class Sent:
    """An operation that a client asked for: where it is, and what the client waits for."""

    body: bytes
    level: int
    batch: int
    address: int
    confirmed: bool = False
    failed: bool = False
    synced: bool = False


@dataclass
class Failure:
    """What the hook was told."""

    first_batch: int
    error: str
    lost: list[Batch]
    recoverable: bool


def snapshot_now(files: Files, log: Log) -> SnapshotWriter:
    """A snapshot of all batches that are closed."""
    return SnapshotWriter(files, log.batch - 1, log.epoch, log.file)


class Run(Hooks):
    """Recovers, then takes operations. The writer does nothing until `step`."""

    def __init__(
        self, files: Files, writer_class: type[Writer] = Writer, file_bytes: int = LOG_FILE_BYTES
    ) -> None:
        super().__init__()
        self.files = files
        files.make_folder()
        files.lock()
        self.recovery = Recovery(files)
        try:
            self.replayed = list(self.recovery.replay())
        except NexoError:
            files.unlock()
            raise
        self.report = self.recovery.report
        self.bodies = [
            item.payload[start:end] for item in self.replayed for _, start, end in operations(item.payload)
        ]
        start = self.recovery.start
        self.sent: list[Sent] = []
        self.failures: list[Failure] = []
        self.now_ms = 1000
        self.writer = writer_class(files, start, lambda report: self.log.settle(report))
        self.sink = SteppedWriter(self.writer)
        self.log = Log(files, self, file_bytes)
        self.log.go_on(self.sink, start)

    def append(self, body: bytes, level: int = FSYNC) -> Sent:
        """One operation in the open batch."""
        out = self.log.begin(KIND, level)
        address = self.log.address()
        out.write(body)
        self.log.end()
        sent = Sent(body, level, self.log.batch, address)
        self.sent.append(sent)
        return sent

    def close(self, essential: bool = False) -> None:
        self.log.close_batch(essential)

    def step(self, ms: int = 0) -> None:
        """A round of the writer, after some time."""
        self.now_ms += ms
        self.sink.step(self.now_ms)

    def write(self, body: bytes, level: int = FSYNC, essential: bool = False) -> Sent:
        """An operation, its batch and a round of the writer."""
        sent = self.append(body, level)
        self.close(essential)
        self.step()
        return sent

    def stop(self) -> None:
        """The orderly end."""
        self.log.finish()
        self.step()
        self.writer.close()
        self.files.unlock()

    def settled(self) -> None:
        for sent in self.sent:
            if not sent.failed and self.log.settled(sent.batch, sent.level):
                sent.confirmed = True
            if not sent.failed and sent.batch <= self.log.synced:
                sent.synced = True

    def failed(self, first_batch: int, error: str, lost: list[Batch], recoverable: bool) -> None:
        self.failures.append(Failure(first_batch, error, lost, recoverable))
        numbers = {batch.number for batch in lost}
        for sent in self.sent:
            unsettled = not sent.confirmed and sent.batch >= first_batch
            if not sent.failed and (unsettled or sent.batch in numbers):
                sent.failed = True
