"""What an account may do: verbs on patterns of names, asked by every protocol before it calls a broker.

A permission is written `broker:verb pattern`, such as `queue:push mail.*`, or is one of the words `monitor` and
`admin`. In patterns of keys, queues and streams `*` stands for any characters, also none; patterns of topics are
MQTT filters (4.7 of the standard). `{user}` in a pattern is the account's name. Knows no protocol, no password.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.topics import check_filter, is_pattern
from nexo.errors import InvalidArgumentError, NotAuthorizedError, ServerError

STORE_READ: Final = 0
STORE_WRITE: Final = 1
STORE_MANAGE: Final = 2
QUEUE_PUSH: Final = 3
QUEUE_CONSUME: Final = 4
QUEUE_BROWSE: Final = 5
QUEUE_MANAGE: Final = 6
PUBSUB_PUBLISH: Final = 7
PUBSUB_SUBSCRIBE: Final = 8
STREAM_APPEND: Final = 9
STREAM_READ: Final = 10
STREAM_CONSUME: Final = 11
STREAM_MANAGE: Final = 12

VERBS: Final[list[str]] = [
    "store:read", "store:write", "store:manage",
    "queue:push", "queue:consume", "queue:browse", "queue:manage",
    "pubsub:publish", "pubsub:subscribe",
    "stream:append", "stream:read", "stream:consume", "stream:manage",
]  # fmt: skip
"""By number."""

MONITOR: Final = "monitor"
ADMIN: Final = "admin"
USER: Final = "{user}"
"""In a pattern: the name of the account."""

STAR: Final = b"*"
QUEUES: Final = "queue:"
STREAMS: Final = "stream:"


def glob_matches(pattern: bytes, name: bytes) -> bool:
    """Whether a name is what a pattern describes, in which `*` stands for any bytes."""
    parts = pattern.split(STAR)
    if len(parts) == 1:
        return pattern == name
    first, last = parts[0], parts[len(parts) - 1]
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at: i64 = len(first)
    end: i64 = len(name) - len(last)
    for part in parts[1 : len(parts) - 1]:
        found: i64 = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def filter_covers(pattern: bytes, wanted: bytes) -> bool:
    """Whether every topic that the filter `wanted` matches, or the topic that it is, matches `pattern`, too."""
    granted = pattern.split(b"/")
    asked = wanted.split(b"/")
    place: i64 = 0
    for level in granted:
        reserved = place == 0 and asked[0].startswith(b"$")
        if level == b"#":
            return not reserved
        if place >= len(asked):
            return False
        other = asked[place]
        if level == b"+":
            if other == b"#" or reserved:
                return False
        elif level != other:
            return False
        place += 1
    return place == len(asked)


@final
class Patterns:
    """The names on which one verb is granted."""

    __slots__ = ("everything", "exact", "others", "prefixes", "topics")

    def __init__(self, topics: bool) -> None:
        self.topics = topics
        self.everything = False
        self.exact: set[bytes] = set()
        self.prefixes: list[
            bytes
        ] = []  # of patterns whose only wildcard is a `*`, or a level `#`, at the end
        self.others: list[bytes] = []

    def add(self, pattern: bytes) -> None:
        if pattern == STAR:
            self.everything = True
        elif self.topics:
            self.others.append(pattern)
            if pattern.endswith(b"/#") and not is_pattern(pattern[:-1]):
                self.prefixes.append(pattern[:-1])
        elif STAR not in pattern:
            self.exact.add(pattern)
        elif pattern.find(STAR) == len(pattern) - 1:
            self.prefixes.append(pattern[:-1])
        else:
            self.others.append(pattern)

    def covers(self, name: bytes) -> bool:
        """Whether the verb is granted on a name; of topics, on all that a filter matches."""
        if self.everything or name in self.exact:
            return True
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return True
        for pattern in self.others:
            if filter_covers(pattern, name) if self.topics else glob_matches(pattern, name):
                return True
        return False

    def surely_covers(self, data: bytes, start: i64, end: i64) -> bool:
        """The hot path: as `covers` of the name at `data[start:end]`; False where that must tell."""
        if self.everything:
            return True
        for prefix in self.prefixes:
            size: i64 = len(prefix)
            if size <= end - start:
                place: i64 = 0
                while place < size and data[start + place] == prefix[place]:
                    place += 1
                if place == size:
                    return True
        return len(self.exact) > 0 and data[start:end] in self.exact

    def covers_prefix(self, prefix: bytes) -> bool:
        """Whether the verb is granted on every name that begins so."""
        if self.everything:
            return True
        for known in self.prefixes:
            if prefix.startswith(known):
                return True
        # What a pattern with a `*` at its end matches, it matches however it goes on.
        for pattern in self.others:
            if pattern.endswith(STAR) and glob_matches(pattern, prefix):
                return True
        return False


@final
class Grants:
    """What one account may do. `unrestricted`: whatever it likes, so that nobody needs to ask."""

    def __init__(self, account: str, permissions: list[str]) -> None:
        """Raises InvalidArgumentError for a permission that is none."""
        self.account = account
        self.permissions = permissions
        self.unrestricted = ADMIN in permissions
        self.monitor = self.unrestricted or MONITOR in permissions
        self.patterns: list[Patterns] = []
        for verb in VERBS:
            self.patterns.append(Patterns(verb.startswith("pubsub:")))
        for permission in permissions:
            if permission != ADMIN and permission != MONITOR:
                self.add(permission)

    def add(self, permission: str) -> None:
        verb, _, pattern = permission.strip().partition(" ")
        pattern = pattern.strip().replace(USER, self.account)
        broker, _, word = verb.partition(":")
        places = [
            place
            for place, known in enumerate(VERBS)
            if verb == known or (word == "*" and known.startswith(broker + ":"))
        ]
        if not places:
            raise InvalidArgumentError(
                f"permission {permission!r}: it is {MONITOR}, {ADMIN}, or one of {', '.join(VERBS)} with a pattern"
            )
        if not pattern:
            raise InvalidArgumentError(f"permission {permission!r} has no pattern: {verb} * is for all names")
        text = pattern.encode()
        if broker == "pubsub" and text != STAR:
            if STAR in text:
                raise InvalidArgumentError(
                    f"permission {permission!r}: topics have the wildcards + and #; only * alone is for all"
                )
            try:
                check_filter(text)
            except ServerError as error:
                raise InvalidArgumentError(f"permission {permission!r}: {error}") from None
        for place in places:
            self.patterns[place].add(text)

    def may(self, verb: i64, name: bytes) -> bool:
        return self.unrestricted or self.patterns[verb].covers(name)

    def check(self, verb: i64, name: bytes) -> None:
        """Raises NotAuthorizedError unless the verb is granted on a name."""
        if not self.may(verb, name):
            raise self.refusal(f"{VERBS[verb]} on {name.decode(errors='replace')!r}")

    def check_prefix(self, verb: i64, prefix: bytes) -> None:
        """Raises NotAuthorizedError unless the verb is granted on all names that begin so."""
        if not self.unrestricted and not self.patterns[verb].covers_prefix(prefix):
            raise self.refusal(f"{VERBS[verb]} on all that begins with {prefix.decode(errors='replace')!r}")

    def may_see(self, broker: str, name: bytes) -> bool:
        """Whether there is any verb of a broker (QUEUES, STREAMS) on a name: then it is listed and described."""
        if self.monitor:
            return True
        for place, verb in enumerate(VERBS):
            if verb.startswith(broker) and self.patterns[place].covers(name):
                return True
        return False

    def check_see(self, broker: str, name: bytes) -> None:
        """Raises NotAuthorizedError unless `may_see`."""
        if not self.may_see(broker, name):
            raise self.refusal(f"any verb of {broker}* on {name.decode(errors='replace')!r}")

    def check_monitor(self) -> None:
        """For what tells of the whole server. Raises NotAuthorizedError."""
        if not self.monitor:
            raise self.refusal(MONITOR)

    def check_admin(self) -> None:
        """For what changes the whole server. Raises NotAuthorizedError."""
        if not self.unrestricted:
            raise self.refusal(ADMIN)

    def refusal(self, missing: str) -> NotAuthorizedError:
        if not self.account:
            return NotAuthorizedError(f"log in first: {missing} needs an account")
        return NotAuthorizedError(f"account {self.account!r} has no permission for {missing}")

    def holds(self, other: Grants) -> bool:
        """Whether all that another account's grants allow is in these."""
        return self.unrestricted or set(other.permissions) <= set(self.permissions)


EVERYTHING: Final = Grants("", [ADMIN])
"""Of everybody, where there are no accounts."""
NOTHING: Final = Grants("", [])
"""Of who has not logged in, where there are."""
