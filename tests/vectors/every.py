"""All tables of packet vectors together."""

from __future__ import annotations

from tests.vectors import batch, maps, native, queue, stream
from tests.vectors.table import CONVERSATIONS, GOLDEN, LAYOUTS, VECTORS

__all__ = ["CONVERSATIONS", "GOLDEN", "LAYOUTS", "TABLES", "VECTORS"]

TABLES = (native, maps, queue, stream, batch)
"""Importing a table enters its vectors in the lists."""
