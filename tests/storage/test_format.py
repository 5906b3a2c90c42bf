"""Bytes of headers, records and operations; the scanner, given a file whole, byte by byte and with a tail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexo.errors import StorageError
from nexo.storage.format import (
    HEAD_BYTES,
    HEADER_BYTES,
    KIND_LOG,
    Header,
    Record,
    Scanner,
    decode_header,
    head,
    head_crc,
    header_fault,
    log_name,
    operation,
    operations,
    snapshot_name,
)
from nexo.storage.tail import damage, has_hole, next_head

PAYLOADS = [b"", b"one", bytes(1000), b"\xff" * 513]


def log_bytes(payloads: list[bytes], behind: int = 0, salt: int = 7) -> bytes:
    """A log file that begins with batch 5."""
    header = Header(KIND_LOG, salt, 2, 3, 2, 5, 99)
    data = header.encode()
    chain = header.crc
    for number, payload in enumerate(payloads):
        record_head = head(header.crc, 5 + number, chain, min(behind, 4 + number), payload)
        chain = head_crc(record_head)
        data += record_head + payload
    return data


def scan(scanner: Scanner, pieces: list[bytes]) -> list[Record]:
    found = []
    for piece in pieces:
        scanner.receive(piece)
        while (record := scanner.next()) is not None:
            found.append(record)
    return found


def test_a_header_is_read_as_it_was_written() -> None:
    header = Header(KIND_LOG, 0xFFFFFFFF, 1 << 40, 12, 11, 1 << 50, 0xFEDCBA98)
    data = header.encode()
    assert len(data) == HEADER_BYTES
    assert header_fault(data) == ""
    read = decode_header(data)
    for name in ("version", "kind", "salt", "epoch", "number", "previous", "first", "chain", "crc"):
        assert getattr(read, name) == getattr(header, name)
    assert read.encode() == data


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    data = log_bytes([])
    for bit in range(HEADER_BYTES * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        assert header_fault(bytes(broken))
    for size in range(HEADER_BYTES):
        assert header_fault(data[:size])


@pytest.mark.parametrize("step", [1, 7, 28, 10_000])
def test_the_scanner_gives_the_records_however_the_bytes_come(step: int) -> None:
    data = log_bytes(PAYLOADS)
    pieces = [data[at : at + step] for at in range(HEADER_BYTES, len(data), step)]
    scanner = Scanner(decode_header(data))
    found = scan(scanner, pieces)
    assert [record.payload for record in found] == PAYLOADS
    assert [record.batch for record in found] == [5, 6, 7, 8]
    assert [record.synced for record in found] == [4, 5, 6, 7]
    assert scanner.finish() == ""
    assert scanner.position == found[-1].end == len(data)
    for record in found:
        start = record.offset + HEAD_BYTES
        assert data[start : record.end] == record.payload


def test_the_scanner_says_how_much_it_wants() -> None:
    data = log_bytes([bytes(1000)])
    scanner = Scanner(decode_header(data))
    assert scanner.wanted == HEAD_BYTES
    scan(scanner, [data[HEADER_BYTES : HEADER_BYTES + 40]])
    assert scanner.wanted == len(data) - HEADER_BYTES - 40
    assert scanner.finish() == "the file ends inside a record"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (log_bytes([b"a"]) + log_bytes([b"a"])[HEADER_BYTES:], "batch 5 where 6 should be"),
        (
            log_bytes([b"a", b"b"])[: HEADER_BYTES + 29] + log_bytes([b"x", b"b"])[HEADER_BYTES + 29 :],
            "does not continue",
        ),
        (
            log_bytes([b"a", b"b"])[: HEADER_BYTES + 29]
            + log_bytes([b"a", b"b"], salt=8)[HEADER_BYTES + 29 :],
            "head",
        ),
        (log_bytes([b"a", b"b"])[:-1] + b"c", "payload"),
        (log_bytes([b"a"]) + bytes(100), "head"),
    ],
)
def test_what_is_no_continuation_is_not_taken_for_one(broken: bytes, reason: str) -> None:
    scanner = Scanner(decode_header(broken))
    found = scan(scanner, [broken[HEADER_BYTES:]])
    assert [record.payload for record in found] == [b"a"]
    assert reason in scanner.finish()
    assert scanner.position == found[0].end
    scanner.receive(log_bytes([b"more"]))
    assert scanner.next() is None


@given(st.lists(st.tuples(st.integers(2, 255), st.binary(max_size=40)), max_size=6))
def test_operations_are_split_as_they_were_joined(given_operations: list[tuple[int, bytes]]) -> None:
    payload = b"".join([operation(kind, body) for kind, body in given_operations])
    assert [(kind, payload[start:end]) for kind, start, end in operations(payload)] == given_operations


@given(st.binary(max_size=30))
def test_any_bytes_are_operations_or_a_storage_error(payload: bytes) -> None:
    end = 0
    try:
        for _, start, end in operations(payload):
            assert start <= end <= len(payload)
    except StorageError:
        assert end < len(payload)
    else:
        assert end == len(payload)


def test_names_sort_as_numbers() -> None:
    assert log_name(9) < log_name(10) < log_name((1 << 32) - 1)
    assert snapshot_name(9) < snapshot_name(10) < snapshot_name(1 << 62)


def test_a_hole_is_a_sector_that_was_not_written() -> None:
    data = b"\1" * 512 + bytes(512) + b"\1" * 512
    assert has_hole(data, 100, 1200)
    assert has_hole(data, 600, 1200)
    assert not has_hole(data, 100, 500)
    assert not has_hole(data, 100, 900), "the follower's sector has been written"
    assert not has_hole(b"\1" * 2000, 100, 1900)


def torn(behind: int, hole: bool) -> str:
    """The verdict on a second record that is broken, by a flipped bit or by a missing sector."""
    data = bytearray(log_bytes([b"1" * 100, b"2" * 2000, b"3" * 100], behind))
    start = HEADER_BYTES + HEAD_BYTES + 100
    if hole:
        data[1024:1536] = bytes(512)
    else:
        data[1030] ^= 1
    header = decode_header(bytes(data))
    return damage(bytes(data), start, header.crc, 6)


def test_a_missing_sector_before_a_whole_record_is_torn_unless_it_was_on_disk() -> None:
    assert torn(behind=5, hole=True) == ""
    assert "already on disk" in torn(behind=0, hole=True)
    assert "already on disk" in torn(behind=0, hole=False)
    assert "is whole" in torn(behind=5, hole=False)


def test_a_message_that_looks_like_a_record_is_not_taken_for_one() -> None:
    """The salt: nobody who writes a message knows how its file's checksums begin."""
    trap = log_bytes([b"x"] * 5, salt=1)
    data = log_bytes([b"1", trap * 20])[:-3]
    header = decode_header(data)
    assert next_head(data, HEADER_BYTES + HEAD_BYTES + 1, header.crc, 6) == -1
    assert damage(data, HEADER_BYTES + HEAD_BYTES + 1, header.crc, 6) == ""
