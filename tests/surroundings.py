"""The environment of the commands and servers that tests start."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"


def environment(**extra: str) -> dict[str, str]:
    """Ours, without settings that somebody has exported, with the source tree first.

    A server does not start itself once more for its large pages: that is a second for each of hundreds, and has
    tests of its own. Its HTTP port is a free one, since servers run side by side.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NEXO_") or name == "NEXO_PURE"
    }
    path = os.pathsep.join(part for part in (str(SOURCE), kept.get("PYTHONPATH")) if part)
    return {
        **kept,
        "PYTHONPATH": path,
        "NEXO_HUGE_PAGES": "off",
        "NEXO_HTTP_PORT": "0",
        "XDG_CONFIG_HOME": os.devnull,
        **extra,
    }
