"""A real full disk: a small tmpfs. P6 for the log: an error, nothing confirmed, reading and acks go on, it heals."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexo.limits import MIB, RESERVE_BYTES
from nexo.storage.files import Files
from tests.disks import tmpfs
from tests.simulation.run import Run

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a tmpfs needs root on Linux"
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with tmpfs(tmp_path, "4m") as disk:
        yield disk


def test_a_full_disk_refuses_keeps_and_heals(small: Path) -> None:
    run = Run(Files(str(small)))
    run.write(b"first")
    ballast = small / "ballast"
    ballast.write_bytes(bytes(2 * MIB))
    while not run.log.full:
        run.write(bytes(100_000))
    confirmed = [sent for sent in run.sent if sent.confirmed]
    assert len(confirmed) == len(run.sent) - 1
    assert "No space left" in run.log.fault
    assert run.failures[0].recoverable
    assert not run.log.try_again()
    assert run.write(b"refused").failed
    for sent in confirmed:
        assert run.log.read(sent.address, len(sent.body)) == sent.body
    acks = [run.write(bytes(10_000), essential=True) for _ in range(RESERVE_BYTES // 20_000)]
    assert all(ack.confirmed for ack in acks)
    ballast.unlink()
    assert run.log.try_again()
    assert run.write(b"goes on").confirmed
    run.stop()
    after = Run(Files(str(small)))
    assert after.bodies == [sent.body for sent in run.sent if sent.confirmed]
    assert after.report.clean


def test_a_start_on_a_full_disk_takes_what_frees_room(small: Path) -> None:
    filler = small / "filler"
    filler.write_bytes(bytes(4 * MIB - 64 * 1024))
    run = Run(Files(str(small)))
    assert run.log.full
    assert run.write(b"refused").failed
    assert run.write(b"ack", essential=True).confirmed
    filler.unlink()
    assert run.log.try_again()
    assert run.write(b"message").confirmed
