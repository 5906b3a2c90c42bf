"""What a route needs to be allowed, for the table of routes. One of these stands with each route."""

from __future__ import annotations

from nexo.protocols.grants import QUEUES, STREAMS
from nexo.server.http.routing import Call, Need


def anybody(call: Call) -> None:
    """Who has got past the guard: there everybody logs in, unless `anonymous` is allowed something."""


def asked(call: Call) -> None:
    """The handler asks itself, for the names are not in the path: in the body, or each name of a list."""


def monitor(call: Call) -> None:
    call.grants.check_monitor()


def admin(call: Call) -> None:
    call.grants.check_admin()


def on(verb: int, parameter: str) -> Need:
    """A verb on the name in the path."""

    def check(call: Call) -> None:
        call.grants.check(verb, call.name(parameter))

    return check


def queue_seen(call: Call) -> None:
    """Any verb on the queue in the path."""
    call.grants.check_see(QUEUES, call.name("queue"))


def stream_seen(call: Call) -> None:
    """Any verb on the stream in the path."""
    call.grants.check_see(STREAMS, call.name("stream"))
