"""Alarms: the machine is short of memory, or of room on the disk, and writes are refused until it is not.

Owns when an alarm stands. It is raised at a bound and cleared only well on the other side of it, so that a figure
that swings around the bound does not let clients in and out each second. Who measures, and how often, is not known
here; nor which commands are refused (Node.check_write and check_memory).
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.errors import AlarmError
from nexo.limits import DISK_ALARM_CLEAR_PERCENT, MEMORY_ALARM_CLEAR_PERCENT

MEMORY_ALARM: Final = "memory"
DISK_ALARM: Final = "disk"


@final
class Alarm:
    """One figure in bytes and its bound; 0 is no bound, and the alarm is never raised.

    Of memory the figure must stay below the bound, of the disk's free room above. `refused` counts the writes that
    were refused while it stood, `raised` how often it was raised.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stands = False
        self.bytes: i64 = 0
        self.bound_bytes: i64 = 0
        self.clear_bytes: i64 = 0
        self.raised: i64 = 0
        self.refused: i64 = 0

    def bind(self, bound_bytes: i64) -> None:
        """Set the bound, and with it where a raised alarm is cleared."""
        percent: i64 = MEMORY_ALARM_CLEAR_PERCENT if self.name == MEMORY_ALARM else DISK_ALARM_CLEAR_PERCENT
        self.bound_bytes = bound_bytes
        self.clear_bytes = bound_bytes // 100 * percent + bound_bytes % 100 * percent // 100

    def look(self, figure: i64) -> bool:
        """The figure is this now. True when the alarm has been raised, or cleared, by it."""
        self.bytes = figure
        bound = self.clear_bytes if self.stands else self.bound_bytes
        beyond = figure > bound if self.name == MEMORY_ALARM else figure < bound
        stands = beyond and self.bound_bytes > 0
        if stands == self.stands:
            return False
        self.stands = stands
        if stands:
            self.raised += 1
        return True

    def message(self) -> str:
        """What a person is told of it, with its figures."""
        state = "raised" if self.stands else "cleared"
        if self.name == MEMORY_ALARM:
            return f"memory alarm {state}: {self.bytes} bytes are taken, memory_alarm_bytes is {self.bound_bytes}"
        return f"disk alarm {state}: {self.bytes} bytes are free, disk_alarm_bytes is {self.bound_bytes}"

    def refuse(self) -> AlarmError:
        """The answer to a write while it stands."""
        self.refused += 1
        details = {"alarm": self.name, "bytes": int(self.bytes), "bound_bytes": int(self.bound_bytes)}
        return AlarmError(f"writes are refused, reads and acks go on; {self.message()}", details)
