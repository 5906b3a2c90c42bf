"""What the operating system says of memory: how much this process takes, and how much it may.

Linux tells both; elsewhere the answers are 0, which is "not known".
"""

from __future__ import annotations

import os
from pathlib import Path

UNLIMITED_BYTES = 1 << 60
"""A limit this large is none: control groups of version 1 say so with a number."""


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def memory_bytes(root: Path = Path("/")) -> int:
    """What this process may take before the kernel ends it: the machine's memory, or a control group's limit.

    `root` is where the system's own files are found. 0 where the system does not tell.
    """
    found = [limit for limit in (_machine_bytes(root), *_group_limits(root)) if 0 < limit < UNLIMITED_BYTES]
    return min(found, default=0)


def _machine_bytes(root: Path) -> int:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _group_limits(root: Path) -> list[int]:
    """The limits of the control group that we are in, and of those around it: versions 2 and 1."""
    found = []
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        # Inside a container the path may be that of the host, and the files stand at the top.
        for depth in range(len(parts), -1, -1):
            found.append(_number(base.joinpath(*parts[:depth], name)))
    return found


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" is no limit
        return 0
