"""The build: compiles the hot modules with mypyc, or says plainly why it could not and goes on without.

Everything else about the distribution stands in pyproject.toml.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent

HOT_MODULES = [
    "src/nexo/brokers/*.py",
    "src/nexo/brokers/batch/*.py",
    "src/nexo/brokers/queue/*.py",
    "src/nexo/brokers/stream/*.py",
    "src/nexo/histogram.py",
    "src/nexo/node.py",
    "src/nexo/storage/batch.py",
    "src/nexo/storage/files.py",
    "src/nexo/storage/format.py",
    "src/nexo/storage/log.py",
    "src/nexo/storage/tail.py",
    "src/nexo/storage/thread.py",
    "src/nexo/storage/writer.py",
    "src/nexo/protocols/audit.py",
    "src/nexo/protocols/backups.py",
    "src/nexo/protocols/grants.py",
    "src/nexo/protocols/logins.py",
    "src/nexo/protocols/operations.py",
    "src/nexo/protocols/rates.py",
    "src/nexo/protocols/session.py",
    "src/nexo/protocols/stopwatch.py",
    "src/nexo/protocols/native/audited.py",
    "src/nexo/protocols/native/backup.py",
    "src/nexo/protocols/native/batch.py",
    "src/nexo/protocols/native/channel.py",
    "src/nexo/protocols/native/connection.py",
    "src/nexo/protocols/native/frames.py",
    "src/nexo/protocols/native/naming.py",
    "src/nexo/protocols/native/permission.py",
    "src/nexo/protocols/native/pubsub.py",
    "src/nexo/protocols/native/queue.py",
    "src/nexo/protocols/native/queueadmin.py",
    "src/nexo/protocols/native/jsonadmin.py",
    "src/nexo/protocols/native/stream.py",
    "src/nexo/protocols/native/streamadmin.py",
    "src/nexo/protocols/native/session.py",
    "src/nexo/protocols/native/store.py",
    "src/nexo/protocols/native/serveradmin.py",
    "src/nexo/protocols/native/storeadmin.py",
    "src/nexo/server/clock.py",
    "src/nexo/server/housekeeping.py",
    "src/nexo/server/slow.py",
    "src/nexo/server/turns.py",
    "src/nexo/bench/*.py",
]
"""What is compiled: the one list. `__init__.py` files are left out of the patterns."""

INLINED = ["src/nexo/errors.py", "src/nexo/limits.py", "src/nexo/protocols/native/opcodes.py"]
"""Not compiled, but their constants end up in what is: a change of one is a reason to build again."""

BUILDING = {"build", "build_ext", "bdist_wheel", "editable_wheel", "install", "develop"}
"""Commands that want the compiled modules; the others (metadata, sdist) need not wait for mypyc."""


def hot_modules() -> list[str]:
    """The files to compile, relative to the project. FileNotFoundError for an entry without any."""
    found: list[str] = []
    for pattern in HOT_MODULES:
        files = [path for path in sorted(ROOT.glob(pattern)) if path.name != "__init__.py"]
        if not files:
            raise FileNotFoundError(f"HOT_MODULES in setup.py names {pattern}, and there is no such file")
        found += [path.relative_to(ROOT).as_posix() for path in files]
    return found


def is_pure() -> bool:
    """Whether the environment asks for the interpreted modules only."""
    return os.environ.get("NEXO_PURE", "") not in ("", "0")


def goes_on_pure(reason: str) -> None:
    """Tell whoever builds that the result is correct and slow."""
    print(f"nexo: NOT COMPILED: {reason}", file=sys.stderr)
    print("nexo: the interpreted modules do the same, several times slower", file=sys.stderr)


def remove_compiled() -> None:
    """Take away what an earlier build left in the source tree: it would be imported instead of the source."""
    for pattern in ("*__mypyc*", "nexo/**/*"):
        for suffix in (".so", ".pyd"):
            for path in (ROOT / "src").glob(pattern + suffix):
                path.unlink()


def main() -> None:
    """Called by every build tool; see BUILDING for when it compiles."""
    from setuptools import setup
    from setuptools.command.build_ext import build_ext
    from setuptools.errors import BaseError, CompileError, LinkError

    class BuildHot(build_ext):
        """Compiles, and leaves nothing half done behind when there is no working compiler."""

        def run(self) -> None:
            if self.inplace:
                remove_compiled()
            try:
                super().run()
            except (BaseError, CompileError, LinkError, OSError) as error:
                if self.inplace:
                    remove_compiled()
                self.extensions = []
                goes_on_pure(str(error))

        def build_extensions(self) -> None:
            """A module's C file at a time on each core, and only what changed since the last build."""
            compiler = self.compiler
            one_by_one = compiler.compile

            def compile_side_by_side(sources, output_dir=None, **options):
                newest_header = max(
                    (path.stat().st_mtime for path in Path(self.build_lib).parent.glob("*.h")), default=0
                )

                def compile_one(source):
                    [object_file] = compiler.object_filenames([source], output_dir=output_dir)
                    changed = max(newest_header, Path(source).stat().st_mtime)
                    if not Path(object_file).exists() or Path(object_file).stat().st_mtime <= changed:
                        one_by_one([source], output_dir, **options)
                    return object_file

                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    return list(pool.map(compile_one, sources))

            compiler.compile = compile_side_by_side
            super().build_extensions()

    extensions = []
    if BUILDING.intersection(sys.argv) and is_pure():
        goes_on_pure("NEXO_PURE is set")
    elif BUILDING.intersection(sys.argv):
        try:
            from mypyc.build import mypycify

            extensions = mypycify(
                hot_modules(), opt_level="3", debug_level="0", group_name="nexo", multi_file=True
            )
            for extension in extensions:
                # Modules of one shared object call each other directly.
                extension.extra_compile_args += ["-fvisibility=hidden"]
        except ImportError as error:
            goes_on_pure(f"mypyc is not installed ({error})")
        except SystemExit as error:
            # How mypyc reports a module that it does not accept; its own lines are above.
            goes_on_pure(f"mypyc refused a module ({error})")
    setup(ext_modules=extensions, cmdclass={"build_ext": BuildHot})


if __name__ == "__main__":
    main()
