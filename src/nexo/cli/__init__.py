"""The `nexo` command: from its arguments to its exit code.

Imports little, so that `nexo --version` and the completion of a shell are quick: click comes with
the first real command, and each command's module when it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from nexo.cli import exits
from nexo.server.program import COMPACTION

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see exits.py)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "PYTHONMALLOC" not in os.environ:
        return _run(arguments)
    from nexo.server.allocator import hold_small_objects, leave_small_objects, started_again

    if not started_again(os.environ):
        return _run(arguments)
    hold_small_objects()
    try:
        return _run(arguments)
    finally:
        leave_small_objects()


def _run(arguments: list[str]) -> int:
    try:
        if arguments in (["--version"], ["-V"]):
            from nexo.cli.version import version_line

            sys.stdout.write(version_line() + "\n")
            sys.stdout.flush()
            return exits.OK
        if arguments[:1] == [COMPACTION] and len(arguments) == 3:
            from nexo.server import compaction

            return compaction.main(arguments[1:])
        from nexo.cli.group import run

        code = run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _forget_stdout()
        return exits.OK
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _forget_stdout() -> None:
    """The reader of our output has seen enough: nothing more to say, not even while exiting."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
