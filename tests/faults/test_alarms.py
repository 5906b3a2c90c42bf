"""P10 and the soft floor of the disk, on a real server: writes are refused in time, reads go on, it recovers by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import nexo
from nexo import Alarm, AlarmError
from nexo.server.machine import memory_bytes
from tests.conftest import HTTP
from tests.disks import tmpfs
from tests.server.http.kit import Api
from tests.vectors.serving import Serving, eventually

MIB = 1024 * 1024
CAP_BYTES = 120 * MIB
OVER = 1.2
"""What the process may take at most, as a share of the cap: the kernel ends it past that, where it can be asked to."""
RECOVERY_SECONDS_MAX = 10.0


@pytest.fixture
def confined() -> Iterator[tuple[str, ...]]:
    """A command that runs another one in a control group of CAP_BYTES * OVER; an empty one where there is none."""
    base = Path("/sys/fs/cgroup")
    old = base / "memory/memory.limit_in_bytes"
    folder = (base / "memory" if old.exists() else base) / f"nexo-test-{os.getpid()}"
    try:
        folder.mkdir()
        limit = folder / ("memory.limit_in_bytes" if old.exists() else "memory.max")
        limit.write_text(str(int(CAP_BYTES * OVER)))
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        yield ()
        return
    yield ("sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh")
    assert eventually(lambda: _removed(folder)), "the server has ended, and its group with it"


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def filled(server: Serving, client: nexo.blocking.Client, size: int) -> tuple[AlarmError, int]:
    """Set keys until it is refused: how, and the most that the process took, in bytes."""
    peak = count = 0
    batch = max(1, min(1_000, 4 * MIB // size))
    while True:
        try:
            client.store.map.set_many({f"k{count + index}": bytes(size) for index in range(batch)})
        except AlarmError as refused:
            return refused, peak
        count += batch
        peak = max(peak, server.memory_bytes())


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is what Linux says")
@pytest.mark.parametrize("size", [1 * MIB, 1_000, 100], ids=["1 MiB", "1,000 bytes", "100 bytes"])
def test_memory_at_its_cap(confined: tuple[str, ...], size: int) -> None:
    """Writers go on until they are refused: the process stays below the cap and 20 %, and deleting lets them in again."""
    with Serving("--memory-alarm-bytes", str(CAP_BYTES), under=confined) as server:
        api = Api(HTTP.search(server.log())[1])  # type: ignore[index]
        with nexo.blocking.connect(port=server.port) as client:
            assert isinstance(next(client.events), nexo.Connected)
            map = client.store.map
            map.set("kept", 1)
            queue = client.queue.create("jobs", durability="memory")
            queue.push("before")
            refused, peak = filled(server, client, size)
            assert refused.details["alarm"] == "memory" and refused.details["bound_bytes"] == CAP_BYTES
            assert CAP_BYTES * 0.5 < peak < CAP_BYTES * OVER, f"{peak / MIB:.0f} MiB"
            event = next(client.events)
            assert isinstance(event, Alarm) and event.raised and event.name == "memory"
            # Writers are refused at every door, readers and consumers at none.
            for write in (lambda: queue.push("after"), lambda: map.incr("n")):
                with pytest.raises(AlarmError):
                    write()
            assert api.post("/v1/queues/jobs/messages", {"messages": []}, 503)["code"] == "ALARM"
            assert map.get("kept") == 1
            (job,) = queue.receive(1)
            job.ack()
            ready = api.get("/readyz", 503, problem=False)
            assert ready["reasons"][0].startswith("memory alarm raised: ")
            overview = api.get("/v1/overview")
            assert overview["memory"]["alarm"] and overview["memory"]["alarm_bytes"] == CAP_BYTES
            assert overview["alarms"][0]["code"] == "memory_alarm"
            assert "nexo_memory_alarm 1.0" in api.get("/metrics")
            assert "memory alarm raised" in server.log()
            # What is deleted is memory again.
            map.clear_with_prefix("k")
            event = next(client.events)
            assert isinstance(event, Alarm) and not event.raised
            map.set("again", 1)
            assert api.get("/readyz")["status"] == "ok"
            assert "memory alarm cleared" in server.log()
        assert server.process.poll() is None
        api.client.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    with tmpfs(tmp_path, "16m") as disk:
        yield disk


def test_the_disk_before_it_is_full(small: Path) -> None:
    """With 4 MiB left, durable writes are refused and those in memory are not; room clears the alarm."""
    flags = ("--data-dir", str(small / "data"), "--disk-alarm-bytes", "4mb")
    with Serving(*flags) as server, nexo.blocking.connect(port=server.port) as client:
        assert isinstance(next(client.events), nexo.Connected)
        queue = client.queue.create("jobs")
        ids = [queue.push(bytes(100_000)) for _ in range(5)]
        ballast = small / "ballast"
        ballast.write_bytes(bytes(12 * MIB))
        event = next(client.events)
        assert isinstance(event, Alarm) and event.raised and event.name == "disk"
        assert event.bytes < event.bound_bytes == 4 * MIB
        with pytest.raises(AlarmError, match="disk_alarm_bytes is 4194304"):
            queue.push("refused")
        client.store.map.set("in memory", 1)
        for job in queue.receive(len(ids)):
            job.ack()
        ballast.unlink()
        event = next(client.events)
        assert isinstance(event, Alarm) and not event.raised
        queue.push("taken")


def test_what_the_machine_may_take(tmp_path: Path) -> None:
    """The least of the machine's memory and every control group's limit around the process, of both versions."""

    def put(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert memory_bytes(tmp_path) == 0
    put("proc/meminfo", "MemTotal:       8000 kB\nMemFree: 1 kB\n")
    assert memory_bytes(tmp_path) == 8000 * 1024
    put("proc/self/cgroup", "0::/a/b\n")
    put("sys/fs/cgroup/a/b/memory.max", "max\n")
    put("sys/fs/cgroup/a/memory.max", "5000000\n")
    assert memory_bytes(tmp_path) == 5_000_000, "a group further out counts"
    put("proc/self/cgroup", "0::/elsewhere\n5:cpu,memory:/docker/x\n")
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "4000000\n")
    assert memory_bytes(tmp_path) == 4_000_000, "in a container the files stand at the top"
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", str((1 << 63) - 4096))
    assert memory_bytes(tmp_path) == 8000 * 1024
