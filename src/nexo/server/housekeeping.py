"""Housekeeping of the log: decides when files are cleaned and compacted, and takes it from step to step.

    rest ─▶ roll ─▶ clean ─▶ roll ─▶ compact ─▶ rest        when the log is dirty: more of it is dead than alive
    rest ─────────────────────────▶ compact ─▶ rest        when a start would have to replay many files

A roll completes the present file, so that it can be cleaned, or what was moved into it can be replayed by the
compaction. Cleaning moves what lives in sparse files (brokers/cleaner.py); the compaction then finds that
nothing refers to them, and removes them. Nothing else ever removes a file: each step may fail, or the power go,
and what is there is right. Runs in the loop, and looks at numbers that are kept up, not at messages. Knows no
thread and no process; a simulation drives it as the keeper does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from mypy_extensions import mypyc_attr

from nexo.limits import CLEANING_FILES, CLEANING_LIVE_PERCENT, COMPACTION_FILES
from nexo.node import Node
from nexo.storage.files import Files
from nexo.storage.format import SNAPSHOT_NAME, log_name, log_numbers
from nexo.storage.log import Log

log: Final = logging.getLogger("nexo.storage")

FAULTS_TOLD_MAX: Final = 10
"""Damaged bodies that one cleaning names; the others are counted."""

# What is going on.
REST: Final = "rest"
ROLL_TO_CLEAN: Final = "roll to clean"
CLEAN: Final = "clean"
ROLL_TO_COMPACT: Final = "roll to compact"
COMPACT: Final = "compact"


class Compacting(Protocol):
    """Whoever makes everything before a log file a snapshot, and removes the files that nothing refers to."""

    def start(self, before: int, done: Callable[[list[str]], None]) -> None:
        """Begin. `done` is called with the names of the files that are left; none: it failed, and told why."""
        ...


@mypyc_attr(allow_interpreted_subclasses=True)
class Housekeeper:
    """Call `begin` after the recovery, `look` after each report of the log, `between_turns` after each turn.

    `enough_bytes` of the log must be dead before it is cleaned. Nothing begins while it is `postponed`: a backup is
    about to link the files.
    """

    def __init__(
        self,
        files: Files,
        journal: Log,
        compactor: Compacting,
        file_bytes: int,
        postponed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.state = REST
        self._files = files
        self._journal = journal
        self._compactor = compactor
        self._postponed = postponed
        self._file_bytes = file_bytes
        self._due_files = COMPACTION_FILES
        self.enough_bytes = CLEANING_FILES * file_bytes
        self._spare = 2 * file_bytes  # room that cleaning leaves
        self._node: Node | None = None
        self._sizes: dict[int, int] = {}  # of the log files that are complete
        self._bytes = 0
        self._left = 0  # dead bytes that the last cleaning could do nothing about
        self._tried = 0  # dead bytes when the present cleaning began, 0: there is none
        self._compacted = 0  # everything before this log file is in a snapshot, or will be soon
        self._file = 0  # the present log file, and a batch with which it has been begun
        self._file_batch = 0
        self._rolled = False

    def begin(self, node: Node, first_file: int) -> None:
        """What is there: a start replayed the log from `first_file` on."""
        self._node = node
        self._compacted = first_file
        for number in log_numbers(self._files.names()):
            self._sizes[number] = self._files.size(log_name(number))
        self._bytes = sum(self._sizes.values())

    @property
    def dead_bytes(self) -> int:
        """Bytes of complete log files that nothing refers to."""
        return self._bytes - self.live_bytes

    @property
    def live_bytes(self) -> int:
        """Bytes of complete log files that something refers to."""
        live = self._journal.live
        return int(live.total - live.of(self._journal.file))

    def described(self) -> dict[str, object]:
        """What an operator sees: the log files that are complete and what lives in them, what is due, and when.

        Nothing is read but the names of the files and, of a snapshot, its size and age.
        """
        journal = self._journal
        live = journal.live.by_file()
        files: list[dict[str, object]] = [
            {
                "name": log_name(number),
                "bytes": size,
                "live_bytes": live.get(number, 0),
                "complete": True,
                "sparse": live.get(number, 0) * 100 < size * CLEANING_LIVE_PERCENT,
            }
            for number, size in sorted(self._sizes.items())
        ]
        files.append(
            {
                "name": log_name(journal.file),
                "bytes": int(journal.offset),
                "live_bytes": int(journal.live.of(journal.file)),
                "complete": False,
                "sparse": False,
            }
        )
        return {
            "files": files,
            "bytes": self._bytes + int(journal.offset),
            "live_bytes": int(journal.live.total),
            "dead_bytes": self.dead_bytes,
            "housekeeping": {
                "state": self.state,
                "dirty": self._is_dirty(),
                "dirty_at_bytes": self.enough_bytes + self._left,
                "files_to_replay": max(0, int(journal.file) - self._compacted),
                "compacted_at_files": self._due_files,
            },
        }

    def look(self) -> None:
        """Go on with what is due."""
        journal = self._journal
        self._note_files()
        if self.state == COMPACT or self._postponed():
            return
        if journal.fenced:
            self._give_up()
        elif journal.full:
            self._give_up()
            self._make_room()
        elif self.state == REST:
            self._look_for_work()
        elif self.state == CLEAN:
            self._look_at_cleaning()
        elif self._rolled and self._is_begun():
            self._rolled = False
            if self.state == ROLL_TO_CLEAN:
                self._clean()
            else:
                self._compact()

    def between_turns(self) -> None:
        """The open batch is empty: complete the present log file, if that is wanted."""
        if self.state == CLEAN:
            self._look_at_cleaning()  # the last slice may have found nothing, and then no report follows
        if self.state in (ROLL_TO_CLEAN, ROLL_TO_COMPACT) and not self._rolled and self._journal.roll():
            self._rolled = True
            self._note_files()
            self._file_batch = int(self._journal.batch) - 1

    def _note_files(self) -> None:
        journal = self._journal
        while journal.completed:
            number, size = journal.completed.pop()
            self._sizes[number] = size
            self._bytes += size
        if journal.file != self._file:
            self._file = int(journal.file)
            self._file_batch = int(journal.batch)
            self._due_files = max(COMPACTION_FILES, self._snapshot_bytes() // self._file_bytes)

    def _snapshot_bytes(self) -> int:
        """A snapshot holds the values of durable keys: it is written again when the log has grown by as much."""
        names = [name for name in self._files.names() if SNAPSHOT_NAME.fullmatch(name)]
        return max((self._files.size(name) for name in names), default=0)

    def _is_begun(self) -> bool:
        """Whether the present file is: then those before it are complete and on disk."""
        return bool(self._journal.written >= self._file_batch)

    def _is_dirty(self) -> bool:
        dead = self.dead_bytes
        self._left = min(self._left, dead)
        if dead - self._left < self.enough_bytes:
            return False
        return self.live_bytes * 100 < self._bytes * CLEANING_LIVE_PERCENT

    def _look_for_work(self) -> None:
        if self._is_dirty():
            self._roll(ROLL_TO_CLEAN)
        elif self._file - self._compacted >= self._due_files and self._is_begun():
            self._compact()

    def _make_room(self) -> None:
        """The disk is full: nothing can be moved or rolled, but what is wholly dead may go.

        What comes next goes to a new file, so those before it are complete; they are on disk, or the log were fenced.
        """
        if self._is_dirty():
            self._tried = self.dead_bytes
            self._compact()

    def _roll(self, state: str) -> None:
        assert self._node is not None
        self.state = state
        self._node.begin()  # a turn follows, and ends

    def _clean(self) -> None:
        assert self._node is not None
        self._tried = self.dead_bytes
        chosen, size = self._sparse_files()
        if not chosen:
            self._compact()
            return
        log.info(
            "cleaning: %d bytes live in %d of %d log files, and are moved; %d of %d bytes of the log are dead",
            size,
            len(chosen),
            len(self._sizes),
            self.dead_bytes,
            self._bytes,
        )
        self.state = CLEAN
        self._node.cleaner.start(chosen)
        self._node.begin()

    def _sparse_files(self) -> tuple[list[int], int]:
        """The log files to clean, those first of which least lives, as far as the disk has room for what is moved."""
        assert self._node is not None
        live = self._journal.live.by_file()
        spoiled = self._node.cleaner.moving.spoiled
        sparse = [
            (live[number], number)
            for number, size in self._sizes.items()
            if number in live
            and number < self._file
            and number not in spoiled
            and live[number] * 100 < size * CLEANING_LIVE_PERCENT
        ]
        room = self._files.free_bytes() - self._spare
        chosen: list[int] = []
        total = 0
        for size, number in sorted(sparse):
            if total + size > room:
                log.warning("cleaning: the disk has no room to move what lives in all sparse log files")
                break
            chosen.append(number)
            total += size
        return chosen, total

    def _look_at_cleaning(self) -> None:
        assert self._node is not None
        cleaner = self._node.cleaner
        if cleaner.active:
            return
        faults = cleaner.moving.faults
        for fault in faults[:FAULTS_TOLD_MAX]:
            log.error("cleaning: %s; it stays where it is", fault)
        if len(faults) > FAULTS_TOLD_MAX:
            log.error("cleaning: %d more like this", len(faults) - FAULTS_TOLD_MAX)
        faults.clear()
        if cleaner.gave_up:
            self._give_up()
        else:
            log.info("cleaning: %d bytes of bodies are moved", cleaner.moving.bytes)
            self._roll(ROLL_TO_COMPACT)

    def _give_up(self) -> None:
        """The disk takes nothing now. What has been moved is, and the rest is for another time."""
        if self.state != REST:
            log.warning("cleaning: given up, since the log takes nothing")
            self.state = REST
            self._rolled = False
            self._end_of_cleaning(0)

    def _compact(self) -> None:
        self.state = COMPACT
        self._compacted = self._file
        self._compactor.start(self._file, self._compacted_with)

    def _compacted_with(self, names: list[str]) -> None:
        """The compaction has ended, and these files are left."""
        self.state = REST
        size = self._bytes
        if names:
            numbers = set(log_numbers(names))
            before = len(self._sizes)
            self._sizes = {number: size for number, size in self._sizes.items() if number in numbers}
            self._bytes = sum(self._sizes.values())
            log.info(
                "the log before file %d is compacted: %d log files are gone, %d with %d bytes are left, "
                "of which %d live",
                self._compacted,
                before - len(self._sizes),
                len(self._sizes),
                self._bytes,
                self.live_bytes,
            )
        self._end_of_cleaning(size - self._bytes)
        self.look()

    def _end_of_cleaning(self, freed: int) -> None:
        """What was dead when it began and still is will not go next time either: it is not counted again."""
        if self._tried:
            self._left = max(0, self._tried - freed)
            self._tried = 0
