"""What happened to the store's keys, for those who watch: the change log and the watches; and for who may undo.

Nothing is kept until the first watch is made; from then on the latest changes are held so that a watch
can resume. Owns the log, the watches and what each is still to be told in this turn. It does not know the
table, and a watcher is told only in `flush`. A Hold looks after one key, log or not.

Versions in the log have no gaps: each change raised the store's version by one.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.table import Table
from nexo.errors import TooOldError

CHANGE_SET: Final = 1
CHANGE_DELETED: Final = 2
CHANGE_EXPIRED: Final = 3
CHANGE_EVICTED: Final = 4

CHANGE_BYTES: Final = 150
"""What a change in the log costs beyond the bytes of its key and value (which the table may share)."""


@final
@mypyc_attr(acyclic=True)
class Change:
    """One change of one key. `value` is None unless it was set; `expires_at` is node time, 0 = never."""

    __slots__ = ("expires_at", "key", "kind", "value", "version")

    def __init__(self, kind: i64, version: i64, key: bytes, value: bytes | None, expires_at: i64) -> None:
        self.kind = kind
        self.version = version
        self.key = key
        self.value = value
        self.expires_at = expires_at


@mypyc_attr(allow_interpreted_subclasses=True)
class Watcher:
    """One who watches. `watch_id` is its own name for the watch."""

    def changed(self, watch_id: i64, changes: list[Change]) -> None:
        """The changes of a turn, in the order of their versions. It may end watches from here."""
        raise NotImplementedError


@final
class Watch:
    """A watch of a key, or of all keys with a prefix. `after` is the version it has been told up to."""

    __slots__ = ("active", "after", "batch", "key", "prefix", "watch_id", "watcher")

    def __init__(self, watcher: Watcher, watch_id: i64, key: bytes, prefix: bool, after: i64) -> None:
        self.watcher = watcher
        self.watch_id = watch_id
        self.key = key
        self.prefix = prefix
        self.after = after
        self.active = True
        self.batch: list[Change] = []


@final
class Hold:
    """What a key held before a batch across brokers wrote it, in case that must be undone: `value` None = nothing.

    `added` is what others have added to the key, as a counter, since the batch. It ends when somebody else
    writes the key otherwise, and when the batch is durable.
    """

    __slots__ = ("_changes", "_done", "_under", "added", "expires_at", "key", "value")

    def __init__(self, changes: Changes, key: bytes, value: bytes | None, expires_at: i64) -> None:
        self.key = key
        self.value = value
        self.expires_at = expires_at
        self.added: i64 = 0
        self._changes = changes
        self._done = False
        self._under = changes.holds.pop(key, None)  # that of an earlier batch on the same key

    def begin(self) -> None:
        """The batch has written the key."""
        self._changes.holds[self.key] = self

    def release(self) -> None:
        """The batch is durable: nothing will be undone."""
        self._done = True
        self._under = None
        if self._changes.holds.get(self.key) is self:
            del self._changes.holds[self.key]

    def take_back(self) -> bool:
        """Whether the key is to be given back what it held; the latest batch goes first."""
        if self._changes.holds.get(self.key) is not self:
            return False
        del self._changes.holds[self.key]
        return True

    def taken_back(self) -> None:
        """The key has been given back: an earlier batch may be next."""
        under = self._under
        if under is not None and not under._done:
            under.added += self.added
            self._changes.holds[self.key] = under


@final
class Changes:
    """The change log and the watches of one store. `oldest` is the first version that the log holds."""

    __slots__ = (
        "_by_length",
        "_bytes",
        "_bytes_max",
        "_exact",
        "_lengths",
        "_ring",
        "_size",
        "_told",
        "_turn",
        "_unheld",
        "_watches",
        "holds",
        "last",
        "oldest",
        "recording",
    )

    def __init__(self, changes_max: i64, bytes_max: i64) -> None:
        self.recording = False
        self.oldest: i64 = 1
        self.last: i64 = 0
        self._size: i64 = changes_max if changes_max > 0 else 1
        self._bytes_max = bytes_max
        self._bytes: i64 = 0
        self._ring: list[Change | None] = []  # version v stands at v % size
        self._turn: list[Change] = []  # since the last flush, while anybody watches
        self._told: list[Watch] = []  # watches that have a batch
        self._watches: i64 = 0
        self._exact: dict[bytes, list[Watch]] = {}
        self._by_length: dict[int, dict[bytes, list[Watch]]] = {}  # prefix watches by the prefix's length
        self._lengths: list[int] = []  # sorted
        self.holds: dict[bytes, Hold] = {}
        self._unheld: Hold | None = None  # the one that the latest change has ended

    def __len__(self) -> int:
        return int(self._watches)

    def start(self, version: i64) -> None:
        """Begins to record; the store is at `version`. From now on `record` must get every change."""
        self.recording = True
        self.forget(version)

    @property
    def idle(self) -> bool:
        """Whether nobody wants to know of changes."""
        return not self.recording and len(self.holds) == 0

    def forget(self, version: i64) -> None:
        """Empties the log: nothing up to `version` can be resumed from before it."""
        self._ring = [None] * int(self._size)
        self._bytes = 0
        self.oldest = version + 1
        self.last = version

    def cleared(self, version: i64) -> None:
        """All keys are gone: nothing before that can be resumed from, or undone."""
        self.holds = {}
        if self.recording:
            self.forget(version)

    def record(self, kind: i64, version: i64, key: bytes, value: bytes | None, expires_at: i64) -> None:
        """Notes a change, whose version follows the last one's."""
        self._unheld = None
        # What has expired was written by nobody: what was there before a batch may still come back.
        if self.holds and kind != CHANGE_EXPIRED:
            self._unheld = self.holds.pop(key, None)
        if not self.recording:
            return
        assert version == self.last + 1, "the change log has a gap"
        change = Change(kind, version, key, value, expires_at)
        if version - self.oldest >= self._size:
            self._drop_oldest()
        self._ring[version % self._size] = change
        self.last = version
        self._bytes += _size(change)
        while self._bytes > self._bytes_max and self.oldest <= version:
            self._drop_oldest()
        if self._watches > 0:
            self._turn.append(change)

    def tell(self, kind: i64, version: i64, key: bytes) -> None:
        """Tells the watches of a change that is not in the log: `forget` must follow."""
        if self._watches > 0:
            self._turn.append(Change(kind, version, key, None, 0))

    def _drop_oldest(self) -> None:
        place = self.oldest % self._size
        change = self._ring[place]
        assert change is not None
        self._bytes -= _size(change)
        self._ring[place] = None
        self.oldest += 1

    def watch(self, watcher: Watcher, watch_id: i64, key: bytes, prefix: bool, from_version: i64) -> Watch:
        """A new watch; with a version not below 0 it is first told what has happened since.

        Raises TooOldError when the log does not hold every change after that version, which includes
        versions that this store has not reached: they are from another life of it.
        """
        if from_version >= 0 and (from_version + 1 < self.oldest or from_version > self.last):
            raise TooOldError(
                f"cannot resume after version {from_version}: the change log begins at version {self.oldest}"
                f" and the store is at version {self.last}"
            )
        watch = Watch(watcher, watch_id, key, prefix, self.last)
        if from_version >= 0:
            for version in range(from_version + 1, self.last + 1):
                change = self._ring[version % self._size]
                if change is not None and (change.key.startswith(key) if prefix else change.key == key):
                    watch.batch.append(change)
            if watch.batch:
                self._told.append(watch)
        self._register(watch)
        return watch

    def _register(self, watch: Watch) -> None:
        self._watches += 1
        watches = self._exact
        if watch.prefix:
            length = len(watch.key)
            found = self._by_length.get(length)
            if found is None:
                found = {}
                self._by_length[length] = found
                self._lengths = sorted(self._by_length)
            watches = found
        same = watches.get(watch.key)
        if same is None:
            watches[watch.key] = [watch]
        else:
            same.append(watch)

    def unwatch(self, watch: Watch) -> None:
        """Ends a watch: it is not told even what happened before in this turn."""
        if not watch.active:
            return
        watch.active = False
        watch.batch = []
        self._watches -= 1
        if self._watches == 0:
            self._turn = []
        watches = self._by_length[len(watch.key)] if watch.prefix else self._exact
        same = watches[watch.key]
        same.remove(watch)
        if not same:
            del watches[watch.key]
            if watch.prefix and not watches:
                del self._by_length[len(watch.key)]
                self._lengths = sorted(self._by_length)

    def anybody(self, key: bytes) -> bool:
        """Whether anybody watches this key."""
        if key in self._exact:
            return True
        for length in self._lengths:
            if length > len(key):
                break
            if key[:length] in self._by_length[length]:
                return True
        return False

    def watched(self, entries: Table) -> list[bytes]:
        """The keys of a table that anybody watches; looks at all of them only when prefixes are watched."""
        if self._by_length:
            return [key for key in entries if self.anybody(key)]
        return [key for key in self._exact if key in entries]

    def flush(self) -> None:
        """Hands each watch what happened to its keys since the last flush."""
        if self._turn:
            turn, self._turn = self._turn, []
            for change in turn:
                self._match(change)
        if self._told:
            told, self._told = self._told, []
            for watch in told:
                if watch.active:
                    batch, watch.batch = watch.batch, []
                    watch.watcher.changed(watch.watch_id, batch)

    def stepped(self, delta: i64) -> None:
        """The latest change was a step of a counter: what a batch has added to it can still be taken back."""
        hold = self._unheld
        if hold is not None:
            hold.added += delta
            self.holds[hold.key] = hold

    def rescheduled(self, key: bytes, expires_at: i64) -> None:
        """A key has got another time to live, which what was there before would have got, too."""
        hold = self.holds.get(key)
        if hold is not None:
            hold.expires_at = expires_at

    def unhold(self, prefix: bytes) -> None:
        """All keys with a prefix are being deleted, those that are not there at the moment included."""
        for key in [one for one in self.holds if one.startswith(prefix)]:
            del self.holds[key]

    def _match(self, change: Change) -> None:
        key = change.key
        watches = self._exact.get(key)
        if watches is not None:
            self._gather(watches, change)
        for length in self._lengths:
            if length > len(key):
                break
            watches = self._by_length[length].get(key[:length])
            if watches is not None:
                self._gather(watches, change)

    def _gather(self, watches: list[Watch], change: Change) -> None:
        for watch in watches:
            if change.version > watch.after:  # not what a resumed watch has been told from the log
                if not watch.batch:
                    self._told.append(watch)
                watch.batch.append(change)


def _size(change: Change) -> i64:
    value = change.value
    return CHANGE_BYTES + len(change.key) + (len(value) if value is not None else 0)
