"""Administrative actions, and who is told of them. The server has the implementation.

The one seam for all protocols: whoever runs an action tells the auditor what was done to what, by whom, from where and
how it ended. What stands in `ACTIONS` is all that there is. Knows no log and no protocol.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

OK: Final = "ok"
"""The result of what was done; else it is the name of the error."""

ACTIONS: Final = frozenset(
    {
        "backup",
        "connection.close",
        "group.delete",
        "group.delete_dead_letter",
        "group.purge_dead_letters",
        "group.redrive",
        "group.seek",
        "map.create",
        "map.delete",
        "queue.create",
        "queue.delete",
        "queue.delete_dead_letter",
        "queue.delete_message",
        "queue.pause",
        "queue.purge",
        "queue.purge_dead_letters",
        "queue.redrive",
        "queue.resume",
        "store.clear",
        "store.delete_prefix",
        "stream.create",
        "stream.delete",
    }
)
"""`<kind of resource>.<what is done to it>`: what the audit log may hold (docs/observability.md)."""


class Action:
    """One administrative action. `resource` is empty for what is done to the whole server.

    `account` is the name of whoever did it, "" where there are no accounts; `client` what its program calls itself.
    """

    def __init__(
        self, action: str, resource: str, protocol: str, address: str, client: str, account: str, result: str
    ) -> None:
        self.action = action
        self.resource = resource
        self.protocol = protocol
        self.address = address
        self.client = client
        self.account = account
        self.result = result


@mypyc_attr(allow_interpreted_subclasses=True)
class Auditor:
    """Is told of each administrative action when it has ended. This one keeps nothing: nobody asked for it."""

    def done(self, action: Action) -> None:
        """Keep a record of it."""
