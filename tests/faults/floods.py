"""P12, the long form: peers in crowds that want nothing good, and what the server and an honest client feel of it.

    python tests/faults/floods.py --connects 20000

Each flood runs against a server of its own with few places. An honest connection asks all the while; its slowest answer,
the memory that the server took more, and how the peers were ended, are printed. The exit code is 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.vectors.serving import Serving
from tests.vectors.wire import DATA, ERR, HEADER_BYTES, Splitter, Wire, request, string, u32

MIB = 1024 * 1024
PLACES = 100
GREETING_SECONDS = 1.0
ANSWER_SECONDS_MAX = 1.0
"""The slowest answer that the honest client may see, on a machine that does other things, too."""
MEMORY_BYTES_MAX = 16 * MIB
CROWD = 200
"""Peers that are there at once."""


class Outcome(NamedTuple):
    """What a flood came to. `ends` counts how peers were ended."""

    name: str
    peers: int
    ends: Counter[str]
    seconds: float
    memory_bytes: int
    slowest_seconds: float

    def broken(self) -> list[str]:
        """Bounds that did not hold."""
        found = []
        if self.memory_bytes > MEMORY_BYTES_MAX:
            found.append(f"{self.name}: {self.memory_bytes / MIB:.0f} MiB more")
        if self.slowest_seconds > ANSWER_SECONDS_MAX:
            found.append(f"{self.name}: an honest client waited {self.slowest_seconds:.2f} s")
        if self.ends["open"]:
            found.append(f"{self.name}: {self.ends['open']} peers are still connected")
        return found

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return (
            f"{self.name:<13} {self.peers:>7} peers in {self.seconds:6.1f} s  {self.memory_bytes / MIB:5.1f} MiB more  "
            f"slowest answer {self.slowest_seconds * 1000:6.1f} ms  {ends}"
        )


def end_of(peer: socket.socket, seconds: float) -> str:
    """How the server ends a connection: the error's message, "refused" in other words, "closed", "open"."""
    deadline = time.monotonic() + seconds
    got = b""
    while True:
        peer.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = peer.recv(65_536)
        except TimeoutError:
            return "open"
        except OSError:
            data = b""
        if not data:
            break
        got += data
    if len(got) > 1_000:
        return "answered at length"
    if got[:1] == b"\x09" and len(got) >= HEADER_BYTES:
        frames = Splitter()
        frames.feed(got)
        first = frames.next()
        if first is not None and first.code == ERR:
            return f"error 0x{first.error[0]:02x}"
    return "refused" if got else "closed"


def crowd(server: Serving, count: int, says: Callable[[int], bytes], seconds: float = 10.0) -> Counter[str]:
    """So many peers, one after another, each of which says something and waits for the end."""
    ends: Counter[str] = Counter()
    for start in range(0, count, CROWD):
        peers = []
        for number in range(start, min(start + CROWD, count)):
            peer = socket.create_connection(("127.0.0.1", server.port), 10)
            with suppress(OSError):  # it has been refused already
                peer.sendall(says(number))
            peers.append(peer)
        for peer in peers:
            ends[end_of(peer, seconds)] += 1
            peer.close()
    return ends


def trickle(server: Serving, count: int) -> Counter[str]:
    """Peers that each send a byte of a valid command now and then, and would never be done."""
    frame = request(0x40, 1, bytes(1_000))
    peers = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(count)]
    began = time.monotonic()
    place = 0
    while time.monotonic() - began < 2 * GREETING_SECONDS:
        for peer in peers:
            with suppress(OSError):  # ended
                peer.sendall(frame[place : place + 1])
        place += 1
        time.sleep(0.1)
    ends = Counter(end_of(peer, 5) for peer in peers)
    for peer in peers:
        peer.close()
    return ends


def flooded(
    name: str, peers: int, flood: Callable[[Serving], Counter[str]], *flags: str, places: int = PLACES
) -> Outcome:
    """Run a flood while an honest client asks."""
    settings = ("--connections-max", str(places), "--greeting-seconds", str(GREETING_SECONDS), *flags)
    with Serving(*settings) as server, Wire(server.port, timeout=30) as honest:
        assert honest.call(0x40).code == DATA
        crowd(
            server, CROWD, lambda number: b""
        )  # what the first of them costs is not what each of them costs
        before = server.memory_bytes()
        slowest = 0.0
        began = time.monotonic()
        ends: Counter[str] = Counter()
        asked = Asking(honest)
        asked.start()
        try:
            ends = flood(server)
        finally:
            slowest = asked.stop()
        took = time.monotonic() - began
        grown = server.memory_bytes() - before
        assert honest.call(0x40, b"still here").payload == b"still here"
        return Outcome(name, peers, ends, took, grown, slowest)


class Asking:
    """An honest client in a thread, which asks a hundred times a second."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._slowest = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> float:
        """The slowest answer, in seconds."""
        self._done.set()
        self._thread.join()
        return self._slowest

    def _run(self) -> None:
        while not self._done.wait(0.01):
            began = time.monotonic()
            assert self._wire.call(0x40).code == DATA
            self._slowest = max(self._slowest, time.monotonic() - began)


def connects(count: int) -> Outcome:
    """More connections than there are places, which say nothing and are refused."""
    return flooded("connects", count, lambda server: crowd(server, count, lambda number: b""), places=1)


def garbage(count: int) -> Outcome:
    """Bytes of no protocol, and of ours with a frame that is none."""
    chance = random.Random(1)
    says = [chance.randbytes(chance.randrange(1, 2_000)) for _ in range(50)]
    says += [b"\x09" + chance.randbytes(chance.randrange(10, 2_000)) for _ in range(50)]
    return flooded(
        "garbage",
        count,
        lambda server: crowd(server, count, lambda number: says[number % len(says)]),
        places=1_000,
    )


def lengths(count: int) -> Outcome:
    """Frames that claim to be as long as can be said, and a few bytes of them."""
    claims = [10 * MIB + 1, 100 * MIB, (1 << 31) - 1, (1 << 32) - 1, 10 * MIB]
    head = b"\x09\x01\x02" + u32(1)
    return flooded(
        "lengths",
        count,
        lambda server: crowd(
            server, count, lambda number: head + u32(claims[number % len(claims)]) + string("key")
        ),
        places=1_000,
    )


def loris(count: int) -> Outcome:
    """A byte at a time."""
    return flooded("slow loris", count, lambda server: trickle(server, count), places=1_000)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--connects", type=int, default=20_000)
    count = parser.parse_args().connects
    broken = []
    for flood, peers in ((connects, count), (garbage, count // 4), (lengths, count // 4), (loris, 500)):
        outcome = flood(peers)
        print(outcome, flush=True)
        broken += outcome.broken()
    for line in broken:
        print(line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
