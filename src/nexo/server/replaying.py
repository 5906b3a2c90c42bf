"""Bringing brokers back: every recorded operation is done again. For a start, and for a compaction."""

from __future__ import annotations

from nexo.node import Node
from nexo.storage.format import operations
from nexo.storage.recovery import Recovery


def replay(recovery: Recovery, node: Node) -> None:
    """Do everything again that a data directory holds; raises what Recovery does, and StorageError."""
    for replayed in recovery.replay():
        for kind, start, end in operations(replayed.payload):
            address = replayed.address + start if replayed.address else 0
            node.apply(kind, replayed.payload, start, end, address)
