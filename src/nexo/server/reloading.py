"""What a running server reads again: on SIGHUP, and when a file that belongs to it has changed.

Owns when; each thing that can be read again says how, and keeps what it had when the new one is not valid. To add
one: `reloading.add(name, paths, load)`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Final

from nexo.errors import ConfigError

log: Final = logging.getLogger("nexo.reloading")

LOOK_SECONDS: Final = 1.0
"""How often files are looked at: one stat for each."""

Signature = tuple[tuple[int, int, int] | None, ...]
"""Of each file what changes with it: inode, time in ns, size. None for one that is not there."""


class Watched:
    """One thing that can be read again: the files it is in, and how it is read."""

    def __init__(self, name: str, paths: Sequence[str], load: Callable[[], None]) -> None:
        self.name = name
        self._paths = tuple(paths)
        self._load = load
        self._loaded = self._signature()
        self._seen = self._loaded

    def look(self) -> None:
        """Read it again if its files have changed, once they are the same for two looks: half a change is none."""
        now = self._signature()
        settled = now == self._seen
        self._seen = now
        if settled and now != self._loaded:
            self.reload()

    def reload(self) -> None:
        """Read it again. What does not load is said once, and the old one stays."""
        self._loaded = self._seen = self._signature()
        try:
            self._load()
        except (ConfigError, OSError) as error:
            log.error("%s not read again, the old one stays: %s", self.name, error)
        else:
            log.info("%s read again", self.name)

    def _signature(self) -> Signature:
        found: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                state = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append((state.st_ino, state.st_mtime_ns, state.st_size))
        return tuple(found)


class Reloading:
    """All that one server can read again."""

    def __init__(self) -> None:
        self._watched: list[Watched] = []

    def add(self, name: str, paths: Sequence[str], load: Callable[[], None]) -> None:
        """Call `load` on SIGHUP and when one of the files changes; ConfigError or OSError from it is logged."""
        self._watched.append(Watched(name, paths, load))

    def reload(self) -> None:
        """Read everything again: SIGHUP."""
        for one in self._watched:
            one.reload()

    def look(self) -> None:
        """Read again what has changed; called every LOOK_SECONDS."""
        for one in self._watched:
            one.look()
