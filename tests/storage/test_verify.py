"""verify and repair: what they say of a directory is what a start does with it, and after a repair it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexo.errors import DamagedError, DataLockedError, StorageError
from nexo.storage.files import Files
from nexo.storage.format import HEADER_BYTES, log_name, operation, snapshot_name
from nexo.storage.repair import Plan, apply, repair
from nexo.storage.verify import verify
from tests.simulation.run import KIND, Run, snapshot_now

RECORD = 28 + 5 + 2


def made(folder: Path, batches: int = 20, snapshot_at: int = 0, keep: set[int] | None = None) -> list[str]:
    """Five batches in each log file; the names of the log files."""
    run = Run(Files(str(folder)), file_bytes=200)
    for number in range(batches):
        run.write(b"%02d" % number)
        if number + 1 == snapshot_at:
            snapshot = snapshot_now(run.files, run.log)
            snapshot.add(b"".join([operation(KIND, sent.body) for sent in run.sent]))
            snapshot.finish(keep or set())
    run.files.unlock()
    return sorted(path.name for path in folder.glob("log-*"))


def bodies(folder: Path) -> list[bytes]:
    run = Run(Files(str(folder)))
    run.files.unlock()
    return run.bodies


def change(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_good_directory(tmp_path: Path) -> None:
    made(tmp_path, 12, snapshot_at=7, keep={1})
    before = tree(tmp_path)
    report = verify(str(tmp_path))
    assert report.problems == []
    assert not report.damaged
    assert [(entry.name, entry.role, entry.records) for entry in report.files] == [
        (snapshot_name(7), "snapshot", 1),
        (log_name(1), "bodies", 5),
        (log_name(2), "log", 5),
        (log_name(3), "log", 2),
    ]
    assert [(entry.first_batch, entry.last_batch) for entry in report.files[2:]] == [(6, 10), (11, 12)]
    assert repair(str(tmp_path)) == Plan(str(tmp_path))
    assert tree(tmp_path) == before


def test_an_empty_and_a_new_directory(tmp_path: Path) -> None:
    assert verify(str(tmp_path)).files == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):
        verify(str(tmp_path / "nowhere"))


def test_not_while_a_node_is_running(tmp_path: Path) -> None:
    run = Run(Files(str(tmp_path)))
    for function in (verify, repair):
        with pytest.raises(DataLockedError):
            function(str(tmp_path))
    with pytest.raises(DataLockedError):
        apply(Plan(str(tmp_path)))
    run.files.unlock()
    assert verify(str(tmp_path)).problems == []


def test_a_torn_tail_is_told_and_left_to_the_start(tmp_path: Path) -> None:
    names = made(tmp_path)
    path = tmp_path / names[-1]
    path.write_bytes(path.read_bytes()[:-3])
    report = verify(str(tmp_path))
    [problem] = report.problems
    assert (problem.name, problem.offset) == (names[-1], HEADER_BYTES + 4 * RECORD)
    assert problem.torn
    assert not problem.stops
    assert not report.damaged
    assert repair(str(tmp_path)).moves == []
    path.write_bytes(path.read_bytes()[:20])
    assert [problem.torn for problem in verify(str(tmp_path)).problems] == [True]


@pytest.mark.parametrize("batch", range(20))
def test_damage_is_moved_away_with_what_follows(tmp_path: Path, batch: int) -> None:
    names = made(tmp_path)
    name = names[batch // 5]
    offset = HEADER_BYTES + batch % 5 * RECORD
    change(tmp_path / name, offset + 30)
    before = tree(tmp_path)
    if batch != 19:  # the last record would be cut as torn
        with pytest.raises(DamagedError) as caught:
            bodies(tmp_path)
        assert (caught.value.file, caught.value.offset) == (str(tmp_path / name), offset)
    report = verify(str(tmp_path))
    [problem] = report.problems
    assert (problem.name, problem.offset) == (name, offset)
    assert problem.stops == (batch != 19)
    plan = repair(str(tmp_path))
    if batch == 19:
        assert plan.moves == []
        return
    assert plan.records == 19 - batch
    assert plan.moves[0].offset == (offset if batch % 5 else 0)
    assert plan.bytes == sum(map(len, before.values())) - len(before["lock"]) - len(before["reserve"]) - (
        sum(len(before[n]) for n in names[: batch // 5]) + (offset if batch % 5 else 0)
    )
    assert {n: data for n, data in tree(tmp_path).items() if n != "lock"} == {
        n: data for n, data in before.items() if n != "lock"
    }, "a plan changes nothing"
    apply(plan)
    for move in plan.moves:
        assert (tmp_path / move.target).read_bytes() == before[move.name][move.offset :]
    assert verify(str(tmp_path)).problems == []
    run = Run(Files(str(tmp_path)), file_bytes=200)
    assert run.bodies == [b"%02d" % number for number in range(batch)]
    more = run.write(b"more")
    assert more.address >> 32 == 5, "a file number that was used is not used again"
    run.stop()
    assert bodies(tmp_path) == [*run.bodies, b"more"]
    assert verify(str(tmp_path)).problems == []


def test_a_missing_file(tmp_path: Path) -> None:
    names = made(tmp_path)
    (tmp_path / names[1]).unlink()
    [problem] = verify(str(tmp_path)).problems
    assert (problem.name, problem.offset, problem.stops) == (names[2], 0, True)
    plan = repair(str(tmp_path))
    assert [(move.name, move.offset, move.records) for move in plan.moves] == [
        (names[2], 0, 5),
        (names[3], 0, 5),
    ]
    apply(plan)
    assert bodies(tmp_path) == [b"%02d" % number for number in range(5)]


def test_a_missing_file_of_bodies_gets_an_empty_one_in_its_place(tmp_path: Path) -> None:
    made(tmp_path, 12, snapshot_at=7, keep={1})
    (tmp_path / log_name(1)).unlink()
    report = verify(str(tmp_path))
    assert report.missing == [1]
    assert report.damaged
    plan = repair(str(tmp_path))
    assert (plan.moves, plan.empty_files) == ([], [1])
    apply(plan)
    assert verify(str(tmp_path)).problems == []
    run = Run(Files(str(tmp_path)))
    assert len(run.bodies) == 12
    with pytest.raises(StorageError):
        run.log.read((1 << 32) + 89, 2)


def test_damage_among_bodies_does_not_stop_the_start(tmp_path: Path) -> None:
    made(tmp_path, 12, snapshot_at=7, keep={1})
    change(tmp_path / log_name(1), 100)
    report = verify(str(tmp_path))
    [problem] = report.problems
    assert (problem.name, problem.stops) == (log_name(1), False)
    assert report.damaged
    assert repair(str(tmp_path)).moves == []
    assert len(bodies(tmp_path)) == 12


def test_a_damaged_snapshot(tmp_path: Path) -> None:
    """Without it nothing is left of what only it had; everything is moved, for an expert or a backup."""
    names = made(tmp_path, 20, snapshot_at=7)
    change(tmp_path / snapshot_name(7), 70)
    report = verify(str(tmp_path))
    assert report.problems[0].name == snapshot_name(7)
    assert report.problems[0].stops
    plan = repair(str(tmp_path))
    assert [move.name for move in plan.moves] == [snapshot_name(7), *names]
    apply(plan)
    assert bodies(tmp_path) == []


def test_a_damaged_snapshot_whose_log_is_still_there(tmp_path: Path) -> None:
    made(tmp_path, 4, snapshot_at=4)
    change(tmp_path / snapshot_name(4), 70)
    plan = repair(str(tmp_path))
    assert [move.name for move in plan.moves] == [snapshot_name(4)]
    apply(plan)
    assert bodies(tmp_path) == [b"00", b"01", b"02", b"03"]


def test_a_plan_that_no_longer_fits_is_not_carried_out(tmp_path: Path) -> None:
    names = made(tmp_path)
    change(tmp_path / names[2], 100)
    plan = repair(str(tmp_path))
    change(tmp_path / names[1], 100)
    with pytest.raises(StorageError, match="has changed"):
        apply(plan)
    plan = repair(str(tmp_path))
    (tmp_path / plan.moves[0].target).touch()
    with pytest.raises(StorageError, match="exists already"):
        apply(plan)
