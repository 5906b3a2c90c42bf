"""Backups: what an archive holds, that no byte of it can change unseen, and what is copied while a log goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexo.errors import (
    DamagedBackupError,
    DamagedError,
    LimitExceededError,
    NewerFormatError,
    NexoError,
    StorageError,
)
from nexo.limits import BACKUP_MANIFEST_BYTES_MAX
from nexo.storage.archive import (
    MANIFEST_NAME,
    ArchiveReader,
    Entry,
    Manifest,
    header,
    layout,
    padding,
)
from nexo.storage.backup import Boundary, Source, Target, at_rest, check_contents, pin, unpin_all
from nexo.storage.files import Files
from nexo.storage.format import HEADER_BYTES, log_name, operation, snapshot_name
from nexo.storage.snapshot import SnapshotWriter
from tests.simulation.run import KIND
from tests.storage.archives import (
    TIME_MS,
    archived,
    backed_up,
    backed_up_at_rest,
    bodies_in,
    bodies_of,
    boundary,
    close_all,
    compact,
    files_in,
    filled,
    opened,
    restored,
)

PINNED = "backup-1.tmp"


def read(data: bytes, pieces: list[int] | None = None) -> ArchiveReader:
    """A reader that was given these bytes, in pieces of these sizes, the last one again and again."""
    reader = ArchiveReader("x.tar")
    at, sizes = 0, list(pieces or [len(data)])
    while at < len(data):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        reader.receive(data[at : at + size])
        at += size
    reader.finish()
    return reader


def archive_of(folder: Path, contents: list[bytes]) -> bytes:
    names = [snapshot_name(7)] + [log_name(number) for number in range(1, len(contents))]
    entries = []
    for name, content in zip(names, contents, strict=False):
        (folder / name).write_bytes(content)
        entries.append(Entry(name, len(content)))
    source = Source(files_in(folder), entries, 7, "0.1.0", TIME_MS)
    data = source.read(source.size + 1)
    assert len(data) == source.size == source.position
    close_all()
    return data


# The bytes.


@given(
    contents=st.lists(st.binary(max_size=1500), max_size=4),
    pieces=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
)
def test_what_is_written_is_read_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], pieces: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    data = archive_of(folder, contents)
    reader = read(data, pieces)
    assert reader.manifest.batch == 7
    for part in reader.layout.parts:
        if part.name:
            found = data[part.offset : part.offset + part.size]
            assert found == (folder / part.name).read_bytes()


def test_it_is_a_tar_file(tmp_path: Path) -> None:
    contents = [b"", b"one", bytes(512), b"x" * 513]
    (tmp_path / "x.tar").write_bytes(archive_of(tmp_path, contents))
    with tarfile.open(tmp_path / "x.tar") as tar:
        names = tar.getnames()
        assert names == [
            "manifest.json",
            snapshot_name(7),
            *(log_name(n) for n in (1, 2, 3)),
            "checksums.json",
        ]
        for name, content in zip(names[1:-1], contents, strict=True):
            member = tar.extractfile(name)
            assert member is not None
            assert member.read() == content
            assert tar.getmember(name).mode == 0o600
            assert tar.getmember(name).mtime == TIME_MS // 1000


def test_sizes_that_eleven_digits_do_not_hold() -> None:
    """As GNU tar writes them; the standard library's reader is the judge."""
    for size in (8**11 - 1, 8**11, 1 << 40):
        assert tarfile.TarInfo.frombuf(header(log_name(1), size, TIME_MS), "ascii", "strict").size == size
    entries = [Entry(log_name(1), 1 << 40), Entry(log_name(2), 3)]
    manifest = Manifest("nexo-backup", 1, "0.1.0", TIME_MS, 1, entries)
    found = layout(manifest, manifest.encode())
    assert found.size > 1 << 40


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    data = archive_of(tmp_path, [b"snapshot", b"log" * 100])
    read(data)
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        # A higher version in the manifest is refused as such.
        with pytest.raises((DamagedBackupError, NewerFormatError)):
            read(bytes(changed), [700])


