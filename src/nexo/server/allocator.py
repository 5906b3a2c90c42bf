"""The memory allocator of a server, which is chosen before its interpreter starts.

A broker's entries, keys and values lie all over its memory. With pages of 4 KiB nearly each access to one misses
the processor's table of page addresses, and a virtual machine walks two page tables for each miss; with pages of
2 MiB few do. Python's own allocator cannot ask for large pages. The C library's can (glibc.malloc.hugetlb, since
glibc 2.35), when the environment says so at the start: so a server that finds large pages starts itself once more.

Alone, the C library's allocator scatters small objects once many have come and gone: publishing beside 100,000
subscriptions became seven times slower. So Python's own allocator goes on holding the small objects, and only its
arenas come from the C library. It may be put in place while the program runs as long as the one before it was
malloc: what is no part of an arena it hands to `free` (Objects/obmalloc.c).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HUGE_PAGES: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GLIBC_SINCE: Final = (2, 35)
ALLOCATOR: Final = "PYTHONMALLOC"
TUNABLES: Final = "GLIBC_TUNABLES"
ALLOCATOR_FIRST: Final = "malloc"
TUNABLE: Final = "glibc.malloc.hugetlb=1"
KEPT: Final = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=67108864"
"""Arenas are 1 MiB: they must not be mapped one by one, and memory is not given back and fetched in each turn."""

SET_DEFAULT: Final = "_PyMem_SetDefaultAllocator"
SET_ARENAS: Final = "PyObject_SetArenaAllocator"
GET_ALLOCATOR: Final = "PyMem_GetAllocator"
RAW: Final = 0
SMALL_OBJECTS: Final = (1, 2)
"""Domains of allocators, in the order of PyMemAllocatorDomain: raw, mem, obj."""


class _Allocator(ctypes.Structure):
    """PyMemAllocatorEx."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc", "free"))


class _Arenas(ctypes.Structure):
    """PyObjectArenaAllocator. Its `free` also gets the size, which the raw one has no use for."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("context", "malloc", "free"))


def huge_pages_here() -> bool:
    """Whether the system gives large pages to a program that asks, and the C library can ask."""
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        numbers = tuple(int(part) for part in version.split(".")[:2])
        choice = HUGE_PAGES.read_text()
    except (OSError, ValueError):
        return False
    return library == "glibc" and numbers >= GLIBC_SINCE and "[never]" not in choice and can_switch()


def can_switch() -> bool:
    """Whether this Python exports what `hold_small_objects` calls; one of the names is private, and may go."""
    return all(hasattr(ctypes.pythonapi, name) for name in (SET_DEFAULT, SET_ARENAS, GET_ALLOCATOR))


def with_huge_pages(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The environment to start the interpreter in once more; None when there is nothing to gain by it.

    An allocator that the environment names already stays, and so do tunables of the C library.
    """
    if ALLOCATOR in environ or not huge_pages_here():
        return None
    tunables = environ.get(TUNABLES, "")
    return {
        **environ,
        ALLOCATOR: ALLOCATOR_FIRST,
        TUNABLES: ":".join([*filter(None, [tunables]), TUNABLE, KEPT]),
    }


def started_again(environ: Mapping[str, str]) -> bool:
    """Whether this is the program that was started again, or one that was given the same environment and can do the same."""
    asked = environ.get(ALLOCATOR) == ALLOCATOR_FIRST and TUNABLE in environ.get(TUNABLES, "")
    return asked and can_switch()


def hold_small_objects() -> None:
    """Have Python's own allocator hold small objects from now on, in arenas that the C library gives.

    To be called once, before there are other threads, in a program whose allocator is malloc, and where the stack
    is shallow: the interpreter's first piece of stack came from the arenas' former source, and none may be returned
    from before `leave_small_objects`.
    """
    raw = _raw_allocator()
    _take_arenas(raw.context, raw.malloc, raw.free)
    for domain in SMALL_OBJECTS:
        getattr(ctypes.pythonapi, SET_DEFAULT)(domain, None)


def leave_small_objects() -> None:
    """The program is about to end: arenas, and that first piece of stack, are left for the system to take back."""
    raw = _raw_allocator()
    _take_arenas(
        raw.context, raw.malloc, ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value
    )


def _raw_allocator() -> _Allocator:
    raw = _Allocator()
    getattr(ctypes.pythonapi, GET_ALLOCATOR)(RAW, ctypes.byref(raw))
    return raw


def _take_arenas(context: int | None, malloc: int | None, free: int | None) -> None:
    getattr(ctypes.pythonapi, SET_ARENAS)(ctypes.byref(_Arenas(context, malloc, free)))
