"""What TLS costs: the same requests to one server with and without it, from one connection in a process of its own.

    .venv/bin/python benchmarks/tls.py

Prints a line for each load: rate without, rate with TLS, and the ratio. Needs openssl, to make a certificate.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

READY = re.compile(r"ready on \S*?:(\d+) \((\w+)\)")
HEADER = struct.Struct(">BBBII")
PING = 0x40
ROUNDS = 5
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost -keyout server.pem -out cert.pem"
)


class Load(NamedTuple):
    """`requests` echoes of `size` bytes, `window` of them in flight."""

    name: str
    size: int
    window: int
    requests: int


LOADS = (
    Load("16 bytes, one at a time", 16, 1, 4_000),
    Load("16 bytes, 100 in flight", 16, 100, 100_000),
    Load("16 KiB, 16 in flight", 16 * 1024, 16, 8_000),
    Load("1 MiB, one at a time", 1 << 20, 1, 120),
)


def seconds(sock: socket.socket, load: Load) -> float:
    """How long the load takes."""
    batch = (HEADER.pack(9, 1, PING, 7, load.size) + bytes(load.size)) * load.window
    expected = (HEADER.size + load.size) * load.window
    began = time.perf_counter()
    for _ in range(load.requests // load.window):
        sock.sendall(batch)
        left = expected
        while left:
            data = sock.recv(min(left, 1 << 18))
            if not data:
                raise ConnectionError("the server has closed")
            left -= len(data)
    return time.perf_counter() - began


def connected(port: int, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock if context is None else context.wrap_socket(sock, server_hostname="localhost")


def measure(port: int, context: ssl.SSLContext) -> None:
    """The best of the rounds, which take turns."""
    for load in LOADS:
        best = {False: float("inf"), True: float("inf")}
        for _ in range(ROUNDS):
            for secure in best:
                with connected(port, context if secure else None) as sock:
                    best[secure] = min(best[secure], seconds(sock, load))
        plain, tls = (load.requests / best[secure] for secure in (False, True))
        print(f"{load.name:26} {plain:12,.0f}/s plain {tls:12,.0f}/s TLS   ratio {tls / plain:.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="nexo-tls-") as folder:
        made = Path(folder)
        subprocess.run(CERTIFICATE.split(), cwd=made, check=True, capture_output=True)
        context = ssl.create_default_context(cafile=str(made / "cert.pem"))
        (made / "server.pem").write_text((made / "server.pem").read_text() + (made / "cert.pem").read_text())
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "nexo", "serve", "--port", "0", "--http", "off"),
                *("--data-dir", "data", "--tls-cert-file", "server.pem"),
            ],
            cwd=made,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout is not None
            found = READY.search(server.stdout.readline())
            assert found is not None, "the server is not ready"
            print(f"one connection, {found[2]} server, {ssl.OPENSSL_VERSION}, the best of {ROUNDS} rounds")
            measure(int(found[1]), context)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