@given(data=st.data())
def test_any_bytes_are_an_archive_to_the_last_one_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Pieces cut out, put in and exchanged; in the manifest too, where sizes and names are."""
    good = archive_of(tmp_path_factory.mktemp("data"), [b"snapshot", b"log" * 100])
    changed = good
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.integers(start, min(len(changed), start + 600)))
        piece = data.draw(st.one_of(st.binary(max_size=20), st.sampled_from([b"0", b"9", b'"', good[:512]])))
        changed = changed[:start] + piece + changed[end:]
    try:
        read(changed, data.draw(st.lists(st.integers(1, 2000), min_size=1, max_size=4)))
    except (DamagedBackupError, NewerFormatError):
        return
    assert changed == good


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    data = archive_of(tmp_path, [b"snapshot", b"log" * 100])
    at = data.index(b"loglog")
    with pytest.raises(DamagedBackupError, match=f"checksum of {log_name(1)} in it is wrong") as found:
        read(data.replace(b"loglog", b"logLog", 1))
    assert found.value.offset == at


def test_every_truncation_is_found_and_so_is_more(tmp_path: Path) -> None:
    data = archive_of(tmp_path, [b"snapshot", b"log" * 100])
    for size in range(len(data)):
        with pytest.raises(DamagedBackupError, match="ends early"):
            read(data[:size], [512])
    with pytest.raises(DamagedBackupError, match="follow the end"):
        read(data + b"\0")


def manifest_bytes(**changed: object) -> bytes:
    fields = {
        "format": "nexo-backup",
        "version": 1,
        "server": "9",
        "time_ms": TIME_MS,
        "batch": 1,
        "files": [],
        **changed,
    }
    encoded = msgspec.json.encode(fields)
    return header(MANIFEST_NAME, len(encoded), TIME_MS) + encoded + padding(len(encoded))


def test_a_later_version_is_refused_as_such() -> None:
    with pytest.raises(NewerFormatError, match=r"x\.tar has format version 2") as found:
        read(manifest_bytes(version=2, new_field=1))
    assert found.value.version == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"format": "other"},
        {"version": 0},
        {"version": "1"},
        {"batch": -1},
        {"time_ms": -1},
        {"files": [{"name": "../lock", "size": 1}]},
        {"files": [{"name": "log-٠٠٠٠٠٠٠٠٠١.nexo", "size": 1}]},
        {"files": [{"name": log_name(1), "size": -1}]},
        {"files": [{"name": log_name(1), "size": 1}] * 2},
        {"files": 3},
        {"more": 1},
    ],
)
def test_a_manifest_that_cannot_be(changed: dict[str, object]) -> None:
    with pytest.raises(DamagedBackupError):
        read(manifest_bytes(**changed))


def test_what_is_no_backup_at_all() -> None:
    for data in (b"x" * 600, header("other", 0, TIME_MS), header(MANIFEST_NAME, 1 << 40, TIME_MS)):
        with pytest.raises(DamagedBackupError, match="it is no backup"):
            read(data)
    deep = b"[" * 100_000
    with pytest.raises(DamagedBackupError, match="cannot be read"):
        read(header(MANIFEST_NAME, len(deep), TIME_MS) + deep)
    with pytest.raises(DamagedBackupError, match="backup_manifest_bytes_max"):
        read(header(MANIFEST_NAME, BACKUP_MANIFEST_BYTES_MAX + 1, TIME_MS))


def test_too_many_files_for_one_archive() -> None:
    entries = [Entry(log_name(1), 1)] * 300_000
    with pytest.raises(LimitExceededError, match="backup_manifest_bytes_max"):
        Manifest("nexo-backup", 1, "0", TIME_MS, 1, entries).encode()


# The file.


def written(files: Files, data: bytes) -> None:
    with Target(files, "a.tar") as target:
        target.write(data)
        target.finish()


def test_a_target_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    data = archive_of(tmp_path, [b"snapshot", b"log"])
    where = tmp_path / "to"
    where.mkdir()
    files = files_in(where)
    for broken in (data[:-1], data[:700], data.replace(b"snapshot", b"snapshoT", 1)):
        with pytest.raises(DamagedBackupError):
            written(files, broken)
        assert os.listdir(where) == []
    with Target(files, "a.tar") as target:
        target.write(data)
        with pytest.raises(StorageError, match="another backup writes it"), Target(files, "a.tar"):
            pass
        target.finish()
    assert (where / "a.tar").read_bytes() == data
    with (
        pytest.raises(StorageError, match="is there already, and is not overwritten"),
        Target(files, "a.tar"),
    ):
        pass
    assert os.listdir(where) == ["a.tar"]
    with pytest.raises(StorageError, match="No such file"), Target(files_in(where / "no"), "a.tar"):
        pass


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_full_disk_at_the_target_leaves_nothing(tmp_path: Path) -> None:
    data = archive_of(tmp_path, [bytes(100_000), bytes(200_000)])
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        with (
            pytest.raises(StorageError, match="No space left"),
            Target(files_in(small), "a.tar") as target,
        ):
            target.write(data)
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


# What is copied.


def test_a_backup_ends_at_its_batch_while_the_log_goes_on(tmp_path: Path) -> None:
    run = filled(tmp_path / "data")
    end = boundary(run)
    expected = bodies_of(run)
    run.write(b"later")
    pinned = run.files.inside(PINNED)
    entries = pin(run.files, pinned, end)
    for number in range(20):
        run.write(b"later %d" % number)
    archived(Source(pinned, entries, end.batch, "0", TIME_MS), tmp_path / "a.tar")
    run.stop()
    assert restored(tmp_path / "a.tar", files_in(tmp_path / "new")).report.problems == []
    assert bodies_in(tmp_path / "new") == expected
    assert bodies_in(tmp_path / "data") == bodies_of(run)


def test_a_boundary_at_the_beginning_of_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    run = filled(tmp_path / "data", count=0)
    while run.log.offset != HEADER_BYTES or not run.sent:
        run.write(b"message %02d" % len(run.sent))
    end = Boundary(run.log.batch - 1, run.log.file, run.log.offset)
    entries = pin(run.files, run.files.inside(PINNED), end)
    assert [entry.name for entry in entries] == [log_name(1)]
    run.write(b"later")
    archived(Source(run.files.inside(PINNED), entries, end.batch, "0", TIME_MS), tmp_path / "a.tar")
    restored(tmp_path / "a.tar", files_in(tmp_path / "new"))
    assert bodies_in(tmp_path / "new") == [sent.body for sent in run.sent[:-1]]


class Racing(Files):
    """Somebody else acts in the middle of one call. A listing is then partly of before and partly of after."""

    def __init__(self, folder: str, at: int, act: Callable[[], None], split: int, swapped: bool) -> None:
        super().__init__(folder)
        self.calls: list[str] = []
        self.at = at
        self.act = act
        self.split = split
        self.swapped = swapped

    def is_now(self, call: str) -> bool:
        self.calls.append(call)
        return len(self.calls) == self.at

    def names(self) -> list[str]:
        before = super().names()
        if not self.is_now("names"):
            return before
        self.act()
        after = super().names()
        every = sorted({*before, *after})
        early, late = (after, before) if self.swapped else (before, after)
        return [name for place, name in enumerate(every) if name in (early if place < self.split else late)]

    def link(self, name: str, other: Files) -> None:
        if self.is_now("link"):
            self.act()
        super().link(name, other)


def raced(template: Path, here: Path, at: int, split: int, swapped: bool) -> list[str]:
    """Back up while a compaction comes at a call; what is restored must be right. The calls there were."""
    shutil.copytree(template, here / "data")
    run = filled(here / "data", 0)
    end = boundary(run)
    expected = bodies_of(run)

    def act() -> None:
        run.write(b"later")
        snapshot = SnapshotWriter(run.files, end.batch, int(run.log.epoch), end.file)
        for body in expected:
            snapshot.add(operation(KIND, body))
        snapshot.finish({3})

    racing = Racing(str(here / "data"), at, act, split, swapped)
    entries = pin(racing, racing.inside(PINNED), end)
    source = Source(files_in(here / "data" / PINNED), entries, end.batch, "0", TIME_MS)
    restored(archived(source, here / "a.tar", 4096), files_in(here / "new"))
    assert bodies_in(here / "new") == expected, (at, split, swapped)
    close_all()
    racing.unlock()
    shutil.rmtree(here)
    return racing.calls


@pytest.mark.parametrize("second", [False, True], ids=["first snapshot", "second snapshot"])
def test_a_compaction_at_any_moment_of_the_copying(tmp_path: Path, second: bool) -> None:
    """Every call at which it can come, and every place of a listing that is under way."""
    run = filled(tmp_path / "template", 12)
    if second:
        compact(run, bodies_of(run), {2})
        for number in range(8):
            run.write(b"more %d" % number)
    run.stop()
    quiet = raced(tmp_path / "template", tmp_path / "case", 0, 0, False)
    repeated = 0
    for at, call in enumerate(quiet, 1):
        splits = range(len(quiet) + 1) if call == "names" else range(1)
        for split in splits:
            for swapped in (False, True):
                calls = raced(tmp_path / "template", tmp_path / "case", at, split, swapped)
                repeated += len(calls) > len(quiet)
    assert repeated > len(quiet)


def test_no_hard_links(tmp_path: Path) -> None:
    class Without(Files):
        def link(self, name: str, other: Files) -> None:
            raise PermissionError(1, "Operation not permitted")

    run = filled(tmp_path / "data", 3)
    files = Without(str(tmp_path / "data"))
    with pytest.raises(StorageError, match="needs hard links"):
        pin(files, files.inside(PINNED), boundary(run))
    assert not (tmp_path / "data" / PINNED).exists()


def test_what_a_killed_server_leaves_is_removed(tmp_path: Path) -> None:
    run = filled(tmp_path / "data")
    pin(run.files, run.files.inside("backup-3.tmp"), boundary(run))
    (tmp_path / "data" / "backup-of-mine.tmp").mkdir()
    unpin_all(run.files)
    assert run.files.folders() == ["backup-of-mine.tmp"]
    assert bodies_of(run)[-1] == b"message 19"


def test_a_source_that_shrinks_is_noticed(tmp_path: Path) -> None:
    run = filled(tmp_path / "data", 3)
    end = boundary(run)
    pinned = run.files.inside(PINNED)
    entries = pin(run.files, pinned, end)
    pinned.truncate(log_name(1), 100)
    with pytest.raises(StorageError, match="ends at byte 100 of"):
        Source(pinned, entries, end.batch, "0", TIME_MS).read(1 << 20)


# A directory at rest.


def test_a_directory_at_rest(tmp_path: Path) -> None:
    run = filled(tmp_path / "data")
    compact(run, bodies_of(run), {2})
    expected = bodies_of(run)
    run.write(b"after")
    run.stop()
    backed_up_at_rest(tmp_path / "data", tmp_path / "a.tar")
    restored(tmp_path / "a.tar", files_in(tmp_path / "new"))
    assert bodies_in(tmp_path / "new") == [*expected, b"after"]


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_tail_is_left_out(tmp_path: Path, cut: int) -> None:
    run = filled(tmp_path / "data", 3)
    run.files.unlock()
    name = log_name(1)
    files = files_in(tmp_path / "data")
    files.truncate(name, files.size(name) - cut)
    before = (tmp_path / "data" / name).read_bytes()
    backed_up_at_rest(tmp_path / "data", tmp_path / "a.tar")
    assert (tmp_path / "data" / name).read_bytes() == before
    restored(tmp_path / "a.tar", files_in(tmp_path / "new"))
    assert bodies_in(tmp_path / "new") == [b"message 00", b"message 01"]


def test_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    backed_up_at_rest(tmp_path / "data", tmp_path / "a.tar")
    done = restored(tmp_path / "a.tar", files_in(tmp_path / "new"))
    assert done.report.problems == []
    assert bodies_in(tmp_path / "new") == []


def test_a_damaged_directory_is_refused(tmp_path: Path) -> None:
    run = filled(tmp_path / "data")
    run.stop()
    (tmp_path / "data" / log_name(2)).unlink()
    with pytest.raises(DamagedError, match=log_name(3)):
        at_rest(files_in(tmp_path / "data"))


def test_an_archive_that_ends_at_another_batch(tmp_path: Path) -> None:
    run = filled(tmp_path / "data", 3)
    run.files.unlock()
    entries, batch = at_rest(run.files)
    path = archived(Source(run.files, entries, batch + 1, "0", TIME_MS), tmp_path / "a.tar")
    reader, _ = opened(path)
    with pytest.raises(DamagedBackupError, match="ends with batch 3, not 4"):
        check_contents(files_in(tmp_path), "a.tar", reader)


def test_a_record_that_was_damaged_before_is_found_in_the_archive(tmp_path: Path) -> None:
    run = filled(tmp_path / "data")
    path = tmp_path / "data" / log_name(2)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" + content[101:])
    reader, _ = opened(backed_up(run, tmp_path / "a.tar"))
    report = check_contents(files_in(tmp_path), "a.tar", reader)
    assert [(problem.name, problem.stops) for problem in report.problems] == [(log_name(2), True)]
    assert issubclass(DamagedBackupError, NexoError)
