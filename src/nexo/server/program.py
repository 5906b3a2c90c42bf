"""How this program is started once more: in another environment, or as a child process that does a part of the work.

Installed, it is `python -m nexo`. The executable that `make dist` makes is a loader: it unpacks a folder, starts itself
as a child process that runs the program from there, hands on the signals that it gets, and removes the folder at the
end. What is different there is known here alone.

The loader's interpreter never looks at PYTHONMALLOC, so a server that wants large pages (allocator.py) becomes a plain
interpreter, which lies in the folder for that, and from then on is `python -m nexo` like any other.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

COMPACTION: Final = "__compaction"
"""The subcommand of the child process that compacts the log (compaction.py). Nobody types it by accident: only a
child of the server, which holds the directory's lock, may do that."""

INTERPRETER: Final = "bin/python"
"""In the folder that the loader unpacks."""
LIBRARIES: Final = "LD_LIBRARY_PATH"
LIBRARIES_BEFORE: Final = "LD_LIBRARY_PATH_ORIG"
"""The loader puts its folder into the one, and keeps in the other what was there, if anything was."""
SET_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def is_bundled() -> bool:
    """Whether the executable's loader runs this."""
    return bool(getattr(sys, "frozen", False))


def unpacked() -> Path:
    """The folder of a bundled program."""
    return Path(str(vars(sys)["_MEIPASS"]))


def this_program() -> list[str]:
    """The command line of the `nexo` command, to which arguments are added."""
    return [sys.executable] if is_bundled() else [sys.executable, "-m", "nexo"]


def start_again(environ: Mapping[str, str]) -> None:
    """Become the same command in another environment, with the same process id. OSError when that fails."""
    if not is_bundled():
        os.execve(sys.executable, sys.orig_argv, dict(environ))
    folder = unpacked()
    interpreter = str(folder / INTERPRETER)
    alone = {
        "PYTHONHOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(folder), *map(str, folder.glob("python3*/lib-dynload"))]),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.execve(interpreter, [interpreter, "-m", "nexo", *sys.argv[1:]], {**environ, **alone})


def part_from_loader() -> None:
    """A server under a loader gets each signal once, and does not outlive it.

    Ctrl-C goes to the foreground's process group, and the loader hands on its own: the second one would end the
    server at once. A loader that is killed can hand on nothing; then the system tells the server to end.
    """
    if is_bundled():
        import ctypes  # here, since every command imports this module

        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)


def environ_outside() -> dict[str, str]:
    """The environment for programs that are not ours: they find the system's libraries, not the loader's."""
    environ = dict(os.environ)
    if is_bundled():
        environ.pop(LIBRARIES, None)
        before = environ.pop(LIBRARIES_BEFORE, None)
        if before is not None:
            environ[LIBRARIES] = before
    return environ
