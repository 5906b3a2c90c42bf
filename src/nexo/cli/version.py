"""What runs here: the version, and whether the hot modules are compiled."""

from __future__ import annotations

import sys

from nexo._pure import is_compiled
from nexo._version import __version__


def build() -> str:
    """`compiled` or `interpreted`."""
    return "compiled" if is_compiled() else "interpreted"


def version_line() -> str:
    """The line that `nexo --version` prints."""
    return f"nexo {__version__} ({build()}), Python {'.'.join(map(str, sys.version_info[:3]))}"
