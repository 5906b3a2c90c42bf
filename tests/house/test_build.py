"""What is compiled, what NEXO_PURE does, what `import nexo` needs, and that the pins agree."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import pytest

from nexo._pure import is_compiled
from tests.house.sources import ROOT, SOURCE, imports, module_path, modules, tree, within

HOT_ROOMS = (
    "nexo.brokers",
    "nexo.histogram",
    "nexo.node",
    "nexo.protocols",
    "nexo.storage",
    "nexo.server.clock",
    "nexo.server.housekeeping",
    "nexo.server.slow",
    "nexo.server.turns",
)
NOT_HOT = {
    "nexo.protocols.native.opcodes": "constants, which the client imports without librt",
    "nexo.storage.archive": "works on large pieces",
    "nexo.storage.backup": "works on large pieces",
    "nexo.storage.reading": "a loop over chunks of a file",
    "nexo.storage.recovery": "runs once, at the start",
    "nexo.storage.repair": "runs for an operator",
    "nexo.storage.restore": "runs for an operator",
    "nexo.storage.snapshot": "works on large pieces",
    "nexo.storage.verify": "runs for an operator",
}


def load_setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nexo_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python(code: str, **environ: str) -> str:
    """What a fresh interpreter prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEXO_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(SOURCE), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_hot_modules_are_the_hot_rooms() -> None:
    listed = set(load_setup().hot_modules())
    expected = {
        module_path(module).relative_to(ROOT).as_posix()
        for module in modules()
        if any(within(module, room) for room in HOT_ROOMS)
        and module_path(module).name != "__init__.py"
        and module not in NOT_HOT
    }
    assert {path for path in listed if "/bench/" not in path} == expected


def test_a_missing_hot_module_is_named() -> None:
    build = load_setup()
    build.HOT_MODULES.append("src/nexo/gone.py")
    with pytest.raises(FileNotFoundError, match=r"src/nexo/gone\.py"):
        build.hot_modules()


def test_constants_that_are_compiled_in_are_watched() -> None:
    """A module whose constants hot modules import is compiled with them or makes them be built again."""
    build = load_setup()
    watched = {(ROOT / path).resolve() for path in [*build.hot_modules(), *build.INLINED]}
    hot = [module for module in modules() if module_path(module) in watched]
    forgotten = {
        target
        for module in hot
        for _, target in imports(module)
        if within(target, "nexo") and module_path(target) not in watched
        if module_path(target).name != "__init__.py"
    }
    assert forgotten == set()


def test_nexo_pure_forces_the_source() -> None:
    code = (
        "import sys, nexo.server.app, nexo.bench.store\n"
        "print(sum(not str(m.__file__).endswith('.py') for n, m in sys.modules.items() if n.startswith('nexo.')\n"
        "    and getattr(m, '__file__', None)))\n"
        "from nexo._pure import is_compiled; print(is_compiled())"
    )
    assert python(code, NEXO_PURE="1").split() == ["0", "False"]


def test_nexo_pure_passes_by_what_is_compiled(tmp_path: Path) -> None:
    package = tmp_path / "nexo"
    package.mkdir()
    (package / "__init__.py").write_text("from nexo import _pure")
    (package / "_pure.py").write_text((SOURCE / "nexo/_pure.py").read_text())
    (package / "hot.py").write_text("kind = 'source'")
    (package / f"hot{EXTENSION_SUFFIXES[0]}").write_bytes(b"not a library, so importing it fails")
    code = "try:\n from nexo.hot import kind\nexcept ImportError: kind = 'compiled'\nprint(kind)"
    assert python(code, PYTHONPATH=str(tmp_path)) == "compiled"
    assert python(code, PYTHONPATH=str(tmp_path), NEXO_PURE="0") == "compiled"
    assert python(code, PYTHONPATH=str(tmp_path), NEXO_PURE="1") == "source"


def test_without_nexo_pure_the_build_decides() -> None:
    built = any(SOURCE.glob("nexo/brokers/store.*.so")) or any(SOURCE.glob("nexo/brokers/store.*.pyd"))
    seen = python("from nexo._pure import is_compiled; print(is_compiled())")
    assert seen == str(built)
    if "NEXO_PURE" not in os.environ:
        assert is_compiled() == built


def test_the_hook_is_the_first_import_of_the_package() -> None:
    body = [node for node in tree("nexo").body if isinstance(node, ast.Import | ast.ImportFrom)]
    first = next(
        node for node in body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    )
    assert isinstance(first, ast.ImportFrom)
    assert first.module == "nexo"
    assert [alias.name for alias in first.names] == ["_pure"]


def test_import_nexo_needs_msgspec_alone() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("nexo", "msgspec"):
            raise ImportError(f"import nexo wants {name}")
sys.meta_path.insert(0, Blocked())
import nexo
from nexo import *
ours = ("nexo.brokers.", "nexo.server.", "nexo.cli.", "nexo.node.")
print(sorted(name for name in sys.modules if (name + ".").startswith(ours)))
"""
    assert python(code) == "[]"


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([\w-]+)(?:\[\w+\])?==([\w.]+)", path.read_text(), re.MULTILINE)
    return {name.lower().replace("-", "_"): version for name, version in found}


def test_pins_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = pins(ROOT / "requirements/dev.txt")
    names = [
        re.match(r"[\w-]+", line)[0].lower().replace("-", "_")  # type: ignore[index]
        for line in [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    ]
    assert set(names) <= set(pinned)
    assert f"mypy[mypyc]=={pinned['mypy']}" in project["build-system"]["requires"]
    for others in ("bench.txt", "dist.txt"):
        for name, version in pins(ROOT / "requirements" / others).items():
            assert pinned.get(name, version) == version
