"""Compiled or interpreted: NEXO_PURE=1 forces the source, whatever has been compiled beside it.

Imported first by `nexo/__init__.py`, before any module that could be compiled. Knows file names
and import machinery, and nothing else of Nexo.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Final

HOT: Final = "nexo.brokers.store"
"""A module that is compiled in every compiled build."""


class SourceFinder(MetaPathFinder):
    """Finds the modules below `nexo` as source files only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("nexo.") or path is None:
            return None
        for folder in path:
            spec = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        return None


def is_compiled() -> bool:
    """Whether the hot modules of this process are compiled; found out without importing them."""
    spec = find_spec(HOT)
    return spec is not None and spec.origin is not None and spec.origin.endswith(tuple(EXTENSION_SUFFIXES))


if os.environ.get("NEXO_PURE", "") not in ("", "0"):
    sys.meta_path.insert(0, SourceFinder())
