"""One file of the data directory, read from its header to its end, a chunk at a time.

Owns the checks that need nothing but the file and its name (F1–F5 and R1–R4 of format.py). Knows neither
the files around it nor what follows from a fault.
"""

from __future__ import annotations

from collections.abc import Iterator

from nexo.errors import NewerFormatError
from nexo.limits import SCAN_BYTES
from nexo.storage.files import Files
from nexo.storage.format import (
    HEADER_BYTES,
    KIND_LOG,
    KIND_SNAPSHOT,
    LOG_NAME,
    SNAPSHOT_NAME,
    VERSION,
    Header,
    Record,
    Scanner,
    decode_header,
    header_fault,
)


class FileReader:
    """A file being read. `fault` says what is wrong at byte `position`; it is final when `records` has ended.

    Raises NewerFormatError when a later version has written it, OSError when it cannot be read.
    """

    def __init__(self, files: Files, name: str) -> None:
        self.name = name
        self.path = files.path(name)
        self.size = files.size(name)
        self.position = 0
        self.header = Header(0, 0, 0, 0, 0, 0, 0)
        self.scanner: Scanner | None = None
        self._files = files
        data = files.read_at(name, 0, HEADER_BYTES)
        self.fault = header_fault(data)
        if not self.fault:
            self.header = decode_header(data)
            if self.header.version > VERSION:
                raise NewerFormatError(self.path, self.header.version)
            self.fault = self._header_fault()
        if not self.fault:
            self.scanner = Scanner(self.header)
            self.position = HEADER_BYTES

    @property
    def batch(self) -> int:
        """The last batch that was read, or the one before the first."""
        return self.scanner.batch if self.scanner else 0

    @property
    def chain(self) -> int:
        """What the next record or file has to continue."""
        return self.scanner.chain if self.scanner else 0

    def records(self) -> Iterator[Record]:
        """The valid records from the first on; call it once."""
        scanner = self.scanner
        if scanner is None:
            return
        offset = HEADER_BYTES
        while data := self._files.read_at(self.name, offset, max(SCAN_BYTES, scanner.wanted)):
            offset += len(data)
            scanner.receive(data)
            while (record := scanner.next()) is not None:
                self.position = scanner.position
                yield record
            if scanner.fault:
                break
        self.fault = scanner.finish()

    def _header_fault(self) -> str:
        header = self.header
        if header.version == VERSION:
            log, snapshot = LOG_NAME.fullmatch(self.name), SNAPSHOT_NAME.fullmatch(self.name)
            if log and header.kind == KIND_LOG and int(log[1]) == header.number:
                return ""
            if snapshot and header.kind == KIND_SNAPSHOT and int(snapshot[1]) == header.first:
                return ""
        return f"the header is that of another file (kind {header.kind}, number {header.number})"
