"""`make bench`: measures Nexo beside its peers and writes docs/benchmarks.md, pictures and results.

    python benchmarks/run.py [--quick] [--only CASE ...] [--report-only]

Owns the order of things; the cases, the servers and the report stand beside it.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import resource
import sys
import time
from pathlib import Path

import cases
import pictures
import report
import results
import servers
from plan import Plan

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
DOCS = ROOT / "docs"
OPEN_FILES = 8192
BUSY_SAMPLE_SECONDS = 2.0


def main() -> int:
    """Run the cases asked for; 1 when one of them could not be run."""
    parser = argparse.ArgumentParser(description="Measure Nexo beside its peers.")
    parser.add_argument(
        "--quick", action="store_true", help="three turns of half a second: a look, not a measurement"
    )
    parser.add_argument("--turns", type=int, help="turns of each case (default 7, quick 3)")
    parser.add_argument("--seconds", type=float, help="measured time of a turn (default 1, quick 0.5)")
    parser.add_argument(
        "--only", action="append", choices=list(cases.CASES), help="run this case; may be repeated"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="write the report of the saved results again"
    )
    parser.add_argument(
        "--no-report", action="store_true", help="print only; leave docs and results as they are"
    )
    arguments = parser.parse_args()
    if arguments.report_only:
        write(results.load(RESULTS))
        return 0
    allow_files()
    plan = Plan(
        arguments.turns or (3 if arguments.quick else 7),
        arguments.seconds or (0.5 if arguments.quick else 1.0),
        say,
    )
    run = results.Run(
        command=" ".join(["python benchmarks/run.py", *sys.argv[1:]]),
        when=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        quick=plan.turns < 5,
        machine=machine(),
        versions=versions(),
        plan={"turns": plan.turns, "seconds": plan.seconds},
    )
    for name, value in run.machine.items():
        say(f"{name}: {value}")
    failed = False
    began = time.monotonic()
    for name in arguments.only or cases.CASES:
        say(f"— {name}")
        try:
            # One at a time: a case that fails later keeps the rows it has.
            for row in cases.CASES[name](plan):
                run.rows.append(row)
        except (RuntimeError, OSError) as error:
            say(f"{name} failed: {error}")
            run.failures[name] = str(error).strip().splitlines()[-1][:300]
            failed = True
    say(f"{time.monotonic() - began:.0f} seconds")
    if not arguments.no_report:
        results.save(run, RESULTS)
        write(run)
    return 1 if failed else 0


def write(run: results.Run) -> None:
    """Write the pictures and the page that shows them."""
    drawn = pictures.draw(run, DOCS / "images")
    (DOCS / "benchmarks.md").write_text(report.page(run, drawn))
    say(f"written: docs/benchmarks.md, {', '.join(f'docs/images/{name}' for name in drawn)}")


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def allow_files() -> None:
    """Servers inherit the limit: a thousand subscribers and some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    model = platform.processor()
    memory = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            memory = f"{int(line.split()[1]) / 1024 / 1024:.0f} GiB"
    return {
        "CPU": model,
        "Cores": str(os.cpu_count()),
        "Memory": memory,
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Busy before the run": f"{busy_percent():.0f} % of its cores",
    }


def busy_percent() -> float:
    """How much of the machine others use: figures of a busy one say little, least of all its p99."""
    idle, total = _ticks()
    time.sleep(BUSY_SAMPLE_SECONDS)
    idle_after, total_after = _ticks()
    return 100 * (1 - (idle_after - idle) / max(1, total_after - total))


def _ticks() -> tuple[int, int]:
    """Ticks idle or waiting for a disk, and all ticks."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def versions() -> dict[str, str]:
    """Servers and client libraries."""
    found = {name: servers.version(name) for name in servers.PEERS}
    for distribution in ("redis", "hiredis", "nats-py", "uvloop"):
        try:
            found[f"{distribution} (Python)"] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[f"{distribution} (Python)"] = "not installed"
    found["load generator"] = (
        "compiled" if generator_compiled() else "interpreted: it hides the servers' speed"
    )
    return found


def generator_compiled() -> bool:
    """Whether mypyc made the loops that count."""
    from nexo.bench import store

    return not str(store.__file__).endswith(".py")


if __name__ == "__main__":
    sys.exit(main())
