"""Backups of a running server: under load, during compaction, with clients and servers that go away."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import nexo
from nexo.errors import NotAvailableError, StorageError
from nexo.limits import BACKUP_CHUNK_BYTES, BACKUP_READS_MAX, BACKUPS_MAX
from nexo.storage.backup import check_contents
from nexo.storage.files import Files
from tests.conftest import Server, running
from tests.faults.killing import Producer, received, records
from tests.storage.archives import close_all, files_in, opened, restored
from tests.vectors.serving import eventually
from tests.vectors.wire import DATA, ERR, OK, Wire, b, frame, mismatch, parts, request, u8, u32, u64

SMALL_FILES = ("--log-file-bytes", "64kb")
PRODUCERS = 2
BACKUP = 0x43
BEGIN, READ, END = u8(1), u8(2), u8(3)
NOT_FOUND, STORAGE_ERROR, LIMIT_EXCEEDED = 0x02, 0x08, 0x0B


@pytest.fixture(autouse=True)
def everything_is_closed() -> Iterator[None]:
    yield
    close_all()


def prepared(port: int) -> None:
    with Wire(port) as wire:
        for code, payload in ((0x10, "s'q' 02 u32=1000"), (0x30, "s's' 00")):
            assert wire.call(code, payload).code == DATA


def fill(port: int, megabytes: int) -> None:
    """Something to read for a while."""
    with Wire(port) as wire:
        assert wire.call(0x10, "s'ballast' 00").code == DATA
        body = b("s'ballast' u32=1 00") + u32(1 << 20) + bytes(1 << 20)
        for _ in range(megabytes):
            assert wire.call(0x11, body).code == OK


def links(folder: Path) -> list[str]:
    """Folders that a backup has in the data directory."""
    return Files(str(folder / "data")).folders()


def begin(wire: Wire) -> tuple[int, int, int]:
    """Number, size and batch of a backup."""
    answer = wire.call(BACKUP, BEGIN)
    assert answer.code == DATA, answer.error
    number, size, batch, time_ms = struct.unpack(">QQQQ", answer.payload)
    assert abs(time_ms / 1000 - time.time()) < 60
    return number, size, batch


class Reader:
    """What is in a restored directory, by a server on it."""

    def __init__(self, folder: Path) -> None:
        with running(folder) as server, Wire(server.port, timeout=60) as wire:
            self.queue: dict[int, list[int]] = {}
            while leases := received(wire.call(0x1C, b("s'q'") + u32(10_000) + u32(0)).payload):
                for _, _, _, (producer, number) in leases:
                    self.queue.setdefault(producer, []).append(number)
            self.stream: dict[int, list[int]] = {}
            self.seqs: dict[tuple[int, int], int] = {}
            for seq, (producer, number) in records(wire):
                self.stream.setdefault(producer, []).append(number)
                self.seqs[producer, number] = seq


def test_under_load_it_is_a_prefix_with_all_that_was_confirmed(tmp_path: Path) -> None:
    """Several clients write while backups are made; compaction goes on, and no turn waits for any of it."""
    server = Server(tmp_path, *SMALL_FILES)
    prepared(server.port)
    producers = [Producer(server.port, index, 0, index >= PRODUCERS) for index in range(2 * PRODUCERS)]
    for one in producers:
        one.start()
    taken = []
    for number in range(2):
        before = [one.confirmed for one in producers]
        eventually(
            lambda before=before: all(one.confirmed > before[one.index] + 200 for one in producers), 30
        )
        confirmed = [one.confirmed for one in producers]
        path = tmp_path / f"{number}.tar"
        with nexo.blocking.connect(port=server.port) as client:
            made = client.backup(path)
        sent = [one.sent for one in producers]
        taken.append((path, confirmed, sent, made))
    assert made.batch > taken[0][3].batch
    assert not links(tmp_path)
    server.process.kill()
    server.process.wait()
    for one in producers:
        one.join(30)
        assert not one.broken
    for path, confirmed, sent, made in taken:
        reader, _ = opened(path)
        assert (reader.manifest.batch, path.stat().st_size) == (made.batch, made.bytes)
        assert check_contents(files_in(tmp_path), path.name, reader).problems == []
        folder = tmp_path / path.stem
        restored(path, Files(str(folder / "data")))
        found = Reader(folder)
        for one in producers:
            there = (found.stream if one.streaming else found.queue).get(one.index, [])
            # What one client sent is there from the first on, without a gap: everything confirmed, nothing unsent.
            assert there == list(range(len(there)))
            assert confirmed[one.index] <= len(there) <= sent[one.index]
        for one in producers[PRODUCERS:]:
            wrong = [n for n, seq in one.seqs.items() if found.seqs.get((one.index, n), seq) != seq]
            assert not wrong


def churn(wire: Wire) -> None:
    """A message comes and goes, and is in the log."""
    assert wire.call(0x11, b("s'churn' u32=1 00") + u32(8_001) + bytes(8_001)).code == OK
    lease = wire.call(0x12, b("s'churn'") + u32(1) + u32(0)).payload
    assert wire.call(0x13, lease[4:28] + b("s'churn'")).code == OK


def test_a_backup_while_compactions_run(tmp_path: Path) -> None:
    """It is read slowly while the log is compacted under it again and again, and files go."""
    with running(tmp_path, *SMALL_FILES) as server:
        prepared(server.port)
        fill(server.port, 2)
        with Wire(server.port) as wire, Wire(server.port) as slow:
            assert wire.call(0x10, "s'churn' 00").code == DATA
            assert wire.call(0x11, b("s'q' u32=1 00") + u32(9) + b"\0seventh!").code == OK
            number, size, batch = begin(slow)
            data = slow.call(BACKUP, READ + u64(number)).payload[8:]
            kept = links(tmp_path)
            pinned = Files(str(tmp_path / "data")).inside(kept[0]).names()
            assert wire.call(0x15, "s'ballast'").code == OK
            snapshots: set[str] = set()
            while len(snapshots) < 3:
                for _ in range(10):
                    churn(wire)
                snapshots |= {name for name in os.listdir(tmp_path / "data") if name.startswith("snapshot")}
            assert links(tmp_path) == kept
            assert eventually(lambda: set(pinned) - set(os.listdir(tmp_path / "data")))
            while len(data) < size:
                answer = slow.call(BACKUP, READ + u64(number))
                assert struct.unpack_from(">Q", answer.payload)[0] == len(data)
                data += answer.payload[8:]
            assert slow.call(BACKUP, READ + u64(number)).payload == u64(size)
            assert eventually(lambda: not links(tmp_path))
        (tmp_path / "a.tar").write_bytes(data)
        done = restored(tmp_path / "a.tar", Files(str(tmp_path / "new" / "data")))
        assert done.report.end.batch == batch
    with running(tmp_path / "new") as again, Wire(again.port) as wire:
        assert wire.call(0x12, b("s'q'") + u32(100) + u32(0)).payload.endswith(b"\0seventh!")


def test_many_backups_while_compactions_run(tmp_path: Path) -> None:
    """Each begins at another moment of a compaction; each is whole."""
    with running(tmp_path, *SMALL_FILES) as server:
        prepared(server.port)
        stop = threading.Event()

        def load() -> None:
            with Wire(server.port) as wire:
                assert wire.call(0x10, "s'churn' 00").code == DATA
                while not stop.is_set():
                    churn(wire)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            made: list[nexo.Backup] = []
            snapshots: set[str] = set()
            with nexo.blocking.connect(port=server.port) as client:
                while len(snapshots) < 3:
                    made.append(client.backup(tmp_path / f"{len(made)}.tar"))
                    with tarfile.open(made[-1].path) as tar:
                        snapshots |= {name for name in tar.getnames() if name.startswith("snapshot")}
        finally:
            stop.set()
            thread.join()
        for one in made:
            path = Path(one.path)
            reader, _ = opened(path)
            assert check_contents(files_in(tmp_path), path.name, reader).problems == []
        assert [one.batch for one in made] == sorted({one.batch for one in made})


def test_frames_as_they_are_on_the_wire(tmp_path: Path) -> None:
    """The layout of docs/protocol.md, header included; what a server makes up is left open."""
    with running(tmp_path) as server, Wire(server.port) as wire:
        for sent, answered in (
            ("09 01 43 fedcba98 00000001 01", "09 02 03 fedcba98 00000020 i1 ?8 i2 ?8"),
            ("09 01 43 00000002 00000009 02 i1", "09 02 03 00000002 ?4 i0 'manifest.json' 00 ?*"),
            ("09 01 43 00000003 00000009 02 i1", "09 02 03 00000003 00000008 ?8"),
            ("09 01 43 00000004 00000009 03 i1", "09 02 00 00000004 00000000"),
        ):
            wire.send(b(sent))
            got = wire.frame()
            raw = frame(got.kind, got.code, got.correlation, got.payload)
            assert mismatch(parts(answered), raw) is None, raw[:100].hex(" ")


def test_clients_that_go_away_leave_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        prepared(server.port)
        fill(server.port, 8)
        # In the middle of reading, with reads that are not answered yet; and before the beginning is answered.
        for unread in range(0, BACKUP_READS_MAX, 5):
            wire = Wire(server.port)
            number, _, _ = begin(wire)
            for _ in range(unread):
                wire.send(request(BACKUP, 9, READ + u64(number)))
            wire.close()
            assert eventually(lambda: not links(tmp_path))
        for _ in range(20):
            wire = Wire(server.port)
            wire.send(request(BACKUP, 9, BEGIN))
            wire.close()
        assert eventually(lambda: not links(tmp_path))
        with nexo.blocking.connect(port=server.port) as client:
            made = client.backup(tmp_path)
            assert made.bytes > 8 << 20
        assert "Traceback" not in server.log()


def test_a_client_that_ends_it(tmp_path: Path) -> None:
    with running(tmp_path) as server, Wire(server.port) as wire:
        prepared(server.port)
        fill(server.port, 2)
        number, _, _ = begin(wire)
        other, _, _ = begin(wire)
        assert wire.call(BACKUP, END + u64(number)).code == OK
        assert eventually(lambda: len(links(tmp_path)) == 1)
        for command in (READ, END):
            assert wire.call(BACKUP, command + u64(number)).error[0] == NOT_FOUND
        assert wire.call(BACKUP, READ + u64(other)).code == DATA
        with Wire(server.port) as stranger:
            assert stranger.call(BACKUP, READ + u64(other)).error[0] == NOT_FOUND
        # Reads that wait when it is ended are answered, too.
        for correlation in (1, 2, 3):
            wire.send(request(BACKUP, correlation, READ + u64(other)))
        wire.send(request(BACKUP, 4, END + u64(other)))
        answered = {wire.frame().correlation for _ in range(4)}
        assert answered == {1, 2, 3, 4}
        assert eventually(lambda: not links(tmp_path))


def test_bounds(tmp_path: Path) -> None:
    with running(tmp_path) as server, Wire(server.port) as wire:
        prepared(server.port)
        fill(server.port, 8)
        number, size, _ = begin(wire)
        assert size > BACKUP_CHUNK_BYTES * (BACKUP_READS_MAX + 4)
        count = BACKUP_READS_MAX + 4
        wire.send(b"".join(request(BACKUP, n, READ + u64(number)) for n in range(count)))
        answers = [wire.frame() for _ in range(count)]
        refused = [answer for answer in answers if answer.code == ERR]
        assert len(refused) == 4
        assert all(answer.error[0] == LIMIT_EXCEEDED for answer in refused)
        assert "backup_reads_max is 16" in refused[0].error[1]
        offsets = [struct.unpack_from(">Q", answer.payload)[0] for answer in answers if answer.code == DATA]
        assert offsets == list(range(0, BACKUP_READS_MAX * BACKUP_CHUNK_BYTES, BACKUP_CHUNK_BYTES))
        for _ in range(BACKUPS_MAX - 1):
            begin(wire)
        answer = wire.call(BACKUP, BEGIN)
        assert answer.error[0] == LIMIT_EXCEEDED
        assert "backups_max is 4" in answer.error[1]
        wire.call(BACKUP, END + u64(number))
        assert eventually(lambda: wire.call(BACKUP, BEGIN).code == DATA)


def test_a_server_that_is_killed_leaves_no_half_state(tmp_path: Path) -> None:
    server = Server(tmp_path)
    prepared(server.port)
    fill(server.port, 4)
    wire = Wire(server.port)
    number, _, _ = begin(wire)
    wire.call(BACKUP, READ + u64(number))
    assert links(tmp_path)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    wire.close()
    assert links(tmp_path)
    with running(tmp_path) as again:
        assert not links(tmp_path)
        with nexo.blocking.connect(port=again.port) as client:
            client.backup(tmp_path / "a.tar")


def test_a_server_that_goes_away_leaves_the_client_no_file(tmp_path: Path) -> None:
    server = Server(tmp_path)
    prepared(server.port)
    fill(server.port, 64)
    to = tmp_path / "to"
    to.mkdir()

    async def broken_off() -> None:
        async with await nexo.connect(port=server.port, timeout=5, reconnect=False) as client:

            def kill_it(_: nexo.BackupProgress) -> None:
                assert os.listdir(to) == ["a.tar.tmp"]
                server.process.kill()

            with pytest.raises(nexo.NexoError):
                await client.backup(to / "a.tar", on_progress=kill_it)

    asyncio.run(broken_off())
    server.process.wait()
    assert os.listdir(to) == []


def test_a_server_that_stops_in_order_ends_backups(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        prepared(server.port)
        fill(server.port, 4)
        wire = Wire(server.port)
        begin(wire)
        assert links(tmp_path)
        assert server.stop() == 0
        assert not links(tmp_path)
        wire.close()
        assert "Traceback" not in server.log()


def test_the_client_is_cancelled(tmp_path: Path) -> None:
    async def cancelled(port: int) -> None:
        async with await nexo.connect(port=port) as client:
            going = asyncio.Event()
            task = asyncio.create_task(client.backup(tmp_path / "a.tar", on_progress=lambda _: going.set()))
            await going.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not list(tmp_path.glob("*.tar*"))
            # The connection is good for more, and the server has forgotten it.
            assert (await client.backup(tmp_path / "a.tar")).batch > 0

    with running(tmp_path) as server:
        prepared(server.port)
        fill(server.port, 64)
        asyncio.run(cancelled(server.port))
        assert eventually(lambda: not links(tmp_path))


def test_a_name_that_is_taken_and_a_directory(tmp_path: Path) -> None:
    with running(tmp_path) as server, nexo.blocking.connect(port=server.port) as client:
        told: list[nexo.BackupProgress] = []
        made = client.backup(tmp_path, on_progress=told.append)
        assert told[-1] == (made.bytes, made.bytes)
        assert Path(made.path).name == f"nexo-{made.time:%Y%m%dT%H%M%SZ}-{made.batch}.tar"
        with pytest.raises(StorageError, match="is there already"):
            client.backup(made.path)
        with pytest.raises(StorageError, match="No such file"):
            client.backup(tmp_path / "no" / "a.tar")
        assert eventually(lambda: not links(tmp_path))


def test_without_a_disk_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with (
        nexo.blocking.embedded() as client,
        pytest.raises(NotAvailableError, match="keeps nothing on disk"),
    ):
        client.backup(tmp_path / "a.tar")
    assert os.listdir(tmp_path) == []


def test_an_old_token_does_not_fit_the_new_life(tmp_path: Path) -> None:
    """A client lives on from the life that a restore takes back: what it acknowledges is not what it was lent."""
    value = u32(9) + b"\0\0" + (1).to_bytes(7, "big")
    with running(tmp_path) as server:
        prepared(server.port)
        with Wire(server.port) as wire:
            assert wire.call(0x11, b("s'q' u32=1 00") + value).code == OK
            joined = wire.call(0x33, b("s's' s'g'"))
            with nexo.blocking.connect(port=server.port) as client:
                client.backup(tmp_path / "a.tar")
            # Both are of a life that never was.
            old = wire.call(0x12, b("s'q'") + u32(1) + u32(0)).payload[4:28]
            lost = wire.call(0x33, b("s's' s'g'"))
    restored(tmp_path / "a.tar", Files(str(tmp_path / "new" / "data")))
    with running(tmp_path / "new") as server, Wire(server.port) as wire:
        new = wire.call(0x12, b("s'q'") + u32(1) + u32(0)).payload[4:28]
        assert new[:16] == old[:16]
        assert new[16:] > old[16:]
        assert wire.call(0x13, old + b("s'q'")).error[0] == 0x05
        assert wire.call(0x13, new + b("s'q'")).code == OK
        wire.call(0x33, b("s's' s'g'"))
        for member in (joined, lost):
            # u64 ack floor, u64 generation, string consumer
            identity = member.payload[16:] + member.payload[8:16]
            answer = wire.call(0x32, b("s's' s'g'") + identity + u32(1) + u32(0))
            assert answer.error[0] in (0x05, 0x06)
