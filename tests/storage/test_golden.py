"""Files of every format version that has been released, which must be read for ever.

`golden/v1` was written by `make` below, and `golden/backup-v1.tar` is a backup of it. A new version gets a folder of
its own and a `make` of its own; the old ones stay. To write the files of a version that is not released yet:
python -m tests.storage.test_golden FOLDER
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from nexo.brokers.journal import FLUSH
from nexo.storage import archive as archive_module
from nexo.storage.backup import Source, at_rest
from nexo.storage.files import Files
from nexo.storage.format import VERSION, operation
from nexo.storage.restore import restore
from nexo.storage.verify import inspect, verify
from nexo.storage.writer import Writer
from tests.simulation.disk import Disk
from tests.simulation.run import KIND, Run, snapshot_now
from tests.storage.archives import opened

GOLDEN = Path(__file__).parent / "golden"


def make() -> Disk:
    """A snapshot, a file kept for its bodies, a log of two starts, an orderly end and a torn tail."""
    disk = Disk(1)
    run = Run(disk, Writer, 300)
    for number in range(9):
        run.write(b"message %d" % number)
    snapshot = snapshot_now(disk, run.log)
    for number in range(9):
        snapshot.add(operation(KIND, b"state %d" % number))
    snapshot.finish({1})
    run.append(b"two operations", FLUSH)
    run.append(b"in one batch")
    run.close()
    run.step()
    run.stop()
    run = Run(disk, Writer, 300)
    run.write(b"")
    run.write(bytes(range(256)))
    run.write(b"torn")
    name = disk.names()[disk.names().index("reserve") - 1]
    disk.truncate(name, disk.size(name) - 2)
    return disk


def test_version_1_is_read(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "v1", tmp_path / "data")
    report = verify(str(tmp_path / "data"))
    assert [problem.torn for problem in report.problems] == [True]
    run = Run(Files(str(tmp_path / "data")))
    assert run.bodies == [*STATE, b"", bytes(range(256))]
    assert [item.batch for item in run.replayed] == [9, 10, 12, 13]
    assert run.log.read((1 << 32) + 56 + 28 + 5, 9) == b"message 0"
    assert run.log.epoch == 3
    assert len(run.report.cuts) == 1
    assert run.write(b"more").confirmed
    run.stop()


def test_version_1_is_written() -> None:
    """The same bytes: whoever changes a format changes its version."""
    assert VERSION == 1
    disk = make()
    names = [path.name for path in sorted((GOLDEN / "v1").iterdir())]
    assert [name for name in disk.names() if name.endswith(".nexo")] == names
    for name in names:
        assert bytes(disk.inodes[name].cache) == (GOLDEN / "v1" / name).read_bytes()


STATE = [*(b"state %d" % number for number in range(9)), b"two operations", b"in one batch"]


def make_backup(folder: Path) -> bytes:
    """Of the files above, without the torn tail."""
    shutil.copytree(GOLDEN / "v1", folder)
    files = Files(str(folder))
    entries, batch = at_rest(files)
    source = Source(files, entries, batch, "0.1.0", 1_767_225_600_000)
    return source.read(source.size)


def test_a_backup_of_version_1_is_restored(tmp_path: Path) -> None:
    reader, archive = opened(GOLDEN / "backup-v1.tar")
    manifest = reader.manifest
    assert (manifest.version, manifest.server, manifest.batch) == (1, "0.1.0", 13)
    target = Files(str(tmp_path / "new"))
    done = restore(archive, reader, inspect(archive), target)
    assert done.report.problems == []
    run = Run(Files(str(tmp_path / "new")))
    assert run.bodies == [*STATE, b"", bytes(range(256))]
    assert run.log.epoch == done.epoch + 1
    assert run.log.read((1 << 32) + 56 + 28 + 5, 9) == b"message 0"
    run.stop()


def test_a_backup_of_version_1_is_written(tmp_path: Path) -> None:
    assert archive_module.VERSION == 1
    assert make_backup(tmp_path / "v1") == (GOLDEN / "backup-v1.tar").read_bytes()


if __name__ == "__main__":
    for name, inode in make().inodes.items():
        if name.endswith(".nexo"):
            (Path(sys.argv[1]) / name).write_bytes(inode.cache)
    with tempfile.TemporaryDirectory() as made:
        (Path(sys.argv[1]) / "backup.tar").write_bytes(make_backup(Path(made) / "v1"))
