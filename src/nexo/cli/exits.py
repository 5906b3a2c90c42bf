"""Exit codes of the `nexo` command; docs/cli.md has the same table."""

from __future__ import annotations

from typing import Final

OK: Final = 0
NEGATIVE: Final = 1
"""A negative answer: no such key, nothing received, a condition not met, damage found; of `serve`: the address
cannot be used."""
USAGE: Final = 2
"""The command line, the environment or the configuration is wrong."""
FAILED: Final = 3
"""The server cannot be reached, did not answer in time, or answered with an error."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells count it: 128 + SIGINT."""
