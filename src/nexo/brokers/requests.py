"""Requests that wait for their reply.

A request is a message whose `request_id` is not 0; it travels as any other. This module owns the ids,
who asked, and until when: the first reply is handed to the requester, later ones find nothing, and a
deadline that passes is told once. A topic is only remembered here, and the clock is an argument.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from nexo.errors import LimitExceededError
from nexo.limits import PENDING_REQUESTS_MAX

_SLACK: Final = 64  # stale deadlines that are not worth tidying


@mypyc_attr(allow_interpreted_subclasses=True)
class Requester:
    """One who asks. `correlation_id` is its own name for the request."""

    def replied(self, correlation_id: i64, value: bytes, headers: bytes) -> None:
        """The first reply."""
        raise NotImplementedError

    def timed_out(self, correlation_id: i64) -> None:
        """The deadline passed without a reply."""
        raise NotImplementedError


@final
class _Pending:
    __slots__ = ("correlation_id", "deadline", "requester", "topic")

    def __init__(self, requester: Requester, correlation_id: i64, deadline: i64, topic: bytes) -> None:
        self.requester = requester
        self.topic = topic
        self.correlation_id = correlation_id
        self.deadline = deadline


@final
class Requests:
    """All requests of a node. Deadlines are node time in ms; ids start at 1 and are never used again."""

    __slots__ = ("_by_requester", "_deadlines", "_last_id", "_pending")

    def __init__(self) -> None:
        self._last_id: i64 = 0
        self._pending: dict[int, _Pending] = {}
        self._by_requester: dict[Requester, dict[int, None]] = {}
        self._deadlines: list[tuple[int, int]] = []  # a heap of (deadline, id); answered ones stay until met

    def __len__(self) -> int:
        return len(self._pending)

    def open(
        self, requester: Requester, correlation_id: i64, deadline: i64, now: i64, topic: bytes = b""
    ) -> i64:
        """Remembers a request on a topic until `deadline` and gives its id.

        Raises LimitExceededError when PENDING_REQUESTS_MAX already wait.
        """
        if len(self._pending) >= PENDING_REQUESTS_MAX:
            raise LimitExceededError(
                f"PENDING_REQUESTS_MAX ({PENDING_REQUESTS_MAX}) requests wait for a reply"
            )
        self._last_id += 1
        request_id = int(self._last_id)
        self._pending[request_id] = _Pending(requester, correlation_id, max(deadline, now), topic)
        own = self._by_requester.get(requester)
        if own is None:
            own = {}
            self._by_requester[requester] = own
        own[request_id] = None
        heappush(self._deadlines, (int(max(deadline, now)), request_id))
        return self._last_id

    def reply(self, request_id: i64, value: bytes, headers: bytes) -> bool:
        """Hands a reply to the requester; False when the request was answered, is too late or never was."""
        pending = self._close(int(request_id))
        if pending is None:
            return False
        pending.requester.replied(pending.correlation_id, value, headers)
        return True

    def topic_of(self, request_id: i64) -> bytes:
        """The topic on which a request was made that waits for its reply; b"" when there is none."""
        pending = self._pending.get(int(request_id))
        return b"" if pending is None else pending.topic

    def cancel(self, request_id: i64) -> bool:
        """Forgets a request without telling anybody."""
        return self._close(int(request_id)) is not None

    def expire(self, now: i64) -> i64:
        """Tells every requester whose deadline is at or before `now`; gives the next deadline, 0 for none."""
        deadlines = self._deadlines
        while deadlines:
            deadline, request_id = deadlines[0]
            pending = self._pending.get(request_id)
            if pending is not None and deadline > now:
                return deadline
            heappop(deadlines)
            if pending is not None:
                self._close(request_id)
                pending.requester.timed_out(pending.correlation_id)
                deadlines = self._deadlines
        return 0

    def drop(self, requester: Requester) -> None:
        """Forgets the requests of one who has gone; their replies will find nothing."""
        own = self._by_requester.pop(requester, None)
        if own is not None:
            for request_id in own:
                del self._pending[request_id]
            self._tidy()

    def _close(self, request_id: int) -> _Pending | None:
        pending = self._pending.pop(request_id, None)
        if pending is None:
            return None
        own = self._by_requester[pending.requester]
        del own[request_id]
        if not own:
            del self._by_requester[pending.requester]
        self._tidy()
        return pending

    def _tidy(self) -> None:
        """Most requests are answered long before their deadline: their heap entries must not pile up."""
        if len(self._deadlines) > 2 * len(self._pending) + _SLACK:
            self._deadlines = [one for one in self._deadlines if one[1] in self._pending]
            heapify(self._deadlines)
