"""The longest turn of the loop, the short form: `python tests/faults/turns.py` is the long one, with five million keys."""

from __future__ import annotations

from nexo._pure import is_compiled
from tests.faults.turns import TURN_MS_MAX, measure

COMPILED = is_compiled()


def test_no_turn_is_long() -> None:
    """Beside other tests a turn takes longer, interpreted several times: `make turns` holds to the bound itself."""
    phases = measure(
        keys=400_000 if COMPILED else 40_000,
        messages=40_000 if COMPILED else 10_000,
        seconds=1,
        log_file_bytes=1 << 20,
    )
    bound = 2 * TURN_MS_MAX if COMPILED else 5 * TURN_MS_MAX
    assert len(phases) == 8
    assert [str(phase) for phase in phases if phase.longest_cpu_ms > bound] == []
