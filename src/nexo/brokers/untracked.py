"""Long lists that the collector of cycles need not look at.

Keys are bytes and messages are native objects without a collector's header, so no cycle goes through them. A list
of them is looked at all the same, item by item: with a million messages a full collection took a tenth of a second.
CPython takes such tuples and dicts out of the collector's sight by itself, and lists not; its C API lets one do it.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

_untrack: Final[Any] = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes = [ctypes.py_object]
_untrack.restype = None


def untrack(items: object) -> None:
    """The collector passes over this list from now on. Nothing that is ever in it may refer to the list's owner."""
    _untrack(items)
