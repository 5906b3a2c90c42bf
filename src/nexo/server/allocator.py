"""The memory allocator of a server, which is chosen before its interpreter starts.

A broker's entries, keys and values lie all over its memory. With pages of 4 KiB nearly each access to one misses
the processor's table of page addresses, and a virtual machine walks two page tables for each miss; with pages of
2 MiB few do. Python's own allocator cannot ask for large pages. The C library's can (glibc.malloc.hugetlb, since
glibc 2.35), when the environment says so at the start: so a server that finds large pages starts itself once more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HUGE_PAGES: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GLIBC_SINCE: Final = (2, 35)
ALLOCATOR: Final = "PYTHONMALLOC"
TUNABLES: Final = "GLIBC_TUNABLES"
TUNABLE: Final = "glibc.malloc.hugetlb=1"


def huge_pages_here() -> bool:
    """Whether the system gives large pages to a program that asks, and the C library can ask."""
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        numbers = tuple(int(part) for part in version.split(".")[:2])
        choice = HUGE_PAGES.read_text()
    except (OSError, ValueError):
        return False
    return library == "glibc" and numbers >= GLIBC_SINCE and "[never]" not in choice


def with_huge_pages(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The environment to start the interpreter in once more; None when there is nothing to gain by it.

    An allocator that the environment names already stays, and so do tunables of the C library.
    """
    if ALLOCATOR in environ or getattr(sys, "frozen", False) or not huge_pages_here():
        return None
    tunables = environ.get(TUNABLES, "")
    return {
        **environ,
        ALLOCATOR: "malloc",
        TUNABLES: f"{tunables}:{TUNABLE}" if tunables else TUNABLE,
    }


def start_again(environ: Mapping[str, str]) -> None:
    """Become the same program in another environment, with the same process id. OSError when that fails."""
    os.execve(sys.executable, sys.orig_argv, dict(environ))
