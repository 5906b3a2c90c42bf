"""An alarm is raised at its bound, cleared well beyond it, and says its figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexo.brokers.alarms import DISK_ALARM, MEMORY_ALARM, Alarm
from nexo.limits import DISK_ALARM_CLEAR_PERCENT, MEMORY_ALARM_CLEAR_PERCENT


def test_memory_is_raised_above_and_cleared_below() -> None:
    alarm = Alarm(MEMORY_ALARM)
    alarm.bind(1000)
    seen = [alarm.look(figure) and alarm.stands for figure in (999, 1000)]
    assert seen == [False, False] and not alarm.stands
    assert alarm.look(1001) and alarm.stands
    assert not alarm.look(999) and alarm.stands, "not cleared as soon as it is below its bound"
    assert not alarm.look(10 * MEMORY_ALARM_CLEAR_PERCENT + 1) and alarm.stands
    assert alarm.look(10 * MEMORY_ALARM_CLEAR_PERCENT) and not alarm.stands
    assert not Alarm(MEMORY_ALARM).look(1 << 60), "no bound, no alarm"


def test_the_disk_is_the_other_way_round() -> None:
    alarm = Alarm(DISK_ALARM)
    alarm.bind(1000)
    assert not alarm.look(1000)
    assert alarm.look(999) and alarm.stands
    assert not alarm.look(10 * DISK_ALARM_CLEAR_PERCENT - 1)
    assert alarm.look(10 * DISK_ALARM_CLEAR_PERCENT) and not alarm.stands
    assert not Alarm(DISK_ALARM).look(0)


def test_a_refusal_names_the_alarm_and_its_figures() -> None:
    alarm = Alarm(MEMORY_ALARM)
    alarm.bind(1000)
    alarm.look(1234)
    error = alarm.refuse()
    assert error.details == {"alarm": "memory", "bytes": 1234, "bound_bytes": 1000}
    assert "1234" in error.message and "memory_alarm_bytes is 1000" in error.message
    assert (alarm.raised, alarm.refused) == (1, 1)


@given(st.integers(1, 10**6), st.lists(st.integers(0, 2 * 10**6), max_size=50))
def test_it_changes_only_at_its_two_marks(bound: int, figures: list[int]) -> None:
    alarm = Alarm(MEMORY_ALARM)
    alarm.bind(bound)
    stands = False
    for figure in figures:
        expected = figure > bound if not stands else figure > bound * MEMORY_ALARM_CLEAR_PERCENT // 100
        changed = alarm.look(figure)
        assert (alarm.stands, changed) == (expected, expected != stands)
        stands = expected
