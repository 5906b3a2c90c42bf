"""The bytes of a backup: one tar file, whose every byte follows from its manifest and from the files in it.

Owns the format; knows bytes, no file. The same list of parts is written and read: `parts` makes it from a
manifest, and a reader compares what came with what should be there, so no byte of an archive can change unseen.

    manifest.json       what is in the archive, see Manifest; written with an indent of one space
    <file of the data directory> …     in the manifest's order, log files up to the batch that it names
    checksums.json      {"crc32c": {name: eight hexadecimal digits}} of the manifest and of each file
    1,024 zero bytes    the end of a tar file

A member is a header of 512 bytes (POSIX.1-1988 "ustar": name, mode 0600, owner and group 0, size, the manifest's
time in seconds, type 0), its bytes, and zeros up to a multiple of 512. A size from 8 GiB on is written as GNU tar
does, in binary with the highest bit set. The name and the place of the first member, and the keys `format` and
`version` in it, stay as they are in all versions.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

import msgspec
from crc32c import crc32c

from nexo.errors import DamagedBackupError, LimitExceededError, NewerFormatError
from nexo.limits import BACKUP_MANIFEST_BYTES_MAX
from nexo.storage.format import LOG_NAME, SNAPSHOT_NAME

FORMAT: Final = "nexo-backup"
VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.json"
CHECKSUMS_NAME: Final = "checksums.json"
BLOCK_BYTES: Final = 512
END: Final = bytes(2 * BLOCK_BYTES)
OCTAL_SIZE_END: Final = 8**11
"""Eleven octal digits: larger sizes are written in binary."""
MEMBER_BYTES_MAX: Final = 1 << 62

_TAR: Final = Struct(">100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_SIZE_AT: Final = 124


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file in the archive: its name in the data directory, and its size in bytes."""

    name: str
    size: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds: everything up to `batch`. `time_ms` is when it was begun, `server` the version that did."""

    format: str
    version: int
    server: str
    time_ms: int
    batch: int
    files: list[Entry]

    def encode(self) -> bytes:
        """The bytes of manifest.json. LimitExceededError when there are too many files for one archive."""
        data = msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"
        if len(data) > BACKUP_MANIFEST_BYTES_MAX:
            raise LimitExceededError(
                f"a backup of {len(self.files)} files, whose manifest has {len(data)} bytes: "
                f"backup_manifest_bytes_max is {BACKUP_MANIFEST_BYTES_MAX}"
            )
        return data


class Part(NamedTuple):
    """A piece of the archive: `data` as it stands here, or `size` bytes of the file `name`."""

    offset: int
    size: int
    name: str
    data: bytes


class Layout(NamedTuple):
    """Where everything lies. The checksums come after `parts`, and are `checksums_size` bytes with all around them."""

    parts: list[Part]
    checksums_size: int

    @property
    def checksums_offset(self) -> int:
        """Where the header of checksums.json begins."""
        last = self.parts[-1]
        return last.offset + last.size

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return self.checksums_offset + self.checksums_size


def header(name: str, size: int, time_ms: int) -> bytes:
    """A member's header."""
    octal = size < OCTAL_SIZE_END
    fields = (
        name.encode(),
        b"0000600\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size if octal else b"\x80" + size.to_bytes(11, "big"),
        b"%011o\0" % (time_ms // 1000),
        b" " * 8,
        b"0",
        b"",
        b"ustar\0",
        b"00",
        b"",
        b"",
        b"0000000\0",
        b"0000000\0",
        b"",
    )
    data = _TAR.pack(*fields)
    return data[:148] + b"%06o\0 " % sum(data) + data[156:]


def padding(size: int) -> bytes:
    """The zeros behind a member."""
    return bytes(-size % BLOCK_BYTES)


def layout(manifest: Manifest, encoded: bytes) -> Layout:
    """All parts of the archive with this manifest, but for the checksums, which are known at the end."""
    time_ms = manifest.time_ms
    gathered = header(MANIFEST_NAME, len(encoded), time_ms) + encoded + padding(len(encoded))
    parts: list[Part] = []
    offset = 0
    for entry in manifest.files:
        gathered += header(entry.name, entry.size, time_ms)
        parts.append(Part(offset, len(gathered), "", gathered))
        offset += len(gathered)
        parts.append(Part(offset, entry.size, entry.name, b""))
        offset += entry.size
        gathered = padding(entry.size)
    parts.append(Part(offset, len(gathered), "", gathered))
    names = [MANIFEST_NAME, *(entry.name for entry in manifest.files)]
    return Layout(parts, len(checksums(dict.fromkeys(names, 0), time_ms)))


def checksums(crcs: dict[str, int], time_ms: int) -> bytes:
    """The last part: checksums.json with its header, and the end of the archive. Its size follows from the names."""
    text = {name: f"{crc:08x}" for name, crc in crcs.items()}
    data = msgspec.json.format(msgspec.json.encode({"crc32c": text}), indent=1) + b"\n"
    return header(CHECKSUMS_NAME, len(data), time_ms) + data + padding(len(data)) + END


class ArchiveReader:
    """Takes an archive a chunk at a time and checks every byte; `path` is its name for messages.

    Raises DamagedBackupError at the first byte that is not as it should be, NewerFormatError for an archive of a
    later version. `manifest` and `layout` are known once the first member has come, `crcs` grow as files do.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0
        self.crcs: dict[str, int] = {}
        self._manifest: Manifest | None = None
        self._layout: Layout | None = None
        self._part = 0
        self._held = b""

    @property
    def manifest(self) -> Manifest:
        """What the archive holds; `finish` has been called, or enough has come."""
        assert self._manifest is not None
        return self._manifest

    @property
    def layout(self) -> Layout:
        """Where it lies."""
        assert self._layout is not None
        return self._layout

    def receive(self, data: bytes) -> None:
        """The next bytes, however many."""
        if self._layout is None:
            self._held += data
            self._begin()
            return
        view = memoryview(data)
        while view:
            view = self._take(view)

    def finish(self) -> None:
        """There are no more bytes: it must be the end."""
        if self._layout is None or self.position != self._layout.size:
            where = self.position + len(self._held)
            of = f" of {self._layout.size}" if self._layout is not None else ""
            raise self._damaged(where, f"the archive ends early, after {where}{of} bytes")

    def _damaged(self, offset: int, reason: str) -> DamagedBackupError:
        return DamagedBackupError(self.path, offset, reason)

    def _begin(self) -> None:
        """The first member, as soon as it is whole."""
        held = self._held
        if len(held) < BLOCK_BYTES:
            return
        name = MANIFEST_NAME.encode()
        size_field = held[_SIZE_AT : _SIZE_AT + 11]
        if not held.startswith(name + b"\0") or size_field.strip(b"01234567"):
            raise self._damaged(0, f"it is no backup of a broker: it does not begin with {MANIFEST_NAME}")
        size = int(size_field, 8)
        if size > BACKUP_MANIFEST_BYTES_MAX:
            limit = f"backup_manifest_bytes_max is {BACKUP_MANIFEST_BYTES_MAX}"
            raise self._damaged(_SIZE_AT, f"its manifest has {size} bytes: {limit}")
        if len(held) < BLOCK_BYTES + size:
            return
        encoded = held[BLOCK_BYTES : BLOCK_BYTES + size]
        self._manifest = self._decode(encoded)
        self._layout = layout(self._manifest, encoded)
        self.crcs = {MANIFEST_NAME: crc32c(encoded)}
        self._held = b""
        self.receive(held)

    def _decode(self, encoded: bytes) -> Manifest:
        try:
            plain = msgspec.json.decode(encoded)
            if isinstance(plain, dict) and plain.get("format") == FORMAT:
                version = plain.get("version")
                if isinstance(version, int) and version > VERSION:
                    raise NewerFormatError(self.path, version)
            manifest = msgspec.json.decode(encoded, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(BLOCK_BYTES, f"{MANIFEST_NAME} cannot be read: {error}") from None
        if reason := _fault(manifest):
            raise self._damaged(BLOCK_BYTES, f"{MANIFEST_NAME} {reason}")
        return manifest

    def _take(self, view: memoryview) -> memoryview:
        """Check bytes of one part; what is left is of the next."""
        found = self.layout
        if self._part == len(found.parts):
            return self._take_checksums(view)
        part = found.parts[self._part]
        done = self.position - part.offset
        piece = view[: part.size - done]
        if part.name:
            self.crcs[part.name] = crc32c(piece, self.crcs.get(part.name, 0))
        else:
            self._compare(piece, part.data[done : done + len(piece)])
        self.position += len(piece)
        if self.position == part.offset + part.size:
            if part.name:
                self.crcs.setdefault(part.name, 0)
            self._part += 1
        return view[len(piece) :]

    def _compare(self, piece: memoryview, expected: bytes) -> None:
        if bytes(piece) != expected:
            at = next(place for place, byte in enumerate(expected) if piece[place] != byte)
            raise self._damaged(self.position + at, "what stands between the files is not as it was written")

    def _take_checksums(self, view: memoryview) -> memoryview:
        """Gathered until it is whole: then a file whose checksum differs can be named."""
        left = self.layout.size - self.position
        if left == 0:
            raise self._damaged(self.position, "bytes follow the end of the archive")
        self._held += bytes(view[:left])
        self.position += len(view[:left])
        if self.position == self.layout.size:
            self._check_checksums()
        return view[left:]

    def _check_checksums(self) -> None:
        found, self._held = self._held, b""
        if found == checksums(self.crcs, self.manifest.time_ms):
            return
        for name, crc in self.crcs.items():
            if f'"{name}": "{crc:08x}"'.encode() not in found:
                offset = next((p.offset for p in self.layout.parts if p.name == name), BLOCK_BYTES)
                raise self._damaged(offset, f"the checksum of {name} in it is wrong")
        raise self._damaged(self.layout.checksums_offset, f"{CHECKSUMS_NAME} is not as it was written")


def _fault(manifest: Manifest) -> str:
    """What a manifest says that cannot be; empty when it is sound."""
    if manifest.format != FORMAT or manifest.version != VERSION:
        return f"has format {manifest.format!r} version {manifest.version}"
    if not 0 <= manifest.time_ms < OCTAL_SIZE_END * 1000 or manifest.batch < 0:
        return f"has time {manifest.time_ms} and batch {manifest.batch}"
    names = [entry.name for entry in manifest.files]
    if len(set(names)) != len(names):
        return "names a file twice"
    for entry in manifest.files:
        if not entry.name.isascii() or not (
            LOG_NAME.fullmatch(entry.name) or SNAPSHOT_NAME.fullmatch(entry.name)
        ):
            return f"names {entry.name!r}, which is no file of a data directory"
        if not 0 <= entry.size <= MEMBER_BYTES_MAX:
            return f"gives {entry.name} {entry.size} bytes"
    return ""
