"""Runs the fuzz targets for a while: python tests/fuzz/run.py [--seconds 60] [--seed 0] [--target session]

Says how many inputs a second it tried. An input that breaks an invariant is written to
tests/fuzz/failures/ and named; `--input FILE` runs it again. The same seed tries the same inputs in
the same order. With the package `atheris` installed and --coverage, inputs are guided by coverage of
the interpreted code.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.fuzz.inputs import corpus, mutate  # noqa: E402  needs the path above
from tests.fuzz.targets import TARGETS, Target  # noqa: E402

FAILURES = Path(__file__).parent / "failures"
SLICE = 200
"""Inputs tried on one target before the next has its turn."""


def save(name: str, data: bytes) -> Path:
    """Keep a failing input under a name made from its content."""
    FAILURES.mkdir(exist_ok=True)
    path = FAILURES / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def attempt(name: str, target: Target, data: bytes) -> bool:
    """Run one input; False when it broke the invariant, and then it is saved and reported."""
    try:
        target(data)
    except Exception:  # whatever a target raises is a finding
        path = save(name, data)
        print(f"{name}: {target.__doc__}\n{traceback.format_exc()}saved as {path}", file=sys.stderr)
        return False
    return True


def run(targets: dict[str, Target], seconds: float, seed: int) -> bool:
    """Try mutated inputs on each target in turn until the time is over or one fails."""
    seeds = corpus()
    rng = random.Random(seed)
    counts = dict.fromkeys(targets, 0)
    spent = dict.fromkeys(targets, 0.0)
    ended = time.monotonic() + seconds
    for name, target in targets.items():
        for data in seeds:
            if not attempt(name, target, data):
                return False
    while time.monotonic() < ended:
        for name, target in targets.items():
            began = time.monotonic()
            for _ in range(SLICE):
                if not attempt(name, target, mutate(seeds, rng)):
                    return False
            counts[name] += SLICE
            spent[name] += time.monotonic() - began
    for name, count in counts.items():
        print(f"{name}: {count} inputs, {count / spent[name]:.0f}/s, seed {seed}: none broke the invariant")
    return True


def guided(name: str, target: Target, seconds: float) -> None:
    """Let atheris choose the inputs; does not return."""
    import atheris  # type: ignore[import-not-found]  # optional

    folder = FAILURES.parent / "corpus"
    folder.mkdir(exist_ok=True)
    for data in corpus():
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    FAILURES.mkdir(exist_ok=True)
    atheris.instrument_all()
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds:.0f}", f"-artifact_prefix={FAILURES}/{name}-", str(folder)],
        target,
    )
    atheris.Fuzz()


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--target", choices=sorted(TARGETS), help="only this one")
    options.add_argument("--input", type=Path, help="run one saved input on its target (or --target)")
    options.add_argument("--coverage", action="store_true", help="guided by atheris, which must be installed")
    chosen = options.parse_args()
    targets = {chosen.target: TARGETS[chosen.target]} if chosen.target else TARGETS
    if chosen.input is not None:
        name = chosen.target or chosen.input.name.partition("-")[0]
        TARGETS[name](chosen.input.read_bytes())
        print(f"{name}: the invariant holds")
        return 0
    if chosen.coverage:
        name, target = next(iter(targets.items()))
        guided(name, target, chosen.seconds)
    return 0 if run(targets, chosen.seconds, chosen.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
