"""How old the oldest write of level flush is that a power cut takes: python -m tests.simulation.flush_age

A log on the simulated disk, written to at random, in steps of a millisecond. A sync begins when it is due, as in
the writer's thread, and takes some time, in which writing goes on. The power goes at any moment; then the log is
read, and what was confirmed and is gone has an age.
"""

from __future__ import annotations

import argparse
from random import Random

from nexo.brokers.journal import FLUSH
from nexo.limits import FLUSH_MS_MAX
from tests.simulation.disk import Disk
from tests.simulation.run import Run, Sent

LIFE_MS_MAX = 600


def oldest_lost_ms(seed: int, sync_ms_max: int) -> int:
    """One power cut: the age of the oldest write that was confirmed and is gone, -1 when there is none."""
    random = Random(seed)
    disk = Disk(seed)
    run = Run(disk)
    run.write(b"the file is there")
    written_at: dict[int, int] = {}
    sent: list[Sent] = []
    share = random.choice((0.01, 0.1, 0.5))
    handle, sync_ends = -1, 0
    now = run.now_ms
    for now in range(run.now_ms, run.now_ms + random.randint(1, LIFE_MS_MAX)):
        if random.random() < share:
            one = run.append(b"%d" % len(sent) + bytes(random.choice((0, 500))), FLUSH)
            sent.append(one)
            run.close()
            batches, run.sink.queue = run.sink.queue, []
            run.writer.write(batches, now)
            written_at[one.batch] = now
        if handle >= 0 and now >= sync_ends:
            run.writer.sync_ended(run.writer.sync_runs(handle))
            handle = -1
        if handle < 0 and run.writer.due_ms and run.writer.due_ms <= now:
            handle = run.writer.sync_begins()
            sync_ends = now + random.randint(0, sync_ms_max)
    there = set(Run(disk.crash()).bodies)
    lost = [written_at[one.batch] for one in sent if one.confirmed and one.body not in there]
    return now - min(lost) if lost else -1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=int, default=2_000, help="power cuts (default %(default)s)")
    given = parser.parse_args()
    for sync_ms_max in (0, 5, FLUSH_MS_MAX // 2, FLUSH_MS_MAX):
        ages = sorted(oldest_lost_ms(seed, sync_ms_max) for seed in range(given.cuts))
        lost = [age for age in ages if age >= 0]
        print(
            f"syncs of up to {sync_ms_max} ms: {given.cuts} power cuts, {len(lost)} with a loss; "
            f"the oldest lost write was {lost[len(lost) // 2]} ms old in the median, {lost[-1]} ms at most"
        )


if __name__ == "__main__":
    main()
