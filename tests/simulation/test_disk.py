"""The simulated disk: it stands in for Files completely, and does what its description promises."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nexo.storage.files import Files
from tests.simulation.disk import Crash, Disk, Faults

OWN = {"folder", "path"}
"""What is in Files and calls nothing of the system; compiled, attributes are in the class, too."""


def test_nothing_reaches_the_real_system() -> None:
    public = {name for name, value in vars(Files).items() if name[0] != "_" and callable(value)} - OWN
    assert public <= set(vars(Disk))


@pytest.mark.parametrize("kind", ["real", "simulated"])
def test_both_do_the_same(kind: str, tmp_path: Path) -> None:
    files: Files = Files(str(tmp_path)) if kind == "real" else Disk(1)
    handle = files.create("a")
    with pytest.raises(FileExistsError):
        files.create("a")
    files.append(handle, [b"one", b"", b"two"])
    assert files.read_at("a", 2, 2) == b"et"
    files.sync(handle)
    assert files.read_at("a", 5, 10) == b"o"
    assert files.read_at("a", 9, 10) == b""
    files.close(handle)
    files.truncate("a", 4)
    assert files.size("a") == 4
    files.rename("a", "b")
    files.settle("b")
    files.sync_folder()
    files.allocate("c", 1000)
    files.allocate("c", 1000)
    assert files.size("c") == 1000
    assert files.names() == ["b", "c"]
    assert files.read_at("b", 0, 10) == b"onet"
    inner = files.inside("inner")
    assert files.folders() == []
    inner.make_folder()
    files.link("b", inner)
    with pytest.raises(FileExistsError):
        files.link("b", inner)
    assert files.folders() == ["inner"]
    assert files.names() == ["b", "c"]
    files.remove("b")
    assert files.inside("inner").read_at("b", 0, 10) == b"onet"
    with pytest.raises(FileNotFoundError):
        files.link("b", inner)
    inner.remove_folder()
    assert files.folders() == []
    for call in (lambda: files.read_at("b", 0, 1), lambda: files.size("b"), lambda: files.remove("b")):
        with pytest.raises(FileNotFoundError):
            call()
    assert files.free_bytes() > 1000
    assert 0 <= files.salt() < 1 << 32


def after_crashes(synced: bytes, unsynced: list[bytes], folder_synced: bool = True) -> set[bytes | None]:
    found: set[bytes | None] = set()
    for seed in range(300):
        disk = Disk(seed)
        handle = disk.create("a")
        disk.append(handle, [synced])
        disk.sync(handle)
        if folder_synced:
            disk.sync_folder()
        for piece in unsynced:
            disk.append(handle, [piece])
        after = disk.crash()
        found.add(after.read_at("a", 0, 1 << 20) if after.names() else None)
    return found


def test_what_a_power_cut_may_leave() -> None:
    a, b, c = b"a" * 300, b"b" * 1000, b"c" * 1000
    found = after_crashes(a, [b, c])
    assert {a, a + b + c} <= found
    assert all(data is not None and data.startswith(a) for data in found)
    assert any(data and data == (a + b + c)[: len(data)] and len(data) % 512 for data in found)
    holes = [data for data in found if data and b"c" in data and bytes(512) in data]
    assert holes, "a later write is there and an earlier one is not"
    assert after_crashes(a, []) == {a}
    assert None in after_crashes(a, [], folder_synced=False)


def test_a_failed_sync_loses_the_data_though_later_ones_succeed() -> None:
    disk = Disk(1, Faults(fail_sync_at=3))
    handle = disk.create("a")
    disk.append(handle, [b"good"])
    disk.sync(handle)
    disk.sync_folder()
    disk.append(handle, [b"lost"])
    with pytest.raises(OSError):
        disk.sync(handle)
    disk.append(handle, [b"more"])
    disk.sync(handle)
    assert disk.read_at("a", 0, 99) == b"goodlostmore"
    assert disk.crash().read_at("a", 0, 99) == b"good" + bytes(4) + b"more"


def test_faults_come_when_they_are_due() -> None:
    disk = Disk(1, Faults(fail_write_at=2, error=errno.ENOSPC))
    handle = disk.create("a")
    disk.append(handle, [b"one"])
    with pytest.raises(OSError) as caught:
        disk.append(handle, [b"two"])
    assert caught.value.errno == errno.ENOSPC
    disk.append(handle, [b"three"])
    full = Disk(1, Faults(capacity=10))
    handle = full.create("a")
    with pytest.raises(OSError):
        full.append(handle, [bytes(11)])
    assert full.size("a") == 10
    crashing = Disk(1, Faults(crash_at=3))
    handle = crashing.create("a")
    crashing.sync_folder()
    with pytest.raises(Crash):
        crashing.append(handle, [b"x" * 5000])
