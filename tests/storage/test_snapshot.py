"""Snapshots over real files: what they keep, what they remove, and that a broken one is passed over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nexo.errors import DamagedError
from nexo.limits import SNAPSHOT_RECORD_BYTES
from nexo.storage.files import Files
from nexo.storage.format import OFFSET_BITS, log_name, operation, snapshot_name
from nexo.storage.snapshot import TEMPORARY
from tests.simulation.run import KIND, Run, snapshot_now


def start(folder: Path) -> Run:
    return Run(Files(str(folder)), file_bytes=200)


def take(run: Run, keep: set[int] | None = None, state: list[bytes] | None = None) -> list[str]:
    """A snapshot of everything that was sent, or of a state."""
    snapshot = snapshot_now(run.files, run.log)
    for body in [*run.bodies, *[sent.body for sent in run.sent]] if state is None else state:
        snapshot.add(operation(KIND, body))
    return snapshot.finish(keep or set())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("lock", "reserve"))


def test_a_snapshot_replaces_the_log_before_it(tmp_path: Path) -> None:
    run = start(tmp_path)
    for number in range(20):
        run.write(b"%02d" % number)
    files = names(tmp_path)
    removed = take(run, keep={2})
    assert removed == [files[0], *files[2:-1]]
    assert names(tmp_path) == [files[1], files[-1], snapshot_name(20)]
    kept = run.sent[5]
    assert kept.address >> OFFSET_BITS == 2
    assert run.log.read(kept.address, 2) == kept.body
    run.write(b"after")
    run.stop()
    again = start(tmp_path)
    assert again.report.snapshot_batch == 20
    assert again.bodies == [*[b"%02d" % number for number in range(20)], b"after"]
    assert [item.address for item in again.replayed[:1]] == [0]
    assert [item.batch for item in again.replayed] == [20, 21]
    assert again.log.read(kept.address, 2) == kept.body
    # And once more, without the kept file.
    assert log_name(2) in take(again)
    assert [name for name in names(tmp_path) if name.startswith("snapshot")] == [snapshot_name(22)]
    again.stop()
    assert start(tmp_path).bodies == again.bodies


def test_a_large_snapshot_has_many_records(tmp_path: Path) -> None:
    run = start(tmp_path)
    run.write(b"x")
    state = [b"%06d" % number + bytes(200) for number in range(5 * SNAPSHOT_RECORD_BYTES // 200)]
    take(run, state=state)
    run.stop()
    after = start(tmp_path)
    assert after.bodies == state
    assert len(after.replayed) > 4


def test_an_empty_snapshot(tmp_path: Path) -> None:
    run = start(tmp_path)
    take(run, state=[])
    run.stop()
    after = start(tmp_path)
    assert after.bodies == []
    assert after.write(b"first").confirmed
    after.stop()
    assert start(tmp_path).bodies == [b"first"]


def test_a_kept_file_that_is_gone_is_noticed(tmp_path: Path) -> None:
    run = start(tmp_path)
    for number in range(20):
        run.write(b"%02d" % number)
    take(run, keep={2})
    run.stop()
    (tmp_path / log_name(2)).unlink()
    with pytest.raises(DamagedError, match=log_name(2)):
        start(tmp_path)


def test_a_log_that_begins_after_the_snapshot_is_noticed(tmp_path: Path) -> None:
    run = start(tmp_path)
    for number in range(20):
        run.write(b"%02d" % number)
        if number == 9:
            take(run)
    run.stop()
    logs = [name for name in names(tmp_path) if name.startswith("log-")]
    (tmp_path / logs[0]).unlink()  # in it are only batches that the snapshot covers
    (tmp_path / logs[1]).unlink()
    with pytest.raises(DamagedError, match="batches 11 to 15 are missing before it"):
        start(tmp_path)


def test_an_unfinished_snapshot_is_none(tmp_path: Path) -> None:
    run = start(tmp_path)
    run.write(b"x")
    snapshot = snapshot_now(run.files, run.log)
    snapshot.add(bytes(SNAPSHOT_RECORD_BYTES))
    assert TEMPORARY in names(tmp_path)
    run.files.unlock()
    after = start(tmp_path)
    assert after.bodies == [b"x"]
    assert TEMPORARY not in names(tmp_path)
    other = snapshot_now(after.files, after.log)
    other.abort()
    assert TEMPORARY not in names(tmp_path)


def test_a_broken_snapshot_is_passed_over_when_an_older_one_and_its_log_are_there(tmp_path: Path) -> None:
    run = start(tmp_path)
    for number in range(5):
        run.write(b"%02d" % number)
    take(run)
    old = tmp_path / "old"
    old.mkdir()
    for number in range(5, 10):
        run.write(b"%02d" % number)
    for name in names(tmp_path):
        if name != "old":
            shutil.copy(tmp_path / name, old)
    take(run)
    run.stop()
    for name in names(old):
        if not (tmp_path / name).exists():
            shutil.copy(old / name, tmp_path)
    newest = tmp_path / snapshot_name(10)
    newest.write_bytes(newest.read_bytes()[:-1])
    after = start(tmp_path)
    assert after.bodies == [b"%02d" % number for number in range(10)]
    assert after.report.skipped == [newest.name]
    assert newest.exists()


def test_every_flipped_or_missing_byte_of_a_snapshot_is_found(tmp_path: Path) -> None:
    run = start(tmp_path)
    for number in range(4):
        run.write(b"%02d" % number)
    take(run)
    run.stop()
    path = tmp_path / snapshot_name(4)
    good = path.read_bytes()
    for byte in range(len(good)):
        data = bytearray(good)
        data[byte] ^= 1 << byte % 8
        path.write_bytes(data)
        with pytest.raises(DamagedError, match=path.name):
            start(tmp_path)
    for size in range(0, len(good), 5):
        path.write_bytes(good[:size])
        with pytest.raises(DamagedError, match=path.name):
            start(tmp_path)
