"""Restoring: what is refused, what is moved away, how it can be interrupted, and what old clients can do then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nexo.errors import DamagedBackupError, DataLockedError, StorageError
from nexo.limits import RESTORED_EPOCHS
from nexo.storage.files import Files
from nexo.storage.format import log_name
from nexo.storage.recovery import Recovery
from nexo.storage.restore import restore
from nexo.storage.verify import inspect
from tests.simulation.run import Run
from tests.storage.archives import (
    FILE_BYTES,
    backed_up,
    bodies_in,
    bodies_of,
    close_all,
    compact,
    files_in,
    filled,
    opened,
    restored,
)


@pytest.fixture(params=["log", "snapshot"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[bytes]]:
    """A backup, of logs alone or with a snapshot that refers to an old file; and what is in it."""
    run = filled(tmp_path / "source", 12)
    if request.param == "snapshot":
        compact(run, bodies_of(run), {1})
        run.write(b"after")
    found = bodies_of(run)
    path = backed_up(run, tmp_path / "a.tar")
    run.files.unlock()
    return path, found


def test_a_new_directory_and_an_empty_one(archive: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    path, bodies = archive
    mounted = tmp_path / "mounted"
    (mounted / "lost+found").mkdir(parents=True)
    (mounted / "lock").write_text("1\n")
    (mounted / "reserve").write_bytes(b"")
    (mounted / "log-0000000009.nexo.tmp").write_bytes(b"of a restore that was killed")
    for folder in (tmp_path / "new" / "deep", mounted):
        files = files_in(folder)
        done = restored(path, files)
        assert done.aside == ""
        assert done.report.problems == []
        assert bodies_in(folder) == bodies
        run = Run(files_in(folder), file_bytes=FILE_BYTES)
        assert run.write(b"goes on").confirmed
        run.stop()
        assert bodies_in(folder) == [*bodies, b"goes on"]
        assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]


def test_what_is_there_is_refused_or_moved_aside(archive: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    path, bodies = archive
    folder = tmp_path / "old"
    old = filled(folder, 8, first=50)
    old.stop()
    (folder / "notes.txt").write_text("mine")
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.txt").write_text("mine, too")
    before = {name: (folder / name).read_bytes() for name in files_in(folder).names()}
    with pytest.raises(
        StorageError, match=r"is not empty: it holds log-0000000001.nexo and \d more; --force"
    ):
        restored(path, files_in(folder))
    assert {name: (folder / name).read_bytes() for name in before if name != "lock"} == {
        name: content for name, content in before.items() if name != "lock"
    }
    done = restored(path, files_in(folder), aside="now")
    assert done.aside == "before-restore-now"
    assert bodies_in(folder) == bodies
    aside = folder / done.aside
    assert (aside / "sub" / "deep.txt").read_text() == "mine, too"
    assert (aside / "notes.txt").read_text() == "mine"
    assert bodies_in(aside) == [b"message %02d" % number for number in range(50, 58)]
    # A folder of an earlier restore is no reason to refuse, once the rest is gone.
    for name in files_in(folder).names():
        (folder / name).unlink()
    assert restored(path, files_in(folder)).aside == ""


def test_a_directory_in_use(archive: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    run = filled(tmp_path / "old", 2)
    with pytest.raises(DataLockedError):
        restored(archive[0], files_in(tmp_path / "old"), aside="now")
    assert run.write(b"goes on").confirmed
    run.stop()
    assert bodies_in(tmp_path / "old") == [b"message 00", b"message 01", b"goes on"]


def test_an_archive_that_changes_after_it_was_checked(tmp_path: Path) -> None:
    run = filled(tmp_path / "source", 3)
    path = backed_up(run, tmp_path / "a.tar")
    reader, files = opened(path)
    contents = inspect(files)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"message 01", b"massage 01"))
    with pytest.raises(DamagedBackupError, match="has changed since"):
        restore(files, reader, contents, files_in(tmp_path / "new"))
    assert os.listdir(tmp_path / "new") == ["lock"]


class Crash(BaseException):
    """The machine stops."""


class Crashing(Files):
    """Nothing happens from one call on that would change something."""

    def __init__(self, folder: str, at: int) -> None:
        super().__init__(folder)
        self.at = at

    def changes(self) -> None:
        self.at -= 1
        if self.at <= 0:
            raise Crash

    def make_folder(self) -> None:
        self.changes()
        super().make_folder()

    def inside(self, name: str) -> Files:
        self.changes()
        return super().inside(name)

    def create(self, name: str) -> int:
        self.changes()
        return super().create(name)

    def append(self, handle: int, parts: list[bytes]) -> None:
        self.changes()
        super().append(handle, parts)

    def sync(self, handle: int) -> None:
        self.changes()
        super().sync(handle)

    def rename(self, old: str, new: str) -> None:
        self.changes()
        super().rename(old, new)

    def remove(self, name: str) -> None:
        self.changes()
        super().remove(name)

    def sync_folder(self) -> None:
        self.changes()
        super().sync_folder()


@pytest.mark.parametrize("old", ["nothing", "log", "snapshot"])
def test_a_crash_at_any_step(archive: tuple[Path, list[bytes]], tmp_path: Path, old: str) -> None:
    """The directory is what it was, or is what it shall be, or no node starts with it: never a part of either."""
    path, bodies = archive
    template = tmp_path / "template"
    before: list[bytes] = []
    if old == "nothing":
        template.mkdir()
    else:
        run = filled(template, 10, first=50)
        if old == "snapshot":
            compact(run, bodies_of(run), {1})
            run.write(b"after")
        before = bodies_of(run)
        run.stop()
    seen = {"old": 0, "refused": 0, "new": 0}
    for at in range(1, 200):
        folder = tmp_path / "case"
        shutil.copytree(template, folder)
        target = Crashing(str(folder), at)
        try:
            restored(path, target, aside="now" if before else "")
        except Crash:
            finished = False
        else:
            finished = True
        target.unlock()
        found = bodies_in(folder)
        assert found in (None, before, bodies), at
        seen["refused" if found is None else "new" if found == bodies else "old"] += 1
        if found is None:
            # Whoever tries again gets there.
            problems = inspect(files_in(folder)).problems
            assert problems[0].stops
            assert "a restore was interrupted" in problems[0].reason
            restored(path, files_in(folder), aside="again")
            assert bodies_in(folder) == bodies
        close_all()
        shutil.rmtree(folder)
        if finished:
            break
    assert finished
    assert all(seen.values()), seen


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_full_disk_changes_nothing(archive: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        (small / "mine").write_bytes(bytes(16_000))
        with pytest.raises(OSError, match="No space left"):
            restored(archive[0], files_in(small), aside="now")
        assert sorted(os.listdir(small)) == ["lock", "mine"]
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


# What a life that was taken back has left in the world.


def epoch_after(folder: Path) -> int:
    recovery = Recovery(files_in(folder))
    list(recovery.replay())
    return int(recovery.start.epoch)


def test_a_life_after_a_restore_has_an_epoch_of_its_own(
    archive: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    path, _ = archive
    # The life that goes on after the backup, through many starts.
    lost = []
    for _ in range(5):
        run = Run(files_in(tmp_path / "source"), file_bytes=FILE_BYTES)
        run.write(b"lost")
        lost.append(int(run.log.epoch))
        run.files.unlock()
    restored(path, files_in(tmp_path / "first"))
    restored(path, files_in(tmp_path / "second"))
    epochs = []
    for name in ("first", "second"):
        for _ in range(3):
            run = Run(files_in(tmp_path / name), file_bytes=FILE_BYTES)
            run.write(b"new life")
            epochs.append(int(run.log.epoch))
            run.files.unlock()
    assert len({*lost, *epochs}) == len(lost) + len(epochs)
    assert min(epochs) > RESTORED_EPOCHS > max(lost)


def test_an_epoch_never_falls(tmp_path: Path) -> None:
    """A backup of a restored node, restored."""
    run = filled(tmp_path / "source", 3)
    path = backed_up(run, tmp_path / "a.tar")
    first = restored(path, files_in(tmp_path / "b"))
    run = filled(tmp_path / "b", 1)
    path = backed_up(run, tmp_path / "b.tar")
    done = restored(path, files_in(tmp_path / "c"))
    assert first.epoch + RESTORED_EPOCHS < done.epoch <= first.epoch + 2 * RESTORED_EPOCHS
    assert epoch_after(tmp_path / "c") == done.epoch + 1


def test_file_numbers_go_on(archive: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    path, _ = archive
    restored(path, files_in(tmp_path / "new"))
    names = files_in(tmp_path / "new").names()
    run = Run(files_in(tmp_path / "new"))
    sent = run.write(b"first")
    assert log_name(sent.address >> 32) not in names
    assert log_name(sent.address >> 32) > max(name for name in names if name.startswith("log-"))
