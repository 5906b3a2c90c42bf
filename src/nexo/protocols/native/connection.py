"""Order of the native protocol: bytes in, one frame after another out. No socket, no broker.

A value machine: `receive_data` takes a chunk, `next_frame` says what comes next. "Need more" is a
value, never an exception. At most one incomplete frame is held, and nothing is allocated for a
length that the peer merely claims.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import read_i32_be
from mypy_extensions import i32, i64

from nexo.protocols.native.opcodes import HEADER_BYTES, REQUEST, REQUEST_NO_RESPONSE, VERSION

NEED_DATA: Final = 0
FRAME: Final = 1
BAD_VERSION: Final = 2
BAD_TYPE: Final = 3
TOO_LARGE: Final = 4

SMALL_PIECE_BYTES: Final = 4096
"""Shorter pieces of a frame are joined as they come: an object for each would outweigh its bytes."""


@final
class Connection:
    """Splits what one client sends into request frames.

    After `next_frame` returned FRAME, the frame is `kind`, `code`, `correlation` and
    `buffer[start:end]`, valid until the next call. After BAD_VERSION, BAD_TYPE or TOO_LARGE there
    is no way back to a frame boundary: the caller answers with PROTOCOL_ERROR and closes.
    """

    __slots__ = (
        "buffer",
        "code",
        "correlation",
        "end",
        "frame_bytes_max",
        "kind",
        "length",
        "missing",
        "offset",
        "parts",
        "start",
    )

    def __init__(self, frame_bytes_max: i64) -> None:
        self.frame_bytes_max: i64 = frame_bytes_max
        self.buffer = b""
        self.offset: i64 = 0
        # A frame that came in pieces: they are joined once, when the last one is there, so a large
        # frame in small chunks costs no more than its length.
        self.parts: list[bytes] = []
        self.missing: i64 = 0
        self.kind: i64 = 0
        self.code: i64 = 0
        self.correlation: i32 = 0
        self.start: i64 = 0
        self.end: i64 = 0
        self.length: i64 = 0

    def receive_data(self, data: bytes) -> None:
        """Take a chunk. Call `next_frame` until it wants more before giving the next one."""
        if self.missing == 0 and self.offset == len(self.buffer):
            self.buffer = data
            self.offset = 0
            return
        if self.missing == 0:
            # The reader stopped between frames (its output was full) and more has come in.
            self.buffer = self.buffer[self.offset :] + data
            self.offset = 0
            return
        if len(data) < SMALL_PIECE_BYTES and len(self.parts[-1]) < SMALL_PIECE_BYTES:
            self.parts[-1] += data
        else:
            self.parts.append(data)
        self.missing -= len(data)
        if self.missing <= 0:
            self.missing = 0
            self.buffer = b"".join(self.parts)
            self.offset = 0
            self.parts = []

    def next_frame(self) -> i64:
        """NEED_DATA, FRAME, or what is wrong with the peer."""
        if self.missing > 0:
            return NEED_DATA
        buffer = self.buffer
        offset = self.offset
        available: i64 = len(buffer) - offset
        if available < HEADER_BYTES:
            if available > 0 and buffer[offset] != VERSION:
                return BAD_VERSION
            self.hold(HEADER_BYTES - available)
            return NEED_DATA
        self.correlation = read_i32_be(buffer, offset + 3)
        if buffer[offset] != VERSION:
            return BAD_VERSION
        kind: i64 = buffer[offset + 1]
        if kind != REQUEST and kind != REQUEST_NO_RESPONSE:
            return BAD_TYPE
        length: i64 = i64(read_i32_be(buffer, offset + 7)) & 0xFFFFFFFF
        self.length = length
        if length > self.frame_bytes_max:
            return TOO_LARGE
        if available < HEADER_BYTES + length:
            self.hold(HEADER_BYTES + length - available)
            return NEED_DATA
        self.kind = kind
        self.code = buffer[offset + 2]
        self.start = offset + HEADER_BYTES
        self.end = offset + HEADER_BYTES + length
        self.offset = self.end
        return FRAME

    def hold(self, missing: i64) -> None:
        """Keep the rest of the buffer until `missing` more bytes have come."""
        rest = self.buffer[self.offset :]
        self.buffer = b""
        self.offset = 0
        if rest:
            self.parts = [rest]
            self.missing = missing

    @property
    def buffered_bytes(self) -> i64:
        """What is held of frames that are not complete or not yet taken."""
        held: i64 = len(self.buffer) - self.offset
        for part in self.parts:
            held += len(part)
        return held
