"""Sets in one process, without a socket: the store beside a bare dict, in turns. Prints JSON.

Both loops are plain interpreted Python, as a user's would be.
"""

from __future__ import annotations

import json
import sys
import time

from nexo.brokers.store import Store

KEYS = 1_000_000
VALUE = b"\x00" + b"v" * 64
NOW = 1_700_000_000_000


def store_round(keys: list[bytes]) -> tuple[float, float]:
    """Seconds to insert all keys, and to overwrite them."""
    store = Store()
    put = store.set
    began = time.perf_counter()
    for key in keys:
        put(key, VALUE, NOW)
    between = time.perf_counter()
    for key in keys:
        put(key, VALUE, NOW)
    return between - began, time.perf_counter() - between


def dict_round(keys: list[bytes]) -> tuple[float, float]:
    """The same with a dict."""
    table: dict[bytes, bytes] = {}
    began = time.perf_counter()
    for key in keys:
        table[key] = VALUE
    between = time.perf_counter()
    for key in keys:
        table[key] = VALUE
    return between - began, time.perf_counter() - between


def main() -> None:
    """Run as many rounds as the argument says."""
    keys = [b"key:%012d" % number for number in range(KEYS)]
    rounds: dict[str, list[float]] = {
        "store_insert": [],
        "store_over": [],
        "dict_insert": [],
        "dict_over": [],
    }
    for _ in range(int(sys.argv[1])):
        for name, measure in (("store", store_round), ("dict", dict_round)):
            inserted, overwritten = measure(keys)
            rounds[f"{name}_insert"].append(KEYS / inserted)
            rounds[f"{name}_over"].append(KEYS / overwritten)
    sys.stdout.write(json.dumps(rounds) + "\n")


if __name__ == "__main__":
    main()
