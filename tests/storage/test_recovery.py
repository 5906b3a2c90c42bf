"""Recovery from files that were cut, changed, removed or taken: promises P4 and P5."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nexo.brokers.journal import FLUSH, FSYNC
from nexo.errors import DamagedError, DataLockedError, NewerFormatError
from nexo.storage.files import Files
from nexo.storage.format import HEAD_BYTES, HEADER_BYTES, Header, decode_header, log_name
from nexo.storage.writer import Writer
from tests.simulation.disk import Disk, Inode
from tests.simulation.run import Run

SOURCE = Path(__file__).resolve().parents[2] / "src"


def record_bytes(body: bytes) -> int:
    return HEAD_BYTES + 5 + len(body)


def with_file(name: str, data: bytes) -> Disk:
    """A disk with one file."""
    disk = Disk(1)
    disk.inodes[name] = disk.durable_inodes[name] = Inode(bytearray(data), data)
    return disk


def hundred(files: Files) -> Run:
    run = Run(files)
    for number in range(100):
        run.write(b"%03d" % number, FSYNC if number % 10 == 0 else FLUSH)
    return run


def expect_cut(run: Run, offset: int) -> None:
    """Exactly the whole records before an offset are there; the rest is reported."""
    whole = max(0, offset - HEADER_BYTES) // record_bytes(b"000")
    assert run.bodies == [b"%03d" % number for number in range(whole)]
    good = HEADER_BYTES + whole * record_bytes(b"000") if offset >= HEADER_BYTES else 0
    if offset == good and offset > 0:
        assert run.report.cuts == []
    else:
        [cut] = run.report.cuts
        assert cut.file.endswith(log_name(1))
        assert (cut.offset, cut.size) == (good, offset - good)
        assert cut.reason


def test_a_log_cut_at_every_byte() -> None:
    """P4, every offset, on the simulated disk; the next test does it on a real one at fewer."""
    disk = Disk(1)
    hundred(disk)
    data = bytes(disk.inodes[log_name(1)].cache)
    for offset in range(len(data) + 1):
        run = Run(with_file(log_name(1), data[:offset]))
        expect_cut(run, offset)


def test_a_log_cut_at_every_byte_of_its_ends_on_real_files(tmp_path: Path) -> None:
    hundred(Files(str(tmp_path / "made"))).files.unlock()
    data = (tmp_path / "made" / log_name(1)).read_bytes()
    record = record_bytes(b"000")
    offsets = [
        0,
        1,
        *range(HEADER_BYTES - 1, HEADER_BYTES + record + 2, 3),
        *range(len(data) - record, len(data) + 1, 3),
    ]
    for offset in offsets:
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / log_name(1)).write_bytes(data[:offset])
        run = Run(Files(str(folder)))
        expect_cut(run, offset)
        good = offset - sum(cut.size for cut in run.report.cuts)
        left = folder / log_name(1)
        assert (left.stat().st_size if left.exists() else 0) == good
        assert run.write(b"more").confirmed
        run.files.unlock()
        again = Run(Files(str(folder)))
        assert again.bodies == [*run.bodies, b"more"]
        again.files.unlock()
        shutil.rmtree(folder)


def flips(size: int, each: int) -> list[int]:
    """Bits to flip: `each` of every byte, so that every position occurs."""
    return [byte * 8 + (byte + bit) % 8 for byte in range(size) for bit in range(each)]


@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped"])
@pytest.mark.parametrize("grouped", [False, True], ids=["one sync each", "one sync for all"])
def test_every_flipped_bit_is_found(grouped: bool, stopped: bool) -> None:
    """P5: refused with file and offset; or, in the last record, cut as torn and reported."""
    disk = Disk(1)
    run = Run(disk, Writer, 160)
    bodies = [b"%02d" % number + bytes(number) for number in range(8)]
    for body in bodies:
        run.append(body)
        run.close()
        if not grouped:
            run.step()
    run.step()
    if stopped:
        run.stop()
    names = [name for name in disk.names() if name.startswith("log-")]
    assert len(names) == 3
    starts = {name: record_starts(disk, name) for name in names}
    cuts = 0
    for name in names:
        for bit in flips(disk.size(name), each=8):
            broken = disk.kill()
            broken.inodes = {n: Inode(i.cache[:], i.durable) for n, i in disk.inodes.items()}
            broken.durable_inodes = dict(broken.inodes)
            broken.flip(name, bit)
            start = max(start for start in starts[name] if start <= bit // 8)
            after, damage = recover(broken)
            if damage is not None:
                assert (damage.file, damage.offset) == (broken.path(name), start)
                assert name in str(damage)
                assert str(start) in str(damage)
                continue
            cuts += 1
            assert (name, start) == (names[-1], starts[name][-1]), (
                "only the last record may be taken for torn"
            )
            assert after is not None
            [cut] = after.report.cuts
            assert (cut.file, cut.offset) == (broken.path(name), start)
            assert after.bodies == bodies[: 8 if stopped else 7]
    assert cuts == (disk.size(names[-1]) - starts[names[-1]][-1]) * 8


def recover(disk: Disk) -> tuple[Run | None, DamagedError | None]:
    try:
        return Run(disk, Writer, 160), None
    except DamagedError as error:
        return None, error


def record_starts(disk: Disk, name: str) -> list[int]:
    from nexo.storage.reading import FileReader

    return [0, *[record.offset for record in FileReader(disk, name).records()]]


def test_a_flipped_bit_on_real_files(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    for number in range(4):
        run.write(b"%03d" % number)
    run.files.unlock()
    path = tmp_path / log_name(1)
    good = path.read_bytes()
    last = len(good) - record_bytes(b"000")
    for bit in flips(len(good), each=1)[::2]:
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        files = Files(str(tmp_path))
        if bit // 8 < last:
            with pytest.raises(DamagedError):
                Run(files)
            assert path.read_bytes() == data, "a refused start changes nothing"
        else:
            assert Run(files).bodies == [b"000", b"001", b"002"]
        files.unlock()


def test_a_wiped_header_does_not_pass_for_a_torn_one(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    run.write(b"1" * 1000)
    run.files.unlock()
    path = tmp_path / log_name(1)
    path.write_bytes(bytes(512) + path.read_bytes()[512:])
    with pytest.raises(DamagedError, match="at byte 0"):
        Run(Files(str(tmp_path)))


def several_files(folder: Path) -> list[str]:
    run = Run(Files(str(folder)), file_bytes=100)
    for number in range(8):
        run.write(b"%02d" % number)
    run.stop()
    names = sorted(path.name for path in folder.glob("log-*"))
    assert len(names) == 5  # the last has the mark of the orderly end alone
    return names


@pytest.mark.parametrize("number", range(3))
def test_a_missing_file_is_noticed(tmp_path: Path, number: int) -> None:
    names = several_files(tmp_path)
    (tmp_path / names[number]).unlink()
    with pytest.raises(DamagedError, match="missing") as caught:
        Run(Files(str(tmp_path)))
    assert caught.value.file == str(tmp_path / names[number + 1])


def test_a_cut_in_an_earlier_file_is_damage(tmp_path: Path) -> None:
    names = several_files(tmp_path)
    for cut in (1, 30, 60):
        folder = tmp_path / str(cut)
        folder.mkdir()
        for name in names:
            shutil.copy(tmp_path / name, folder)
        size = os.stat(folder / names[1]).st_size
        os.truncate(folder / names[1], size - cut)
        with pytest.raises(DamagedError, match=names[1]):
            Run(Files(str(folder)))


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    names = several_files(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    several_files(other)
    shutil.copy(other / names[2], tmp_path)
    with pytest.raises(DamagedError, match="does not continue"):
        Run(Files(str(tmp_path)))
    shutil.copy(tmp_path / names[1], tmp_path / names[2])
    with pytest.raises(DamagedError, match="header is that of another file"):
        Run(Files(str(tmp_path)))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    names = several_files(tmp_path)
    path = tmp_path / names[-1]
    header = decode_header(path.read_bytes())
    newer = Header(header.kind, header.salt, header.epoch, header.number, header.previous, header.first, 0)
    newer.version = 2
    path.write_bytes(newer.encode() + b"in whatever way")
    with pytest.raises(NewerFormatError, match="version 2") as caught:
        Run(Files(str(tmp_path)))
    assert caught.value.version == 2


def test_one_process_owns_the_folder(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    with pytest.raises(DataLockedError, match=str(os.getpid())) as caught:
        Files(str(tmp_path)).lock()
    assert caught.value.pid == os.getpid()
    program = (
        "import sys; from nexo.storage.files import Files; from nexo.errors import DataLockedError\n"
        "try: Files(sys.argv[1]).lock()\n"
        "except DataLockedError as error: print(error.pid)\n"
        "else: print('mine')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    assert subprocess.run(command, env=environ, capture_output=True, text=True).stdout == f"{os.getpid()}\n"
    run.files.unlock()
    assert subprocess.run(command, env=environ, capture_output=True, text=True).stdout == "mine\n"
    Files(str(tmp_path)).lock()


def test_each_start_goes_on_in_a_new_file_and_only_if_it_writes(tmp_path: Path) -> None:
    for number in range(3):
        run = Run(Files(str(tmp_path)))
        assert run.report.clean == (number > 0)
        assert run.bodies == [b"%d" % before for before in range(number)]
        run.write(b"%d" % number)
        run.stop()
        quiet = Run(Files(str(tmp_path)))
        assert quiet.log.epoch == 2 + number
        quiet.stop()
    assert len(list(tmp_path.glob("log-*"))) == 3


def test_descriptors_for_reading_are_bounded(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)), file_bytes=1)
    sent = [run.write(b"%03d" % number) for number in range(150)]
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(2):
        for item in sent:
            assert run.log.read(item.address, 3) == item.body
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 64
    run.stop()
