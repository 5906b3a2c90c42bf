"""The dead letters of one group: messages that it could not process, with their records.

The record is kept here, in memory, so that retention cannot take it. Past a bound in number or bytes the
oldest are dropped, and counted. Knows no group and no journal.
"""

from __future__ import annotations

from itertools import islice
from typing import final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.stream.records import Record
from nexo.limits import DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX


@final
@mypyc_attr(acyclic=True)
class DeadLetter:
    """A message that was given up at `died_at` after `attempts` deliveries. `record` is a block of one.

    `serial` orders the letters of a group by death; it is given when the letter is added.
    """

    __slots__ = ("attempts", "died_at", "reason", "record", "seq", "serial")

    def __init__(self, seq: i64, attempts: i64, died_at: i64, reason: bytes, record: bytes) -> None:
        self.seq = seq
        self.attempts = attempts
        self.died_at = died_at
        self.reason = reason
        self.record = record
        self.serial: i64 = 0

    def contents(self) -> Record:
        """The record as it was appended."""
        return Record(self.seq, self.record, 0, len(self.record))


@final
class DeadLetters:
    """Dead letters in the order in which they died."""

    __slots__ = ("_last_serial", "_letters", "bytes", "dropped")

    def __init__(self) -> None:
        self._letters: dict[int, DeadLetter] = {}
        self._last_serial: i64 = 0
        self.bytes: i64 = 0
        self.dropped: i64 = 0

    def __len__(self) -> int:
        return len(self._letters)

    def add(self, letter: DeadLetter) -> None:
        """Keeps a dead letter; a former one of the same sequence gives way."""
        self.take(letter.seq)
        self._last_serial += 1
        letter.serial = self._last_serial
        self._letters[letter.seq] = letter
        self.bytes += len(letter.record)
        self._drop_surplus()

    def restore(self, letter: DeadLetter) -> None:
        """Puts one that was taken back in its place; not beside a later one of the same sequence."""
        if letter.seq in self._letters:
            return
        letters = [*self._letters.values(), letter]
        letters.sort(key=_serial)
        self._letters = {int(one.seq): one for one in letters}
        self.bytes += len(letter.record)
        self._drop_surplus()

    def _drop_surplus(self) -> None:
        while len(self._letters) > 1 and (
            len(self._letters) > DEAD_LETTERS_MAX or self.bytes > DEAD_LETTERS_BYTES_MAX
        ):
            self.take(next(iter(self._letters)))
            self.dropped += 1

    def get(self, seq: i64) -> DeadLetter | None:
        return self._letters.get(seq)

    def take(self, seq: i64) -> DeadLetter | None:
        """Removes a dead letter and gives it, if it is there."""
        letter = self._letters.pop(seq, None)
        if letter is not None:
            self.bytes -= len(letter.record)
        return letter

    def page(self, offset: i64, limit: i64) -> list[DeadLetter]:
        """`limit` dead letters after the first `offset`."""
        if offset >= len(self._letters):
            return []
        return list(islice(self._letters.values(), offset, offset + limit))

    def following(self, serial: i64, limit: i64) -> list[DeadLetter]:
        """`limit` dead letters after the one with this serial, whether it is still there or not."""
        found: list[DeadLetter] = []
        for letter in self._letters.values():
            if len(found) >= limit:
                break
            if letter.serial > serial:
                found.append(letter)
        return found

    def restarted(self, above: i64) -> None:
        """The replay is over: places of an earlier life, which were no higher than `above`, are before all of these."""
        for letter in self._letters.values():
            letter.serial += above
        self._last_serial += above

    def clear(self) -> i64:
        """Removes all; how many there were."""
        count: i64 = len(self._letters)
        self._letters = {}
        self.bytes = 0
        return count


def _serial(letter: DeadLetter) -> int:
    return int(letter.serial)
